"""The ISIC archive's download: ``metadata.csv`` with ``isic_id`` and ``benign_malignant``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from train.datasets.table import (
    DERMOSCOPIC,
    DERMOSCOPY,
    Dataset,
    DatasetError,
    drop,
    finished,
    given_name,
    header,
    pictures_below,
    read_csv,
)  # fmt: skip

LABELS = ("benign", "malignant")
LABEL_COLUMNS = ("benign_malignant", "diagnosis_1")
"""Where the label stands: in downloads until 2024, and since."""
RENAMED = {
    "lesion_id": "lesion", "patient_id": "patient", "age_approx": "age",
    "anatom_site_general": "localization", "diagnosis_confirm_type": "dx_type",
}  # fmt: skip


def fits(root: Path) -> bool:
    """Tell whether a folder is laid out so."""
    return any(_metadata_files(root))


def load(root: Path) -> Dataset:
    """Read a download of the ISIC archive.

    Args:
        root: Folder with ``metadata.csv`` (itself or in ``ISIC_images_metadata``) and the
            pictures anywhere below; or with such folders named ``train`` and ``test``, whose
            split is kept; or with a folder ``data`` that holds those.

    Raises:
        DatasetError: The metadata or the pictures are missing, or columns are.
    """
    parts = []
    skipped: dict[str, int] = {}
    for csv, folder, given in _metadata_files(root):
        rows, left_out = _part(csv, folder)
        parts.append(rows.assign(given=given))
        for reason, count in left_out.items():
            skipped[reason] = skipped.get(reason, 0) + count
    if not parts:
        raise DatasetError(f"{root}: no metadata.csv with isic_id; expected the ISIC archive's")
    table = finished(pd.concat(parts))
    if table.empty:
        raise DatasetError(f"{root}: no usable row is left ({skipped})")
    return Dataset(
        "ISIC archive", table, LABELS, skipped,
        attribution="Trained on pictures of the ISIC archive (isic-archive.com)",
        licence="the pictures' own (ISIC archive: CC-0, CC BY or CC BY-NC)",
        limits=(DERMOSCOPIC,), modality=DERMOSCOPY,
    )  # fmt: skip


def _metadata_files(root: Path) -> Iterator[tuple[Path, Path, str | None]]:
    """Find each metadata.csv, the folder that its pictures are below, and the split it stands for.

    Folders of splits come before the root's own, whose pictures would be theirs too.
    """
    for base in (root, root / "data"):
        if not base.is_dir():
            continue
        splits = [(f, name) for f in sorted(base.iterdir()) if (name := given_name(f.name))]
        found = [
            (csv, folder, name)
            for folder, name in [*splits, (base, None)]
            for csv in (folder / "metadata.csv", folder / "ISIC_images_metadata" / "metadata.csv")
            if "isic_id" in header(csv)
        ]
        if found:
            yield from (one for one in found if one[2] or len(found) == 1)
            return


def _part(csv: Path, folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    rows, malformed = read_csv(csv, ("isic_id",))
    column = next((name for name in LABEL_COLUMNS if name in rows), None)
    if column is None:
        raise DatasetError(
            f"{csv}: has none of {', '.join(LABEL_COLUMNS)}; found {', '.join(rows.columns)}"
        )
    rows["path"] = rows["isic_id"].map(pictures_below(folder))
    rows["label"] = rows[column].str.lower()
    rows = rows.rename(columns=RENAMED)
    rows, skipped = drop(
        rows,
        {
            "isic_id is missing": rows["isic_id"].isna(),
            f"{column} is missing": rows["label"].isna(),
            f"{column} is neither benign nor malignant": ~rows["label"].isin(LABELS),
            "no picture": rows["path"].isna(),
            "listed twice": rows["isic_id"].duplicated(),
        },
    )
    return rows, {**skipped, **({"malformed line": malformed} if malformed else {})}
