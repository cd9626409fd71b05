"""Reads the boxes of ISO files (JPEG 2000, AVIF, HEIF): a size, a name of four letters, content."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_MOST_BOXES = 1000
_MOST_BYTES = 16_000_000


def boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes from a file's position on: (name, where its content begins, where it ends).

    Args:
        file: The caller may read from it and seek in it between two boxes.
        end: Where the last box ends, in bytes from the file's beginning.
    """
    at = file.tell()
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(8)
        if at + 8 > end or len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head)
        begin = at + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
            begin += 8
        stop = end if size == 0 else min(at + size, end)
        if stop < begin:
            return
        yield name, begin, stop
        at = stop


def content(file: BinaryIO, begin: int, stop: int) -> bytes:
    """Return a box's content, at most 16 MB."""
    file.seek(begin)
    return file.read(min(stop - begin, _MOST_BYTES))


def find(file: BinaryIO, path: tuple[bytes, ...], end: int) -> Iterator[bytes]:
    """Yield the contents of all boxes of a path of names, from a file's position on."""
    for name, begin, stop in boxes(file, end):
        if name != path[0]:
            continue
        if len(path) == 1:
            yield content(file, begin, stop)
            continue
        file.seek(begin + (4 if name == b"meta" else 0))  # a version and flags
        yield from find(file, path[1:], stop)


def size(file: BinaryIO) -> int:
    """Return a file's size in bytes and go to its beginning."""
    length = file.seek(0, 2)
    file.seek(0)
    return length
