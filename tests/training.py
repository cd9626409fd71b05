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
from pathlib import Path

import pytest
from PIL import Image
from programs import program

if importlib.util.find_spec("tensorflow_model_optimization") is None:
    pytest.skip("needs the extra train: make test installs it", allow_module_level=True)
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # as the commands do
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow
    import tensorflow_model_optimization  # noqa: F401
    import tf_keras as keras

__all__ = ["LABELS", "draw_ham10000", "keras", "program", "tensorflow"]

LABELS = ("nv", "mel", "bcc", "bkl", "akiec", "df", "vasc")


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
