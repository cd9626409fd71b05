"""Twins of the embedded models: made alike, but without the test images.

The embedded files were trained on all lesions of HAM10000 except the calibration images, so
HAM10000 cannot measure them. Their figures are measured on their twins: files of the same recipe
that have not seen the test images of fold 1 of the cross-validation. ``make release-models`` makes
them in ``runs/release``. A model that is not embedded is measured itself.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "release"
FILES = {
    "mobilenetv2": RUNS / "mobilenetv2" / "fold-1" / "mobilenetv2-int8.tflite",
    "mobilenetv2-float16": RUNS / "mobilenetv2" / "fold-1" / "mobilenetv2-float16.tflite",
    "cnn": RUNS / "cnn" / "fold-1" / "cnn-int8.tflite",
}
SPLIT = ROOT / "release" / "split.csv"
"""The twins were not trained on its test images."""


def of(model: str) -> str:
    """Return the file to measure: an embedded model's twin, any other model itself.

    Raises:
        SystemExit: The twin has not been made.
    """
    file = FILES.get(model)
    if file is None:
        return model
    if not file.is_file():
        raise SystemExit(f"{file}: no such file; make release-models HAM10000=DIR makes it")
    return str(file)
