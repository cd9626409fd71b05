"""A csv with a row an image: ``path,label`` and, where known, lesion, patient and split."""

from __future__ import annotations

from pathlib import Path

from lesionedge.datasets.table import (
    Dataset,
    DatasetError,
    drop,
    finished,
    given_name,
    header,
    read_csv,
    tables,
)  # fmt: skip


def fits(root: Path) -> bool:
    """Return whether a folder has such a csv, or a file is one."""
    return _csv(root) is not None


def load(root: Path) -> Dataset:
    """Read a csv of images.

    Args:
        root: The csv, or the folder that has one: columns ``path`` (relative to the csv) and
            ``label``; ``lesion``, ``patient``, ``split`` (train, validation or test), ``sex``,
            ``age``, ``localization`` and ``dx_type`` may be there too.

    Raises:
        DatasetError: There is none, or more than one.
    """
    csv = _csv(root)
    if csv is None:
        raise DatasetError(f"{root}: no csv with columns path, label")
    rows, malformed = read_csv(csv, ("path", "label"))
    rows["file"] = [csv.parent / p if isinstance(p, str) else None for p in rows["path"]]
    given = rows.get("split")
    rows["given"] = None if given is None else given.map(given_name)
    faults = {
        "path or label is missing": rows["path"].isna() | rows["label"].isna(),
        "no image": ~rows["file"].map(lambda p: isinstance(p, Path) and p.is_file()).astype(bool),
        "listed twice": rows["path"].duplicated(),
    }
    if given is not None:
        faults["split is unknown"] = rows["given"].isna()
    rows, skipped = drop(rows, faults)
    rows["path"] = rows["file"]
    if malformed:
        skipped["malformed line"] = malformed
    labels = tuple(sorted(rows["label"].unique()))
    if len(labels) < 2:
        raise DatasetError(f"{csv}: usable images of {len(labels)} classes ({skipped})")
    return Dataset(csv.stem, finished(rows), labels, skipped)


def _csv(root: Path) -> Path | None:
    """Find the csv; the folder's only one that has the columns."""
    files = [root] if root.is_file() else list(tables(root))
    found = [csv for csv in files if {"path", "label"} <= set(header(csv))]
    if len(found) > 1:
        names = ", ".join(csv.name for csv in found)
        raise DatasetError(f"{root}: several tables of images ({names}); give one as --data")
    return found[0] if found else None
