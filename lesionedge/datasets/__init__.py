"""A dataset's folder -> one table: path, label, lesion, and what else is known of an image.

Each layout is a module with ``fits(root)`` and ``load(root)``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lesionedge.datasets import (
    class_folders,
    ham10000,
    isic_archive,
    isic_challenge,
    milk10k,
    ph2,
    plain_csv,
    predicted,
)
from lesionedge.datasets.table import (
    Dataset,
    DatasetError,
    UnknownLayoutError,
    header,
    tables,
    text_as_it_is,
)

__all__ = ["LAYOUTS", "Dataset", "DatasetError", "UnknownLayoutError", "load"]

LAYOUTS = {
    "ham10000": (ham10000, "HAM10000_metadata.csv or .tab"),
    "isic-challenge": (isic_challenge, "…GroundTruth.csv of a year from 2016 to 2020"),
    "isic-archive": (isic_archive, "metadata.csv with isic_id"),
    "milk10k": (milk10k, "MILK10k_…_GroundTruth.csv with lesion_id"),
    "ph2": (ph2, "PH2_dataset.txt"),
    "csv": (plain_csv, "csv with columns path, label"),
    "folders": (class_folders, "two class folders with images"),
}
"""Name of a layout -> its loader and what it is known by, in the order that they are looked for."""


@text_as_it_is()
def load(root: Path, *, layout: str | None = None) -> Dataset:
    """Read a dataset.

    Args:
        root: Its folder (or, for ``csv``, the file).
        layout: A name of ``LAYOUTS``; None finds it out from the content.

    Raises:
        UnknownLayoutError: No layout fits.
        DatasetError: What the layout needs is missing.
    """
    if layout is not None:
        named: Dataset = LAYOUTS[layout][0].load(root)
        return _counting_predictions(named, root)
    for loader, _ in LAYOUTS.values():
        if loader.fits(root):
            if loader is class_folders:
                class_folders.refuse_table(root)
            found: Dataset = loader.load(root)
            return _counting_predictions(found, root)
    wanted = "; ".join(f"no {sign}" for _, sign in LAYOUTS.values())
    raise UnknownLayoutError(
        f"{root}: no dataset of a known layout ({wanted}); found {_found(root)}"
    )


def _counting_predictions(found: Dataset, root: Path) -> Dataset:
    """Count the tables of predictions in a dataset's folder, whose labels are not taken."""
    count = sum(predicted.is_predictions(str(file)) for file in tables(root))
    left_out = {"table of predictions, which are no labels": count} if count else {}
    return replace(found, skipped={**found.skipped, **left_out})


def _found(root: Path, most: int = 8) -> str:
    """Say what there is, so that one sees what is missing."""
    if not root.exists():
        return "nothing there"
    if not root.is_dir():
        return f"a file with the columns {', '.join(header(root)[:most])}"
    named = [f"{file.name} ({_columns(file, most)})" for file in tables(root)]
    folders = sorted(path.name + "/" for path in root.iterdir() if path.is_dir())
    return ", ".join([*named, *folders][:most]) or "nothing of that kind"


def _columns(file: Path, most: int) -> str:
    return "predictions" if predicted.is_predictions(str(file)) else ", ".join(header(file)[:most])
