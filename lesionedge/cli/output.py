"""Writes predictions as text with bars, as JSON or as CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from lesionedge.cli import printable
from lesionedge.errors import LesionEdgeError
from lesionedge.labels import distinct
from lesionedge.prediction import by_class
from lesionedge.wording import CANNOT_TELL, RESEARCH_USE, is_own_name, is_refused, percent, risk

if TYPE_CHECKING:
    from lesionedge.prediction import Prediction

BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class OutputError(LesionEdgeError):
    """The results cannot be written."""


def make_folder(folder: str) -> None:
    """Make a folder for results, if there is none.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error


def check_place(path: str) -> None:
    """Refuse, before long work, a file for which there is no place.

    Raises:
        OutputError: Its folder is missing, or no file can be made there.
    """
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


class TextWriter:
    """Writes for people: a block per image, and the research-use line at the end."""

    def __init__(self, file: IO[str], *, abstain: bool = True) -> None:
        self._file, self._abstain = file, abstain
        encoding = getattr(file, "encoding", None) or "utf-8"
        self._blocks = _can_encode(_EIGHTHS, encoding)
        self._any = False

    def success(self, path: str, prediction: Prediction) -> None:
        """Write one prediction."""
        lines = [printable(path)]
        if is_refused(prediction, abstain=self._abstain):
            lines.append(f"  {CANNOT_TELL}")
        else:
            lines += self._diagnosis(prediction)
        lines += [f"  warning: {printable(warning)}" for warning in prediction.remarks]
        self._file.write("\n".join(lines) + "\n\n")
        self._any = True

    def _diagnosis(self, prediction: Prediction) -> list[str]:
        lines = []
        names = _columns(prediction)
        wide = max(map(len, names), default=0)
        for name, c in zip(names, prediction.top):
            share = percent(c.probability)
            lines.append(f"  {name:<{wide}} {share:>7}  {self._bar(c.probability)}".rstrip())
        return [*lines, f"  {risk(prediction)}"]

    def failure(self, path: str, error: str) -> None:
        """Write nothing: failures go to standard error."""

    def close(self) -> None:
        """End with the research-use line."""
        if self._any:
            self._file.write(RESEARCH_USE + "\n")

    def _bar(self, share: float) -> str:
        if not self._blocks:
            return "#" * round(share * BAR)
        eighths = round(share * BAR * 8)
        return (_EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _columns(prediction: Prediction) -> list[str]:
    """Return each class's name and label, the labels below each other."""
    named = [(printable(c.name), printable(c.label)) for c in prediction.top]
    if all(is_own_name(label, name) for name, label in named):
        return [name for name, _ in named]
    wide = max(len(name) for name, _ in named)
    return [f"{name:<{wide}}  {label:<6}" for name, label in named]


class JsonWriter:
    """Writes for programs: one JSON object per line."""

    def __init__(self, file: IO[str]) -> None:
        import json

        self._file, self._dumps = file, json.dumps

    def success(self, path: str, prediction: Prediction) -> None:
        """Write one prediction."""
        self._file.write(self._dumps(prediction.to_dict(path)) + "\n")

    def failure(self, path: str, error: str) -> None:
        """Write one failure."""
        self._file.write(self._dumps({"path": path, "error": error}) + "\n")

    def close(self) -> None:
        """Do nothing: nothing follows."""


class CsvWriter:
    """Writes for spreadsheets: a header, and a row per image."""

    def __init__(
        self, file: IO[str], *, labels: Sequence[str], header: bool = True, profile: bool = False,
        statistics: bool = False,
    ) -> None:  # fmt: skip
        """Start a table.

        Args:
            file: The file to write to.
            labels: The model's, in output order; each gets a column.
            header: Whether to write the header; False if a table is continued.
            profile: Whether there is a column for the site profile.
            statistics: Whether there are the columns ``STATISTICS``.
        """
        import csv

        self._writer, self._labels = csv.writer(file, lineterminator="\n"), labels
        self._profile, self._statistics = profile, statistics
        if header:
            self._writer.writerow(csv_header(labels, profile=profile, statistics=statistics))

    def success(self, path: str, prediction: Prediction) -> None:
        """Write one prediction; a class that ``top`` does not list has an empty cell."""
        p = prediction
        reliable = "" if p.reliable is None else str(p.reliable).lower()
        malignant = "" if p.malignant_probability is None else p.malignant_probability
        listed = by_class(p.top, self._labels)
        probabilities = ["" if share is None else share for share in listed]
        self._writer.writerow(
            [path, p.label, p.name, p.probability, malignant, reliable, "; ".join(p.warnings),
             *probabilities, *([p.profile] if self._profile else []),
             *(_statistics(p) if self._statistics else []), ""]
        )  # fmt: skip

    def failure(self, path: str, error: str) -> None:
        """Write one failure."""
        between = 6 + len(self._labels) + self._profile + self._statistics * len(STATISTICS)
        self._writer.writerow([path, *[""] * between, error])

    def close(self) -> None:
        """Do nothing: nothing follows."""


STATISTICS = ("warning_codes", "red", "green", "blue")
"""Columns of ``evaluate``'s CSV beside the usual ones."""


def _statistics(prediction: Prediction) -> list[Any]:
    codes = "; ".join(notice.code for notice in prediction.warnings)
    return [codes, *(prediction.colour or ("", "", ""))]


def csv_header(
    labels: Sequence[str], *, profile: bool = False, statistics: bool = False
) -> list[str]:
    """Return the names of the CSV's columns, for a model's labels.

    Args:
        labels: The model's.
        profile: Whether there is a column for the site profile.
        statistics: Whether there are the columns ``STATISTICS``.
    """
    first = ("path", "label", "name", "probability", "malignant_probability", "reliable")
    shares = (f"p_{label}" for label in distinct(labels))
    more = [*(["profile"] if profile else []), *(STATISTICS if statistics else [])]
    return [*first, "warnings", *shares, *more, "error"]


Writer = Any
"""An object with ``success``, ``failure`` and ``close``."""

FORMATS: tuple[str, ...] = ("text", "json", "csv")


def writer_of(
    form: str, file: IO[str], *, abstain: bool, labels: Sequence[str],
    header: bool = True, profile: bool = False,
) -> Writer:  # fmt: skip
    """Return the writer for a format.

    Args:
        form: One of ``FORMATS``.
        file: The file to write to.
        abstain: Whether to show people no diagnosis if the gate refuses an image.
        labels: The model's, for CSV.
        header: As in ``CsvWriter``.
        profile: As in ``CsvWriter``.
    """
    if form == "csv":
        return CsvWriter(file, labels=labels, header=header, profile=profile)
    return JsonWriter(file) if form == "json" else TextWriter(file, abstain=abstain)


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
