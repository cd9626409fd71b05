"""Measures a classifier's predictions; each figure has a 95 % interval by lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lesionedge.diagnosis import describe
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import each, interval, resamples

ECE_BINS = 15
SPECIFICITY = 0.9
SECTIONS = ("per_class", "confusion", "risk_coverage", "operating_points", "subgroups")
"""Keys of a model in ``metrics.json`` besides the headline figures."""


def measure(
    probabilities: np.ndarray, truth: np.ndarray, groups: np.ndarray, labels: Sequence[str],
    malignant: Sequence[bool], *, predicted: np.ndarray | None = None, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measure a classifier's predictions.

    ``lesionedge.evaluation.intervals`` computes the intervals, by lesion.

    Args:
        probabilities: (N, classes) float, rows sum to 1.
        truth: (N,) int class numbers.
        groups: (N,) int; images of one lesion share a number.
        labels: Class codes in output order.
        malignant: Which classes count as malignant.
        predicted: (N,) int, the predicted classes; None for the most probable ones.
        seed: Fixes the resamples.

    Returns:
        Figures as ``{"value", "low", "high"}``, without those that these images leave undefined.
        ``per_class`` is by label; ``confusion`` holds matrices of counts (row: truth, column:
        prediction).
    """
    predicted = probabilities.argmax(1) if predicted is None else predicted
    draws = resamples(groups, seed=seed)
    areas = _areas(probabilities, truth, draws)
    return {
        "images": len(truth),
        "lesions": len(np.unique(groups)),
        **_predictions(probabilities, predicted, truth, draws),
        **_ranking(probabilities, truth, labels, np.asarray(malignant), areas, draws),
        "per_class": _per_class(probabilities, predicted, truth, labels, areas, draws),
        "confusion": interval(weighted.confusion(truth, predicted, len(labels)), draws),
    }


def _predictions(
    probabilities: np.ndarray, predicted: np.ndarray, truth: np.ndarray, draws: np.ndarray
) -> dict[str, Any]:
    right = predicted == truth
    confidence = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
    return {
        "accuracy": interval(lambda w: weighted.share(right, w), draws),
        "balanced_accuracy": interval(
            lambda w: weighted.balanced_accuracy(right, truth, w), draws
        ),
        "ece": interval(
            lambda w: weighted.expected_calibration_error(confidence, right, w, bins=ECE_BINS),
            draws,
        ),
    }  # fmt: skip


def _areas(probabilities: np.ndarray, truth: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Return the areas under the ROC curves: each class against the rest, and last their mean."""
    areas = [weighted.auroc(truth == c, column) for c, column in enumerate(probabilities.T)]

    def measured(weights: np.ndarray) -> np.ndarray:
        by_class = np.stack([area(weights) for area in areas], axis=1)
        return np.column_stack([by_class, by_class.mean(axis=1)])

    found: dict[str, Any] = interval(measured, draws)
    return found


def _ranking(
    probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str], malignant: np.ndarray,
    areas: Mapping[str, Any], draws: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {}
    if all(_both(truth == c) for c in range(len(labels))):
        found["macro_auroc"] = each(areas, -1)
    melanoma = melanoma_of(labels)
    if melanoma is not None and _both(truth == melanoma):
        found["melanoma_auroc"] = each(areas, melanoma)
        found["melanoma_sensitivity_at_90_specificity"] = interval(
            weighted.sensitivity_at(
                truth == melanoma, probabilities[:, melanoma], specificity=SPECIFICITY
            ),
            draws,
        )
    if _both(malignant[truth]):
        found["malignant_auroc"] = auroc(
            malignant[truth], probabilities[:, malignant].sum(1), draws
        )
    return found


def melanoma_of(labels: Sequence[str]) -> int | None:
    """Return the number of the class melanoma, however it is spelled; None: there is not one."""
    found = [number for number, label in enumerate(labels) if describe(label).code == "mel"]
    return found[0] if len(found) == 1 else None


def _both(positive: np.ndarray) -> bool:
    return bool(positive.any() and not positive.all())


def auroc(positive: np.ndarray, score: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Return the area under the ROC curve with its interval; None if it is undefined."""
    found: dict[str, Any] = interval(weighted.auroc(positive, score), draws)
    return found


def _per_class(
    probabilities: np.ndarray, predicted: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    areas: Mapping[str, Any], draws: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    classes = len(labels)
    spread = interval(weighted.precision_recall_f1(truth, predicted, classes), draws)
    names = ("precision", "recall", "f1")
    result = {}
    for c, label in enumerate(labels):
        positive = truth == c
        result[label] = {
            "images": int(positive.sum()),
            **{name: each(spread, row, c) for row, name in enumerate(names)},
            "auroc": each(areas, c),
            "average_precision": interval(
                weighted.average_precision(positive, probabilities[:, c]), draws
            ),
        }
    return result
