"""A dataset's folder -> one table: path, label, lesion, and what else is known of a picture.

One module a layout, each with ``fits(root)`` and ``load(root)``.
"""

from __future__ import annotations

from pathlib import Path

from train.datasets import (
    class_folders,
    ham10000,
    isic_archive,
    isic_challenge,
    plain_csv,
)
from train.datasets.splits import SPLITS, merge_twins, perceptual_hash, split
from train.datasets.table import Dataset, DatasetError

__all__ = [
    "LAYOUTS", "SPLITS", "Dataset", "DatasetError", "load", "merge_twins", "perceptual_hash",
    "split",
]  # fmt: skip

LAYOUTS = {
    "ham10000": (ham10000, "HAM10000_metadata.csv"),
    "isic-challenge": (isic_challenge, "…GroundTruth.csv with one column a class"),
    "isic-archive": (isic_archive, "metadata.csv with isic_id"),
    "csv": (plain_csv, "csv with columns path, label"),
    "folders": (class_folders, "two class folders with pictures"),
}
"""Name of a layout -> its loader and what it is known by, in the order that they are looked for."""


def load(root: Path, *, layout: str | None = None) -> Dataset:
    """Read a dataset.

    Args:
        root: Its folder (or, for ``csv``, the file).
        layout: A name of ``LAYOUTS``; None finds it out from the content.

    Raises:
        DatasetError: No layout fits, or what the layout needs is missing.
    """
    if layout is not None:
        return LAYOUTS[layout][0].load(root)
    for loader, _ in LAYOUTS.values():
        if loader.fits(root):
            return loader.load(root)
    wanted = "; ".join(f"no {sign}" for _, sign in LAYOUTS.values())
    raise DatasetError(f"{root}: no dataset of a known layout ({wanted})")
