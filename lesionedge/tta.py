"""Test-time augmentation: the views of one image that a prediction may be averaged over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 8
"""The most views of a square: it has eight symmetries."""

MOST_OBLONG = 4
"""The most views of any other rectangle: quarter turns would change its shape."""


def views(pixels: NDArray[Any], count: int) -> Iterator[NDArray[Any]]:
    """Yield the first ``count`` views of a prepared image, as numpy views of its memory.

    They are the symmetries of the square (the dihedral group of order 8; Cohen and Welling 2016,
    arXiv:1602.07576). Dermoscopy has no up and no left, so each view shows the lesion equally
    well. The order: the image itself, turned by half, mirrored left-right, mirrored top-bottom,
    then the same four of the transposed image (diagonal mirrorings and quarter turns). The first
    1, 2, 4 and 8 views are whole groups: turning or mirroring the image by one of them does not
    change the mean. The half turn comes second because it gains the most melanoma AUROC. For the
    measurements see docs/research/accuracy.md. Crops gained no more, so there are none here.

    Args:
        pixels: (H, W, channels); above 4 views H and W are equal.
        count: How many, 1 to 8.
    """
    for number in range(count):
        view = pixels.swapaxes(0, 1) if number & 4 else pixels
        if number & 1:
            view = view[::-1, ::-1]
        yield view[:, ::-1] if number & 2 else view
