"""Draws all plots and galleries of one model for ``evaluate``, with their captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionedge import titles
from lesionedge.card import Card
from lesionedge.evaluation import gallery, plots, subgroup_plot
from lesionedge.evaluation.intervals import resamples
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel, file_name
from lesionedge.image import Preprocessing

SAMPLE, WORST = 12, 16
"""How many images the galleries show."""


@dataclass(frozen=True)
class Drawing:
    """A drawing's file and texts."""

    file: Path
    """The PNG."""
    title: str
    """Its heading."""
    caption: str
    """How to read it."""


def draw(
    model: MeasuredModel, images: LabelledImages, card: Card, folder: Path, *,
    with_images: bool = True,
) -> Iterator[Drawing]:  # fmt: skip
    """Draw a model's predictions in every way that the data allow.

    Args:
        model: The measured model.
        images: The images that it was measured on.
        card: The run's card.
        folder: Where the PNGs go.
        with_images: Whether there are galleries of images.

    Returns:
        An iterator of drawings; each is written before it is yielded.
    """
    yield from _predictions(model, images, card, folder)
    yield from _malignant(model, images, card, folder)
    file = folder / f"risk-coverage-{file_name(model.name)}.png"
    right = model.predicted == images.truth
    plots.coverage(model.scores, right, model.figures["risk_coverage"], file)
    yield Drawing(
        file, "Accuracy against the share of images classified",
        "Predictions with a low score are withheld; the curve shows how accurate the others are. "
        f"Band: 95 % interval by {images.unit}. AURC: area under 1 - accuracy, 0 is best.",
    )  # fmt: skip
    if model.figures["subgroups"]:
        file = folder / f"subgroups-{file_name(model.name)}.png"
        subgroup_plot.draw(model.figures["subgroups"], model.figures, file)
        yield Drawing(
            file, "By " + ", ".join(titles.VARIABLES[one] for one in model.figures["subgroups"]),
            "In brackets: number of images; of malignant images. Bars: 95 % intervals by "
            f"{images.unit}; hollow: fewer than {subgroup_plot.FEW} {images.unit}s; dotted: all "
            "images. Groups differ in their mix of diagnoses, and this alone changes the accuracy.",
        )  # fmt: skip
    if with_images:
        yield from _galleries(model, images, card, folder)


def _predictions(
    model: MeasuredModel, images: LabelledImages, card: Card, folder: Path
) -> Iterator[Drawing]:
    labels = list(card.codes)
    per_class, malignant = model.figures["per_class"], _malignant_classes(card)
    file = folder / f"confusion-{file_name(model.name)}.png"
    plots.confusion(model.figures["confusion"]["value"], labels, file)
    yield Drawing(
        file, "Confusion", "Rows: truth; columns: prediction. Right: each row sums to 100 %."
    )
    file = folder / f"roc-{file_name(model.name)}.png"
    plots.roc(model.probabilities, images.truth, labels, per_class, file)
    yield Drawing(
        file, "ROC", "Each class against the rest; dotted: chance. In brackets: 95 % interval."
    )
    file = folder / f"precision-recall-{file_name(model.name)}.png"
    plots.precision_recall(model.probabilities, images.truth, labels, per_class, file)
    yield Drawing(
        file, "Precision and recall",
        "Each class against the rest, at its share of these images; AP: average precision; "
        "dotted: guessing.",
    )  # fmt: skip
    file = folder / f"reliability-{file_name(model.name)}.png"
    draws = resamples(images.table["group"].to_numpy())
    plots.reliability(model.probabilities, model.predicted, images.truth, malignant, draws, file)
    yield Drawing(
        file, "Reliability",
        "Bars: how often the prediction is right. Dots: the same at the bin's mean probability, "
        f"with 95 % intervals by {images.unit}. Dashed: perfect calibration. "
        "Below: number of images.",
    )  # fmt: skip


def _malignant(
    model: MeasuredModel, images: LabelledImages, card: Card, folder: Path
) -> Iterator[Drawing]:
    malignant = _malignant_classes(card)
    positive = malignant[images.truth]
    if positive.all() or not positive.any():
        return
    file = folder / f"thresholds-{file_name(model.name)}.png"
    risk = model.probabilities[:, malignant].sum(1)
    draws = resamples(images.table["group"].to_numpy())
    plots.sensitivity_specificity(
        risk, positive, model.figures["operating_points"], draws, file
    )  # fmt: skip
    yield Drawing(
        file, "Malignant: sensitivity and specificity",
        "Images with at least this malignant probability count as malignant. Bands: 95 % "
        f"intervals by {images.unit}.",
    )  # fmt: skip


def _galleries(
    model: MeasuredModel, images: LabelledImages, card: Card, folder: Path
) -> Iterator[Drawing]:
    scores, truth = model.probabilities, images.truth
    malignant, lesions = _malignant_classes(card), images.table["group"].to_numpy()
    wrong = model.predicted != truth
    missed = malignant[truth] & ~malignant[model.predicted]
    risk = scores[:, malignant].sum(1)
    chosen = {
        "samples": (
            gallery.sample(truth, SAMPLE), "Samples",
            "Chosen at random, equally from all classes. Bars: the most probable classes; "
            "*: the true class.",
        ),
        "mistakes": (
            gallery.worst(model.scores["confidence"], wrong, lesions, WORST), "The worst mistakes",
            f"The wrong predictions with the highest probability, one per {images.unit}.",
        ),
        "missed": (
            gallery.worst(1 - risk, missed, lesions, WORST), "Malignant lesions predicted benign",
            f"Those with the lowest malignant probability, one image per {images.unit}.",
        ),
    }  # fmt: skip
    labels = list(card.codes)
    preprocessing = Preprocessing.from_card(card.input)
    for kind, (rows, title, caption) in chosen.items():
        if len(rows):
            file = folder / f"{kind}-{file_name(model.name)}.png"
            gallery.draw(
                rows, images.names, scores, model.predicted, truth, labels, preprocessing, file
            )
            yield Drawing(file, title, caption)


def _malignant_classes(card: Card) -> np.ndarray:
    return np.array(list(card.malignant))
