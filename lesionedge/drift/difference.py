"""Compares the statistics of images with those of a reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lesionedge.drift.reference import Reference
from lesionedge.drift.statistics import VALUES, WARNINGS, Statistics

LEAST_SHARE, LEAST_DISTANCE = 0.02, 0.1
"""Smaller differences are not worth a word, even where they are no chance."""
CLEAR_SHARE, LARGE_SHARE = 0.1, 0.25
CLEAR_DISTANCE, LARGE_DISTANCE = 0.2, 0.4
"""From these on, a difference is called clear, or large; below, somewhat."""
SAME = "about the same"
TOO_FEW = "too few images to say"
LEAST_IMAGES = 20
"""Of fewer images nothing is said."""
SPREAD = "spread in another way"
DIRECTIONS = {
    "confidence": ("lower", "higher"),
    "malignant_probability": ("lower", "higher"),
    "lightness": ("darker", "lighter"),
    "redness": ("greener", "redder"),
    "yellowness": ("bluer", "yellower"),
}
"""What a figure with a smaller or a larger median is called."""
_Z = 2.5758  # 99 %: several figures are looked at
_SMIRNOV = 1.6276  # the same for the Kolmogorov-Smirnov distance

Array = NDArray[np.float64]


class Difference(NamedTuple):
    """One figure of the images, and of the reference."""

    name: str
    """``refused``, one of ``WARNINGS`` or one of ``VALUES``."""
    title: str
    """What people read."""
    value: float
    """A share, or a median."""
    reference: float
    """The reference's."""
    distance: float
    """For shares, their difference; for others, the Kolmogorov-Smirnov distance, 0-1."""
    chance: float
    """With no difference but chance, 99 of 100 samples have at most this distance; for shares, at
    most this far from 0 is the nearer end of the 99 % interval when it includes 0."""
    verdict: str
    """In words; ``SAME`` where there is no difference that counts, or ``TOO_FEW``."""

    @property
    def differs(self) -> bool:
        """Whether there is a difference that counts."""
        return self.verdict not in (SAME, TOO_FEW)


@dataclass(frozen=True)
class Drift:
    """How far images are from a model's reference."""

    statistics: Statistics
    """Of the images."""
    reference: Reference | None
    """What they are compared with."""
    differences: tuple[Difference, ...] = ()
    """One a figure that both have."""

    @property
    def differing(self) -> tuple[Difference, ...]:
        """The differences that count."""
        return tuple(one for one in self.differences if one.differs)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "reference": None if self.reference is None else self.reference.images,
            "differences": [one._asdict() for one in self.differences],
            "statistics": self.statistics.to_dict(),
        }


def compare(found: Statistics, reference: Reference | None) -> Drift:
    """Compare images with a reference.

    Args:
        found: The images' statistics.
        reference: The model's; None: there is none, and nothing to compare.
    """
    if reference is None:
        return Drift(found, None)
    known = reference.statistics
    titles = {"refused": "refused by the gate", **WARNINGS}
    shares = [
        _share(name, title, found, known)
        for name, title in titles.items()
        if name in found.shares and name in known.shares
    ]
    values = [
        _value(name, title, found, known)
        for name, title in VALUES.items()
        if name in found.values and name in known.values
    ]
    differences = (*shares, *values)
    if found.images < LEAST_IMAGES:
        differences = tuple(one._replace(verdict=TOO_FEW) for one in differences)
    return Drift(found, reference, differences)


def _share(name: str, title: str, found: Statistics, known: Statistics) -> Difference:
    """Compare shares by Newcombe's interval (1998, method 10; doi:10.1002/sim.779)."""
    one, other = found.shares[name], known.shares[name]
    difference = one - other
    ends = [wilson(s.shares[name], s.checked) for s in (found, known)]
    (low, high), (other_low, other_high) = ends
    down = math.hypot(one - low, other_high - other)
    up = math.hypot(high - one, other - other_low)
    chance = down if difference > 0 else up
    same = abs(difference) <= chance or abs(difference) < LEAST_SHARE
    more = "more often" if difference > 0 else "less often"
    degree = _degree(abs(difference), CLEAR_SHARE, LARGE_SHARE)
    verdict = SAME if same else f"{degree} {more}"
    return Difference(name, title, one, other, difference, chance, verdict)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 99 % interval of a share of independent images (Wilson 1927)."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = math.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2)
    half *= _Z / (1 + _Z**2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _value(name: str, title: str, found: Statistics, known: Statistics) -> Difference:
    """Compare distributions by their largest distance (Smirnov 1948)."""
    one, other = found.values[name], known.values[name]
    reached = distance(one, other)
    chance = _SMIRNOV * math.sqrt(1 / found.images + 1 / known.images)
    medians = float(one[50]), float(other[50])
    verdict = SAME
    if reached > max(chance, LEAST_DISTANCE):
        verdict = _direction(name, reached, *medians)
    return Difference(name, title, *medians, reached, chance, verdict)


def _direction(name: str, reached: float, median: float, known: float) -> str:
    if median == known:
        return SPREAD
    degree = _degree(reached, CLEAR_DISTANCE, LARGE_DISTANCE)
    return f"{degree} {DIRECTIONS[name][median > known]}"


def _degree(size: float, clear: float, large: float) -> str:
    return "much" if size >= large else "clearly" if size >= clear else "somewhat"


def distance(one: Array, other: Array) -> float:
    """Return the largest distance of two cumulative distributions, 0-1.

    Args:
        one: (101,) percentiles of the one.
        other: (101,) percentiles of the other.
    """
    grid = np.concatenate([one, other])
    return float(np.abs(_below(one, grid) - _below(other, grid)).max())


def _below(percentiles: Array, grid: Array) -> Array:
    """Return the share of values that are at most each of a grid's, (G,)."""
    rank = np.clip(np.searchsorted(percentiles, grid, side="right"), 1, 100)
    low, high = percentiles[rank - 1], percentiles[rank]
    part = np.divide(grid - low, high - low, out=np.ones(len(grid)), where=high > low)
    found: Array = (rank - 1 + np.clip(part, 0, 1)) / 100
    return np.where(grid < percentiles[0], 0.0, found)
