"""Reads all 16 bits per channel of files from which Pillow keeps only the upper eight."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

from lesionedge import pixels
from lesionedge.colour import Colours
from lesionedge.errors import ImageError
from lesionedge.notice import Notice
from lesionedge.pixels import Pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PIXELS = 50_000_000
"""For larger images only the upper eight bits are used: all 16 take ten bytes a pixel."""

_FORMATS = ("PNG", "TIFF")
_PLANAR = 284


def raw_mode(image: Any) -> str | None:
    """Return how a file stores an unloaded image's samples, if they have 16 bits.

    Returns:
        Pillow's raw mode, such as ``RGB;16B``. None for everything else, and for grey, which
        Pillow reads in full.
    """
    if image.format not in _FORMATS or not image.tile or image.mode not in ("RGB", "RGBA", "RGBX"):
        return None
    arguments = image.tile[0][3]
    raw = arguments if isinstance(arguments, str) else arguments[0]
    return raw if ";16" in raw else None


def set_raw_mode(image: Any, raw: str) -> None:
    """Make Pillow unpack an image's samples in another way.

    Args:
        image: Not loaded.
        raw: One of Pillow's raw modes, of as many bits as the image's own.
    """
    image.tile = [_with_arguments(tile, raw) for tile in image.tile]


def _with_arguments(tile: Any, raw: str) -> Any:
    changed = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    return tile._replace(args=changed) if hasattr(tile, "_replace") else (*tile[:3], changed)


def flattened(
    image: Image.Image, raw: str, colours: Colours, reopen: Callable[[], Image.Image], bits: int
) -> Pixels:
    """Convert an image of 16 bits per channel to eight.

    Args:
        image: Loaded; it has the upper eight bits.
        raw: What ``raw_mode`` returned for it before it was loaded.
        colours: What its file says about its colours.
        reopen: Opens the image again.
        bits: How many of the 16 bits are used, according to its file.

    Raises:
        ImageError: All 16 bits are needed and cannot be read.
    """
    brightest = max(most for _, most in image.getextrema()[:3])  # type: ignore[misc]
    is_dark, has_clear = brightest < 16, "transparency" in image.info
    if bits == 16 and not is_dark and not has_clear and not _bends(colours):
        shallow = pixels.flattened(image, colours)
        return _with_warnings(shallow, _reach(brightest))
    planar = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PLANAR) == 2
    if planar or image.width * image.height > MAX_PIXELS:
        if is_dark or bits < 16:
            raise ImageError(
                "its 16-bit samples use only a part of their range, which is not supported for "
                "large or planar images: scale them to the full range"
            )
        return pixels.flattened(image, colours)
    return _flattened(
        _samples(image, raw, reopen), raw, image.info.get("transparency"), colours, bits
    )


def _bends(colours: Colours) -> bool:
    """Return whether the colours need a conversion that works on all sixteen bits."""
    return colours.conversion("RGB")[0] is not None and colours.deep("RGB") is not None


def _reach(brightest: int) -> tuple[Notice, ...]:
    if not 0 < brightest < 64:
        return ()
    return (
        Notice(
            "bit-depth", f"its 16-bit pixels only reach {brightest * 257}: left unchanged, dark"
        ),
    )


def _with_warnings(found: Pixels, warnings: tuple[Notice, ...]) -> Pixels:
    return Pixels(found.image, found.conversion, (*found.warnings, *warnings))


def _samples(image: Image.Image, raw: str, reopen: Callable[[], Image.Image]) -> NDArray[np.uint16]:
    """Return (H, W, 2 to 4) samples: grey or RGB, and alpha or padding."""
    import numpy as np

    if raw.startswith("LA"):
        parts = np.asarray(_decoded_as(reopen, "RGBA"))  # the two bytes of grey and of alpha
        return _joined(parts[..., 0::2], parts[..., 1::2])
    # Read the samples in the other byte order: Pillow then keeps the lower bytes.
    kind, order = raw.replace("RGBa", "RGBA").split(";16")
    orders = ("L", "B") if _is_little(order) else ("B", "L")
    upper, lower = (np.asarray(_decoded_as(reopen, f"{kind};16{o}")) for o in orders)
    return _joined(upper, lower)


def _joined(upper: NDArray[Any], lower: NDArray[Any]) -> NDArray[np.uint16]:
    import numpy as np

    result: NDArray[np.uint16] = upper.astype(np.uint16) << 8 | lower
    return result


def _is_little(order: str) -> bool:
    import sys

    return order == "L" or (order == "N" and sys.byteorder == "little")


def _decoded_as(reopen: Callable[[], Image.Image], raw: str) -> Image.Image:
    image = reopen()
    with image:
        set_raw_mode(image, raw)
        image.load()
    return image


def _flattened(
    samples: NDArray[np.uint16], raw: str, clear: object, colours: Colours, bits: int
) -> Pixels:
    import numpy as np

    count = 1 if raw.startswith("LA") else 3
    own = samples[..., :count]
    own, warnings = pixels.full_range(own, bits if own.max() < 2**bits else 16)
    opaque = pixels.deep_rgb(np.broadcast_to(own, (*own.shape[:2], 3)), colours)
    alpha = _alpha(samples, raw, clear)
    if alpha is None or alpha.min() == 255:
        return _with_warnings(opaque, warnings)
    if alpha.max() == 0:
        return _with_warnings(opaque, (*warnings, pixels.TRANSPARENT))
    shown = pixels.converted(opaque)
    if raw.startswith("RGBa"):  # multiplied by its alpha already
        white = 255 - alpha[..., None].astype(int)
        shown = Image.fromarray(np.clip(np.asarray(shown) + white, 0, 255).astype(np.uint8))
    else:
        shown = pixels.over_white(shown, Image.fromarray(alpha))
    return Pixels(shown, warnings=(*opaque.warnings, *warnings))


def _alpha(samples: NDArray[np.uint16], raw: str, clear: object) -> NDArray[np.uint8] | None:
    import numpy as np

    if isinstance(clear, tuple):
        found: NDArray[np.uint8] = np.where((samples == clear).all(axis=-1), 0, 255).astype(
            np.uint8
        )
        return found
    if raw.startswith(("LA", "RGBA", "RGBa")):
        return pixels.rounded(samples[..., -1])
    return None
