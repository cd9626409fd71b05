"""A csv with one row per image: ``path,label`` and, where known, lesion, patient and split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionedge.datasets import files, places, predicted, truth
from lesionedge.datasets.table import (
    Dataset,
    DatasetError,
    drop,
    finished,
    given_name,
    header,
    once,
    read_csv,
    tables,
    with_facts,
)  # fmt: skip

FULL = (("path",), ("label",))
"""Columns of a csv that says where each image is."""
NAMED = (truth.KEYS, truth.LABELS)
"""Columns of a csv that names images; they are searched for beside it and below."""


def fits(root: Path) -> bool:
    """Return whether a folder has such a csv, or a file is one."""
    return _csv(root) is not None


def load(root: Path) -> Dataset:
    """Read a csv of images.

    Args:
        root: The csv, or the folder that has one: columns ``path`` (relative to the csv) and
            ``label``; ``lesion``, ``patient``, ``split`` (train, validation or test), ``sex``,
            ``age``, ``localization``, ``dx_type`` and ``skin_type`` may be there too. In place of
            the path, a name with or without suffix (``image_id``, ``image``, ``id``, …) will do,
            and in place of these columns their other names in published tables (``dx``,
            ``lesion_id``, …).

    Raises:
        DatasetError: There is none, or more than one.
    """
    csv = _csv(root)
    predicted.refuse(str(csv or root))
    if csv is None:
        raise DatasetError(f"{root}: no csv with columns path, label")
    rows, malformed = read_csv(csv, ())
    columns = {str(column).lower(): column for column in reversed(rows.columns)}
    rows["name"] = rows[_those(columns, truth.KEYS)[0]]
    rows["label"] = truth.label_of(rows, _those(columns, truth.LABELS))
    rows = with_facts(rows)
    rows["path"] = _places(rows["name"], csv, by_path="path" in columns)
    given = rows.get("split")
    rows["given"] = None if given is None else given.map(given_name)
    faults = {
        "path or label is missing": rows["name"].isna() | rows["label"].isna(),
        "no image": rows["path"].isna(),
    }
    if given is not None:
        faults["split is unknown"] = rows["given"].isna()
    rows, skipped = drop(rows, faults)
    rows, left_out = once(rows, "path", csv)
    skipped |= left_out
    if malformed:
        skipped["malformed line"] = malformed
    labels = tuple(sorted(rows["label"].unique()))
    if len(labels) < 2:
        raise DatasetError(f"{csv}: usable images of {len(labels)} classes ({skipped})")
    return Dataset(csv.stem, finished(rows), labels, skipped)


def _places(names: pd.Series, csv: Path, *, by_path: bool) -> pd.Series:
    """Return where each image is, missing where it is not."""
    if not by_path:
        return files.find(names, [csv.parent])
    paths = names.map(lambda name: places.beside(csv.parent, name), na_action="ignore").astype(
        object
    )
    there = paths.map(lambda path: isinstance(path, Path) and path.is_file()).astype(bool)
    return paths.where(there, None)


def _those(columns: dict[str, str], known: tuple[str, ...]) -> list[str]:
    return [columns[one] for one in known if one in columns]


def _csv(root: Path) -> Path | None:
    """Find the csv; the folder's only one that has the columns."""
    below = (csv for csv in tables(root) if not predicted.is_predictions(str(csv)))
    there = [root] if root.is_file() else list(below)
    for wanted in (FULL, NAMED):
        found = [csv for csv in there if _has(csv, wanted)]
        if len(found) > 1:
            names = ", ".join(csv.name for csv in found)
            raise DatasetError(
                f"{root}: several tables of images ({names}); name one of them "
                "in place of the folder"
            )
        if found:
            return found[0]
    return None


def _has(csv: Path, wanted: tuple[tuple[str, ...], ...]) -> bool:
    cells = {cell.lower() for cell in header(csv)}
    return all(cells & set(known) for known in wanted)
