"""Converts any Pillow mode to sRGB of 8 bits per channel; transparency becomes white."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import PIL
from PIL import Image

from lesionedge.errors import ImageError
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.colour import Colours
    from lesionedge.icc import Conversion

PILLOW = tuple(int(number) for number in PIL.__version__.split(".")[:2])
"""Pillow's version: errors of older ones are worked around."""

_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
TRANSPARENT = Notice("transparent", "the whole image is transparent; the transparency was ignored")
_CMYK = Notice("colour", "CMYK without a usable profile: its colours are a guess")


Finish = Callable[[Image.Image], "tuple[Image.Image, tuple[Notice, ...]]"]
"""Takes an image as Pillow loaded it; returns it with the right pixels, and the warnings."""


class Pixels(NamedTuple):
    """An image's pixels."""

    image: Image.Image
    """RGB; or of the mode that ``conversion`` takes."""
    conversion: Conversion | None = None
    """The conversion to sRGB that is still needed; None: none is needed."""
    warnings: tuple[Notice, ...] = ()
    """Warnings for people."""


def flattened(image: Image.Image, colours: Colours | None = None) -> Pixels:
    """Return a loaded image's pixels without transparency, 8 bits per channel.

    Args:
        image: Any mode.
        colours: What its file says about its colours; None: sRGB.

    Raises:
        ImageError: The range of its numbers is unknown.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return _opaque(image, colours)
    if image.mode.startswith("I"):
        return _grey_of_16_bits(image, colours)
    if image.mode == "F":
        raise ImageError(
            "pixels are floating-point numbers; convert it to 8 or 16 bits per channel"
        )
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _without_alpha(image, colours)
    return _opaque(image, colours)


def _opaque(image: Image.Image, colours: Colours | None) -> Pixels:
    """Convert an opaque image: RGB, grey, CMYK, or a mode that becomes one of these."""
    if image.mode == "LAB":
        return Pixels(image.convert("RGB"))  # Lab needs no profile
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    conversion: Conversion | None = None
    warnings: tuple[Notice, ...] = ()
    if colours is not None and colours.statements:
        conversion, warnings = colours.conversion(image.mode)
    if conversion is None and image.mode == "CMYK" and not warnings:
        warnings = (_CMYK,)
    mode = "RGB" if conversion is None else conversion.mode
    image = image if image.mode == mode else image.convert(mode)
    if conversion is None and warnings and "icc_profile" in image.info:
        image = image.copy()  # otherwise saving it would save the unusable profile too
        del image.info["icc_profile"]
    return Pixels(image, conversion, warnings)


def _without_alpha(image: Image.Image, colours: Colours | None) -> Pixels:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    alpha = rgba.getchannel("A")
    least, most = alpha.getextrema()
    if most == 0:
        bare = _colour_channels(image) if image.mode in ("RGBa", "La") else rgba.convert("RGB")
        pixels = _opaque(bare, colours)
        return Pixels(pixels.image, pixels.conversion, (*pixels.warnings, TRANSPARENT))
    pixels = _opaque(rgba.convert("RGB"), colours)
    if least == 255:
        return pixels
    return Pixels(over_white(converted(pixels), alpha), warnings=pixels.warnings)


def _colour_channels(image: Image.Image) -> Image.Image:
    bands = image.split()[:-1]
    return Image.merge("RGB", bands if len(bands) == 3 else bands * 3)


def converted(pixels: Pixels) -> Image.Image:
    """Return pixels as sRGB."""
    return pixels.image if pixels.conversion is None else pixels.conversion.apply(pixels.image)


def over_white(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return an RGB image on white, by its alpha."""
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=alpha)
    return white


def _grey_of_16_bits(image: Image.Image, colours: Colours | None) -> Pixels:
    import numpy as np

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"pixels from {values.min()} to {values.max()}; expected 0 to 65535: scale them"
        )
    values, warnings = full_range(values, 16)
    pixels = _converted_grey(values, colours)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        alpha = Image.fromarray(np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8))
        pixels = Pixels(over_white(converted(pixels), alpha), warnings=pixels.warnings)
    return Pixels(pixels.image, pixels.conversion, (*pixels.warnings, *warnings))


def _converted_grey(values: NDArray[np.uint16], colours: Colours | None) -> Pixels:
    import numpy as np

    if colours is not None and colours.conversion("L")[0] is not None:
        matrix = colours.deep("L")
        if matrix is not None:
            return Pixels(Image.fromarray(matrix.deep(np.repeat(values[..., None], 3, axis=2))))
    return _opaque(Image.fromarray(rounded(values)), colours)


def deep_rgb(values: NDArray[np.uint16], colours: Colours) -> Pixels:
    """Convert (H, W, 3) pixels of 16 bits, 0-65535, to sRGB.

    Args:
        values: RGB.
        colours: What their file says about the colours.
    """
    conversion, warnings = colours.conversion("RGB")
    matrix = colours.deep("RGB") if conversion is not None else None
    if matrix is not None:
        return Pixels(Image.fromarray(matrix.deep(values)), warnings=warnings)
    return Pixels(Image.fromarray(rounded(values)), conversion, warnings)


def rounded(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return 16 bits as 8; 65535 / 255 = 257: white stays white."""
    import numpy as np

    result: NDArray[np.uint8] = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return result


def full_range(values: NDArray[Any], bits: int) -> tuple[NDArray[np.uint16], tuple[Notice, ...]]:
    """Scale whole numbers to the full range, 0-65535.

    Cameras and scanners store 10 or 12 bits in 16. An image whose values all fit into fewer bits
    would be nearly black, so it is treated as an image of only these bits, with a warning.

    Args:
        values: Of any shape, not negative.
        bits: How many bits each value has, according to its file.
    """
    import numpy as np

    top, used = int(values.max(initial=0)), bits
    warnings: tuple[Notice, ...] = ()
    if bits in (16, 32) and 0 < top < 2 ** (bits - 2):
        # 14 bits in 16 may as well be a dark image: warn, and change nothing.
        used = next(n for n in (8, 10, 12, 16, 24, 32) if n >= top.bit_length())
        guess = f"treated as {used} bits" if used < bits else "left unchanged, dark"
        warnings = (Notice("bit-depth", f"its {bits}-bit pixels only reach {top}: {guess}"),)
    if used == 16:
        return values.astype(np.uint16), warnings
    scaled = values.astype(np.float32) * np.float32(65535 / (2**used - 1))
    return np.round(scaled).astype(np.uint16), warnings
