"""Runs ``python -m train``, ``python -m train.gate`` and ``python -m convert`` in this process."""

from __future__ import annotations

import warnings
from importlib import import_module

from click.testing import CliRunner

from lesionedge.errors import LesionEdgeError


class Done:
    """How a command ended."""

    def __init__(self, returncode: int, stdout: str, stderr: str) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def program(module: str, *arguments: object, check: bool = True) -> Done:
    """Run ``python -m MODULE ARGUMENTS`` in this process; expect it to succeed where checked."""
    main = import_module(f"{module}.__main__").main
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    done = Done(result.exit_code, result.stdout, result.stderr)
    if isinstance(result.exception, LesionEdgeError):
        done.stderr += f"error: {result.exception}\n"  # as the module's last lines do
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
