"""All figures of models' predictions for labelled images, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lesionedge.atomic import write_text
from lesionedge.card import Card
from lesionedge.evaluation import metrics, report, risk_coverage, subgroups, thresholds
from lesionedge.evaluation.intervals import resamples
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel
from lesionedge.titles import HEADLINES

MALIGNANT = "malignant"
"""What a point's sensitivity is of, if not of one label."""
METRICS = "metrics.json"


def write(
    folder: Path, card: Card, record: dict[str, Any], images: LabelledImages,
    models: Sequence[MeasuredModel], *, history: Path | None = None, with_images: bool = True,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Measure predictions; write ``metrics.json``, ``plots/`` and ``report.html``.

    Args:
        folder: Where they go.
        card: The models' card.
        record: What ``metrics.json`` says first; its ``split`` names the images.
        images: The images.
        models: The models, without figures but for their operating points.
        history: The training's ``history.csv``, to be drawn where it exists.
        with_images: Whether the report shows images.
        say: Receives the progress messages.

    Returns:
        Model -> figures: what ``figures`` gives.
    """
    measured = []
    for model in models:
        found = figures(model, images, card, record["split"])
        measured.append(replace(model, figures=found))
        say(f"{record['split']} {model.name}: {summary(found)}")
    results = {model.name: model.figures for model in measured}
    record = {**record, "models": results}
    write_text(folder / METRICS, json.dumps(record, indent=1) + "\n")
    file = report.write(
        folder, card, record, measured, images, history=history, with_images=with_images
    )
    say(f"{file} written")
    return results


def figures(model: MeasuredModel, images: LabelledImages, card: Card, split: str) -> dict[str, Any]:
    """Measure a model.

    Args:
        model: Its predictions; its figures hold ``operating_points``, each with a ``threshold``.
        images: The images.
        card: The model's card.
        split: What the images are called.

    Returns:
        What ``metrics.measure`` gives, ``risk_coverage``, ``operating_points`` and ``subgroups``.
    """
    points = model.figures["operating_points"]
    malignant, truth = np.array(list(card.malignant)), images.truth
    probabilities, lesions = model.probabilities, images.table["group"].to_numpy()
    draws = resamples(lesions)
    risk, labels = probabilities[:, malignant].sum(1), list(card.codes)
    positives = [_positive(point, truth, malignant, labels) for point in points]
    return metrics.measure(
        probabilities, truth, lesions, list(card.codes), malignant.tolist(),
        predicted=model.predicted,
    ) | {
        "risk_coverage": risk_coverage.measure(model.scores, truth, model.predicted, draws),
        "operating_points": [
            {
                **_without_arrays(point),
                split: thresholds.at(
                    _of(point), risk, positive, draws, negative=~malignant[truth]
                ),
            }
            for point, positive in zip(points, positives)
        ],
        "subgroups": subgroups.measure(
            probabilities, truth, images.table, malignant.tolist(), predicted=model.predicted,
            threshold=_of(points[0]) if points else None,
            positive=positives[0] if points else None,
        ),
    }  # fmt: skip


def _of(point: dict[str, Any]) -> float | np.ndarray:
    """Return a point's threshold: each image's own, where several models took part."""
    threshold: float | np.ndarray = point.get("thresholds", point["threshold"])
    return threshold


def _positive(
    point: dict[str, Any], truth: np.ndarray, malignant: np.ndarray, labels: Sequence[str]
) -> np.ndarray:
    """Return what a point's sensitivity is of: the malignant images, or those of one label."""
    of = point.get("of", MALIGNANT)
    found: np.ndarray = malignant[truth] if of == MALIGNANT else truth == labels.index(of)
    return found


def _without_arrays(point: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in point.items() if name != "thresholds"}


def summary(figures: dict[str, Any]) -> str:
    """Put the headline figures on one line."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
        for name in HEADLINES
        if (value := figures.get(name))
    )
