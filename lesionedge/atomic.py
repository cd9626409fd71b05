"""Writes a file whole, or not at all: the one place that does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Union

Path = Union[str, "os.PathLike[str]"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name once all is written and on the disk.

    Until then an older file of that name stays as it is; when the block ends by an error, or by a
    signal that raises one, nothing is left. Links are followed, permissions kept.

    Args:
        path: Its name; what it holds now may be a regular file only.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as part:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(handle, "wb") as file:
            yield file


@contextmanager
def replacing(path: Path, *, part: Path | None = None, suffix: str = "") -> Iterator[str]:
    """Name an unfinished file that takes the place of another when the block ends.

    As ``whole_file``, for writers that want a name.

    Args:
        path: Its name in the end.
        part: The unfinished file, in the same folder; None for a hidden one of a new name. A
            process that is killed outright leaves it, so give a large file a name of its own.
        suffix: Ending of the new name, for writers that go by it.

    Raises:
        OSError: It cannot be written.
    """
    path = os.path.realpath(path)
    if part is None:
        # Hidden, and short: the name beside it may be as long as names can be.
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
    """Put a finished file in another's place once the disk holds it; permissions are kept.

    Raises:
        OSError: It cannot be done; both files are as they were.
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
    """Have the disk hold what was written, before anything is replaced by it."""
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
    with suppress(PermissionError):  # FAT, as on many USB sticks, has none to keep
        os.chmod(part, stat.S_IMODE(mode))
