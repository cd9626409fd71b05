"""The embedded models' twins: of the same training, but without the pictures they are asked about.

The embedded files have learnt from all of HAM10000's lesions but those of calibration, so that
nothing of HAM10000 could measure them. What is said of them is measured on their twins, files of
the same recipe that have never seen the test pictures of their split (fold 1 of the
cross-validation). A model that is not embedded is measured itself.
"""

from __future__ import annotations

from pathlib import Path

RELEASES = Path(__file__).parents[2] / "train" / "release"
FILES = {
    "mobilenetv2": RELEASES / "mobilenetv2-fold-1" / "mobilenetv2-int8.tflite",
    "mobilenetv2-float16": RELEASES / "mobilenetv2-fold-1" / "mobilenetv2-float16.tflite",
    "cnn": RELEASES / "cnn-fold-1" / "cnn-int8.tflite",
}
SPLIT = RELEASES / "mobilenetv2-fold-1" / "split.csv"
"""What the twins have learnt from, and what not: the same pictures for all."""


def of(model: str) -> str:
    """Give what to measure where a model is named: an embedded one's twin, any other itself."""
    return str(FILES.get(model, model))
