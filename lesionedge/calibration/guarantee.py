"""Thresholds whose sensitivity is guaranteed, whatever the distribution of the scores.

Of n positive lesions drawn independently, the number with a score below the (1 - s) quantile of all
such lesions is binomial. So the k-th lowest score of the n is too high a threshold with a
probability of at most P(Bin(n, 1 - s) < k): a distribution-free tolerance bound (Wilks 1941,
doi:10.1214/aoms/1177731788; ties only make it safer). It needs that the score was not fitted on
these lesions. Recalibration keeps the order of the scores, so all lesions can serve both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

CONFIDENCE = 0.95
"""Probability with which a threshold reaches its sensitivity."""
SENSITIVITIES = (0.9, 0.95, 0.98)
"""Sensitivities that thresholds are chosen for."""
SOURCE = "exact binomial tolerance bound (Wilks 1941, doi:10.1214/aoms/1177731788)"
"""How they are guaranteed."""


def threshold(
    scores: NDArray[np.float64], sensitivity: float, *, confidence: float = CONFIDENCE
) -> float | None:
    """Return the highest threshold that is guaranteed.

    Args:
        scores: (n,) of independent positive lesions, one each.
        sensitivity: The least share of all such lesions that is to reach the threshold, 0-1.
        confidence: The least probability with which it does, 0-1.

    Returns:
        One of the scores; None if there are too few.
    """
    found = rank(len(scores), sensitivity, confidence)
    return None if found == 0 else float(np.sort(scores)[found - 1])


@functools.lru_cache(maxsize=4096)
def rank(count: int, sensitivity: float, confidence: float = CONFIDENCE) -> int:
    """Return which of the lowest scores is the threshold, from 1; 0 if there are too few.

    Args:
        count: How many positive lesions there are.
        sensitivity: As in ``threshold``.
        confidence: As in ``threshold``.
    """
    ranks = np.arange(1, count + 1)
    safe = binom.cdf(ranks - 1, count, 1 - sensitivity) <= 1 - confidence
    return int(np.flatnonzero(safe)[-1]) + 1 if safe.any() else 0


def needed(sensitivity: float, *, confidence: float = CONFIDENCE) -> int:
    """Return how many positive lesions a guarantee takes at least."""
    return math.ceil(math.log(1 - confidence) / math.log(sensitivity) - 1e-9)


class Limit(NamedTuple):
    """A threshold of the suspicion (``Recalibration.suspicion``)."""

    sensitivity: float
    """What it was chosen for."""
    value: float
    """An image with at least this is above it."""
    guaranteed: bool
    """Whether the sensitivity is guaranteed; else it is the model card's."""


def limits(scores: NDArray[np.float64], card: Mapping[float, float]) -> list[Limit]:
    """Choose a threshold for each of ``SENSITIVITIES`` that there is one for.

    Args:
        scores: (n,) the suspicion of independent positive lesions, one each.
        card: Sensitivity -> the model card's threshold of the malignant probability, which is
            taken where there are too few scores.
    """
    found: list[Limit] = []
    for wanted in SENSITIVITIES:
        value = threshold(scores, wanted)
        guaranteed = value is not None
        if value is None:
            probability = card.get(wanted, 0.0)
            if not 0 < probability < 1:
                continue
            value = math.log(probability / (1 - probability))
            # A threshold for more is never higher than one for less.
            value = min([value, *(one.value for one in found)])
        found.append(Limit(wanted, value, guaranteed))
    return found
