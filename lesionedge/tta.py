"""The views of one image that an answer may be averaged over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 8
"""A square has eight symmetries."""

MOST_OBLONG = 4
"""Any other rectangle has four: quarter turns would change its shape."""


def views(pixels: NDArray[Any], count: int) -> Iterator[NDArray[Any]]:
    """Yield the first ``count`` views of a prepared image, as numpy views of its memory.

    They are the symmetries of the square (the dihedral group of order 8; Cohen and Welling 2016,
    arXiv:1602.07576): dermoscopy has no up and no left, so that each shows the lesion as well as
    another. First the image as it is, then turned by half, mirrored left-right, mirrored
    top-bottom, and the same four of the transposed image: mirrorings along the diagonals and
    quarter turns. The first 1, 2, 4 and 8 of them are whole groups: the mean over these does not
    change when the image is turned or mirrored by one of them. The half turn comes second
    since, beside the first, it gains most melanoma AUROC. docs/research/accuracy.md has the
    measurements, also of crops: these gained no more, so that there are none here.

    Args:
        pixels: (H, W, channels); above 4 views H and W are equal.
        count: How many, 1 to 8.
    """
    for number in range(count):
        view = pixels.swapaxes(0, 1) if number & 4 else pixels
        if number & 1:
            view = view[::-1, ::-1]
        yield view[:, ::-1] if number & 2 else view
