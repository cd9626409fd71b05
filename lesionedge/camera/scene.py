"""Checks a camera's image before it is classified: light, sharpness, motion.

All three are measured on the brightness (ITU-R BT.601 luma, 0-255) of the classified part, at
``SIDE_PX`` square. ``lesionedge.quality`` measures light and sharpness; this module measures motion
(``benchmarks/research/quality_limits.py``). A finding is a warning; it never withholds a
prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from lesionedge import image as images
from lesionedge import quality
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE_PX = quality.SIDE_PX
MOVING = 8.0
"""The image moves if two successive frames differ in brightness by this much on average."""

ANOTHER_SCENE = 12.0
"""Two classified frames show different scenes if they differ by this much on average."""

DARK_TEXT, BRIGHT_TEXT, BLURRED_TEXT = (
    quality.DARK_NOTICE, quality.BRIGHT_NOTICE, quality.BLURRED_NOTICE,
)  # fmt: skip
MOVING_TEXT = Notice("moving", "moving: hold still")


def luma(image: Image.Image) -> NDArray[np.float32]:
    """Return an image's brightness, (SIDE_PX, SIDE_PX) float32, 0-255."""
    import numpy as np

    small = image.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def measure(seen: NDArray[np.float32]) -> quality.Light:
    """Measure light and sharpness.

    Args:
        seen: From ``luma``.
    """
    return quality.light(seen.astype("uint8"))


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the mean difference of two images' brightness, after subtracting each mean.

    Args:
        a: From ``luma``.
        b: From ``luma``.
    """
    return float(abs((a - a.mean()) - (b - b.mean())).mean())


def warnings(found: quality.Light, moved: float) -> tuple[Notice, ...]:
    """Return what is wrong with an image.

    Args:
        found: The image's light and sharpness.
        moved: ``difference`` from the frame before it; 0 if there is none.
    """
    return (*quality.light_notices(found), *((MOVING_TEXT,) if moved > MOVING else ()))


def window(size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """Return the centre square of a frame.

    Args:
        size: (width, height) in px.
        share: The square's side as a share of the shorter side, above 0, up to 1.

    Returns:
        Left, top, right, bottom in px.
    """
    return images.crop_box(size, images.Preprocessing(1, 1, crop_fraction=share))
