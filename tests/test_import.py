from __future__ import annotations

import subprocess
import sys

import pytest

import lesionedge


def loaded_after(code: str, *arguments: object) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_after("import lesionedge")
    assert not loaded & {
        "numpy",
        "PIL",
        "click",
        "ai_edge_litert",
        "tflite_runtime",
        "typing",
        "dataclasses",
        "json",
        "zipfile",
    }


def test_predict_loads_neither_web_nor_camera_nor_tensorflow(int8, photo):
    code = (
        "from click.testing import CliRunner\nfrom lesionedge.cli import main\n"
        f"print(CliRunner().invoke(main, ['predict', {str(photo)!r}, '-m', {int8!r}]).exit_code)"
    )
    loaded = loaded_after(code)
    assert "lesionedge.classifier" in loaded
    heavy = {"tensorflow", "tf_keras", "fastapi", "cv2", "av", "matplotlib", "pandas", "scipy",
             "multiprocessing", "asyncio", "concurrent.futures", "importlib.metadata",
             "lesionedge.render", "lesionedge.web", "lesionedge.camera", "lesionedge.drift",
             "lesionedge.evaluation", "sklearn"}  # fmt: skip
    assert not loaded & heavy


PEERS = """
import sys
import click, numpy
from ai_edge_litert import interpreter
from PIL import Image, JpegImagePlugin
Image.open(sys.argv[1]).convert("RGB")
"""
PREDICT = """
import gc, sys
from lesionedge.cli import main
main(["predict", "--no-check", sys.argv[1]], standalone_mode=False)
print(gc.isenabled(), gc.get_freeze_count(), file=sys.stderr)
"""


def test_predicting_one_plain_jpeg_loads_little(photo):
    """Every imported module delays the start of the command line."""
    pytest.importorskip("ai_edge_litert")
    loaded = loaded_after(PREDICT, photo)
    assert "lesionedge.jpeg_scan" in loaded
    own = {name for name in loaded if name.startswith("lesionedge")}
    assert len(own) <= 40, sorted(own)
    unneeded = {"ahead", "colour", "deep", "dicom", "encodings", "explanation", "heic", "icc",
                "jpeg2000", "machine", "parallel", "quality", "reliability", "rgb_space",
                "sources.archive", "sources.remote", "terms", "tiff", "vocabulary",
                "cli.progress"}  # fmt: skip
    assert not own & {f"lesionedge.{name}" for name in unneeded}
    others = loaded - own - loaded_after(PEERS, photo)
    heavy = {"bz2", "csv", "ipaddress", "lzma", "pathlib", "shutil", "urllib.parse", "zipfile"}
    assert not others & heavy


def test_a_command_excludes_its_model_from_garbage_collection(photo):
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(photo)], capture_output=True, check=True, text=True
    )
    enabled, frozen = done.stderr.split()[-2:]
    assert enabled == "True"
    assert int(frozen) > 10_000  # numpy's and LiteRT's objects; 0 without gc.freeze


def test_no_part_of_the_package_loads_tensorflow_or_train():
    code = (
        "import importlib, pkgutil, lesionedge\n"
        "for found in pkgutil.walk_packages(lesionedge.__path__, 'lesionedge.'):\n"
        "    if found.name != 'lesionedge.__main__':\n"
        "        try: importlib.import_module(found.name)\n"
        "        except lesionedge.MissingDependencyError: pass"
    )
    loaded = loaded_after(code)
    assert {"lesionedge.classifier", "lesionedge.cli.predict"} <= loaded
    assert not loaded & {"tensorflow", "tf_keras", "keras", "train", "convert", "flatbuffers"}


def test_a_star_import_imports_the_public_names():
    code = "from lesionedge import *; print(*sorted(set(dir()) & {%s}))"
    script = code % ", ".join(map(repr, lesionedge.__all__))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == sorted(lesionedge.__all__)


@pytest.mark.parametrize("name", lesionedge.__all__)
def test_every_public_name_is_there(name):
    assert getattr(lesionedge, name) is not None
    assert name in dir(lesionedge)


def test_unknown_names_are_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lesionedge.nonsense  # noqa: B018
