"""The card: what a model says of itself, written once and packed unchanged into its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import lesionedge
from lesionedge.diagnosis import describe
from lesionedge.evaluation.metrics import SECTIONS
from train import calibration
from train.calibration import decision_point, operating_points
from train.data import Data
from train.networks import load_model, logits
from train.pipeline import PIXEL_MEAN, PIXEL_STD
from train.recipe import Recipe, Stage
from train.run import Run, write_text
from train.settings import RecipeError

IMAGENET = {
    "mobilenetv2": "; starting from MobileNetV2 weights of ImageNet (Google, Apache-2.0)",
    "efficientnetb3": "; starting from EfficientNetB3 weights of ImageNet (Google, Apache-2.0)",
}
INTENDED_USE = "Research and teaching; not a medical device, never advice"
KNOWS = "Knows {count} only and will name one of them for anything it is shown"
MEASURED = (
    "Measured on lesions held out of the same collection; other cameras and clinics will do worse"
)
BY_TWINS = (
    "Measured on twins, trained without the lesions that they were asked about; other cameras and "
    "clinics will do worse"
)
COUNTS = {2: "two classes", 7: "seven diagnoses", 9: "nine classes"}
UNSTATED = "not stated; the recipe's [data] attribution and licence say it"


def write(recipe: Recipe, data: Data, run: Run, *, seed: int) -> None:
    """Fit the calibration and write ``card.json``, still without metrics."""
    truth = data.classes[data.rows("calibration")]
    inputs = data.inputs("calibration", recipe.input)
    malignant = np.array([entry["malignant"] for entry in label_entries(recipe, data.labels)])
    fitted, points = {}, {}
    for kind, file in run.models().items():
        answers = logits(load_model(file), inputs)
        fitted[kind] = calibration.fit(answers, truth)
        probabilities = fitted[kind].probabilities(answers)
        points[kind] = operating_points(probabilities[:, malignant].sum(1), malignant[truth])
        if recipe.model.output == "sigmoid":
            points[kind] = [*points[kind], *decision_point(probabilities[:, 1], truth == 1)]
    run.say(f"calibration: {fitted}")
    card = _facts(recipe, data, seed) | {
        "calibration": {
            **_calibration(fitted), "split": "calibration", "pictures": len(truth),
            "lesions": data.table["group"].iloc[data.rows("calibration")].nunique(),
        },
        "operating_points": points["int8" if "int8" in points else "float"],
        "metrics": {},
    }  # fmt: skip
    write_text(run.card, json.dumps(card, indent=2) + "\n")


def _calibration(fitted: Mapping[str, calibration.Calibration]) -> dict[str, Any]:
    """Say how each model's logits become probabilities."""
    one = {"temperature": {kind: found.temperature for kind, found in fitted.items()}}
    classes = {kind: list(found.classes) for kind, found in fitted.items() if found.classes}
    if not classes:
        return {"method": "temperature", **one}
    return {"method": "temperature by class", **one, "class_temperature": classes}


def add_metrics(run: Run, metrics: dict[str, Any], *, of_twins: bool = False) -> None:
    """Put the headline figures of the test split into the card.

    Args:
        run: A run with a card.
        metrics: From ``evaluate``.
        of_twins: Whether other runs of the recipe were measured, as this one has no test pictures.
    """
    card = run.read_card()
    if of_twins:
        card["limits"] = [BY_TWINS if limit == MEASURED else limit for limit in card["limits"]]
    card["metrics"] = {
        "test": {
            kind: {name: value for name, value in figures.items() if name not in SECTIONS}
            | {"recall": {label: row["recall"] for label, row in figures["per_class"].items()}}
            for kind, figures in metrics.items()
        }
    }
    write_text(run.card, json.dumps(card, indent=2) + "\n")


def label_entries(recipe: Recipe, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Give the card's ``labels`` section: what the recipe says of a class, else what is known.

    Raises:
        RecipeError: The recipe speaks of classes that are not there.
    """
    malignant, names = recipe.data.malignant, recipe.data.names
    unknown = sorted({*(malignant or ()), *names} - set(labels))
    if unknown:
        raise RecipeError(
            f"{recipe.name}: [data] speaks of {', '.join(unknown)}; classes: {', '.join(labels)}"
        )
    return [
        {
            "label": label,
            "name": names.get(label, describe(label).name),
            "malignant": describe(label).malignant if malignant is None else label in malignant,
        }
        for label in labels
    ]


def _facts(recipe: Recipe, data: Data, seed: int) -> dict[str, Any]:
    counts = data.table["split"].value_counts()
    started = recipe.model.weights == "imagenet"
    source = IMAGENET.get(recipe.model.architecture, "") if started else ""
    modality = recipe.data.modality or data.dataset.modality
    classes = COUNTS.get(len(data.labels), f"{len(data.labels)} classes")
    return {
        "format": 1,
        "name": recipe.name,
        "version": lesionedge.__version__,
        "description": recipe.description,
        "architecture": recipe.model.architecture,
        "labels": label_entries(recipe, data.labels),
        "input": {
            "width_px": recipe.input.width_px, "height_px": recipe.input.height_px,
            "crop": recipe.input.crop, "crop_fraction": recipe.input.crop_fraction,
            "resampling": recipe.input.resampling, "mean": [PIXEL_MEAN] * 3, "std": [PIXEL_STD] * 3,
        },
        "output": {"activation": recipe.model.output},
        "quantization": {"training": _rounding(recipe.stages[-1])},
        "data": {
            "name": data.dataset.name, "split": _how_split(data), "seed": seed,
            "pictures": {name: int(counts[name]) for name in sorted(counts.index)},
            "trained_on": len(np.unique(data.train_rows)),
        },
        **({"modality": modality} if modality else {}),
        "licence": recipe.data.licence or data.dataset.licence or UNSTATED,
        "attribution": (recipe.data.attribution or data.dataset.attribution or UNSTATED) + source,
        "intended_use": INTENDED_USE,
        "limits": [
            KNOWS.format(count=classes),
            *(recipe.data.limits or data.dataset.limits),
            MEASURED,
        ],
    }  # fmt: skip


def _rounding(last: Stage) -> str:
    """Say how the network was made ready for rounding."""
    if not last.quantize:
        return "none"
    return "qat" if last.epochs else "bias-corrected"


def _how_split(data: Data) -> str:
    known = data.dataset.table[["lesion", "patient"]].notna().any(axis=None)
    unit = "by lesion, look-alike lesions joined" if known else "look-alike pictures joined"
    given = set(data.dataset.table["given"].dropna())
    return f"published {', '.join(sorted(given))}; the rest {unit}" if given else unit
