"""What every loader gives: one table of pictures, and what was left out of it."""

from __future__ import annotations

from collections.abc import Iterable
from csv import DictReader
from csv import Error as CsvError
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lesionedge.errors import LesionEdgeError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MISSING = ("", "na", "n/a", "nan", "null", "none")
"""What a csv's cell holds, in lower case, when it holds nothing."""

EXTRAS = ("sex", "age", "localization", "dx_type")
COLUMNS = ("path", "label", "lesion", "patient", "given", *EXTRAS)
GIVEN_NAMES = {
    "train": "train", "training": "train", "organized_train": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "organized_validation": "validation",
    "test": "test", "testing": "test", "organized_test": "test",
}  # fmt: skip
"""How published folders and columns call the splits that they come with, in lower case."""


DERMOSCOPIC = "Trained on dermoscopic pictures; it does not know photographs without a dermatoscope"
"""What a model cannot know that was trained on a collection of such pictures only."""
DERMOSCOPY = "dermoscopy"
"""The modality of such a collection, as a card names it."""


class DatasetError(LesionEdgeError):
    """A dataset's folder lacks something or cannot be understood."""


@dataclass(frozen=True)
class Dataset:
    """Pictures with their labels, and what was left out."""

    name: str
    """What the dataset is called."""
    table: pd.DataFrame
    """Columns ``COLUMNS``: path (Path) and label (str); lesion and patient (str, missing where
    unknown); given, the published split (``train``, ``validation``, ``test`` or missing); and
    sex, age, localization and dx_type where known."""
    labels: tuple[str, ...]
    """The dataset's own classes."""
    skipped: dict[str, int]
    """Reason -> how many rows were left out for it."""
    attribution: str = ""
    """Whose pictures they are, where the layout tells."""
    licence: str = ""
    """Under which terms, where the layout tells."""
    limits: tuple[str, ...] = field(default=())
    """What a model trained on it cannot know."""
    modality: str = ""
    """How its pictures were taken, such as ``DERMOSCOPY``, where the layout tells."""


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Give a loader's rows exactly the columns ``COLUMNS``, numbered from 0."""
    return rows.reindex(columns=list(COLUMNS)).reset_index(drop=True)


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


def pictures_in(folder: Path) -> Iterable[Path]:
    """Give the pictures that lie in a folder itself, by name."""
    return (p for p in sorted(folder.iterdir()) if is_picture(p))


def pictures_below(folder: Path) -> dict[str, Path]:
    """Give the pictures anywhere below a folder by their names without suffix.

    Raises:
        DatasetError: There are none.
    """
    found = {path.stem: path for path in sorted(folder.rglob("*")) if is_picture(path)}
    if not found:
        raise DatasetError(f"{folder}: holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
    return found


def is_picture(path: Path) -> bool:
    """Tell by its suffix whether a file is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def given_name(name: object) -> str | None:
    """Give the split that a published folder's or column's word means; None for no split."""
    return GIVEN_NAMES.get(str(name).strip().lower())


def read_csv(csv: Path, needed: Iterable[str]) -> tuple[pd.DataFrame, int]:
    """Read a csv's cells as text, and count the lines that have too many of them.

    Args:
        csv: The file.
        needed: Columns that must be there.

    Raises:
        DatasetError: It cannot be read or lacks a column.
    """
    try:
        with csv.open(newline="", encoding="utf-8-sig") as file:
            reader = DictReader(file, restkey="", skipinitialspace=True)
            lines = list(reader)
    except (OSError, UnicodeDecodeError, CsvError) as error:
        raise DatasetError(f"{csv}: cannot be read ({error}); expected a csv") from error
    good = [line for line in lines if "" not in line]
    columns = [str(name).strip() for name in reader.fieldnames or ()]
    rows = pd.DataFrame([list(line.values()) for line in good], columns=columns, dtype=object)
    rows = rows.apply(lambda column: column.map(_cell))
    missing = set(needed) - set(rows.columns)
    if missing:
        found = ", ".join(map(str, rows.columns))
        raise DatasetError(
            f"{csv}: columns {', '.join(sorted(missing))} are missing; found {found}"
        )
    return rows, len(lines) - len(good)


def _cell(text: str | None) -> str | None:
    text = (text or "").strip()
    return None if text.lower() in MISSING else text


def header(csv: Path) -> list[str]:
    """Give a csv's column names; none where it cannot be read."""
    try:
        with csv.open(encoding="utf-8-sig") as file:
            return [cell.strip().strip('"') for cell in file.readline().split(",")]
    except (OSError, UnicodeDecodeError):
        return []
