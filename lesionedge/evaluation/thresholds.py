"""Measures sensitivity and specificity at thresholds of the malignant probability."""

from __future__ import annotations

from typing import Any

import numpy as np

from lesionedge.evaluation.intervals import each, interval
from lesionedge.evaluation.weighted import shares

BLOCK = 100
"""So many resamples at a time: all at once take more memory."""


def at(
    threshold: float | np.ndarray, risk: np.ndarray, positive: np.ndarray, draws: np.ndarray, *,
    negative: np.ndarray | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure a threshold.

    Args:
        threshold: An image with at least this probability counts as found; a number, or (N,) one
            for each image.
        risk: (N,) malignant probabilities.
        positive: (N,) bool, what sensitivity is of.
        draws: From ``intervals.resamples``.
        negative: (N,) bool, what specificity is of; None: of all that is not positive.

    Returns:
        sensitivity, specificity and the share of images found, each with its interval.
    """
    found = risk >= threshold
    negative = ~positive if negative is None else negative
    chosen = np.stack([found, ~found, found], axis=1)
    among = np.stack([positive, negative, np.ones_like(positive)], axis=1)
    measured = interval(lambda w: shares(chosen, among, w), draws)
    names = ("sensitivity", "specificity", "found")
    return {name: each(measured, place) for place, name in enumerate(names)}


def curves(
    risk: np.ndarray, positive: np.ndarray, grid: np.ndarray, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """Return sensitivity and specificity at each of a grid of thresholds.

    Args:
        risk: (N,) malignant probabilities.
        positive: (N,) bool, the truth; both values must occur.
        grid: (G,) thresholds.
        draws: From ``intervals.resamples``.

    Returns:
        ``sensitivity`` and ``specificity``, (3, G): the value and the ends of the 95 % interval.
    """
    found = (risk[None, :] >= grid[:, None]).astype(np.float32)
    return {
        "sensitivity": _band(found[:, positive], draws[:, positive]),
        "specificity": _band(1 - found[:, ~positive], draws[:, ~positive]),
    }


def _band(chosen: np.ndarray, draws: np.ndarray) -> np.ndarray:
    spread = []
    for first in range(0, len(draws), BLOCK):
        some = draws[first : first + BLOCK].astype(np.float32)
        some = some[some.sum(1) > 0]
        spread.append(chosen @ some.T / some.sum(1))
    low, high = np.percentile(np.concatenate(spread, axis=1), [2.5, 97.5], axis=1)
    return np.stack([chosen.mean(1), low, high])
