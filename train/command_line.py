"""Runs a program's commands."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from lesionedge.errors import LesionEdgeError


def run(main: Callable[[], object], *, failure: Callable[[], int] = lambda: 1) -> None:
    """Run a command; what its user can mend becomes one line.

    Args:
        main: The command.
        failure: Returns the exit status after an error.
    """
    try:
        main()
    except LesionEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(failure())
