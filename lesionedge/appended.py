"""Reads the files appended to a .tflite model: a zip archive behind the flatbuffer.

Python's ``zipfile`` is not used: to import it and the modules that it needs takes 3 % of the time
in which the command line classifies one image. This module reads only the kinds that programs
append to models: stored and deflated files, in archives up to 4 GB.
(PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.)
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from lesionedge.flatbuffer import BrokenError, cut

MAX_FILE_BYTES = 4_000_000
"""Larger files in the archive are refused: they are neither labels nor cards."""

_END, _ENTRY, _FILE = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
_END_BYTES, _ENTRY_BYTES, _FILE_BYTES = 22, 46, 30
_MAX_COMMENT_BYTES = 65_535
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800


class _Entry(NamedTuple):
    """What the archive's directory says about a file."""

    flags: int
    method: int
    checksum: int
    """CRC-32 of the content."""
    packed_bytes: int
    size_bytes: int
    at: int
    """Position of its header in the model file."""


class Appended:
    """The files appended to a model; none if the model ends with its flatbuffer."""

    def __init__(self, content: mmap.mmap) -> None:
        """Read the archive's directory.

        Raises:
            BrokenError: It is damaged.
        """
        self._content = content
        self._entries = dict(_entries(content))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            BrokenError: There is no such file, or it is damaged, too large or cannot be unpacked.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise BrokenError(f"it names the file {name!r}, which is not in it")
        if entry.size_bytes > MAX_FILE_BYTES:
            raise BrokenError(f"the file {name!r} in it is over {MAX_FILE_BYTES} bytes")
        try:
            return self._unpacked(entry)
        except (BrokenError, zlib.error) as error:
            raise BrokenError(f"the file {name!r} in it cannot be read: {error}") from None

    def _unpacked(self, entry: _Entry) -> bytes:
        if entry.flags & _ENCRYPTED:
            raise BrokenError("it is encrypted")
        data = self._packed(entry)
        if entry.method == _DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, entry.size_bytes + 1)
        elif entry.method != _STORED:
            raise BrokenError(f"compression method {entry.method}; expected stored or deflated")
        if len(data) != entry.size_bytes or zlib.crc32(data) != entry.checksum:
            raise BrokenError("its size or checksum is wrong")
        return data

    def _packed(self, entry: _Entry) -> bytes:
        header = cut(self._content, entry.at, _FILE_BYTES)
        if header[:4] != _FILE:
            raise BrokenError("it is not where the archive's directory says")
        name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
        start = entry.at + _FILE_BYTES + name_bytes + extra_bytes
        return cut(self._content, start, entry.packed_bytes)


def _entries(content: mmap.mmap) -> Iterator[tuple[str, _Entry]]:
    """Yield the names and entries of the archive's directory."""
    end = content.rfind(_END, max(0, len(content) - _END_BYTES - _MAX_COMMENT_BYTES))
    if end < 0:
        return
    count, size, offset = struct.unpack_from("<HII", cut(content, end, _END_BYTES), 10)
    at = end - size
    # Offsets count from the archive's first byte; if one program wrote both, from the model's.
    start = at - offset
    if at < 0 or start < 0:
        raise BrokenError("the files appended to it cannot be read: their directory is not there")
    for _ in range(count):
        header = cut(content, at, _ENTRY_BYTES)
        flags, method, checksum, packed, whole, *sizes, place = struct.unpack(
            "<8xHH4xIIIHHH8xI", header
        )
        if header[:4] != _ENTRY:
            raise BrokenError("the files appended to it cannot be read: their directory is damaged")
        name = cut(content, at + _ENTRY_BYTES, sizes[0])
        yield _text(name, flags), _Entry(flags, method, checksum, packed, whole, start + place)
        at += _ENTRY_BYTES + sum(sizes)


def _text(name: bytes, flags: int) -> str:
    return name.decode("utf-8" if flags & _UTF8 or name.isascii() else "cp437")
