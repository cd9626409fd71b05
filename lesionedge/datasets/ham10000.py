"""HAM10000 as the Dataverse and Kaggle publish it: a table, and images in two folders or one."""

from __future__ import annotations

import re
from pathlib import Path

from lesionedge.datasets import files
from lesionedge.datasets.table import (
    DERMOSCOPIC,
    DERMOSCOPY,
    Dataset,
    DatasetError,
    drop,
    expect_rows,
    finished,
    once,
    read_csv,
)  # fmt: skip
from lesionedge.diagnosis import HAM10000

ATTRIBUTION = (
    "Trained on HAM10000 (Tschandl, Rosendahl, Kittler: The HAM10000 dataset, Sci. Data 5, 180161, "
    "2018, doi:10.1038/sdata.2018.161), ViDIR Group, Medical University of Vienna, CC BY-NC 4.0"
)
LIMITS = (
    DERMOSCOPIC,
    "Nearly all images are of light skin (Austria and Queensland); dark skin is not represented",
)


_METADATA = re.compile(r"ham10000_metadata(\.(csv|tab|tsv|txt))?", re.IGNORECASE)
_IMAGES = re.compile(r"(images|ham10000_images.*)", re.IGNORECASE)


def fits(root: Path) -> bool:
    """Return whether a folder is laid out so."""
    return _metadata_file(root) is not None


def load(root: Path) -> Dataset:
    """Read HAM10000 in any of its published layouts.

    Args:
        root: Folder with ``HAM10000_metadata`` (``.tab``, ``.csv`` or without suffix) and the
            images, in ``HAM10000_images_part_1`` and ``_2``, in ``images``, or anywhere below.

    Raises:
        DatasetError: The metadata or the images are missing, or columns are.
    """
    file = _metadata_file(root)
    if file is None:
        raise DatasetError(f"{root}: no HAM10000_metadata.csv; expected the folder as published")
    rows, malformed = read_csv(file, ("lesion_id", "image_id", "dx"))
    rows["path"] = files.find(rows["image_id"], _image_folders(root))
    labels = tuple(diagnosis.label for diagnosis in HAM10000)
    rows = rows.rename(columns={"dx": "label", "lesion_id": "lesion"})
    faults = {
        "lesion or diagnosis is missing": rows["lesion"].isna() | rows["label"].isna(),
        "no image": rows["path"].isna(),
        "unknown diagnosis": ~rows["label"].isin(labels) & rows["label"].notna(),
    }
    rows, skipped = drop(rows, faults)
    rows, left_out = once(rows, "image_id", file)
    skipped |= left_out
    if malformed:
        skipped["malformed line"] = malformed
    expect_rows(rows, file, skipped)
    return Dataset(
        "HAM10000", finished(rows), labels, skipped, attribution=ATTRIBUTION,
        licence="CC BY-NC 4.0", limits=LIMITS, modality=DERMOSCOPY,
    )  # fmt: skip


def _metadata_file(root: Path) -> Path | None:
    if not root.is_dir():
        return None
    found = [p for p in sorted(root.iterdir()) if _METADATA.fullmatch(p.name) and p.is_file()]
    found.sort(key=lambda path: path.suffix.lower() != ".csv")  # where there are both, they agree
    return found[0] if found else None


def _image_folders(root: Path) -> list[Path]:
    """Find the folders of images; of Kaggle's, which are there in both cases, one of each."""
    found: dict[str, Path] = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and _IMAGES.fullmatch(folder.name):
            found.setdefault(folder.name.lower(), folder)
    return list(found.values()) or [root]
