"""Corrects or rejects TIFFs that Pillow reads wrong, by their tags."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import Image

from lesionedge import deep, pixels
from lesionedge.errors import ImageError
from lesionedge.notice import Notice
from lesionedge.pixels import Finish

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_FILL_ORDER, _ORIENTATION, _MAX_SAMPLE = 266, 274, 281
_SAMPLES, _PLANAR, _COLOUR_MAP, _INK_SET = 277, 284, 320, 332
_DOT_RANGE, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 336, 338, 339
_FAX, _JPEG = (2, 3, 4), 7
_PHOTOMETRICS = {
    0: "grey, white is zero", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr",
    8: "CIE Lab", 9: "ICC Lab", 10: "ITU Lab", 32803: "a sensor's colour filters",
    32844: "LogL", 32845: "LogLuv", 34892: "a sensor's linear colours",
}  # fmt: skip
_libtiff_lock = threading.Lock()
_FORMATS = {
    1: "",
    2: "signed ",
    3: "floating-point ",
    4: "undefined ",
    5: "complex ",
    6: "complex ",
}


def prepare(image: Any, reopen: Callable[[], Image.Image]) -> tuple[Image.Image, Finish | None]:
    """Return the TIFF to load, and a function that corrects it afterwards (None: not needed).

    Args:
        image: As Pillow opened it, not loaded.
        reopen: Opens the image again.

    Raises:
        ImageError: Its pixels would be read wrong.
    """
    tags = image.tag_v2
    _refuse(tags)
    if _needs_libtiff(image):
        image = _reopened(reopen)
    if tags.get(_PHOTOMETRIC) == 3 and _COLOUR_MAP in tags:
        _restore_palette(image)
    if image.mode == "RGBA" and tags.get(_EXTRA_SAMPLES, (0,))[0] == 1:
        return image, _with_colours(reopen, image.tile[0][3][0])
    return image, _finish(tags)


def _refuse(tags: Any) -> None:
    """Reject a TIFF whose pixels would be misread."""
    photometric, count = tags.get(_PHOTOMETRIC), tags.get(_SAMPLES, 1)
    extra = tags.get(_EXTRA_SAMPLES, ())
    if tags.get(_SUBFILE, 0) & 1 and tags.next:
        raise ImageError("its first image is only a preview; export it as JPEG or TIFF")
    if any(kind != 1 for kind in _tuple(tags.get(_SAMPLE_FORMAT, 1))):
        raise ImageError(_unread(tags))
    if photometric is None and tags.get(_COMPRESSION) not in _FAX:
        raise ImageError("TIFF without a photometric tag: its colours are unknown; save it as PNG")
    turned = tags.get(_ORIENTATION, 1) != 1 and tags.get(_COMPRESSION) != _JPEG
    if photometric == 6 and turned and pixels.PILLOW < (11, 2):
        raise ImageError("a YCbCr TIFF with an orientation needs Pillow 11.2 or later")
    if photometric == 5 and (tags.get(_INK_SET, 1) != 1 or not _is_full(tags.get(_DOT_RANGE))):
        raise ImageError("TIFF of other inks than cyan, magenta, yellow and black: save it as RGB")
    if tags.get(_PLANAR) == 2 and count > 1:
        others = count - _own_samples(photometric)
        is_odd = photometric in (0, 1, 3) or others > 1 or (others == 1 and not extra)
        if is_odd or photometric in (6, 8):
            raise ImageError("TIFF of separate planes; expected RGB or CMYK: save it as PNG")


def _own_samples(photometric: int | None) -> int:
    return {2: 3, 5: 4, 6: 3, 8: 3}.get(photometric or 0, 1)


def _is_full(dots: Any) -> bool:
    return dots is None or (dots[0] == 0 and dots[1] in (255, 65535))


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _needs_libtiff(image: Any) -> bool:
    """Return whether Pillow's own decoder would read uncompressed pixels wrong."""
    tags = image.tag_v2
    rare = tags.get(_PLANAR) == 2 or tags.get(_FILL_ORDER) == 2 or tags.get(_PHOTOMETRIC) == 6
    return bool(rare and image.tile and image.tile[0][0] == "raw")


def _reopened(reopen: Callable[[], Image.Image]) -> Image.Image:
    """Open a TIFF with libtiff, which handles planes, bit order, subsampling and coefficients."""
    from PIL import TiffImagePlugin

    # Pillow's switch affects the whole process. Another thread that opens a TIFF meanwhile gets
    # the same pixels, from the other decoder.
    with _libtiff_lock:
        before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
        try:
            return reopen()
        finally:
            TiffImagePlugin.READ_LIBTIFF = before


def _restore_palette(image: Any) -> None:
    """Read a palette of 8-bit entries, as libtiff does; Pillow would make it black."""
    from PIL import ImagePalette

    values = image.tag_v2[_COLOUR_MAP]
    if max(values) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(values))


def _with_colours(reopen: Callable[[], Image.Image], raw: str) -> Finish:
    """Return a function that restores colours if alpha is zero everywhere; Pillow loses them."""

    def finish(image: Any) -> tuple[Image.Image, tuple[Notice, ...]]:
        if image.getchannel("A").getextrema()[1] > 0:
            return image, ()
        if image.tag_v2.get(_PLANAR) == 2:
            raise ImageError("the whole image is transparent")
        with reopen() as again:
            deep.set_raw_mode(again, raw.replace("RGBa", "RGBA"))
            again.load()
            return again, ()

    return finish


def sample_bits(tags: Any) -> int:
    """Return how many bits of each sample the file uses, such as 12 of 16."""
    bits = int(_tuple(tags.get(_BITS, 1))[0])
    most = max(_tuple(tags.get(_MAX_SAMPLE, 0)))
    is_whole = isinstance(most, int) and most > 255 and most & (most + 1) == 0
    return most.bit_length() if is_whole and most < 2**bits else bits


def _finish(tags: Any) -> Finish | None:
    bits, stored = sample_bits(tags), _tuple(tags.get(_BITS, 1))[0]
    inverted = tags.get(_PHOTOMETRIC) == 0
    is_right = bits == 16 and not inverted
    if tags.get(_SAMPLES, 1) != 1 or stored <= 8 or is_right:
        return None

    def finish(image: Image.Image) -> tuple[Image.Image, tuple[Notice, ...]]:
        import numpy as np

        values = np.asarray(image)
        values = values.view(np.uint32) if stored == 32 else values
        scaled, warnings = pixels.full_range(values, bits if values.max() < 2**bits else stored)
        result = Image.fromarray(65535 - scaled if inverted else scaled)
        result.info = image.info
        return result, warnings

    return finish


def unread(content: Any) -> str | None:
    """Describe a TIFF that Pillow cannot open; None: it is not a TIFF.

    Args:
        content: Path or binary file.
    """
    try:
        if not hasattr(content, "read"):
            with open(content, "rb") as file:
                return unread(file)
        content.seek(0)
        return _described(content)
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error, Warning):
        return "damaged TIFF"


def _described(file: BinaryIO) -> str | None:
    from PIL import TiffImagePlugin

    head = file.read(16)
    if head[:4] == b"MM\0+":
        return "BigTIFF in big-endian order cannot be read: save it as TIFF or PNG"
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0"):
        return None
    tags = TiffImagePlugin.ImageFileDirectory_v2(head if head[2:3] == b"+" else head[:8])
    file.seek(tags.next)
    tags.load(file)
    return _unread(tags)


def _unread(tags: Any) -> str:
    bits = _tuple(tags.get(_BITS, 1))
    numbers = _FORMATS.get(_tuple(tags.get(_SAMPLE_FORMAT, 1))[0], "")
    meaning = _PHOTOMETRICS.get(tags.get(_PHOTOMETRIC), "of an unknown kind")
    return (
        f"TIFF of {tags.get(_SAMPLES, 1)} {numbers}samples of {bits[0]} bits ({meaning}, "
        f"compression {tags.get(_COMPRESSION, 1)}) cannot be read: save it with 8 bits per channel"
    )
