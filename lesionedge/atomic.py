"""Writes a file whole or not at all. All writing goes through this module."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Union

Path = Union[str, "os.PathLike[str]"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when all of it is written and on the disk.

    Until then, an older file of that name stays unchanged. If the block raises, also because of a
    signal, no unfinished file is left. Links are followed and permissions are kept.

    Args:
        path: The file's name. If it exists, it must be a regular file.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as part:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(handle, "wb") as file:
            yield file


@contextmanager
def replacing(path: Path, *, part: Path | None = None, suffix: str = "") -> Iterator[str]:
    """Return the name of an unfinished file that replaces ``path`` when the block ends.

    Like ``whole_file``, for writers that need a name.

    Args:
        path: The final name.
        part: The unfinished file, in the same folder; None for a hidden file with a new name. A
            killed process leaves it behind, so choose a fixed name for a large file.
        suffix: Suffix of the new name, for writers that choose the format by it.

    Raises:
        OSError: It cannot be written.
    """
    path = os.path.realpath(path)
    if part is None:
        # Keep it short: ``path`` may already have the longest possible name.
        hidden = f".lesionedge-{os.urandom(6).hex()}{suffix}"
        part = os.path.join(os.path.dirname(path), hidden)
    part = os.fspath(part)
    try:
        yield part
        move_into_place(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def move_into_place(part: str, path: str) -> None:
    """Flush a finished file to the disk and let it replace another; keep the permissions.

    Raises:
        OSError: It failed; both files are unchanged.
    """
    _flush(part)
    _keep_permissions(path, part)
    os.replace(part, path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    with whole_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write text to a file as UTF-8, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def _flush(part: str) -> None:
    """Flush the file to the disk before it replaces another."""
    handle = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep_permissions(path: str, part: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    with suppress(PermissionError):  # FAT, as on many USB sticks, has no permissions
        os.chmod(part, stat.S_IMODE(mode))
