"""Fixtures for all tests: small real models, drawn images, the command line."""

from __future__ import annotations

import gc
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

ROOT = Path(__file__).parent.parent
MODELS = Path(__file__).parent / "data"


LONGEST = (
    "test_pipeline.py", "test_app.py", "test_gate_training.py", "test_batch.py", "test_resume.py",
    "test_evaluate_command.py", "test_networks.py", "test_recipes.py", "test_app_firefox.py",
    "test_serve.py", "test_evaluate.py", "test_serve_page.py", "test_calibrate.py",
)  # fmt: skip
"""The files that take longest."""


def pytest_configure() -> None:
    """Let Ctrl-C end what tests start: where they run in the background, it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no worker is left with one at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of small models that ``make_models.py`` made."""
    return MODELS


@pytest.fixture(scope="session")
def int8() -> str:
    """A small int8 model with labels and card."""
    return str(MODELS / "int8.tflite")


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    """Draws a synthetic lesion: (width, height, seed=…)."""
    return runpy.run_path(str(ROOT / "examples" / "synthetic_lesion.py"))["draw"]


@pytest.fixture
def photo(tmp_path: Path, draw: Callable[..., Image.Image]) -> Path:
    """A 300x200 JPEG."""
    path = tmp_path / "lesion.jpg"
    draw(300, 200, seed=1).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def cli_run() -> Callable[..., Result]:
    """Runs ``lesionedge`` with arguments in this process."""
    from lesionedge.cli import main

    def run(*arguments: object, **options: Any) -> Result:
        try:
            return CliRunner().invoke(
                main, [str(a) for a in arguments], prog_name="lesionedge", **options
            )
        finally:
            gc.unfreeze()  # a command excludes its model from garbage collection

    return run


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs ``lesionedge`` in a new process."""

    def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
        line = [sys.executable, "-m", "lesionedge", *map(os.fsencode, map(str, arguments))]
        settings = {"capture_output": True, "timeout": 120, **options}
        return subprocess.run(line, **settings)

    return run


@pytest.fixture(scope="session")
def ham10000() -> Path:
    """The folder of HAM10000; the test is skipped if there is none."""
    root = Path(os.environ.get("LESIONEDGE_DATA", ROOT.parent / "shared" / "data")) / "ham10000"
    if not root.is_dir():
        pytest.skip(
            "HAM10000 is not at hand: set LESIONEDGE_DATA to the folder that holds ham10000/"
        )
    return root
