"""Converts luma and two colour differences, as in nearly all video, to RGB."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

SHARES = {
    "601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593),
    "FCC": (0.30, 0.11), "240M": (0.212, 0.087),
}  # fmt: skip
"""Shares of red and blue in luma: ITU-R BT.601, 709 and 2020, FCC 73.682, SMPTE 240M."""


def matrix(name: str, *, full_range: bool) -> tuple[float, ...]:
    """Return the rows (Y', Cb, Cr, 1) -> R', G', B', for values of 8 bits.

    Args:
        name: One of ``SHARES``.
        full_range: Luma from 0 to 255; False: from 16 to 235.
    """
    red, blue = SHARES[name]
    green = 1 - red - blue
    y, c, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    to_red, to_blue = 2 * (1 - red) * c, 2 * (1 - blue) * c
    rows = (
        (0.0, to_red),
        (-to_blue * blue / green, -to_red * red / green),
        (to_blue, 0.0),
    )
    return tuple(value for cb, cr in rows for value in (y, cb, cr, -y * black - 128 * (cb + cr)))


@dataclass(frozen=True)
class Planes:
    """A frame before it becomes RGB."""

    luma: Image.Image
    """Mode L."""
    chroma: tuple[Image.Image, Image.Image]
    """Cb and Cr, mode L."""
    share: tuple[float, float]
    """Samples of chroma for one of luma, across and down."""

    def reduced(self, divisor: int) -> list[Image.Image]:
        """Return all three planes in one size: luma's, divided by ``divisor`` or a little less."""
        width, height = self.luma.size
        if min(self.share) < 1:
            divisor -= divisor % 2 if divisor > 1 else 0  # so that samples of both are whole
        luma = self.luma.reduce(divisor) if divisor > 1 else self.luma
        factors = divisor * self.share[0], divisor * self.share[1]
        box = (0.0, 0.0, width * self.share[0], height * self.share[1])
        return [luma, *(_scaled(plane, luma.size, factors, box) for plane in self.chroma)]


def to_rgb(planes: Planes, rows: tuple[float, ...], divisor: int = 1) -> Image.Image:
    """Return an RGB image from planes.

    Args:
        planes: A frame's.
        rows: From ``matrix``.
        divisor: The sides of the result are divided by this, or a little less.
    """
    return Image.merge("RGB", planes.reduced(divisor)).convert("RGB", rows)


def _scaled(
    plane: Image.Image, size: tuple[int, int], factors: tuple[float, float],
    box: tuple[float, float, float, float],
) -> Image.Image:  # fmt: skip
    if plane.size == size:
        return plane
    across, down = factors
    if across.is_integer() and down.is_integer():
        return plane.reduce((int(across), int(down)))
    return plane.resize(size, Image.Resampling.BOX, box=box)
