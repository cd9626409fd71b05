"""Runs a program's commands."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

import click

from lesionedge.errors import LesionEdgeError

_FIXABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENOTDIR,
)  # fmt: skip
"""Full disks, and folders that may not be written or read."""


def run(main: Callable[[], object], *, failure: Callable[[], int] = lambda: 1) -> None:
    """Run a command; an error that its user can fix becomes one line.

    Args:
        main: The command.
        failure: Returns the exit status after an error.
    """
    try:
        main()
    except LesionEdgeError as error:
        click.echo(f"error: {error}", err=True)
    except OSError as error:
        if error.errno not in _FIXABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror}", err=True)
    else:
        return
    sys.exit(failure())
