"""Reads images from zip archives without unpacking them to the disk."""

from __future__ import annotations

import functools
import os
import struct
import weakref
import zipfile
import zlib
from typing import IO

from lesionedge import formats
from lesionedge.errors import ImageError
from lesionedge.sources import names, patterns

MAX_MEMBER_BYTES = 200_000_000
"""A larger image in an archive is rejected."""

MAX_TOTAL_BYTES = 1_000_000_000
MAX_RATIO = 1100
"""Deflate packs at most 1032 times. More than that (and ``MAX_TOTAL_BYTES``) is a zip bomb."""

_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, KeyError,
    RuntimeError, IndexError, OverflowError, struct.error,
)  # fmt: skip
# With bzip2 and LZMA, zipfile unpacks all that it has read, whatever size the member claims: a few
# bytes may become gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive:
    """An open zip archive."""

    def __init__(self, file: str | IO[bytes], name: str) -> None:
        """Read its list of members.

        Args:
            file: A path or a seekable file; it is closed with the archive.
            name: The archive's name, for messages.

        Raises:
            ImageError: It cannot be read, or is a bomb.
        """
        self.name = name
        if not isinstance(file, str):
            weakref.finalize(self, file.close)
        try:
            self._zip = zipfile.ZipFile(file)
        except ImageError:
            raise
        except _BROKEN as error:
            raise ImageError(f"{name}: {_why(error)}") from error
        try:
            self._members = self._listed()
        except BaseException:
            self._zip.close()
            raise

    def names(self, pattern: str = "") -> list[str]:
        """List the members that are files, sorted, without hidden ones (``__MACOSX/``).

        Args:
            pattern: A folder, a file or a pattern such as ``2019/*.jpg``; empty for all.
        """
        if pattern in self._members:
            return [pattern]
        if patterns.is_pattern(pattern):
            top, wanted = patterns.folder_of(pattern), patterns.compiled(pattern)
            found = [name for name in self._members if wanted.fullmatch(name)]
        else:
            top = f"{pattern.rstrip('/')}/" if pattern else ""
            found = [name for name in self._members if name.startswith(top)]
        return sorted(name for name in found if not formats.is_hidden(name[len(top) :]))

    def head(self, member: str) -> bytes:
        """Return a member's first bytes; empty if it cannot be read."""
        info = self._members[member]
        if info.compress_type not in _METHODS:
            return b""
        try:
            with self._zip.open(info) as file:
                return file.read(formats.HEAD_BYTES)
        except _BROKEN:
            return b""

    def read(self, member: str) -> bytes:
        """Return a member's content.

        Raises:
            ImageError: It is absent, too large, encrypted or damaged.
        """
        name = names.member_name(member, self.name)
        info = self._members.get(member)
        if info is None:
            raise ImageError(f"{name}: no such file in the archive")
        if info.file_size > MAX_MEMBER_BYTES:
            raise ImageError(f"{name}: is larger than {MAX_MEMBER_BYTES // 1_000_000} MB")
        if info.flag_bits & 1:
            raise ImageError(f"{name}: is encrypted; unpack the archive first")
        if info.compress_type not in _METHODS:
            raise ImageError(
                f"{name}: is packed by {_method(info.compress_type)}; expected deflate: "
                "unpack the archive first"
            )
        try:
            with self._zip.open(info) as file:
                return file.read()  # zipfile reads no more than the size checked above
        except ImageError:
            raise
        except _BROKEN as error:
            raise ImageError(f"{name}: damaged in the archive ({_first_line(error)})") from error

    def _listed(self) -> dict[str, zipfile.ZipInfo]:
        files = (info for info in self._zip.infolist() if info.filename[-1:] not in ("", "/"))
        members = {info.filename: info for info in files}
        total = sum(info.file_size for info in members.values())
        file = self._zip.fp
        assert file is not None
        size = file.seek(0, os.SEEK_END)
        if total > max(MAX_RATIO * size, MAX_TOTAL_BYTES):
            raise ImageError(
                f"{self.name}: would unpack to {total / 1e9:.0f} GB, more than its {size} bytes "
                "can hold: a zip bomb"
            )
        return members


def opened(where: str) -> Archive:
    """Open an archive on this machine or at an address; it stays open for the next member.

    Raises:
        ImageError: It cannot be read.
    """
    if not where:
        raise ImageError("zip://…: names no archive; expected zip://MEMBER::ARCHIVE")
    if names.is_address(where):
        return _remote(where)
    if "://" in where:
        raise ImageError(f"{where}: expected a path or http(s)://; lesionedge batch reads more")
    return local(where)


def local(path: str) -> Archive:
    """Open an archive on this machine; it stays open for the next member.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be opened ({_first_line(error)})") from error
    return _kept(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _kept(path: str, state: tuple[int, ...]) -> Archive:
    return Archive(path, path)


@functools.lru_cache(maxsize=4)
def _remote(address: str) -> Archive:
    from lesionedge.sources import remote

    return Archive(remote.archive_file(address), address)


def _method(number: int) -> str:
    names = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "zstandard", 95: "XZ", 97: "WavPack"}
    return names.get(number, f"the method {number}")


def _why(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, (zipfile.BadZipFile, EOFError)):
        return "is not a zip archive, or is damaged"
    return f"cannot be read as a zip archive ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
