"""Finds PNG files whose coded pixels end before the last row.

Pillow leaves rows that are missing at 0, without an error, if what is there ends properly. So only
an image whose end is 0 throughout is looked at again: its coded pixels are unpacked and counted.
(PNG specification, third edition, sections 7 to 10.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from PIL import Image

from lesionedge.errors import ImageError

SHORT = "damaged or cut short (its coded pixels end before the last row)"

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> samples a pixel."""
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
"""Adam7: first column, first row, and the steps of both."""
_LAST_ROWS = 2
"""Of interlaced images, the last pass holds every second row."""
_AT_A_TIME = 1 << 18


def check(image: Image.Image, reopen: Callable[[], Image.Image]) -> None:
    """Refuse a loaded image of which rows are missing.

    Args:
        image: A PNG as Pillow loaded it.
        reopen: Opens its file again.

    Raises:
        ImageError: Rows are missing.
    """
    rows = range(max(0, image.height - _LAST_ROWS), image.height)
    if any(_is_zero(image.crop((0, row, image.width, row + 1))) for row in rows):
        with reopen() as again:
            file: Any = again.fp
            if not _is_whole(file):
                raise ImageError(SHORT)


def _is_zero(row: Image.Image) -> bool:
    return not any(row.tobytes())


def _is_whole(file: IO[bytes]) -> bool:
    file.seek(_SIGNATURE_BYTES)
    chunks = _chunks(file)
    kind, header = next(chunks)
    if kind != b"IHDR":
        return True  # another application's order, which Pillow has read
    left = _length(header)
    unpacking = zlib.decompressobj()
    for content in (content for kind, content in chunks if kind == b"IDAT"):
        rest = content
        while rest and left > 0:
            try:
                left -= len(unpacking.decompress(rest, _AT_A_TIME))
            except zlib.error:
                return False
            rest = unpacking.unconsumed_tail
        if left <= 0 or unpacking.eof:
            break
    return left <= len(unpacking.flush())


def _length(header: bytes) -> int:
    """Return how many bytes the coded pixels have unpacked."""
    width, height, depth, colours, _, _, interlaced = struct.unpack_from(">IIBBBBB", header)
    bits = depth * _CHANNELS[colours]
    parts = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in parts)
    return sum(high * (1 + -(-wide * bits // 8)) for wide, high in sizes if wide > 0 and high > 0)


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's type and content."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        yield kind, file.read(size)
        file.seek(4, 1)  # the checksum
