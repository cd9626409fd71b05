"""Measure a run on the lesions that it never saw: its Keras models and its .tflite files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionedge.image import Preprocessing
from train import cache, card, metrics, plots
from train.calibration import softmax
from train.networks import load_model, logits
from train.run import Run, write_text


def evaluate(
    run: Run, *, cache_folder: Path, files: Sequence[Path] = (), split: str = "test"
) -> dict[str, Any]:
    """Measure a run's models on a split and write ``metrics.json`` and ``plots/``.

    Args:
        run: A finished run.
        cache_folder: Where prepared pictures are cached.
        files: .tflite files to measure through ``lesionedge.Classifier``, beside those that
            lie in the run folder.
        split: ``test``, or another split's name.

    Returns:
        Model (``float``, ``int8`` or a file's name) -> figures, as ``metrics.measure`` gives.

    Raises:
        RunError: The run is not finished.
    """
    facts = run.read_card()
    table = run.table()
    table = table[table["split"] == split]
    labels = [entry["label"] for entry in facts["labels"]]
    malignant = [entry["malignant"] for entry in facts["labels"]]
    truth = table["label"].map(labels.index).to_numpy(np.int64)
    answers = _keras_answers(run, facts, table, cache_folder)
    for file in sorted({*files, *run.folder.glob("*.tflite")}):
        run.say(f"evaluating {file.name} through lesionedge.Classifier")
        answers[file.name] = tflite_answers(file, table["path"])
    results = {
        name: metrics.measure(p, truth, table["group"].to_numpy(), labels, malignant)
        for name, p in answers.items()
    }
    write_text(run.metrics, json.dumps({"split": split, "models": results}, indent=1) + "\n")
    run.plots.mkdir(exist_ok=True)
    plots.training_curves(run.history, run.plots / "training.png")
    for name, p in answers.items():
        plots.confusion(
            results[name]["confusion"]["value"], labels, run.plots / f"confusion-{name}.png"
        )
        plots.reliability(p, truth, run.plots / f"reliability-{name}.png")
        plots.roc(p, truth, labels, run.plots / f"roc-{name}.png")
        run.say(f"{split} {name}: {summary(results[name])}")
    return results


def _keras_answers(
    run: Run, facts: dict[str, Any], table: pd.DataFrame, cache_folder: Path
) -> dict[str, np.ndarray]:
    paths = [Path(path) for path in table["path"]]
    inputs, _ = cache.prepared(paths, Preprocessing.from_card(facts["input"]), cache_folder)
    temperatures = facts["calibration"]["temperature"]
    return {
        kind: softmax(logits(load_model(file), inputs) / temperatures[kind])
        for kind, file in card.models(run).items()
    }


def tflite_answers(file: Path, paths: Sequence[str] | pd.Series[str]) -> np.ndarray:
    """Give (N, classes) probabilities of a .tflite file, through the public package."""
    import lesionedge

    classifier = lesionedge.Classifier(file)
    return np.array([classifier.probabilities(path) for path in paths], dtype=np.float64)


def summary(figures: dict[str, Any]) -> str:
    """Put the headline figures on one line."""
    names = (
        "balanced_accuracy",
        "accuracy",
        "macro_auroc",
        "melanoma_auroc",
        "malignant_auroc",
        "ece",
    )
    return ", ".join(
        f"{name.replace('_', ' ')} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
        for name in names
        if (value := figures.get(name))
    )
