"""Answers as text with bars, JSON lines or CSV; to standard output or, whole, to a file."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TextIO

from lesionedge.cli import printable
from lesionedge.cli.options import RESEARCH_USE
from lesionedge.errors import LesionEdgeError
from lesionedge.notice import CANNOT_TELL

if TYPE_CHECKING:
    from lesionedge.card import OperatingPoint
    from lesionedge.prediction import Prediction

CSV_COLUMNS = ("path", "label", "name", "probability", "malignant_probability", "error")
ABOVE_COLUMN = "above_operating_point"
BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class OutputError(LesionEdgeError):
    """The results cannot be written."""


class TextWriter:
    """For people: a block a picture, and the research-use line at the end."""

    def __init__(
        self, file: IO[str], point: OperatingPoint | None = None, *, abstain: bool = False
    ) -> None:
        self._file, self._point, self._abstain = file, point, abstain
        encoding = getattr(file, "encoding", None) or "utf-8"
        self._blocks = _can_encode(_EIGHTHS, encoding)
        self._any = False

    def success(self, path: str, prediction: Prediction) -> None:
        """Write one answer."""
        lines = [printable(path)]
        if self._abstain and prediction.reliable is False:
            lines.append(f"  {CANNOT_TELL}")
        else:
            lines += self._diagnosis(prediction)
        lines += [f"  warning: {printable(warning)}" for warning in prediction.remarks]
        self._file.write("\n".join(lines) + "\n\n")
        self._any = True

    def _diagnosis(self, prediction: Prediction) -> list[str]:
        lines = []
        wide = max((len(printable(c.name)) for c in prediction.top), default=0)
        for c in prediction.top:
            name, label = printable(c.name), printable(c.label)
            line = f"  {name:<{wide}}  {label:<6} {c.probability:6.1%}  {self._bar(c.probability)}"
            lines.append(line.rstrip())
        risk = prediction.malignant_probability
        if risk is None:
            lines.append("  malignant unknown")
        elif risk:
            lines.append(f"  malignant {risk:.1%}")
        if self._point is not None:
            side = "above" if _is_above(prediction, self._point) else "below"
            lines.append(
                f"  {side} the threshold of {self._point.threshold:.2%} (chosen for "
                f"{self._point.sensitivity:.0%} sensitivity; specificity "
                f"{self._point.measured_specificity:.0%})"
            )
        return lines

    def failure(self, path: str, error: str) -> None:
        """Leave failures to standard error."""

    def close(self) -> None:
        """End with the research-use line."""
        if self._any:
            self._file.write(RESEARCH_USE + "\n")

    def _bar(self, share: float) -> str:
        if not self._blocks:
            return "#" * round(share * BAR)
        eighths = round(share * BAR * 8)
        return (_EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


class JsonWriter:
    """For programs: one JSON object a line."""

    def __init__(
        self, file: IO[str], point: OperatingPoint | None = None, *, abstain: bool = False
    ) -> None:
        """Take where to write; ``abstain`` changes only what people read."""
        import json

        self._file, self._dumps, self._point = file, json.dumps, point

    def success(self, path: str, prediction: Prediction) -> None:
        """Write one answer."""
        if self._point is not None:
            prediction = prediction.at(self._point)
        self._file.write(self._dumps(prediction.to_dict(path)) + "\n")

    def failure(self, path: str, error: str) -> None:
        """Write one failure."""
        self._file.write(self._dumps({"path": path, "error": error}) + "\n")

    def close(self) -> None:
        """Nothing follows."""


class CsvWriter:
    """For spreadsheets: a header and a row a picture."""

    def __init__(
        self, file: IO[str], point: OperatingPoint | None = None, *, abstain: bool = False
    ) -> None:
        """Take where to write; ``abstain`` changes only what people read."""
        import csv

        self._writer, self._point = csv.writer(file, lineterminator="\n"), point
        self._writer.writerow([*CSV_COLUMNS, *([ABOVE_COLUMN] if point else [])])

    def success(self, path: str, prediction: Prediction) -> None:
        """Write one answer."""
        p = prediction
        side = [_is_above(p, self._point)] if self._point else []
        self._writer.writerow(
            [path, p.label, p.name, p.probability, p.malignant_probability, "", *side]
        )

    def failure(self, path: str, error: str) -> None:
        """Write one failure."""
        self._writer.writerow([path, "", "", "", "", error, *([""] if self._point else [])])

    def close(self) -> None:
        """Nothing follows."""


WRITERS: dict[str, Callable[..., Any]] = {
    "text": TextWriter, "json": JsonWriter, "csv": CsvWriter,
}  # fmt: skip


def _is_above(prediction: Prediction, point: OperatingPoint) -> bool:
    side = prediction.at(point).operating_point
    return side is not None and side.above


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


@contextmanager
def opened(path: str | None) -> Iterator[IO[str]]:
    """Open where results go.

    A regular file appears whole, when all is written, or not at all; a device or a pipe is
    written directly; None or ``-`` is standard output.

    Raises:
        OutputError: It cannot be written; nothing half-written is left.
    """
    try:
        with _opened(None if path == "-" else path) as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if path in (None, "-") else path
        raise OutputError(f"{name}: cannot be written ({error.strerror})") from error


@contextmanager
def _opened(path: str | None) -> Iterator[IO[str]]:
    if path is None:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        _let_odd_names_through(sys.stdout)
        yield sys.stdout
        sys.stdout.flush()
    elif _is_regular(path):
        from io import TextIOWrapper

        from lesionedge.atomic import whole_file

        with whole_file(path) as file:
            text = TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
            yield text
            text.flush()
            text.detach()
    else:
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as direct:
            yield direct


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True  # it will be


def _let_odd_names_through(stream: TextIO) -> None:
    """Names that are not UTF-8 come out as the bytes that they are."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape" if _is_utf8(stream) else "backslashreplace")


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"
