"""What every loader returns: one table of images, and what was left out of it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lesionedge import formats
from lesionedge.errors import LesionEdgeError

TABLE_SUFFIXES = (".csv", ".tab", ".tsv")
MISSING = ("", "na", "n/a", "nan", "null", "none")
"""What a table's cell holds, in lower case, when it holds nothing."""
NO_ID = ("unknown", "unk", "not known", "not available", "-", "--", "?", "??")
"""What it holds, in lower case, when a lesion or a patient is not known."""
DELIMITERS = ",\t;"
"""What parts a table's cells: csv, the Dataverse's tab, and Excel where commas are decimal."""

_EMPTY = f'{DELIMITERS} "\r\n'
_TOLD = re.compile(r'"?sep=([,;\t])"?\s*\Z', re.IGNORECASE)

EXTRAS = ("sex", "age", "localization", "dx_type", "skin_type")
COLUMNS = ("path", "label", "lesion", "patient", "given", *EXTRAS)
FACTS = {
    "lesion": ("lesion", "lesion_id"),
    "patient": ("patient", "patient_id"),
    "sex": ("sex", "gender"),
    "age": ("age", "age_approx", "age_approximate"),
    "localization": (
        "localization", "site", "location", "region", "body_site", "anatomical_site",
        "anatom_site_general", "anatom_site_general_challenge", "anatom_site_1",
        "anatom_site_special",
    ),
    "dx_type": (
        "dx_type", "diagnosis_confirm_type", "diagnosis confirm type", "confirm_type",
    ),
    "skin_type": ("skin_type", "skin type", "fitzpatrick", "fitspatrick", "fitzpatrick_skin_type"),
}  # fmt: skip
"""What is known of an image besides its label -> columns that it may be in, in lower case."""
GIVEN_NAMES = {
    "train": "train", "training": "train", "organized_train": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "organized_validation": "validation",
    "test": "test", "testing": "test", "organized_test": "test",
}  # fmt: skip
"""How published folders and columns call the splits that they come with, in lower case."""


DERMOSCOPIC = "Trained on dermoscopic images; it does not know photographs without a dermatoscope"
"""What a model cannot know that was trained on a collection of such images only."""
DERMOSCOPY = "dermoscopy"
"""The modality of such a collection, as a card names it."""


class DatasetError(LesionEdgeError):
    """A dataset's folder lacks something or cannot be understood."""


class UnknownLayoutError(DatasetError):
    """Nothing says what the images show."""


@dataclass(frozen=True)
class Dataset:
    """Images with their labels, and what was left out."""

    name: str
    """What the dataset is called."""
    table: pd.DataFrame
    """Columns ``COLUMNS``: path (Path) and label (str); lesion and patient (str, missing where
    unknown); given, the published split (``train``, ``validation``, ``test`` or missing); and
    sex, age, localization, dx_type and skin_type where known."""
    labels: tuple[str, ...]
    """The dataset's own classes."""
    skipped: dict[str, int]
    """Reason -> how many rows were left out for it."""
    attribution: str = ""
    """Whose images they are, where the layout tells."""
    licence: str = ""
    """Under which terms, where the layout tells."""
    limits: tuple[str, ...] = field(default=())
    """What a model trained on it cannot know."""
    modality: str = ""
    """How its images were taken, such as ``DERMOSCOPY``, where the data tell."""


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a loader's rows with exactly the columns ``COLUMNS``, numbered from 0."""
    return with_known_ids(rows.reindex(columns=list(COLUMNS))).reset_index(drop=True)


def with_known_ids(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose lesion and patient are missing where the table says so in words.

    All images of an ``unknown`` patient would be taken for one patient's.
    """
    words = {name: rows[name].astype(str).str.lower() for name in ("lesion", "patient")}
    known = {name: rows[name].where(~words[name].isin(NO_ID), None) for name in words}
    return rows.assign(**known)


@contextmanager
def text_as_it_is() -> Iterator[None]:
    """Keep text as Python's own: that of Arrow, where it is installed, must be valid Unicode."""
    with pd.option_context("mode.string_storage", "python"):
        yield


def with_facts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table's rows with those columns of ``FACTS`` that it has under any name.

    Of several names, such as the archive's old and new ones, the first that holds anything counts.
    """
    columns = {str(column).lower(): column for column in reversed(rows.columns)}
    found = {}
    for name, known in FACTS.items():
        there = [rows[columns[one]] for one in known if one in columns]
        if there:
            found[name] = next((one for one in there if one.notna().any()), there[0])
    return rows.assign(**found)


def drop(
    rows: pd.DataFrame, faults: dict[str, pd.Series[bool]]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave rows out, each counted under the first reason that it has.

    Args:
        rows: A loader's rows.
        faults: Reason -> which rows have it, in the order that they are looked for.

    Returns:
        The good rows, and reason -> how many were left out.
    """
    bad = pd.Series(False, index=rows.index)
    skipped = {}
    for reason, mask in faults.items():
        fresh = mask & ~bad
        if fresh.any():
            skipped[reason] = int(fresh.sum())
        bad |= mask
    return rows[~bad].copy(), skipped


def once(rows: pd.DataFrame, key: str, source: object) -> tuple[pd.DataFrame, dict[str, int]]:
    """Keep one row per image.

    Args:
        rows: A loader's good rows.
        key: The column that names an image.
        source: Where the rows are from, for messages.

    Returns:
        The rows, and reason -> how many were left out.

    Raises:
        DatasetError: An image has two labels.
    """
    labels = rows.groupby(key)["label"].nunique()
    both = labels[labels > 1]
    if len(both):
        image = both.index[0]
        two = sorted(rows.loc[rows[key] == image, "label"].unique())
        raise DatasetError(
            f"{source}: {image} has the labels {' and '.join(two[:2])} ({len(both)} such images); "
            "expected one label an image"
        )
    return drop(rows, {"listed twice": rows[key].duplicated()})


def expect_rows(rows: pd.DataFrame, source: Path, skipped: dict[str, int]) -> None:
    """Refuse a dataset of which all rows were left out.

    Raises:
        DatasetError: There is no row.
    """
    if rows.empty:
        raise DatasetError(f"{source}: no usable row is left ({skipped})")


def given_name(name: object) -> str | None:
    """Return the split that a published folder's or column's word means; None for no split."""
    return GIVEN_NAMES.get(str(name).strip().lower())


def add(skipped: dict[str, int], more: dict[str, int]) -> None:
    """Count what was left out of another part, too."""
    for reason, count in more.items():
        skipped[reason] = skipped.get(reason, 0) + count


def tables(root: Path, *, depth: int = 0) -> Iterator[Path]:
    """Return the tables in a folder, and in the folders below it down to a depth, by name."""
    if not root.is_dir():
        return
    for level in range(depth + 1):
        for path in sorted(root.glob("*/" * level + "*")):
            hidden = formats.is_hidden(str(path.relative_to(root)))
            if path.suffix.lower() in TABLE_SUFFIXES and path.is_file() and not hidden:
                yield path


def read_csv(
    file: Path, needed: Iterable[str], *, columns: Sequence[str] | None = None
) -> tuple[pd.DataFrame, int]:
    """Read a table's cells as text, and count the lines that have too many of them.

    Args:
        file: The table; its cells may be parted by any of ``DELIMITERS``.
        needed: Columns that must be there.
        columns: The columns of a table whose first line does not name them.

    Raises:
        DatasetError: It cannot be read, lacks a column, or has a quotation mark that is not closed.
    """
    try:
        text = _text(file)
        lines = list(_lines(io.StringIO(text, newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, error) from error
    names = list(columns) if columns else [name.strip() for name in (lines or [[]])[0]]
    body = lines if columns else lines[1:]
    _refuse_open_quote(file, text, body, len(names))
    good = [line for line in body if not any(cell.strip() for cell in line[len(names) :])]
    cells = [[_cell(cell) for cell in line[: len(names)]] for line in good]
    filled = [line + [None] * (len(names) - len(line)) for line in cells]
    rows = pd.DataFrame(filled, columns=names, dtype=object)
    rows = rows.loc[:, ~rows.columns.duplicated()]
    missing = set(needed) - set(rows.columns)
    if missing:
        found = ", ".join(map(str, rows.columns))
        raise DatasetError(
            f"{file}: columns {', '.join(sorted(missing))} are missing; found {found}"
        )
    return rows, len(body) - len(good)


def _refuse_open_quote(file: Path, text: str, lines: Sequence[Sequence[str]], columns: int) -> None:
    """Refuse a cell that holds whole lines of the table, which would be lost in it."""
    held = next(filter(None, (_held(cell, columns) for line in lines for cell in line)), None)
    if held is None:
        return
    try:
        for _ in _lines(io.StringIO(text, newline=""), strict=True):
            pass  # a note of several lines, between quotation marks as it should be
    except csv.Error as error:
        raise DatasetError(
            f"{file}: a quotation mark is not closed, and a cell holds other rows, such as {held!r}"
        ) from error


def _held(cell: str, columns: int) -> str | None:
    """Return a line within a cell that looks like a row; None if there is none."""
    inside = cell.splitlines()[1:] if columns > 1 else []
    return next((line for line in inside if columns - 1 in map(line.count, DELIMITERS)), None)


def _text(file: Path) -> str:
    """Return a table's text: in Unicode, or else in the code page that Excel writes on Windows."""
    content = file.read_bytes()
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _encoding(begin: bytes) -> str:
    """Return a table's encoding by its first bytes: Excel's "Unicode Text" is UTF-16."""
    is_wide = begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_wide else "utf-8-sig"


def _unreadable(file: Path, error: Exception) -> DatasetError:
    reason = getattr(error, "strerror", None) or error
    return DatasetError(f"{file}: cannot be read ({reason}); expected a csv")


def _lines(text: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
    """Split a table into cells; its first line shows what parts them. Empty lines are left out."""
    lines = iter(text)
    begin = (line for line in lines if line.strip(_EMPTY))  # Excel writes empty rows above a table
    first = next(begin, "")
    told = _TOLD.match(first)  # Excel's own line, which is no part of the table
    if told:
        first = next(begin, "")
    delimiter = told[1] if told else max(DELIMITERS, key=first.count)
    for source in ([first], lines):
        reader = csv.reader(
            source, delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=strict
        )
        yield from (line for line in reader if line)


def _cell(text: str) -> str | None:
    text = text.strip()
    return None if text.lower() in MISSING else text


def header(file: Path) -> list[str]:
    """Return the cells of a table's first line.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        with file.open("rb") as begin:
            encoding = _encoding(begin.read(2))
        with file.open(newline="", encoding=encoding, errors="surrogateescape") as text:
            return [cell.strip() for cell in next(_lines(text), [])]
    except (OSError, UnicodeError, csv.Error) as error:
        raise _unreadable(file, error) from error
