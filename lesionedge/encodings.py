"""Corrects or rejects rare encodings that Pillow reads wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from PIL import Image

from lesionedge import deep, jpeg2000, png_scan, tiff
from lesionedge.colour import Colours
from lesionedge.errors import ImageError
from lesionedge.notice import Notice
from lesionedge.pixels import Finish, Pixels, flattened

FORMATS = ("JPEG2000", "PNG", "TGA", "TIFF")
"""Pillow's names of the formats that can be corrected here."""

_PSD_CHANNELS = {1: 1, 2: 1, 3: 3, 4: 4, 9: 3}  # grey, palette, RGB, CMYK, Lab

_GREY_STEPS = {"L;2": 85, "L;4": 17}


def load(
    image: Any, reopen: Callable[[], Image.Image], colours: Colours
) -> tuple[Pixels, Image.Image]:
    """Load an image of one of ``FORMATS`` and return its pixels.

    Args:
        image: As Pillow opened it, not loaded.
        reopen: Opens the image again.
        colours: What its file says about its colours.

    Returns:
        Its pixels, and the loaded image that they come from, which may be another object than
        ``image``.

    Raises:
        ImageError: The pixels would be wrong.
    """
    ready: Any
    ready, finish = _prepared(image, reopen)
    with nullcontext() if ready is image else ready:
        raw = deep.raw_mode(ready)
        ready.load()
        if image.format == "PNG":
            png_scan.check(ready, reopen)
        if raw is not None:
            bits = tiff.sample_bits(ready.tag_v2) if ready.format == "TIFF" else 16
            return deep.flattened(ready, raw, colours, reopen, bits), ready
        loaded, warnings = (ready, ()) if finish is None else finish(ready)
        found = flattened(loaded, colours)
        return Pixels(found.image, found.conversion, (*found.warnings, *warnings)), ready


def refuse(image: Any) -> None:
    """Reject an open image that Pillow would read wrong and that cannot be corrected.

    Raises:
        ImageError: It is such an image.
    """
    if image.format == "PSD":
        image.fp.seek(12)
        channels, depth, mode = struct.unpack(">H8xHH", image.fp.read(14))
        if depth != 8 or _PSD_CHANNELS.get(mode) != channels:
            raise ImageError(
                f"PSD of {channels} channels of {depth} bits (mode {mode}) cannot be read: "
                "export it as PNG or TIFF"
            )
    elif image.mode == "RGB" and not image.quantization:
        # A lossless JPEG, whose YCbCr libjpeg takes for RGB.
        ids = [layer[0] for layer in image.layer]
        if ids not in ([82, 71, 66], ["R", "G", "B"]) and image.info.get("adobe_transform") != 0:
            raise ImageError("a lossless JPEG in YCbCr cannot be read: save it as PNG")


def _prepared(image: Any, reopen: Callable[[], Image.Image]) -> tuple[Image.Image, Finish | None]:
    if image.format == "TIFF":
        return tiff.prepare(image, reopen)
    if image.format == "JPEG2000":
        return jpeg2000.prepare(image)
    if image.format == "TGA":
        return image, _without_alpha if _has_no_alpha(image) else None
    if image.mode == "L" and "transparency" in image.info and image.tile:
        return image, _with_clear_grey(_GREY_STEPS.get(image.tile[0][3], 1))
    return image, None


def _with_clear_grey(step: int) -> Finish:
    """Scale the transparent grey to 8 bits, as Pillow scales the pixels."""

    def finish(image: Image.Image) -> tuple[Image.Image, tuple[Notice, ...]]:
        result = image.copy()
        result.info["transparency"] *= step
        return result, ()

    return finish


def _has_no_alpha(image: Any) -> bool:
    """Return whether a TGA's fourth channel is not opacity; with 16 bits a pixel it never is."""
    if image.mode != "RGBA":
        return False
    position = image.fp.tell()
    image.fp.seek(16)
    depth, descriptor = image.fp.read(2)
    image.fp.seek(position)
    return bool(depth == 16 or descriptor & 15 == 0)


def _without_alpha(image: Image.Image) -> tuple[Image.Image, tuple[Notice, ...]]:
    return image.convert("RGB"), ()
