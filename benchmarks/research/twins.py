"""The embedded models' twins: of the same making, but without the images they are asked about.

The embedded files have learnt from all of HAM10000's lesions but those of calibration, so that
nothing of HAM10000 could measure them. What is said of them is measured on their twins, files of
the same recipe that have never seen the test images of their split (fold 1 of the
cross-validation): ``make release-models`` makes them in ``runs/release``. A model that is not
embedded is measured itself.
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
"""Its test images are those that the twins have not learnt from."""


def of(model: str) -> str:
    """Return what to measure where a model is named: an embedded one's twin, any other itself.

    Raises:
        SystemExit: The twin has not been made.
    """
    file = FILES.get(model)
    if file is None:
        return model
    if not file.is_file():
        raise SystemExit(f"{file}: no such file; make release-models HAM10000=DIR makes it")
    return str(file)
