"""The card: what a model says of itself, written once and packed unchanged into its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import lesionedge
from lesionedge.diagnosis import describe
from train.calibration import fit_temperature, operating_points, softmax
from train.data import Data
from train.metrics import SECTIONS
from train.networks import load_model, logits
from train.pipeline import PIXEL_MEAN, PIXEL_STD
from train.recipe import Recipe
from train.run import Run, write_text

ATTRIBUTION = (
    "Trained on HAM10000 (Tschandl, Rosendahl, Kittler: The HAM10000 dataset, Sci. Data 5, 180161, "
    "2018, doi:10.1038/sdata.2018.161), ViDIR Group, Medical University of Vienna, CC BY-NC 4.0"
)
IMAGENET = "; starting from MobileNetV2 weights of ImageNet (Google, Apache-2.0)"
INTENDED_USE = "Research and teaching on dermoscopic pictures; not a medical device, never advice"
LIMITS = (
    "Knows seven diagnoses only and will name one of them for anything it is shown",
    "Trained on dermoscopic pictures; it does not know photographs without a dermatoscope",
    "Nearly all pictures are of light skin (Austria and Queensland); dark skin is not represented",
    "Measured on lesions held out of the same collection; other cameras and clinics will do worse",
)


def write(recipe: Recipe, data: Data, run: Run, *, seed: int) -> None:
    """Fit the calibration and write ``card.json``, still without metrics."""
    truth = data.classes[data.rows("calibration")]
    inputs = data.inputs("calibration", recipe.input)
    malignant = np.array([describe(label).malignant for label in data.labels])
    temperatures, points = {}, {}
    for kind, file in models(run).items():
        answers = logits(load_model(file), inputs)
        temperatures[kind] = fit_temperature(answers, truth)
        risk = softmax(answers / temperatures[kind])[:, malignant].sum(1)
        points[kind] = operating_points(risk, malignant[truth])
    run.say(f"temperatures: {temperatures}")
    card = _facts(recipe, data, seed) | {
        "calibration": {
            "method": "temperature", "split": "calibration", "pictures": len(truth),
            "lesions": data.table["group"].iloc[data.rows("calibration")].nunique(),
            "temperature": temperatures,
        },
        "operating_points": points["int8" if "int8" in points else "float"],
        "metrics": {},
    }  # fmt: skip
    write_text(run.card, json.dumps(card, indent=2) + "\n")


def models(run: Run) -> dict[str, Path]:
    """Give the run's Keras models: ``float``, and ``int8`` where it was trained for that."""
    recipe = run.read_recipe()
    quantized = recipe.stages[-1].quantize
    return {"float": run.float_weights, **({"int8": run.weights} if quantized else {})}


def add_metrics(run: Run, metrics: dict[str, Any]) -> None:
    """Put the headline figures of the test split into the card."""
    card = run.read_card()
    card["metrics"] = {
        "test": {
            kind: {name: value for name, value in figures.items() if name not in SECTIONS}
            | {"recall": {label: row["recall"] for label, row in figures["per_class"].items()}}
            for kind, figures in metrics.items()
        }
    }
    write_text(run.card, json.dumps(card, indent=2) + "\n")


def _facts(recipe: Recipe, data: Data, seed: int) -> dict[str, Any]:
    labels = [describe(label) for label in data.labels]
    counts = data.table["split"].value_counts()
    source = IMAGENET if recipe.model.weights == "imagenet" else ""
    return {
        "format": 1,
        "name": recipe.name,
        "version": lesionedge.__version__,
        "description": recipe.description,
        "architecture": recipe.model.architecture,
        "labels": [{"label": d.label, "name": d.name, "malignant": d.malignant} for d in labels],
        "input": {
            "width_px": recipe.input.width_px, "height_px": recipe.input.height_px,
            "crop": recipe.input.crop, "crop_fraction": recipe.input.crop_fraction,
            "resampling": recipe.input.resampling, "mean": [PIXEL_MEAN] * 3, "std": [PIXEL_STD] * 3,
        },
        "output": {"activation": "softmax"},
        "quantization": {"training": "qat" if recipe.stages[-1].quantize else "none"},
        "data": {
            "name": data.name, "split": "by lesion, look-alike lesions joined", "seed": seed,
            "pictures": {name: int(counts[name]) for name in sorted(counts.index)},
        },
        "licence": "CC BY-NC 4.0",
        "attribution": ATTRIBUTION + source,
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
    }  # fmt: skip
