"""Cross-validation's figures: each image's prediction is of the run that never saw its lesion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionedge.card import Card
from lesionedge.evaluation import metrics
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel
from lesionedge.evaluation.metrics import SECTIONS
from train.data import located
from train.evaluate import measure
from train.run import Run, RunError


def pool(
    runs: Sequence[Run], out: Path, *, cache_folder: Path, data: Path | None = None,
    layout: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the models of several runs of one recipe as one, on all their test images.

    Args:
        runs: Finished runs, of splits that test different lesions (``train.data.folds``).
        out: Where ``metrics.json``, ``plots/`` and ``report.html`` go.
        cache_folder: Where prepared images are cached.
        data: The dataset's folder, as ``measure.evaluate`` takes it.
        layout: How that folder is laid out; None finds it out.

    Returns:
        As ``measure.evaluate``, of the models that all runs have; ``metrics.json`` also holds
        ``folds``: model -> figure -> its values in each of them.

    Raises:
        RunError: A run is not finished, a lesion is tested by two, or their models are others.
    """
    target = Run(out)
    target.folder.mkdir(parents=True, exist_ok=True)
    card = runs[0].read_card()
    images: list[LabelledImages] = []
    models: list[dict[str, MeasuredModel]] = []
    for run in runs:
        if run.read_card().labels != card.labels:
            raise RunError(f"{run.folder}: its classes are not those of {runs[0].folder}")
        table = located.table(run, data, layout=layout)
        target.say(f"{run.folder}:")
        one, found = measure.predict(run, table, "test", cache_folder=cache_folder, say=target.say)
        images.append(one)
        models.append({model.name: model for model in found})
    tested = [set(one.table["group"]) for one in images]
    if len(set().union(*tested)) < sum(map(len, tested)):
        raise RunError("two of the runs test images of the same lesion")
    names = [name for name in models[0] if all(name in each for each in models)]
    if not names:
        raise RunError("the runs have no model of one name in common")
    whole = LabelledImages(
        pd.concat([one.table for one in images], ignore_index=True),
        np.concatenate([one.truth for one in images]),
    )
    folds: dict[str, Any] = {name: {} for name in names}
    for one, own in zip(images, models):
        for name in names:
            _add(folds[name], _headlines(own[name], one, card))
    pooled = [_joined([each[name] for each in models]) for name in names]
    record = {"split": "test", "runs": len(runs), "folds": folds}
    return measure.write(target, runs[0], card, record, whole, pooled)


def _headlines(model: MeasuredModel, images: LabelledImages, card: Card) -> dict[str, Any]:
    labels = list(card.codes)
    malignant = list(card.malignant)
    return metrics.measure(
        model.probabilities, images.truth, images.table["group"].to_numpy(), labels, malignant,
        predicted=model.predicted,
    )  # fmt: skip


def _add(values: dict[str, list[float]], figures: dict[str, Any]) -> None:
    for name, figure in figures.items():
        if name not in SECTIONS and isinstance(figure, dict):
            values.setdefault(name, []).append(figure["value"])


def _joined(models: Sequence[MeasuredModel]) -> MeasuredModel:
    """Make one model of several that classified different images."""
    scores = {k: np.concatenate([m.scores[k] for m in models]) for k in models[0].scores}
    points = [model.figures["operating_points"] for model in models]
    counts = [len(model.predicted) for model in models]
    return MeasuredModel(
        models[0].name, np.concatenate([model.probabilities for model in models]),
        np.concatenate([model.predicted for model in models]), scores,
        {"operating_points": [_mean(same, counts) for same in zip(*points)]},
    )  # fmt: skip


def _mean(points: Sequence[dict[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Return the mean of the runs' operating points, and each image's own threshold."""
    thresholds = [point["threshold"] for point in points]
    names = ("threshold", "measured_sensitivity", "measured_specificity")
    means = {name: float(np.mean([point[name] for point in points])) for name in names}
    return {**points[0], **means, "thresholds": np.repeat(thresholds, counts)}
