"""How do two model files differ on the same images: by labels, figures, turning, decoding?

    python benchmarks/research/compare_files.py HAM10000 ONE.tflite OTHER.tflite [--part test]
    python benchmarks/research/compare_files.py HAM10000 ONE.tflite --margin 1.2 [--size 720x540]

Takes the images of a part of release/split.csv, without test-time augmentation. Prints ONE less
OTHER with paired 95 % intervals by lesion, the share of images with the same label, and for how
many images each file changes its label when they are transposed and turned by half. With
``--margin``, the images are enlarged to ``--size``, and OTHER is the same file with the images
decoded in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from draft_decoding import enlarged
from studies import classes, images
from twins import SPLIT

import lesionedge
from lesionedge import tta
from lesionedge.diagnosis import malignant_of
from lesionedge.evaluation.comparison import differences
from lesionedge.evaluation.intervals import interval, resamples
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel

FULL = 1000.0
"""A decode margin that no image has: all are decoded in full."""
TRANSPOSED = 5
"""The number among ``lesionedge.tta``'s views of the one transposed and turned by half."""


def _width_height(_context: object, _option: object, value: str) -> tuple[int, int]:
    width, _, height = value.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f"{value!r}; expected WIDTHxHEIGHT, such as 600x450")
    return int(width), int(height)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--part", default="test", show_default=True, help="Which part of the split.")
@click.option("--margin", type=float, help="Compare decoding with this margin and in full.")
@click.option(
    "--size", default="600x450", show_default=True, callback=_width_height,
    help="What --margin enlarges to.",
)  # fmt: skip
def main(
    data: Path, files: tuple[str, ...], part: str, margin: float | None, size: tuple[int, int]
) -> None:
    """Compare FILES, or with --margin one file with itself, on images of DATA."""
    if len(files) != (2 if margin is None else 1):
        raise click.UsageError(f"{len(files)} files; expected two, or one with --margin")
    first, last = (lesionedge.Classifier(file, check=False) for file in (files[0], files[-1]))
    if first.labels != last.labels:
        raise click.UsageError(
            f"{files[-1]}: its labels are {', '.join(last.labels)}; those of {files[0]} are "
            f"{', '.join(first.labels)}"
        )
    rows = images(data, SPLIT, part)
    if margin is None:
        one, other = (predicted(file, rows) for file in files)
        turned = [changed_by_turning(file, rows, own) for file, own in zip(files, (one, other))]
        click.echo(f"changed when transposed and turned by half: {turned[0]:.1%}, {turned[1]:.1%}")
    else:
        larger = partial(enlarged, size=size)
        one = predicted(files[0], rows, larger, margin=margin)
        other = predicted(files[0], rows, larger, margin=FULL)
    click.echo(f"{len(rows)} images; same label {(one.argmax(1) == other.argmax(1)).mean():.1%}")
    for name, found in compared(one, other, rows, first).items():
        click.echo(f"{name}: {found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]")


def predicted(
    model: str, rows: pd.DataFrame, read: Callable[[Path], Any] = Path, *,
    margin: float | None = None, view: int = 0,
) -> np.ndarray:  # fmt: skip
    """Return a model's probabilities of images, (N, classes) float32, each in one view."""
    classifier = lesionedge.Classifier(model, check=False)
    if margin is not None:
        classifier.preprocessing = replace(classifier.preprocessing, decode_margin=margin)
    inputs = (classifier.model_input(read(Path(file))) for file in rows["file"])
    seen = (list(tta.views(one, tta.MOST))[view] for one in inputs)
    return np.concatenate([classifier.probabilities_of_inputs([one]) for one in seen])


def changed_by_turning(file: str, rows: pd.DataFrame, own: np.ndarray) -> float:
    """Return for which share of the images a file's label changes."""
    turned = predicted(file, rows, view=TRANSPOSED)
    return float((turned.argmax(1) != own.argmax(1)).mean())


def compared(
    one: np.ndarray, other: np.ndarray, rows: pd.DataFrame, classifier: lesionedge.Classifier
) -> dict[str, Any]:
    """Return figure -> difference with its paired interval; also of the log loss."""
    truth = classes(classifier, rows)
    malignant = malignant_of(classifier.diagnoses, model=classifier.model)
    models = (MeasuredModel("", each, each.argmax(1), {}) for each in (one, other))
    found = differences(*models, LabelledImages(rows, truth), classifier.labels, malignant)
    picked = [np.log(each[np.arange(len(truth)), truth].clip(1e-7)) for each in (other, one)]
    less = picked[0] - picked[1]
    draws = resamples(rows["group"].to_numpy())
    return {**found, "log_loss": interval(lambda w: w @ less / w.sum(axis=1), draws)}


if __name__ == "__main__":
    main()
