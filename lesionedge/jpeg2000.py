"""Corrects or rejects JPEG 2000 files that Pillow reads wrong, by their headers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image, ImagePalette

from lesionedge import isobmff
from lesionedge.errors import ImageError
from lesionedge.notice import Notice
from lesionedge.pixels import PILLOW, Finish

_CODESTREAM = b"\xff\x4f\xff\x51"
# Colour space (CMYK, sRGB, grey, sYCC, ROMM RGB) -> possible numbers of channels; all but CMYK may
# have one of opacity. colour.py converts ROMM RGB to sRGB.
_SPACES = {12: (4,), 16: (3, 4), 17: (1, 2), 18: (3, 4), 21: (3, 4)}


@dataclass(frozen=True)
class Component:
    """One coded channel."""

    bits: int
    signed: bool
    across: int
    """It has one sample per this many pixels across."""
    down: int


def prepare(image: Any) -> tuple[Image.Image, Finish | None]:
    """Return the image to load, and a function that corrects it afterwards (None: not needed).

    Args:
        image: As Pillow opened it, not loaded.

    Raises:
        ImageError: Its pixels would be read wrong.
    """
    file = image.fp
    position = file.tell()
    try:
        end = isobmff.size(file)
        parts = _header(file, end)
        channels = _components(file, end)
    finally:
        file.seek(position)
    _refuse(channels, parts, image.mode)
    if b"pclr" in parts:
        if image.mode not in ("P", "PA"):
            raise ImageError("JPEG 2000 with a palette of grey cannot be read")
        image.palette = _palette(parts[b"pclr"])
        return image, None
    return image, _spread(channels)


def _header(file: BinaryIO, end: int) -> dict[bytes, bytes]:
    """Return the contents of the file header's boxes, the first of each name."""
    file.seek(0)
    for name, begin, stop in isobmff.boxes(file, end):
        if name == b"jp2h":
            file.seek(begin)
            found: dict[bytes, bytes] = {}
            for part, at, until in isobmff.boxes(file, stop):
                found.setdefault(part, isobmff.content(file, at, until))
            return found
    return {}


def _components(file: BinaryIO, end: int) -> list[Component]:
    """Read the channels from the codestream (ISO/IEC 15444-1, A.5.1)."""
    file.seek(0)
    head = file.read(4)
    if head != _CODESTREAM:
        file.seek(0)
        begins = [begin for name, begin, _ in isobmff.boxes(file, end) if name == b"jp2c"]
        file.seek(begins[0] if begins else end)
        head = file.read(4)
    size = file.read(38)
    count = struct.unpack_from(">H", size, 36)[0] if len(size) == 38 else 0
    content = file.read(3 * count)
    if head != _CODESTREAM or not count or len(content) < 3 * count:
        raise ImageError("damaged: JPEG 2000 without a header of its pixels")
    return [
        Component((a & 0x7F) + 1, bool(a & 0x80), across, down)
        for a, across, down in struct.iter_unpack(">3B", content)
    ]


def _refuse(channels: list[Component], parts: dict[bytes, bytes], mode: str) -> None:
    most = max(channel.bits for channel in channels)
    # Pillow rounds to 8 bits without a limit: white turns to black.
    if (most > 8 and not mode.startswith("I")) or most > 16:
        raise ImageError(
            f"JPEG 2000 of {len(channels)} channels of {most} bits cannot be read: "
            "save it with 8 bits per channel"
        )
    if any(channel.across != 1 or channel.down != 1 for channel in channels):
        raise ImageError("JPEG 2000 with subsampled colours cannot be read: save it as PNG")
    if len(channels) == 4 and not parts:
        raise ImageError("JPEG 2000 does not say what its four channels are: save it as JP2")
    colour = parts.get(b"colr", b"")
    space = int.from_bytes(colour[3:7], "big")
    count = 3 if b"pclr" in parts else len(channels)
    if colour[:1] == b"\1" and space == 18 and PILLOW < (10, 3):
        raise ImageError("a JPEG 2000 of sYCC needs Pillow 10.3 or later")
    if colour[:1] == b"\1" and count not in _SPACES.get(space, ()):
        raise ImageError(f"JPEG 2000 of {count} channels in colour space {space} cannot be read")
    if not _is_in_order(parts.get(b"cdef", b"")) or not _is_straight(parts.get(b"cmap", b"")):
        raise ImageError("JPEG 2000 with channels in another order cannot be read: save it as PNG")


def _is_in_order(definitions: bytes) -> bool:
    """Return whether the channels are colours in order, then at most one of opacity."""
    found = [struct.unpack_from(">3H", definitions, at) for at in range(2, len(definitions) - 5, 6)]
    colours = [(number, kind, of) for number, kind, of in sorted(found) if kind == 0]
    others = [(number, kind) for number, kind, _ in sorted(found) if kind != 0]
    return (
        all((number, of) == (at, at + 1) for at, (number, _, of) in enumerate(colours))
        and len(others) <= 1
        and all(kind == 1 and number == len(colours) for number, kind in others)
    )


def _is_straight(mapping: bytes) -> bool:
    """Return whether a palette's columns are the colours in order."""
    found = [struct.unpack_from(">HBB", mapping, at) for at in range(0, len(mapping) - 3, 4)]
    return all(entry == (0, 1, number) for number, entry in enumerate(found))


def _palette(content: bytes) -> ImagePalette.ImagePalette:
    """Read a palette (I.5.3.4); Pillow drops colours that occur twice."""
    count, columns = struct.unpack_from(">HB", content)
    if columns != 3 or count > 256 or content[3:6] != b"\7\7\7":
        raise ImageError("JPEG 2000 with a palette that is not RGB of 8 bits cannot be read")
    return ImagePalette.raw("RGB", content[6 : 6 + 3 * count])


def _spread(channels: list[Component]) -> Finish | None:
    """Return a function that scales channels of fewer than 8 bits, which Pillow does not scale."""
    if all(channel.bits >= 8 for channel in channels):
        return None
    tables = [_table(min(channel.bits, 8)) for channel in channels]

    def finish(image: Image.Image) -> tuple[Image.Image, tuple[Notice, ...]]:
        bands = len(image.getbands())
        # Grey may have become RGB, or grey with opacity RGBA.
        own = [*[tables[0]] * (bands - len(tables)), *tables]
        result = image.point([value for table in own for value in table])
        result.info = image.info
        return result, ()

    return finish


def _table(bits: int) -> list[int]:
    top = 2**bits - 1
    return [round((value >> (8 - bits)) * 255 / top) for value in range(256)]
