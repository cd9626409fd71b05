"""MILK10k as published: truth by lesion, and two images of each, one of them dermoscopic."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionedge.datasets import files
from lesionedge.datasets.table import (
    DERMOSCOPIC,
    DERMOSCOPY,
    Dataset,
    DatasetError,
    drop,
    expect_rows,
    finished,
    header,
    once,
    read_csv,
    tables,
    with_facts,
)  # fmt: skip

DIAGNOSES = {
    "AKIEC": "akiec", "BCC": "bcc", "BEN_OTH": "other benign lesion", "BKL": "bkl", "DF": "df",
    "INF": "inflammation or infection", "MAL_OTH": "other malignant lesion", "MEL": "mel",
    "NV": "nv", "SCCKA": "scc", "VASC": "vasc",
}  # fmt: skip
"""Column of the truth -> what it means."""
_TRUTH = {"lesion_id", *DIAGNOSES}
_ABOUT = {"lesion_id", "isic_id", "image_type"}


def fits(root: Path) -> bool:
    """Tell whether a folder is laid out so."""
    return _table(root, _TRUTH) is not None


def load(root: Path) -> Dataset:
    """Read MILK10k's dermoscopic images.

    Args:
        root: Folder with ``MILK10k_Training_GroundTruth.csv``, ``…_Metadata.csv`` and the images
            anywhere below (``MILK10k_Training_Input/LESION/ISIC_….jpg``).

    Raises:
        DatasetError: A table or the images are missing.
    """
    truth_file, about_file = _table(root, _TRUTH), _table(root, _ABOUT)
    if truth_file is None or about_file is None:
        wanted = "…_GroundTruth.csv" if truth_file is None else "…_Metadata.csv"
        raise DatasetError(f"{root}: no MILK10k{wanted}; expected the folder as published")
    truth, bad = read_csv(truth_file, _TRUTH)
    rows, malformed = read_csv(about_file, _ABOUT)
    labels = _labels(truth)
    rows["label"] = rows["lesion_id"].map(labels)
    rows["path"] = files.find(rows["isic_id"], [root])
    rows = with_facts(rows)
    rows, skipped = drop(rows, {
        "image_type is not dermoscopic": rows["image_type"].str.lower() != "dermoscopic",
        "not exactly one class is marked": rows["label"].isna(),
        "no image": rows["path"].isna(),
    })  # fmt: skip
    rows, left_out = once(rows, "isic_id", about_file)
    skipped |= left_out
    if bad + malformed:
        skipped["malformed line"] = bad + malformed
    expect_rows(rows, about_file, skipped)
    return Dataset(
        "MILK10k", finished(rows), tuple(DIAGNOSES.values()), skipped,
        attribution="Trained on MILK10k (MILK study team 2025, doi:10.34970/648456), CC BY-NC 4.0",
        licence="CC BY-NC 4.0", limits=(DERMOSCOPIC,), modality=DERMOSCOPY,
    )  # fmt: skip


def _table(root: Path, columns: set[str]) -> Path | None:
    return next((file for file in tables(root, depth=2) if columns <= set(header(file))), None)


def _labels(truth: pd.DataFrame) -> dict[str, str]:
    """Return lesion -> label, for lesions with exactly one class."""
    marks = truth[list(DIAGNOSES)].apply(pd.to_numeric, errors="coerce")
    one = marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1)
    names = marks[one].idxmax(axis=1).map(DIAGNOSES)
    return dict(zip(truth.loc[one, "lesion_id"], names))
