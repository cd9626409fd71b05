"""Measures how much withholding uncertain predictions helps: accuracy against coverage.

Coverage is the share of images whose prediction is not withheld.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import Weighted, each, interval

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""The coverages in ``metrics.json``."""


def curve(score: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coverage and accuracy for every threshold on a score.

    Args:
        score: (N,) How certain each prediction is; those with the lowest score are withheld first.
        right: (N,) bool, whether the prediction is right.

    Returns:
        Coverage, accuracy of the predictions that are not withheld, and threshold: one of each
        per distinct score, from the highest.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    count = last + 1
    accuracy = np.cumsum(right[order])[last] / count
    return count / len(score), accuracy, score[order][last]


def measure(
    scores: Mapping[str, np.ndarray], truth: np.ndarray, predicted: np.ndarray, draws: np.ndarray
) -> dict[str, Any]:
    """Measure how much withholding by each score helps.

    Args:
        scores: Name -> (N,) how certain each prediction is, such as the top probability
            (``confidence``) or the gate's.
        truth: (N,) int class numbers.
        predicted: (N,) int, the predicted classes.
        draws: From ``intervals.resamples``.

    Returns:
        By name: ``aurc``, the area under risk (1 - accuracy) against coverage (Geifman and
        El-Yaniv 2017, arXiv:1705.08500; 0 is best), and ``points`` of coverage, threshold,
        and accuracy and balanced accuracy of the predictions that are not withheld.
    """
    right = predicted == truth
    return {
        name: {
            "aurc": interval(_area_of(score, right), draws),
            "points": _points(score, right, truth, draws),
        }
        for name, score in scores.items()
    }


def _area_of(score: np.ndarray, right: np.ndarray) -> Weighted:
    return lambda weights: area(score, right, weights)


def area(score: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the risk-coverage curve, (R,) for (R, N) weights.

    Equal scores are withheld together.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    weights = weights.take(order, axis=1).astype(np.int32)
    covered, wrong = _so_far(weights, last), _so_far(weights * ~right[order], last)
    risk = np.divide(wrong, covered, out=np.zeros(wrong.shape, np.float32), where=covered > 0)
    at_level = np.diff(covered, axis=1, prepend=0)
    result: np.ndarray = np.einsum("rk,rk->r", risk, at_level, dtype=float) / covered[:, -1]
    return result


def _so_far(weights: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return (R, K) sums of each row's weights up to each of ``last``."""
    sums = np.cumsum(weights, axis=1, dtype=np.int32)
    return sums if len(last) == weights.shape[1] else sums.take(last, axis=1)


def _points(
    score: np.ndarray, right: np.ndarray, truth: np.ndarray, draws: np.ndarray
) -> list[dict[str, Any]]:
    """Measure the predictions that are not withheld at each of ``COVERAGES``."""
    ranked = np.sort(score)[::-1]
    levels = np.array([ranked[max(1, round(share * len(score))) - 1] for share in COVERAGES])
    chosen = score[:, None] >= levels
    accuracy = interval(lambda w: weighted.shares(right[:, None], chosen, w), draws)
    balanced = interval(
        lambda w: weighted.balanced_accuracy(right, truth, w, subsets=chosen), draws
    )  # fmt: skip
    return [
        {
            "coverage": float(chosen[:, place].mean()), "threshold": float(level),
            "accuracy": each(accuracy, place), "balanced_accuracy": each(balanced, place),
        }
        for place, level in enumerate(levels)
    ]  # fmt: skip
