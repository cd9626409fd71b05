"""Measure a run on the lesions that it never saw: its Keras models and its .tflite files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionedge.card import Card
from lesionedge.evaluation import whole
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel, chosen, confidence
from lesionedge.reliability import is_for_dermoscopy
from train.calibration import operating_points
from train.data import located
from train.evaluate import predictions
from train.gate.scores import dermoscopic
from train.run import Run, RunError


def evaluate(
    run: Run, *, cache_folder: Path, files: Sequence[Path] = (), weights: Sequence[Path] = (),
    data: Path | None = None, layout: str | None = None, out: Path | None = None,
    split: str = "test",
) -> dict[str, Any]:  # fmt: skip
    """Measure models on a split; write ``metrics.json``, ``plots/`` and ``report.html``.

    Args:
        run: A finished run.
        cache_folder: Where prepared images are cached.
        files: .tflite files to measure through ``lesionedge.Classifier``, beside those that
            lie in the run folder.
        weights: Saved Keras models to measure, with the run's labels and input.
        data: The dataset's folder, where it lies elsewhere than ``split.csv`` says, or where
            that does not tell age, sex and body site.
        layout: How that folder is laid out; None finds it out.
        out: Where results go; None for the run folder.
        split: ``test``, or another split's name.

    Returns:
        Model (``float``, ``int8`` or a file's name) -> figures: what ``metrics.measure`` returns,
        ``risk_coverage``, ``operating_points`` and ``subgroups``.

    Raises:
        RunError: The run is not finished, its images are not there, or a model does not fit.
    """
    card = run.read_card()
    target = Run(out or run.folder)
    target.folder.mkdir(parents=True, exist_ok=True)
    images, models = predict(
        run, located.table(run, data, layout=layout), split, files=files, weights=weights,
        cache_folder=cache_folder, say=target.say,
    )  # fmt: skip
    return write(target, run, card, {"split": split}, images, models)


def predict(
    run: Run, table: pd.DataFrame, split: str, *, cache_folder: Path, say: Callable[[str], None],
    files: Sequence[Path] = (), weights: Sequence[Path] = (),
) -> tuple[LabelledImages, list[MeasuredModel]]:  # fmt: skip
    """Return what a run's models predict for a split.

    Args:
        run: A finished run.
        table: Its ``split.csv``, with paths that exist.
        split: Its name.
        cache_folder: Where prepared images are cached.
        say: Receives the progress messages.
        files: As ``evaluate``'s.
        weights: As ``evaluate``'s.

    Returns:
        The images, and models without figures but for their operating points.

    Raises:
        RunError: The run is not finished, has no such images, or a model does not fit.
    """
    card = run.read_card()
    labels = list(card.codes)
    images, calibration = (_images(table, name, labels) for name in (split, "calibration"))
    if not len(images.truth):
        raise RunError(f"{run.split}: has no images in its split {split}")
    sources = predictions.sources(
        run, card, files=files, weights=weights, calibration=calibration,
        cache_folder=cache_folder, say=say,
    )  # fmt: skip
    models, gate = [], _gate(card, images)
    for name, source in sources.items():
        say(f"evaluating {name}: {len(images.truth)} images ({split})")
        shares = source.predict(images)
        fitness = {"confidence": confidence(shares, source.decision), **gate}
        points = {"operating_points": _points(source, card, calibration)}
        named = chosen(shares, source.decision)
        models.append(MeasuredModel(name, shares, named, fitness, points))
    return images, models


def write(
    target: Run, run: Run, card: Card, record: dict[str, Any], images: LabelledImages,
    models: Sequence[MeasuredModel],
) -> dict[str, Any]:  # fmt: skip
    """Measure predictions; write ``metrics.json``, ``plots/`` and ``report.html``.

    Args:
        target: Where they go.
        run: Whose history is drawn, where it has one.
        card: Its card.
        record: What ``metrics.json`` says first; its ``split`` names the images.
        images: The images.
        models: From ``predict``.

    Returns:
        As ``evaluate``.
    """
    return whole.write(
        target.folder, card, record, images, models, history=run.history, say=target.say
    )


def _gate(card: Card, images: LabelledImages) -> dict[str, np.ndarray]:
    """Return the gate's score of each image, where the model is one that it stands before."""
    if not is_for_dermoscopy(card):
        return {}
    return {"gate": dermoscopic(images.paths)}


def _images(table: pd.DataFrame, split: str, labels: Sequence[str]) -> LabelledImages:
    rows = table[table["split"] == split].reset_index(drop=True)
    return LabelledImages(rows, rows["label"].map(list(labels).index).to_numpy(np.int64))


def _malignant(card: Card) -> np.ndarray:
    return np.array(list(card.malignant))


def _points(
    source: predictions.Source, card: Card, calibration: LabelledImages
) -> list[dict[str, float]]:
    malignant = _malignant(card)
    if not len(calibration.truth) or malignant.all() or not malignant.any():
        return []
    risk = source.predict(calibration)[:, malignant].sum(1)
    return operating_points(risk, malignant[calibration.truth])
