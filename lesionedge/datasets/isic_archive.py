"""The ISIC archive's download: ``metadata.csv`` with ``isic_id`` and what is known of an image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lesionedge.datasets import files
from lesionedge.datasets.table import (
    DERMOSCOPIC,
    DERMOSCOPY,
    Dataset,
    DatasetError,
    add,
    drop,
    expect_rows,
    finished,
    given_name,
    header,
    once,
    read_csv,
    tables,
    with_facts,
)  # fmt: skip

LABELS = ("benign", "malignant")
LABEL_COLUMNS = ("benign_malignant", "diagnosis_1")
"""Where the label stands: in downloads until 2024, and since."""
_MODALITIES = {
    "dermoscopic": DERMOSCOPY,
    "clinical": "clinical",
    "tbp tile": "TBP tile",
    "rcm": "RCM",
}


def fits(root: Path) -> bool:
    """Return whether a folder is laid out so."""
    return any(_metadata_files(root))


def load(root: Path) -> Dataset:
    """Read a download of the ISIC archive.

    Dermoscopic images are taken where there are some; else those of the one kind that there is.

    Args:
        root: Folder with ``metadata.csv`` (itself or in ``ISIC_images_metadata``) and the
            images anywhere below; or with such folders named ``train`` and ``test``, whose
            split is kept; or with a folder ``data`` that holds those.

    Raises:
        DatasetError: The metadata or the images are missing, or columns are; or there are images
            of several kinds and none is dermoscopic.
    """
    parts = []
    skipped: dict[str, int] = {}
    for file, folder, given in _metadata_files(root):
        rows, left_out = _part(file, folder)
        parts.append(rows.assign(given=given))
        add(skipped, left_out)
    if not parts:
        raise DatasetError(f"{root}: no metadata.csv with isic_id; expected the ISIC archive's")
    rows, modality, left_out = _of_one_kind(pd.concat(parts), root)
    add(skipped, left_out)
    table = finished(rows)
    expect_rows(table, root, skipped)
    return Dataset(
        "ISIC archive", table, LABELS, skipped,
        attribution="Trained on images of the ISIC archive (isic-archive.com)",
        licence="the images' own (ISIC archive: CC-0, CC BY or CC BY-NC)",
        limits=(DERMOSCOPIC,) if modality == DERMOSCOPY else (), modality=modality,
    )  # fmt: skip


def _metadata_files(root: Path) -> Iterator[tuple[Path, Path, str | None]]:
    """Find each metadata.csv, the folder that its images are below, and the split it stands for.

    Folders of splits come before the root's own, whose images would be theirs too.
    """
    for base in (root, root / "data"):
        if not base.is_dir():
            continue
        splits = [(f, name) for f in sorted(base.iterdir()) if (name := given_name(f.name))]
        found = [
            (file, folder, name)
            for folder, name in [*splits, (base, None)]
            for file in _metadata_of(folder)
        ]
        if found:
            yield from (one for one in found if one[2] or len(found) == 1)
            return


def _metadata_of(folder: Path) -> list[Path]:
    """Find a folder's metadata, by any name if it is the only such table.

    Raises:
        DatasetError: There are several.
    """
    found = [
        file
        for file in (*tables(folder), *tables(folder / "ISIC_images_metadata"))
        if "isic_id" in (cells := header(file)) and set(LABEL_COLUMNS) & set(cells)
    ]
    named = [file for file in found if file.name == "metadata.csv"]
    if len(named or found) > 1:
        names = ", ".join(str(file) for file in named or found)
        raise DatasetError(f"{folder}: several tables with isic_id ({names}); keep one")
    return named or found


def _part(file: Path, folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    rows, malformed = read_csv(file, ("isic_id",))
    columns = [name for name in LABEL_COLUMNS if name in rows]
    named = " and ".join(columns)
    labels = rows[columns].apply(lambda column: column.str.lower())
    rows["label"] = labels.bfill(axis=1).iloc[:, 0]
    rows["path"] = files.find(rows["isic_id"], [folder])
    rows = with_facts(rows)
    both = labels.where(labels.isin(LABELS)).nunique(axis=1) > 1
    rows, skipped = drop(
        rows,
        {
            "isic_id is missing": rows["isic_id"].isna(),
            f"{named} {'is' if len(columns) == 1 else 'are'} missing": rows["label"].isna(),
            f"{named} disagree": both,
            f"{named} is neither benign nor malignant": ~rows["label"].isin(LABELS),
            "no image": rows["path"].isna(),
        },
    )
    rows, left_out = once(rows, "isic_id", file)
    skipped |= left_out
    return rows, {**skipped, **({"malformed line": malformed} if malformed else {})}


def _of_one_kind(rows: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, str, dict[str, int]]:
    """Keep the images of one kind; return its modality, empty where the table does not tell."""
    if "image_type" not in rows or rows["image_type"].isna().all():
        return rows, "", {}
    kinds = rows["image_type"].map(_modality)
    there = kinds.dropna().unique()
    wanted = DERMOSCOPY if DERMOSCOPY in there else there[0]
    if wanted != DERMOSCOPY and len(there) > 1:
        counts = ", ".join(f"{kind}: {count}" for kind, count in kinds.value_counts().items())
        raise DatasetError(
            f"{root}: images of several kinds and none dermoscopic ({counts}); keep the rows of "
            "one image_type in its metadata"
        )
    others = sorted(rows["image_type"][kinds.notna() & (kinds != wanted)].unique())
    faults = {f"image_type is {other}": rows["image_type"] == other for other in others}
    rows, skipped = drop(rows, {"image_type is missing": kinds.isna(), **faults})
    return rows, wanted, skipped


def _modality(image_type: str | None) -> str | None:
    """Return how an image was taken: ``TBP tile: close-up`` is a ``TBP tile``."""
    if image_type is None:
        return None
    kind = image_type.partition(":")[0].strip().lower()
    return _MODALITIES.get(kind, kind)
