"""The command ``lesionedge``: one module per command, imported only when it is used."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from lesionedge import __version__
from lesionedge.errors import LesionEdgeError

COMMANDS = {
    "predict": "Classify images.",
    "batch": "Classify an archive of images into Parquet files.",
    "camera": "Classify a camera's images, live.",
    "serve": "Serve a page and an API that classify images.",
    "explain": "Draw a heat map of the parts that a prediction depends on.",
    "evaluate": "Measure models on labelled images of your own.",
    "calibrate": "Adjust a model to labelled images of your own.",
    "benchmark": "Time a model on this machine.",
    "info": "Describe a model and how accurate it is.",
    "doctor": "Check this installation and say how to fix it.",
}
"""Command -> one line of help; its code is ``lesionedge.cli.<command>.command``."""

ENDED_BY_HAND = frozenset({"camera", "serve"})
"""Commands that run until the user interrupts them, which is not a failure."""

INTERRUPTED = 130

_OUTPUT_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"lesionedge.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments; ``--help`` and ``--version`` print here."""
        _let_odd_names_through(sys.stdout)
        with _errors_reported():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an expected error becomes one line and an exit status."""
        with _errors_reported(ctx):
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        return result


@contextmanager
def _errors_reported(ctx: click.Context | None = None) -> Iterator[None]:
    """Turn expected errors into one line on standard error and an exit status."""
    try:
        yield
    except LesionEdgeError as error:
        fail(str(error))
        status = 1
    except KeyboardInterrupt:
        say("")
        status = 0 if ctx and ctx.invoked_subcommand in ENDED_BY_HAND else INTERRUPTED
    except BrokenPipeError:
        status = 1
    except OSError as error:
        if error.errno not in _OUTPUT_ERRNOS:
            raise
        fail(f"{error.filename or 'standard output'}: cannot be written ({error.strerror})")
        status = 1
    else:
        return
    _settle_stdout()
    raise click.exceptions.Exit(status)


def fail(text: str) -> None:
    """Print an error as one line."""
    say(f"lesionedge: error: {printable(text)}")


def warn(text: str) -> None:
    """Print a warning as one line."""
    say(f"lesionedge: warning: {printable(text)}")


def say(text: str, *, newline: bool = True) -> None:
    """Print to standard error; if that is full or nobody reads it, the work goes on."""
    with suppress(OSError):
        click.echo(text, err=True, nl=newline)


def printable(text: str) -> str:
    """Escape characters that cannot be printed or would control the terminal, as in odd names."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # Python's code for a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _let_odd_names_through(stream: TextIO | None) -> None:
    """Write names that are not UTF-8 as their original bytes; escape what cannot be encoded."""
    reconfigure = getattr(stream, "reconfigure", None)
    if stream is not None and reconfigure is not None:
        reconfigure(errors="surrogateescape" if _is_utf8(stream) else "backslashreplace")


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def _settle_stdout() -> None:
    """Prevent a second error at exit, when Python flushes output that cannot be written."""
    try:
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):
        with suppress(AttributeError, OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__, "-V", "--version", prog_name="lesionedge", message="%(prog)s %(version)s"
)
@click.option("--verbose", is_flag=True, help="Show the native library's log lines.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """Classify images of skin lesions on small computers.

    For research: not a medical device, never advice.
    """
    # The decoders' warnings about a broken file add nothing to the error that follows.
    if not verbose:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(PIL|pydicom)\.")
    ctx.obj = {"verbose": verbose}
