"""What Pillow reads wrong of rare encodings: made right, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from lesionedge import deep, jpeg2000, tiff
from lesionedge.colour import Colours
from lesionedge.notice import Notice
from lesionedge.pixels import Finish, Pixels, flattened

FORMATS = ("JPEG2000", "PNG", "TGA", "TIFF")
"""Pillow's names of the formats of which something is read wrong."""

_GREY_STEPS = {"L;2": 85, "L;4": 17}


def load(image: Image.Image, reopen: Callable[[], Image.Image], colours: Colours) -> Pixels:
    """Load a picture of one of ``FORMATS`` and return its pixels.

    Args:
        image: As Pillow opened it, not loaded.
        reopen: Opens it once more.
        colours: What its file says of them.

    Raises:
        ImageError: They would be wrong.
    """
    ready, finish = _prepared(image, reopen)
    with ready:
        raw = deep.raw_mode(ready)
        ready.load()
        if raw is not None:
            bits = tiff.sample_bits(ready.tag_v2) if ready.format == "TIFF" else 16
            return deep.flattened(ready, raw, colours, reopen, bits)
        loaded, warnings = (ready, ()) if finish is None else finish(ready)
        found = flattened(loaded, colours)
        return Pixels(found.image, found.conversion, (*found.warnings, *warnings))


def _prepared(
    image: Any, reopen: Callable[[], Image.Image]
) -> tuple[Image.Image, Finish | None]:
    if image.format == "TIFF":
        return tiff.prepare(image, reopen)
    if image.format == "JPEG2000":
        return jpeg2000.prepare(image)
    if image.format == "TGA":
        return image, _without_alpha if _has_no_alpha(image) else None
    clear = image.info.get("transparency")
    if image.mode == "L" and isinstance(clear, int) and image.tile:
        # Pillow spreads the pixels over 8 bits, but not the one that is transparent.
        image.info["transparency"] = clear * _GREY_STEPS.get(image.tile[0][3], 1)
    return image, None


def _has_no_alpha(image: Any) -> bool:
    """Tell whether a TGA's fourth channel is no opacity; of 16 bits the last one never is."""
    position = image.fp.tell()
    image.fp.seek(16)
    depth, descriptor = image.fp.read(2)
    image.fp.seek(position)
    return image.mode == "RGBA" and (depth == 16 or descriptor & 15 == 0)


def _without_alpha(image: Image.Image) -> tuple[Image.Image, tuple[Notice, ...]]:
    return image.convert("RGB"), ()
