"""The card: what a model says of itself, written once and packed unchanged into its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import lesionedge
from lesionedge.card import (
    Calibration,
    Card,
    Input,
    Label,
    NamedPoint,
    OperatingPoint,
    Output,
    Quantization,
    TrainingData,
    present,
)
from lesionedge.datasets.table import Dataset
from lesionedge.diagnosis import describe
from lesionedge.evaluation.metrics import SECTIONS
from train import calibration
from train.calibration import decision_point, operating_points
from train.data.prepare import Data
from train.models.inference import logits
from train.models.pixels import PIXEL_MEAN, PIXEL_STD
from train.recipe import Recipe, Stage, check_classes
from train.run import Run

IMAGENET = {
    "mobilenetv2": "starting from MobileNetV2 weights of ImageNet (Google, Apache-2.0)",
    "gate": "starting from MobileNetV2 weights of ImageNet (Google, Apache-2.0)",
    "efficientnetb3": "starting from EfficientNetB3 weights of ImageNet (Google, Apache-2.0)",
}
INTENDED_USE = "Research and teaching; not a medical device, never advice"
KNOWS = "Knows {count} only and will name one of them for anything it is shown"
MEASURED = (
    "Measured on lesions held out of the same collection; other cameras and clinics will do worse"
)
BY_TWINS = (
    "Measured on twins: models trained in the same way, but without the lesions on which they were "
    "measured; other cameras and clinics will do worse"
)
COUNTS = {2: "two classes", 7: "seven diagnoses", 9: "nine classes"}
UNSTATED = "not stated; the recipe's [data] attribution and licence say it"


def write(
    recipe: Recipe, data: Data, run: Run, *, seed: int, also: Mapping[str, int] | None = None
) -> None:
    """Write ``card.json``, with its calibration and still without metrics, whole or not at all.

    Args:
        recipe: As run.
        data: The run's own images.
        run: Where it goes.
        seed: The seed of the split.
        also: Other collection -> how many of its images were learnt from.
    """
    run.write_card(_calibrated(_facts(recipe, data, seed, also or {}), recipe, data, run))


def calibrate(recipe: Recipe, data: Data, run: Run) -> None:
    """Fit the calibration of each of a run's models anew and put it into the card."""
    run.write_card(_calibrated(run.read_card(), recipe, data, run))


def _calibrated(card: Card, recipe: Recipe, data: Data, run: Run) -> Card:
    """Return a card with the calibration of each of a run's models."""
    truth = data.classes[data.rows("calibration")]
    inputs = data.inputs("calibration", recipe.input)
    malignant = np.array(card.malignant)
    fitted: dict[str, calibration.Calibration] = {}
    points: dict[str, list[dict[str, float]]] = {}
    named: dict[str, list[dict[str, Any]]] = {}
    for kind in run.models():
        predictions = logits(run.load_model(kind), inputs)
        fitted[kind] = calibration.fit(predictions, truth)
        probabilities = fitted[kind].probabilities(predictions)
        points[kind] = operating_points(probabilities[:, malignant].sum(1), malignant[truth])
        sigmoid = recipe.model.output == "sigmoid"
        named[kind] = decision_point(probabilities[:, 1], truth == 1) if sigmoid else []
    for kind, found in fitted.items():
        by_class = zip(card.codes, found.classes or ())
        told = ", ".join(f"{label} {one:.2f}" for label, one in by_class)
        run.say(f"{kind}: temperature {found.temperature:.2f}{told and f'; by class: {told}'}")
    kind = "int8" if "int8" in points else "float"
    lesions = data.table["group"].iloc[data.rows("calibration")].nunique()
    return replace(
        card, quantization=Quantization(_rounding(recipe.quantized) if kind == "int8" else "none"),
        calibration=_calibration(fitted, images=len(truth), lesions=int(lesions)),
        operating_points=tuple(OperatingPoint(**point, extra={}) for point in points[kind]),
        named_points=tuple(_named(point) for point in named[kind]),
    )  # fmt: skip


def _named(point: dict[str, Any]) -> NamedPoint:
    rest = {key: value for key, value in point.items() if key not in ("name", "threshold")}
    return NamedPoint(point["name"], point["threshold"], rest)


def _calibration(
    fitted: Mapping[str, calibration.Calibration], *, images: int, lesions: int
) -> Calibration:
    """Say how each model's logits become probabilities."""
    classes = {kind: found.classes for kind, found in fitted.items() if found.classes}
    return Calibration(
        method="temperature by class" if classes else "temperature",
        temperature={kind: found.temperature for kind, found in fitted.items()},
        class_temperature=classes, split="calibration", images=images, lesions=lesions,
    )  # fmt: skip


def add_metrics(run: Run, metrics: dict[str, Any], *, of_twins: bool = False) -> None:
    """Put the headline figures of the test split into the card.

    Args:
        run: A run with a card.
        metrics: From ``evaluate``.
        of_twins: Whether other runs of the recipe were measured, as this one has no test images.
    """
    card = run.read_card()
    limits = tuple(BY_TWINS if of_twins and limit == MEASURED else limit for limit in card.limits)
    measured = {
        "test": {
            kind: {name: value for name, value in figures.items() if name not in SECTIONS}
            | {"recall": {label: row["recall"] for label, row in figures["per_class"].items()}}
            for kind, figures in metrics.items()
        }
    }
    run.write_card(replace(card, limits=limits, metrics=measured))


def label_entries(recipe: Recipe, labels: Sequence[str]) -> tuple[Label, ...]:
    """Return the card's ``labels`` section: what the recipe says of a class, else what is known.

    Raises:
        RecipeError: The recipe does not fit the classes, or leaves open which are malignant.
    """
    check_classes(recipe, labels)
    malignant, names = recipe.data.malignant, recipe.data.names
    return tuple(
        Label(
            label, names.get(label, describe(label).name),
            describe(label).malignant if malignant is None else label in malignant,
        )
        for label in labels
    )  # fmt: skip


def _facts(recipe: Recipe, data: Data, seed: int, also: Mapping[str, int]) -> Card:
    dataset = present(data.dataset, "dataset")
    counts = data.table["split"].value_counts()
    started = recipe.model.weights == "imagenet"
    source = [IMAGENET[recipe.model.architecture]] if started else []
    others = [other.attribution or f"also {other.name}" for other in recipe.others]
    modality = recipe.data.modality or dataset.modality
    classes = COUNTS.get(len(data.labels), f"{len(data.labels)} classes")
    return Card(
        name=recipe.name, version=lesionedge.__version__, description=recipe.description,
        architecture=recipe.model.architecture, labels=label_entries(recipe, data.labels),
        input=Input(
            recipe.input.width_px, recipe.input.height_px, recipe.input.crop,
            recipe.input.crop_fraction, recipe.input.resampling,
            recipe.input.decode_margin, mean=(PIXEL_MEAN,) * 3, std=(PIXEL_STD,) * 3,
        ),
        output=Output(recipe.model.output),
        quantization=Quantization("none"),
        data=TrainingData(
            dataset.name, _how_split(dataset), seed,
            {name: int(counts[name]) for name in sorted(counts.index)},
            len(np.unique(data.train_rows)), also,
        ),
        modality=modality or None,
        licence=recipe.data.licence or dataset.licence or UNSTATED,
        attribution="; ".join(
            (recipe.data.attribution or dataset.attribution or UNSTATED, *source, *others)
        ),
        intended_use=INTENDED_USE,
        limits=(
            KNOWS.format(count=classes), *(recipe.data.limits or dataset.limits), MEASURED,
        ),
    )  # fmt: skip


def _rounding(stage: Stage) -> str:
    """Say how the network was made ready for rounding."""
    return "qat" if stage.epochs else "bias-corrected"


def _how_split(dataset: Dataset) -> str:
    known = dataset.table[["lesion", "patient"]].notna().any(axis=None)
    unit = "by lesion, look-alike lesions joined" if known else "look-alike images joined"
    given = set(dataset.table["given"].dropna())
    return f"published {', '.join(sorted(given))}; the rest {unit}" if given else unit
