"""Opens the output for results: standard output, a device, or a file that appears when complete.

The results for a file are collected in ``FILE.part`` beside it. If a run is interrupted, that file
stays, and ``--resume`` continues after its last complete line.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import click

from lesionedge import formats
from lesionedge.cli import printable, say
from lesionedge.cli.output import FORMATS, OutputError, csv_header

SUFFIXES = {".csv": "csv", ".jsonl": "json", ".json": "json"}
"""Suffix of ``-o FILE`` -> format; a ``.json`` file holds one array."""

_OTHERS = frozenset((
    ".parquet", ".feather", ".arrow", ".tsv", ".xlsx", ".xls", ".ods", ".html", ".xml", ".yaml",
    ".yml", ".pdf", ".db", ".sqlite", ".gz", ".xz", ".zst", ".bz2", ".zip", ".npy", ".npz",
    ".tflite",
))  # fmt: skip
"""Suffixes of formats that are not written, so that no text gets their names."""

RESUME = "the same command with --resume continues"
"""How to continue an interrupted run, where a command has this option."""

_SIMILAR = 1e-3  # the same model's probabilities on another machine differ by less

Record = dict[str, Any]
"""A result, by JSON's keys or CSV's columns."""

_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


class Target(NamedTuple):
    """An open output, and the results that it has already."""

    file: IO[str]
    """Open for writing, after the results that it has already."""
    done: tuple[tuple[str, bool], ...] = ()
    """(path, whether it failed) of each image that an interrupted run finished, in order."""
    sample: Record | None = None
    """The first of their predictions, as ``record_of`` returns it; None if there is none."""


def format_of(form: str | None, output: str | None) -> str:
    """Return the format: from ``--format``, or by the file's suffix, or text.

    Raises:
        click.UsageError: The suffix and ``--format`` contradict each other, or the suffix is that
            of a format that is not written.
    """
    suffix = os.path.splitext(output or "")[1].lower()
    if (suffix in _OTHERS or formats.is_image_name(output or "")) and _is_regular(output or ""):
        hint = "lesionedge batch writes Parquet" if suffix == ".parquet" else "or another suffix"
        hint = "--annotate DIR writes images" if formats.is_image_name(output or "") else hint
        raise click.UsageError(
            f"-o {output}: {suffix} files are not written; expected .csv, .jsonl or .json; {hint}"
        )
    implied = SUFFIXES.get(suffix)
    if form is not None and implied is not None and form != implied:
        raise click.UsageError(
            f"-o {output}: a {suffix} file holds {implied}, but --format says {form}"
        )
    return form or implied or FORMATS[0]


@contextmanager
def opened(
    path: str | None, form: str, *, resume: bool = False, labels: tuple[str, ...] = (),
    profile: bool = False, statistics: bool = False, advice: str | None = RESUME,
) -> Iterator[Target]:  # fmt: skip
    """Open an output for results.

    Args:
        path: A regular file appears when all results are written; until then ``FILE.part`` holds
            the finished ones. A device or a pipe is written directly. None or ``-`` is standard
            output.
        form: Format of the results.
        resume: Continue ``FILE.part``.
        labels: The model's; a table that is continued must have their columns.
        profile: Whether it has a column for the site profile, too.
        statistics: Whether it has the columns ``STATISTICS``, too.
        advice: How to continue an interrupted run, for the message; None: there is no message.

    Raises:
        OutputError: It cannot be written, or cannot be continued.
    """
    try:
        if path is None or path == "-":
            with _standard_output() as file:
                yield Target(file)
        elif _is_regular(path):
            columns = csv_header(labels, profile=profile, statistics=statistics)
            with _collected(path, form, resume, columns, advice) as target:
                yield target
        else:
            with open(path, "w", **_ENCODING) as file:  # type: ignore[call-overload]
                yield Target(file)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if path in (None, "-") else path
        raise OutputError(f"{name}: cannot be written ({error.strerror})") from error


@contextmanager
def _standard_output() -> Iterator[IO[str]]:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    yield sys.stdout
    sys.stdout.flush()


@contextmanager
def _collected(
    path: str, form: str, resume: bool, columns: list[str], advice: str | None
) -> Iterator[Target]:
    """Collect results in ``FILE.part``, and rename it to the file at the end."""
    from lesionedge import atomic

    path = os.path.realpath(path)
    part = path + ".part"
    if os.path.exists(part) and not resume:
        raise OutputError(
            f"{part}: an interrupted run left it; continue it with --resume, or remove it"
        )
    if resume and not os.path.exists(part):
        raise OutputError(f"{part}: no such file: there is nothing to resume")
    done: tuple[tuple[str, bool], ...] = ()
    sample = None
    if resume:
        done, sample, length = _read_part(part, form, columns)
        os.truncate(part, length)
    whole = False
    try:
        with open(part, "a", **_ENCODING) as file:  # type: ignore[call-overload]
            yield Target(file, done, sample)
        if path.lower().endswith(".json"):
            _into_array(part)
        atomic.move_into_place(part, path)
        whole = True
    except (OutputError, click.UsageError):
        advice = None  # these results are refused, and the error says what to do
        raise
    finally:
        if not whole:
            _leave(part, advice)


def _leave(part: str, advice: str | None) -> None:
    """Keep the finished results, and say so; remove an empty file."""
    if not os.path.exists(part):
        return
    if os.path.getsize(part) == 0:
        os.unlink(part)
        return
    if advice is not None:
        say(f"\nlesionedge: the finished results are in {printable(part)}; {advice}")


def _read_part(
    part: str, form: str, columns: list[str]
) -> tuple[tuple[tuple[str, bool], ...], Record | None, int]:
    """Return an interrupted run's images, a prediction, and the bytes of its complete lines."""
    read = {"json": _json_lines, "csv": _csv_rows}.get(form)
    if read is None:
        raise click.UsageError("--resume needs --format json or csv; text cannot be read again")
    done: list[tuple[str, bool]] = []
    sample, length = None, 0
    # Only a line feed ends a line: names may hold other line breaks.
    with open(part, **{**_ENCODING, "newline": "\n"}) as file:  # type: ignore[call-overload]
        try:
            for entry, consumed in read(file, columns):
                length += consumed
                if entry is not None:
                    done.append((entry["path"], bool(entry.get("error"))))
                    sample = sample or (None if done[-1][1] else entry)
        except (ValueError, KeyError, TypeError, LookupError) as error:
            raise OutputError(
                f"{part}: cannot be continued ({error}); repeat the options of that run, "
                "or remove it"
            ) from error
    return tuple(done), sample, length if done else 0  # without results, no header either


Entry = tuple["Record | None", int]


def record_of(text: str, form: str, columns: list[str]) -> Record:
    """Return the result in a line of JSON or CSV.

    Args:
        text: The line.
        form: Its format.
        columns: The columns of CSV.
    """
    import csv
    import json

    if form == "json":
        found: Record = json.loads(text)
        return found
    return dict(zip(columns, next(csv.reader([text]))))


def is_alike(one: Any, other: Any) -> bool:
    """Return whether two results of one image may come from the same model and options."""
    if one == other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - {"timings_ms"}
        return keys == other.keys() - {"timings_ms"} and all(
            is_alike(one[k], other[k]) for k in keys
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_alike, one, other))
    try:
        return abs(float(one) - float(other)) <= _SIMILAR
    except (TypeError, ValueError):
        return False


def _json_lines(file: IO[str], _columns: list[str]) -> Iterator[Entry]:
    import json

    for line in file:
        if not line.endswith("\n"):
            return  # the interruption cut this line off
        yield json.loads(line), _bytes(line)


def _csv_rows(file: IO[str], columns: list[str]) -> Iterator[Entry]:
    import csv

    consumed: list[str] = []

    def lines() -> Iterator[str]:
        for line in file:
            if not line.endswith("\n"):
                return  # the interruption cut this line off
            consumed.append(line)
            yield line

    def table() -> Iterator[list[str]]:
        try:
            yield from csv.reader(lines(), strict=True)
        except csv.Error as error:  # the interruption cut a cell of several lines off
            if file.read(1):
                raise ValueError(str(error)) from error

    first = True
    for row in table():
        length = sum(map(_bytes, consumed))
        consumed.clear()
        if first and row != columns:
            raise ValueError("its columns are those of another model")
        yield (None if first else dict(zip(columns, row))), length
        first = False


def _bytes(line: str) -> int:
    return len(line.encode("utf-8", "surrogateescape"))


def _into_array(part: str) -> None:
    """Turn JSON lines into one JSON array."""
    from lesionedge import atomic

    with open(part, "rb") as lines, atomic.whole_file(part) as array:
        array.write(b"[")
        for number, line in enumerate(lines):
            array.write((b",\n" if number else b"\n") + line.rstrip(b"\n"))
        array.write(b"\n]\n")


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True  # it will be, or writing it says why not
