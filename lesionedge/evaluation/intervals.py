"""95 % intervals by lesion: the bootstrap that every figure of ``evaluate`` shares."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

RESAMPLES = 1000
BLOCK = 50
"""Resamples that are measured at once: all at once take more memory, and no less time."""
Weighted = Callable[[np.ndarray], np.ndarray]
"""Computes a figure for each row of weights, (R, N) float, which say how often each image counts:
(R, …), NaN where it is undefined."""


def resamples(groups: np.ndarray, *, seed: int = 0, count: int = RESAMPLES) -> np.ndarray:
    """Draw whole lesions with replacement, since images of one lesion are not independent.

    (Cluster bootstrap; Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x.)

    Args:
        groups: (N,) int; images of one lesion share a number.
        seed: Fixes the resamples.
        count: How many.

    Returns:
        (count, N) uint8: how often each image is in each resample.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    lesions = int(numbers.max()) + 1
    rng = np.random.default_rng(seed)
    draws = np.empty((count, len(groups)), np.uint8)  # a lesion is never drawn 256 times
    for block in np.split(draws, range(BLOCK, count, BLOCK)):
        drawn = rng.integers(lesions, size=(len(block), lesions))
        places = (drawn + np.arange(len(block))[:, None] * lesions).ravel()
        often = np.bincount(places, minlength=len(block) * lesions).astype(np.uint8)
        often.reshape(len(block), lesions).take(numbers, axis=1, out=block)
    return draws


def interval(figure: Weighted, draws: np.ndarray) -> Any:
    """Return a figure with the 2.5th and 97.5th percentile of its resamples.

    Args:
        figure: A number, or an array of them, by the images' weights.
        draws: From ``resamples``.

    Returns:
        ``{"value", "low", "high"}``, numbers or nested lists of them. Resamples for which a figure
        is undefined, such as those without an image of a class, do not count. None for a figure
        that is always undefined.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a figure that is always undefined
        value = figure(np.ones((1, draws.shape[1])))[0]
        blocks = np.split(draws, range(BLOCK, len(draws), BLOCK))
        spread = np.concatenate([figure(block.astype(np.float32)) for block in blocks])
        low, high = np.nanpercentile(spread, [2.5, 97.5], axis=0)
    return {"value": plain(value), "low": plain(low), "high": plain(high)}


def each(figures: Mapping[str, Any], *place: int) -> dict[str, Any]:
    """Return one of the figures that ``interval`` measured together, by its place in the array."""
    return {part: functools.reduce(operator.getitem, place, figures[part]) for part in figures}


def share(found: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of independent images (Wilson 1927).

    Args:
        found: How many images have the property.
        of: How many images there are, 1 or more.
    """
    from scipy.stats import binomtest

    low, high = binomtest(found, of).proportion_ci(0.95, method="wilson")
    return float(low), float(high)


def plain(values: Any) -> Any:
    """Return numbers for JSON: lists of float, with None for NaN and infinity."""
    if np.ndim(values):
        return [plain(value) for value in np.asarray(values)]
    return float(values) if np.isfinite(values) else None
