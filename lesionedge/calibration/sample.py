"""Predictions with their truth, as calibration takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""In ``classes`` and ``malignant``: not known."""


@dataclass(frozen=True)
class Sample:
    """N images: what the model file said of them, and what they are."""

    probabilities: NDArray[np.float64]
    """(N, classes) from the model file, not recalibrated."""
    classes: NDArray[np.int64]
    """(N,) class numbers; ``UNKNOWN`` where only malignant or benign is known."""
    malignant: NDArray[np.int64]
    """(N,) 1 malignant, 0 benign, or ``UNKNOWN``."""
    lesions: NDArray[np.int64]
    """(N,) lesion numbers; images of one lesion share one."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.probabilities)

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Sample:
        """Return some of the images."""
        return Sample(
            self.probabilities[chosen], self.classes[chosen], self.malignant[chosen],
            self.lesions[chosen],
        )  # fmt: skip

    @property
    def weights(self) -> NDArray[np.float64]:
        """(N,): each lesion counts as one image, whatever the number of its images."""
        _, numbers, counts = np.unique(self.lesions, return_inverse=True, return_counts=True)
        shares: NDArray[np.float64] = 1 / counts[numbers]
        return shares


def one_a_lesion(lesions: NDArray[np.int64], *, seed: int = 0) -> NDArray[np.int64]:
    """Choose one image of each lesion by chance.

    Args:
        lesions: (N,) lesion numbers.
        seed: Fixes the choice.

    Returns:
        (lesions,) row numbers, in order.
    """
    order = np.random.default_rng(seed).permutation(len(lesions))
    _, first = np.unique(lesions[order], return_index=True)
    chosen: NDArray[np.int64] = np.sort(order[first])
    return chosen
