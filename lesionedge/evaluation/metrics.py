"""Measures a classifier's predictions; each figure has a 95 % interval by lesion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import interval, resamples

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
    return {
        "images": len(truth),
        "lesions": len(np.unique(groups)),
        **_predictions(probabilities, predicted, truth, draws),
        **_ranking(probabilities, truth, labels, np.asarray(malignant), draws),
        "per_class": _per_class(probabilities, predicted, truth, labels, draws),
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


def _ranking(
    probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str], malignant: np.ndarray,
    draws: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    present = [c for c in range(len(labels)) if _both(truth == c)]
    found: dict[str, Any] = {}
    if len(present) == len(labels):
        areas = [weighted.auroc(truth == c, probabilities[:, c]) for c in present]
        found["macro_auroc"] = interval(
            lambda w: np.mean([area(w) for area in areas], axis=0), draws
        )
    if "mel" in labels and _both(truth == list(labels).index("mel")):
        melanoma = list(labels).index("mel")
        positive, score = truth == melanoma, probabilities[:, melanoma]
        found["melanoma_auroc"] = auroc(positive, score, draws)
        found["melanoma_sensitivity_at_90_specificity"] = interval(
            weighted.sensitivity_at(positive, score, specificity=SPECIFICITY), draws
        )
    if _both(malignant[truth]):
        found["malignant_auroc"] = auroc(
            malignant[truth], probabilities[:, malignant].sum(1), draws
        )
    return found


def _both(positive: np.ndarray) -> bool:
    return bool(positive.any() and not positive.all())


def auroc(positive: np.ndarray, score: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Return the area under the ROC curve with its interval; None if it is undefined."""
    found: dict[str, Any] = interval(weighted.auroc(positive, score), draws)
    return found


def _per_class(
    probabilities: np.ndarray, predicted: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    draws: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    classes = len(labels)
    spread = interval(weighted.precision_recall_f1(truth, predicted, classes), draws)
    result = {}
    for c, label in enumerate(labels):
        figures = {
            name: {part: spread[part][row][c] for part in ("value", "low", "high")}
            for row, name in enumerate(("precision", "recall", "f1"))
        }
        positive, score = truth == c, probabilities[:, c]
        figures["auroc"] = auroc(positive, score, draws)
        figures["average_precision"] = interval(weighted.average_precision(positive, score), draws)
        result[label] = {"images": int(positive.sum()), **figures}
    return result
