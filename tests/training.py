"""What the tests of training share: its commands, run in this process, and a small dataset.

TensorFlow is imported once, here: its import warns, and warnings are errors. A process for every
command would import it, and build a quantization-aware network, again each time.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from lesionedge.errors import LesionEdgeError

if importlib.util.find_spec("tensorflow_model_optimization") is None:
    pytest.skip("needs the extra train: make test installs it", allow_module_level=True)
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # as the commands do
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow
    import tensorflow_model_optimization  # noqa: F401
    import tf_keras as keras

__all__ = ["LABELS", "Done", "draw_ham10000", "keras", "program", "tensorflow"]

LABELS = ("nv", "mel", "bcc", "bkl", "akiec", "df", "vasc")


class Done:
    """How a command ended."""

    def __init__(self, returncode: int, stdout: str, stderr: str) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def program(module: str, *arguments: object, check: bool = True) -> Done:
    """Run ``python -m MODULE ARGUMENTS`` in this process; expect it to succeed where checked."""
    main = import_module(f"{module}.__main__").main
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    done = Done(result.exit_code, result.stdout, result.stderr)
    if isinstance(result.exception, LesionEdgeError):
        done.stderr += f"error: {result.exception}\n"  # as the module's last lines do
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def draw_ham10000(
    root: Path, draw: Callable[..., Image.Image], label_of: Callable[[int], str], count: int
) -> Path:
    """Lay synthetic 48x36 images out as HAM10000 is published."""
    (root / "images").mkdir(parents=True)
    with (root / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"])
        for number in range(count):
            name = f"ISIC_{number:07d}"
            writer.writerow((f"HAM_{number}", name, label_of(number), "histo", 50, "male", "back"))
            draw(48, 36, seed=number).save(root / "images" / f"{name}.jpg")
    return root
