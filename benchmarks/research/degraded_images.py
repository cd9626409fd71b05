"""Writes images degraded on purpose, for other studies to predict.

    python benchmarks/research/degraded_images.py IMAGES --truth FILE --change "JPEG quality"
        --strength 20 --out DIR [--count 400]

Half of the images are of malignant lesions, and no two are of one lesion. The changes are those of
``robustness.py``, which see. Keep the results out of the repository: they are the dataset's images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from PIL import Image
from robustness import CHANGES, changed

from lesionedge.datasets import gather
from lesionedge.diagnosis import describe


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description="Degrade images on purpose.")
    parser.add_argument("images")
    parser.add_argument("--truth", required=True)
    parser.add_argument("--change", choices=tuple(CHANGES), required=True)
    parser.add_argument("--strength", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    given = parser.parse_args()
    labelled = gather.gather(given.images, truth_file=given.truth)
    table = labelled.table.assign(group=labelled.groups("lesion"))
    given.out.mkdir(parents=True, exist_ok=True)
    for path in chosen(table, given.count):
        with Image.open(path) as image:
            content = changed(image.convert("RGB"), CHANGES[given.change][0], given.strength)
        (given.out / f"{Path(path).stem}.jpg").write_bytes(content)


def chosen(table: pd.DataFrame, count: int) -> list[str]:
    """Return one image of each lesion, half of them malignant."""
    kinds = table["label"].map(lambda label: bool(describe(label).malignant))
    once = table.assign(malignant=kinds).groupby("group").first()
    halves = [
        part.sample(min(count // 2, len(part)), random_state=0)
        for _, part in once.groupby("malignant")
    ]
    return pd.concat(halves)["path"].astype(str).tolist()


if __name__ == "__main__":
    main()
