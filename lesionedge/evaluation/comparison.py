"""Compares two models on the same images: differences with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import Weighted, interval, resamples
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel
from lesionedge.evaluation.metrics import ECE_BINS, melanoma_of


def differences(
    one: MeasuredModel, other: MeasuredModel, images: LabelledImages, labels: Sequence[str],
    malignant: Sequence[bool],
) -> dict[str, Any]:  # fmt: skip
    """Return each figure of one model less that of the other.

    Both are measured on the same resamples of whole lesions, so that what is hard for both does
    not widen the interval.

    Args:
        one: The model that is compared.
        other: The one that it is compared with.
        images: The images that both classified.
        labels: Their class codes, in output order.
        malignant: Which classes count as malignant.

    Returns:
        Figure -> ``{"value", "low", "high"}``; those that these images leave undefined are left
        out.
    """
    draws = resamples(images.table["group"].to_numpy())
    pairs = [_figures(model, images.truth, labels, np.asarray(malignant)) for model in (one, other)]
    return {
        name: interval(_less(pairs[0][name], pairs[1][name]), draws)
        for name in pairs[0]
        if name in pairs[1]
    }


def _less(one: Weighted, other: Weighted) -> Weighted:
    return lambda weights: one(weights) - other(weights)


def _figures(
    model: MeasuredModel, truth: np.ndarray, labels: Sequence[str], malignant: np.ndarray
) -> dict[str, Weighted]:
    right, scores = model.predicted == truth, model.probabilities
    confidence = np.take_along_axis(scores, model.predicted[:, None], axis=1)[:, 0]
    found: dict[str, Weighted] = {
        "balanced_accuracy": lambda w: weighted.balanced_accuracy(right, truth, w),
        "accuracy": lambda w: weighted.share(right, w),
        "ece": lambda w: weighted.expected_calibration_error(confidence, right, w, bins=ECE_BINS),
    }
    kinds = {"malignant_auroc": (malignant[truth], scores[:, malignant].sum(1))}
    number = melanoma_of(labels)
    if number is not None:
        kinds["melanoma_auroc"] = truth == number, scores[:, number]
    for name, (positive, score) in kinds.items():
        if positive.any() and not positive.all():
            found[name] = weighted.auroc(positive, score)
    return found
