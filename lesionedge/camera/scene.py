"""What can be told of a camera's picture before it is classified: light, sharpness, motion.

Measured on the brightness (ITU-R BT.601 luma, 0-255) of the part that is classified, at
``SIDE_PX`` square. The limits flag none of 304 pictures of HAM10000 as they are, and most of them
once they are darkened, brightened or blurred on purpose (``benchmarks/scene_limits.py``). They
warn; they never hold an answer back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from lesionedge import image as images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE_PX = 128
DARK, BRIGHT = 60.0, 225.0
"""Mean brightness below or above which a picture is too dark or too bright."""

LEAST_SHARPNESS = 12.0
"""Variance of the Laplacian below which a picture is blurred."""

MOVING = 8.0
"""Mean difference of brightness between two successive frames from which the picture moves."""

ANOTHER_SCENE = 12.0
"""The same between two answered frames, from which they show different things."""

DARK_TEXT = "too dark: more light"
BRIGHT_TEXT = "too bright: less light, or a shorter exposure"
BLURRED_TEXT = "blurred: focus, or hold still"
MOVING_TEXT = "moving: hold still"


@dataclass(frozen=True)
class Measures:
    """Light and sharpness of a picture."""

    brightness: float
    """Mean luma, 0-255."""
    sharpness: float
    """Variance of the Laplacian of luma (Pech-Pacheco et al. 2000, "Diatom autofocusing")."""


def luma(picture: Image.Image) -> NDArray[np.float32]:
    """Give a picture's brightness, (SIDE_PX, SIDE_PX) float32, 0-255."""
    import numpy as np

    small = picture.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def measure(seen: NDArray[np.float32]) -> Measures:
    """Measure light and sharpness.

    Args:
        seen: From ``luma``.
    """
    edges = -4 * seen[1:-1, 1:-1] + seen[:-2, 1:-1] + seen[2:, 1:-1] + seen[1:-1, :-2]
    edges = edges + seen[1:-1, 2:]
    return Measures(float(seen.mean()), float(edges.var()))


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Give the mean difference of two pictures' brightness once the mean light is evened out.

    Args:
        a: From ``luma``.
        b: From ``luma``.
    """
    return float(abs((a - a.mean()) - (b - b.mean())).mean())


def warnings(found: Measures, moved: float) -> tuple[str, ...]:
    """Say what is wrong with a picture.

    Args:
        found: Its measures.
        moved: ``difference`` from the frame before it; 0 where there was none.
    """
    faults = (
        (found.brightness < DARK, DARK_TEXT),
        (found.brightness > BRIGHT, BRIGHT_TEXT),
        # In the dark there is nothing to be sharp.
        (found.sharpness < LEAST_SHARPNESS and found.brightness >= DARK, BLURRED_TEXT),
        (moved > MOVING, MOVING_TEXT),
    )
    return tuple(text for wrong, text in faults if wrong)


def window(size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """Give the centre square of a frame.

    Args:
        size: (width, height) in px.
        share: Its side as a share of the shorter side, above 0, up to 1.

    Returns:
        Left, top, right, bottom in px.
    """
    return images.crop_box(size, images.Preprocessing(1, 1, crop_fraction=share))
