"""The ground truth of the ISIC challenges, one kind of table a year."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lesionedge.datasets.table import header, read_csv, tables

CODES = ("AK", "AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "SCC", "UNK", "VASC")
BINARY = ("benign", "malignant")
DEPTH = 2
"""So many folders below the dataset's a table may lie: the published archives have one of their
own, and so have some copies."""

_SPLITS = (("train", "train"), ("valid", "validation"), ("test", "test"))
_YEAR = re.compile(r"20(?:1[6-9]|20)")
_HEADLESS = re.compile(r"ISIC_[0-9]+\Z")
_TRUE = {"0": "benign", "0.0": "benign", "1": "malignant", "1.0": "malignant"}

_LABELLED = {"target", "patient_id"}

Faults = dict[str, "pd.Series[bool]"]
Rows = tuple[pd.DataFrame, Faults, int]
"""Columns image, label and what else the table has; reason -> rows that have it; how many
malformed lines."""


@dataclass(frozen=True)
class Truth:
    """One table of ground truth."""

    file: Path
    """The table."""
    year: str
    """The challenge that it is of; empty where neither its name nor its columns tell."""
    split: str | None
    """``train``, ``validation`` or ``test``, by its name or its folder's."""
    read: Callable[[Path], Rows]
    """Reads it."""


def find(root: Path) -> Iterator[Truth]:
    """Find a dataset's tables of ground truth by their columns."""
    for file in tables(root, depth=DEPTH):
        year, read = _kind(file)
        if read is None:
            continue
        names = [file.name, *(parent.name for parent in file.relative_to(root).parents)]
        years = (_YEAR.search(name) for name in (*names, root.resolve().name))
        named = next((found[0] for found in years if found), "")
        yield Truth(file, named or year, _split(names), read)


def reader(file: Path) -> Callable[[Path], Rows] | None:
    """Return what reads a table of ground truth; None: it is none of a challenge's."""
    return _kind(file)[1]


def _split(names: list[str]) -> str | None:
    for name in names:
        for word, split in _SPLITS:
            if word in name.lower():
                return split
    return None


def _kind(file: Path) -> tuple[str, Callable[[Path], Rows] | None]:
    cells = header(file)
    columns = set(cells)
    if "image" in columns and len(columns & set(CODES)) > 1:
        return "", _one_hot
    if {"image_id", "melanoma", "seborrheic_keratosis"} <= columns:
        return "2017", _of_2017
    # A sample submission has image_name and target, too.
    if "image_name" in columns and ("benign_malignant" in columns or columns >= _LABELLED):
        return "2020", _of_2020
    if len(cells) == 2 and _HEADLESS.match(cells[0]) and cells[1].lower() in (*BINARY, *_TRUE):
        return "2016", _of_2016
    return "", None


def _of_2016(file: Path) -> Rows:
    """Read name and benign or malignant (train) or 0.0 or 1.0 (test), without a header."""
    rows, malformed = read_csv(file, (), columns=("image", "label"))
    rows["label"] = rows["label"].map(lambda cell: _TRUE.get(cell, str(cell).lower()))
    return rows, {"neither benign nor malignant": ~rows["label"].isin(BINARY)}, malformed


def _of_2017(file: Path) -> Rows:
    """Read two columns of 0.0 and 1.0; an image of neither is of a nevus."""
    rows, malformed = read_csv(file, ("image_id", "melanoma", "seborrheic_keratosis"))
    marks = rows[["melanoma", "seborrheic_keratosis"]].apply(pd.to_numeric, errors="coerce")
    rows["label"] = "nv"
    rows.loc[marks["melanoma"] == 1, "label"] = "mel"
    rows.loc[marks["seborrheic_keratosis"] == 1, "label"] = "sk"
    bad = ~marks.isin([0, 1]).all(axis=1) | (marks.sum(axis=1) > 1)
    return (
        rows.rename(columns={"image_id": "image"}),
        {"more than one class is marked": bad},
        malformed,
    )


def _of_2020(file: Path) -> Rows:
    """Read benign_malignant, or target where there is none."""
    rows, malformed = read_csv(file, ("image_name",))
    rows = rows.rename(columns={"image_name": "image"})
    none = pd.Series(None, index=rows.index, dtype=object)
    named = rows.get("benign_malignant", none).str.lower()
    coded = rows.get("target", none).map(_TRUE)
    rows["label"] = named.fillna(coded)
    faults = {
        "neither benign nor malignant": ~rows["label"].isin(BINARY),
        "benign_malignant and target disagree": coded.notna() & (coded != rows["label"]),
    }
    return rows, faults, malformed


def _one_hot(file: Path) -> Rows:
    """Read one column a class, of 1.0 and 0.0 (2018, 2019)."""
    rows, malformed = read_csv(file, ("image",))
    codes = [code for code in CODES if code in rows]
    # What is no number counts as neither.
    marks = rows[codes].apply(pd.to_numeric, errors="coerce")
    rows["label"] = marks.fillna(0).idxmax(axis=1).str.lower()
    one = marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1)
    return rows, {"not exactly one class is marked": ~one}, malformed
