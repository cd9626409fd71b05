"""Writes a file whole, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """Open a file that appears under its name once all is written and on the disk.

    Until then an older file of that name stays as it is; when the block ends by an error, or by a
    signal that raises one, nothing is left. Links are followed, permissions kept.

    Args:
        path: Its name; what it holds now may be a regular file only.

    Raises:
        OSError: It cannot be written.
    """
    path = os.path.realpath(path)
    # Hidden, and short: the name beside it may be as long as names can be.
    part = os.path.join(os.path.dirname(path), f".lesionedge-{os.urandom(6).hex()}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        _keep_permissions(path, part)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def _keep_permissions(path: str, part: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    with suppress(PermissionError):  # FAT, as on many USB sticks, has none to keep
        os.chmod(part, stat.S_IMODE(mode))
