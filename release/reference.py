"""Writes the references of the embedded models: what their images and predictions are usually like.

    python release/reference.py IMAGES

IMAGES is HAM10000's folder of images. Only the calibration images of ``release/split.csv`` are
taken, which no embedded network has been trained on. ``lesionedge evaluate`` compares images
without labels with these statistics. They hold shares and percentiles, no image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
from PIL import Image

import lesionedge
from lesionedge.atomic import write_text
from lesionedge.drift.reference import SUFFIX, Reference
from lesionedge.drift.statistics import Seen, Statistics
from lesionedge.profile import digest

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "lesionedge" / "models"
SPLIT = ROOT / "release" / "split.csv"
NAMES = ("mobilenetv2-int8", "mobilenetv2-float16", "cnn-int8")


@click.command()
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(images: Path) -> None:
    """Write the references of the embedded models, from the calibration images in IMAGES."""
    paths = list(calibration(images))
    with Image.open(paths[0]) as first:
        size = f"{first.width}x{first.height} px"
    what = f"{len(paths)} images of HAM10000 that the model has not learnt from, {size}"
    for name in NAMES:
        file = MODELS / f"{name}.tflite"
        classifier = lesionedge.Classifier(file)
        seen = map(Seen.of, classifier.classify_many(paths))
        found = Reference(what, digest(str(file)), Statistics.of(seen))
        text = found.to_json(made=time.strftime("%Y-%m-%d"), lesionedge=lesionedge.__version__)
        write_text(MODELS / f"{name}{SUFFIX}", text)
        click.echo(f"{name}{SUFFIX}: {found.statistics.shares}")


def calibration(folder: Path) -> Iterator[Path]:
    """Yield the calibration images of the split.

    Raises:
        SystemExit: One is missing.
    """
    split = pd.read_csv(SPLIT)
    there = {path.name: path for path in folder.rglob("*.jpg")}
    for name in split.loc[split["split"] == "calibration", "path"]:
        if name not in there:
            raise SystemExit(f"{folder}: has no {name}; expected HAM10000's images")
        yield there[name]


if __name__ == "__main__":
    main()
