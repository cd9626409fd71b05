"""HAM10000 as published: ``HAM10000_metadata`` and the pictures in one folder or in two parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lesionedge.diagnosis import HAM10000
from train.datasets.table import (
    DERMOSCOPIC,
    DERMOSCOPY,
    PICTURE_SUFFIXES,
    Dataset,
    DatasetError,
    drop,
    finished,
    pictures_in,
    read_csv,
)  # fmt: skip

ATTRIBUTION = (
    "Trained on HAM10000 (Tschandl, Rosendahl, Kittler: The HAM10000 dataset, Sci. Data 5, 180161, "
    "2018, doi:10.1038/sdata.2018.161), ViDIR Group, Medical University of Vienna, CC BY-NC 4.0"
)
LIMITS = (
    DERMOSCOPIC,
    "Nearly all pictures are of light skin (Austria and Queensland); dark skin is not represented",
)


def fits(root: Path) -> bool:
    """Tell whether a folder is laid out so."""
    return _metadata_file(root) is not None


def load(root: Path) -> Dataset:
    """Read HAM10000 in any of its published layouts.

    Args:
        root: Folder with ``HAM10000_metadata`` (``.csv`` or without) and the pictures, in
            one folder (``images`` or the root) or in ``HAM10000_images_part_1`` and ``_2``.

    Raises:
        DatasetError: The metadata or the pictures are missing, or columns are.
    """
    csv = _metadata_file(root)
    if csv is None:
        raise DatasetError(f"{root}: no HAM10000_metadata.csv; expected the folder as published")
    rows, malformed = read_csv(csv, ("lesion_id", "image_id", "dx"))
    files = {path.stem: path for path in _pictures(root)}
    if not files:
        raise DatasetError(f"{root}: holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
    labels = tuple(diagnosis.label for diagnosis in HAM10000)
    rows["path"] = rows["image_id"].map(files)
    rows = rows.rename(columns={"dx": "label", "lesion_id": "lesion"})
    faults = {
        "lesion or diagnosis is missing": rows["lesion"].isna() | rows["label"].isna(),
        "no picture": rows["path"].isna(),
        "unknown diagnosis": ~rows["label"].isin(labels) & rows["label"].notna(),
        "listed twice": rows["image_id"].duplicated(),
    }
    rows, skipped = drop(rows, faults)
    if malformed:
        skipped["malformed line"] = malformed
    if rows.empty:
        raise DatasetError(f"{csv}: no usable row is left ({skipped})")
    return Dataset(
        "HAM10000", finished(rows), labels, skipped, attribution=ATTRIBUTION,
        licence="CC BY-NC 4.0", limits=LIMITS, modality=DERMOSCOPY,
    )  # fmt: skip


def _metadata_file(root: Path) -> Path | None:
    for name in ("HAM10000_metadata.csv", "HAM10000_metadata"):
        if (root / name).is_file():
            return root / name
    return None


def _pictures(root: Path) -> Iterable[Path]:
    parts = sorted(root.glob("HAM10000_images_part_*"))
    for folder in [f for f in (root / "images", *parts) if f.is_dir()] or [root]:
        yield from pictures_in(folder)
