"""Runs the adapter of picamera2 against the signatures of the real package.

The package itself needs libcamera and a Pi's camera; its source is enough to check whether each
call fits. If it is not installed, ``LESIONEDGE_PICAMERA2`` names a folder that holds it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import time
import types
from pathlib import Path

import numpy as np
import pytest

from lesionedge.camera import choice
from lesionedge.camera import picamera2 as adapter
from lesionedge.errors import CameraError

INFO = [
    {"Model": "uvc", "Location": 2, "Num": 0, "Id": "/base/scb/pcie@7d500000/pci@0,0/usb@0,0-1.2"},
    {"Model": "imx708", "Location": 2, "Num": 1, "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a"},
]


@pytest.fixture(scope="module")
def package() -> Path:
    named = os.environ.get("LESIONEDGE_PICAMERA2")
    if named and (found := Path(named) / "picamera2").is_dir():
        return found
    spec = importlib.util.find_spec("picamera2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the source of picamera2: make test-device fetches it")
    return Path(spec.submodule_search_locations[0])


def with_real_signatures(path: Path, name: str, bodies: dict[str, object]) -> type:
    """Make a class whose methods have a real class's names and parameters, and our bodies."""
    found = next(
        node for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )  # fmt: skip
    # If a method has overloads, the last definition is the method.
    methods = {n.name: n for n in found.body if isinstance(n, ast.FunctionDef)}
    body: list[ast.stmt] = []
    for wanted in bodies:
        method = methods[wanted]  # a KeyError means that the package has lost this method
        arguments = method.args
        for one in (*arguments.args, *arguments.kwonlyargs):
            one.annotation = None
        arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
        method.returns = None
        method.decorator_list = [
            d for d in method.decorator_list if getattr(d, "id", "") == "staticmethod"
        ]
        method.body = ast.parse(f"return bodies[{wanted!r}](locals())").body
        body.append(method)
    found.body, found.bases, found.decorator_list = body, [], []
    scope: dict[str, object] = {"bodies": bodies}
    module = ast.fix_missing_locations(ast.Module([found], []))
    exec(compile(module, str(path), "exec"), scope)
    return scope[name]


@pytest.fixture
def calls(package, monkeypatch) -> list[tuple[str, dict[str, object]]]:
    """Replace picamera2's class; return the calls that were made, with their arguments."""
    made: list[tuple[str, dict[str, object]]] = []
    array = np.zeros((720, 1280, 3), np.uint8)
    array[..., 0] = 200

    def returning(name, result):
        def body(arguments):
            made.append((name, {key: arguments[key] for key in arguments if key != "self"}))
            return result

        return body

    facts = {"SensorTimestamp": time.monotonic_ns()}
    request = with_real_signatures(
        package / "request.py", "CompletedRequest",
        {"make_array": returning("make_array", array), "get_metadata": returning("facts", facts)},
    )()  # fmt: skip
    plain = {
        "global_camera_info": INFO, "__init__": None, "create_video_configuration": {"c": 1},
        "configure": {}, "start": None, "close": None, "cancel_all_and_flush": None,
        "camera_configuration": {"main": {"size": (1280, 720)}},
        "captured_request": contextlib.nullcontext(request),
    }  # fmt: skip
    made_class = with_real_signatures(
        package / "picamera2.py",
        "Picamera2",
        {name: returning(name, plain[name]) for name in plain},
    )
    module = types.SimpleNamespace(Picamera2=made_class)
    monkeypatch.setattr(adapter, "load", lambda name, install: module)
    return made


def test_every_call_fits_the_real_signature(calls):
    source = adapter.Picamera2Source((1280, 720))
    assert source.description == "picamera2: RGB 1280x720"
    shot = next(source.frames())
    source.close()
    arguments = dict(calls)
    assert arguments["__init__"]["camera_num"] == 1  # the USB camera is left to V4L2
    assert arguments["create_video_configuration"]["main"] == {
        "size": (1280, 720),
        "format": "BGR888",
    }
    assert arguments["create_video_configuration"]["queue"] is False
    assert arguments["captured_request"]["wait"] == adapter.STALL_S
    assert arguments["make_array"]["name"] == "main"
    assert [name for name, _ in calls][-2:] == ["cancel_all_and_flush", "close"]
    assert shot.content(None).getpixel((5, 5)) == (200, 0, 0)
    assert abs(shot.captured_s - time.monotonic()) < 60


def test_only_csi_cameras_count(calls, monkeypatch):
    monkeypatch.setitem(INFO[1], "Id", "/base/usb@1")
    with pytest.raises(CameraError, match="sees no camera"):
        adapter.find()


def test_a_library_that_cannot_list_cameras_is_no_camera(monkeypatch):
    """So that the search goes on with the other kinds of cameras."""

    def fail():
        raise RuntimeError("Failed to start CameraManager")

    module = types.SimpleNamespace(Picamera2=types.SimpleNamespace(global_camera_info=fail))
    monkeypatch.setattr(adapter, "load", lambda name, install: module)
    found = next(choice.survey())
    told = "picamera2: the cameras cannot be listed (Failed to start CameraManager)"
    assert found == ("picamera2", False, told, "")


def test_the_adapter_is_short():
    assert len(Path(adapter.__file__).read_text().splitlines()) < 60
