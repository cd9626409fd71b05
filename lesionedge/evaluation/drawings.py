"""Every image that ``evaluate`` draws of one model, with the words below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionedge.card import Card
from lesionedge.evaluation import gallery, plots, subgroup_plot
from lesionedge.evaluation.intervals import resamples
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel
from lesionedge.image import Preprocessing

SAMPLE, WORST = 12, 16
"""How many images the galleries show."""


@dataclass(frozen=True)
class Drawing:
    """An image file and what it shows."""

    file: Path
    """The PNG."""
    title: str
    """Its heading."""
    caption: str
    """How to read it."""


def draw(
    model: MeasuredModel, asked: LabelledImages, facts: Card, folder: Path, *,
    with_images: bool = True,
) -> Iterator[Drawing]:  # fmt: skip
    """Draw all that there is to draw of a model's answers.

    Args:
        model: What was measured.
        asked: The images that it answered.
        facts: The run's card.
        folder: Where the PNGs go.
        with_images: Whether there are galleries of images.

    Returns:
        An iterator of drawings, each written before it is given.
    """
    yield from _answers(model, asked, facts, folder)
    yield from _malignant(model, asked, facts, folder)
    file = folder / f"risk-coverage-{model.name}.png"
    right = model.answers == asked.truth
    plots.coverage(model.scores, right, model.figures["risk_coverage"], file)
    yield Drawing(
        file, "Accuracy against the share answered",
        "Answers are withheld where the score is low; the curve says how accurate the others are. "
        "Band: 95 % interval by lesion. AURC: area under 1 - accuracy, 0 is best.",
    )  # fmt: skip
    if model.figures["subgroups"]:
        file = folder / f"subgroups-{model.name}.png"
        subgroup_plot.draw(model.figures["subgroups"], model.figures, file)
        yield Drawing(
            file, "By sex, age, body site and confirmation",
            "In brackets: images; malignant ones among them. Bars: 95 % intervals by lesion; "
            f"hollow: fewer than {subgroup_plot.FEW} lesions; dotted: all images. Groups differ "
            "in their mix of diagnoses, which moves the accuracy by itself.",
        )  # fmt: skip
    if with_images:
        yield from _galleries(model, asked, facts, folder)


def _answers(
    model: MeasuredModel, asked: LabelledImages, facts: Card, folder: Path
) -> Iterator[Drawing]:
    labels = list(facts.codes)
    per_class, malignant = model.figures["per_class"], _malignant_classes(facts)
    file = folder / f"confusion-{model.name}.png"
    plots.confusion(model.figures["confusion"]["value"], labels, file)
    yield Drawing(
        file, "Confusion", "Rows: truth; columns: prediction. Right: each row sums to 100 %."
    )
    file = folder / f"roc-{model.name}.png"
    plots.roc(model.probabilities, asked.truth, labels, per_class, file)
    yield Drawing(
        file, "ROC", "Each class against the rest; dotted: chance. In brackets: 95 % interval."
    )
    file = folder / f"precision-recall-{model.name}.png"
    plots.precision_recall(model.probabilities, asked.truth, labels, per_class, file)
    yield Drawing(
        file, "Precision and recall",
        "Each class against the rest, as common as it is here; AP: average precision; dotted: "
        "guessing.",
    )  # fmt: skip
    file = folder / f"reliability-{model.name}.png"
    draws = resamples(asked.table["group"].to_numpy())
    plots.reliability(model.probabilities, model.answers, asked.truth, malignant, draws, file)
    yield Drawing(
        file, "Reliability",
        "Bars: how often it is true; dots: at the bin's mean probability, with 95 % intervals by "
        "lesion. On the dashed line a probability means what it says. Below: how many images.",
    )  # fmt: skip


def _malignant(
    model: MeasuredModel, asked: LabelledImages, facts: Card, folder: Path
) -> Iterator[Drawing]:
    malignant = _malignant_classes(facts)
    positive = malignant[asked.truth]
    if positive.all() or not positive.any():
        return
    file = folder / f"thresholds-{model.name}.png"
    risk = model.probabilities[:, malignant].sum(1)
    draws = resamples(asked.table["group"].to_numpy())
    plots.sensitivity_specificity(
        risk, positive, model.figures["operating_points"], draws, file
    )  # fmt: skip
    yield Drawing(
        file, "Malignant: sensitivity and specificity",
        "Of the test that calls an image malignant from this probability on. Bands: 95 % "
        "intervals by lesion.",
    )  # fmt: skip


def _galleries(
    model: MeasuredModel, asked: LabelledImages, facts: Card, folder: Path
) -> Iterator[Drawing]:
    scores, truth = model.probabilities, asked.truth
    malignant, lesions = _malignant_classes(facts), asked.table["group"].to_numpy()
    wrong = model.answers != truth
    missed = malignant[truth] & ~malignant[model.answers]
    risk = scores[:, malignant].sum(1)
    chosen = {
        "samples": (
            gallery.sample(truth, SAMPLE), "Samples",
            "Chosen by chance, of every class alike. Bars: the likeliest classes; *: the truth.",
        ),
        "mistakes": (
            gallery.worst(model.scores["confidence"], wrong, lesions, WORST), "The worst mistakes",
            "Wrong answers that the model is surest of, one a lesion.",
        ),
        "missed": (
            gallery.worst(1 - risk, missed, lesions, WORST), "Malignant lesions called benign",
            "Those of the lowest malignant probability, one a lesion.",
        ),
    }  # fmt: skip
    labels = list(facts.codes)
    preprocessing = Preprocessing.from_card(facts.input)
    for kind, (rows, title, caption) in chosen.items():
        if len(rows):
            file = folder / f"{kind}-{model.name}.png"
            gallery.draw(
                rows, asked.paths, scores, model.answers, truth, labels, preprocessing, file
            )
            yield Drawing(file, title, caption)


def _malignant_classes(facts: Card) -> np.ndarray:
    return np.array(list(facts.malignant))
