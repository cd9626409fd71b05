"""Image quality: light, sharpness, glare, the lesion's size and place, hair.

Everything is measured on a ``SIDE_PX`` square thumbnail of the part that the model sees. For the
formulas, their sources and how the limits were chosen, see docs/research/reliability.md.
``benchmarks/research/quality_limits.py`` measures them on images that were degraded on
purpose. A finding is a warning; it never withholds a prediction.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE_PX = 112
"""Side of the thumbnail: half the usual model input, which is quick to compute."""

DARK, BRIGHT = 60.0, 225.0
"""Mean brightness below or above which an image is too dark or too bright."""

LEAST_SHARPNESS = 15.0
"""Variance of the Laplacian below which an image is blurred."""

MOST_GLARE = 0.01
"""Share of shining pixels above which there is glare."""

LEAST_LESION = 0.03
"""Share of the inscribed disc below which the lesion is too small."""

MOST_CUT = 0.15
"""Share of the border above which the lesion is cut off."""

MOST_HAIR = 0.08
"""Share of pixels above which hair covers the lesion."""

LEAST_CONTRAST = 25.0
"""A lesion is found only if it is darker than the skin around it by this much (luma)."""

_SHINE, _SHINE_ABOVE_MEAN = 235, 45
_HAIR_DEPTH = 14  # a hair is darker than both its sides by this much
_HAIR_REACH = 3  # px to either side

DARK_NOTICE = Notice("dark", "too dark: more light")
BRIGHT_NOTICE = Notice("bright", "too bright: less light, or a shorter exposure")
BLURRED_NOTICE = Notice("blurred", "blurred: focus, or hold still")
GLARE_NOTICE = Notice("glare", "glare: turn the light away, or polarise it")
SMALL_NOTICE = Notice("small", "the lesion is small in the image: go nearer")
CUT_NOTICE = Notice("cut-off", "the lesion is cut off by the border: centre it, or go further away")
HAIR_NOTICE = Notice("hair", "hair covers the lesion: part or remove it")


@dataclass(frozen=True)
class Light:
    """Light and sharpness of an image."""

    brightness: float
    """Mean luma, 0-255."""
    sharpness: float
    """Variance of the Laplacian of luma (Pech-Pacheco et al. 2000, "Diatom autofocusing")."""


@dataclass(frozen=True)
class Lesion:
    """The dark region in an image's middle."""

    contrast: float
    """How much darker it is than the rest, in luma."""
    area: float
    """Its share of the inscribed disc, 0-1."""
    cut: float
    """The share of the border that it touches, 0-1."""


def luma(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB image's brightness: ITU-R BT.601 luma, (H, W) uint8."""
    import numpy as np

    return np.asarray(image.convert("L"))


def light(seen: NDArray[np.uint8]) -> Light:
    """Measure light and sharpness.

    Args:
        seen: From ``luma``, of an image about ``SIDE_PX`` square.
    """
    import numpy as np

    wide = seen.astype(np.int16)
    edges = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    edges -= 4 * wide[1:-1, 1:-1]
    flat = edges.ravel().astype(np.float32)
    mean = float(flat.mean())
    return Light(float(seen.mean()), float(flat @ flat) / flat.size - mean * mean)


def mean_colour(pixels: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return the mean red, green and blue, 0-255.

    Args:
        pixels: (H, W, 3) uint8 RGB, of fewer than 65,000 pixels.
    """
    import numpy as np

    flat = pixels.reshape(-1, 3)
    sums = np.ones(len(flat), np.float32) @ flat  # exact, and thirty times as fast as mean
    red, green, blue = (sums / len(flat)).tolist()
    return red, green, blue


def light_notices(found: Light) -> tuple[Notice, ...]:
    """Return what is wrong with light and sharpness."""
    if found.brightness < DARK:  # a dark image is never sharp
        return (DARK_NOTICE,)
    bright = (BRIGHT_NOTICE,) if found.brightness > BRIGHT else ()
    return (*bright, BLURRED_NOTICE) if found.sharpness < LEAST_SHARPNESS else bright


def glare(pixels: NDArray[np.uint8], brightness: float) -> float:
    """Return the share of shining pixels: near white in all channels and far above the mean.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        brightness: Its mean luma.
    """
    import numpy as np

    least = max(_SHINE, int(brightness) + _SHINE_ABOVE_MEAN)
    if least > 255:
        return 0.0
    shines = np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2]) >= least
    return float(np.count_nonzero(shines)) / shines.size


def lesion(seen: NDArray[np.uint8]) -> Lesion:
    """Return the dark region inside the inscribed disc, found by Otsu's threshold.

    Args:
        seen: From ``luma``, square.
    """
    import numpy as np

    disc, border = _masks(seen.shape[0])
    values = seen[disc]
    threshold, contrast = otsu(np.bincount(values, minlength=256))
    dark = seen <= threshold
    area = np.count_nonzero(dark[disc]) / values.size
    return Lesion(contrast, area, np.count_nonzero(dark[border]) / np.count_nonzero(border))


@functools.lru_cache(maxsize=4)
def _masks(side: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the inscribed disc and of the middles of the four borders.

    Corners are left out: they are often dark.
    """
    import numpy as np

    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(x, y) <= side / 2
    border = (np.maximum(abs(x), abs(y)) > side * 0.46) & (np.minimum(abs(x), abs(y)) < side * 0.25)
    return disc, border


def otsu(histogram: NDArray[np.int64]) -> tuple[int, float]:
    """Return Otsu's threshold, and how far apart the means of the two parts are.

    It maximises the variance between the two parts (Otsu 1979, doi:10.1109/TSMC.1979.4310076).

    Args:
        histogram: (256,) counts.

    Returns:
        The largest value of the lower part; the difference of the parts' means, 0 if there is only
        one value.
    """
    import numpy as np

    count = np.cumsum(histogram)
    total = np.cumsum(histogram * np.arange(256))
    low, high = count[:-1], count[-1] - count[:-1]
    both = np.maximum(low * high, 1)
    apart = total[-1] * low - total[:-1] * count[-1]
    variance = apart.astype(np.float64) ** 2 / both
    best = int(variance.argmax())
    return best, float(apart[best] / both[best])


def hair(seen: NDArray[np.uint8]) -> float:
    """Return the share of pixels in thin dark lines.

    A morphological closing along a line fills what is darker than both its sides (as in DullRazor;
    Lee et al. 1997, doi:10.1016/S0010-4825(97)00020-6); here along rows and columns.

    Args:
        seen: From ``luma``.
    """
    import numpy as np

    closed = np.maximum(_closed(seen, 0), _closed(seen, 1))
    inner = seen[_HAIR_REACH:-_HAIR_REACH, _HAIR_REACH:-_HAIR_REACH]
    return float(np.count_nonzero(closed - inner >= _HAIR_DEPTH)) / inner.size


def _closed(seen: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """Close along an axis, without the ``_HAIR_REACH`` px next to each border."""
    import numpy as np

    turned = seen if axis == 0 else seen.T
    highest = _reach(turned, np.maximum)
    closed = _reach(highest, np.minimum)
    r = _HAIR_REACH
    inner = closed[:, r:-r]
    return inner if axis == 0 else inner.T


def _reach(values: NDArray[np.uint8], choose: np.ufunc) -> NDArray[np.uint8]:
    """Apply ``choose`` over windows of ``_HAIR_REACH + 1`` rows."""
    result: NDArray[np.uint8] = values[: -_HAIR_REACH or None]
    for step in range(1, _HAIR_REACH + 1):
        result = choose(result, values[step : step - _HAIR_REACH or None])
    return result


def notices(pixels: NDArray[np.uint8], *, of_lesion: bool = True) -> tuple[Notice, ...]:
    """Return what is wrong with an image.

    Args:
        pixels: (SIDE_PX, SIDE_PX, 3) uint8 RGB, the part that the model sees.
        of_lesion: Whether the image shows a lesion. If not, only light and sharpness are checked.
    """
    seen = luma(Image.fromarray(pixels))
    found = light(seen)
    remarks = light_notices(found)
    if not of_lesion or DARK_NOTICE in remarks:
        return remarks
    mark = lesion(seen)
    clear = mark.contrast >= LEAST_CONTRAST
    faults = (
        (glare(pixels, found.brightness) > MOST_GLARE, GLARE_NOTICE),
        (clear and mark.area < LEAST_LESION, SMALL_NOTICE),
        (clear and mark.cut > MOST_CUT, CUT_NOTICE),
        (hair(seen) > MOST_HAIR, HAIR_NOTICE),
    )
    return (*remarks, *(notice for wrong, notice in faults if wrong))
