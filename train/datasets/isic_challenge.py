"""The ISIC challenges of 2018 and 2019: ``…GroundTruth.csv``, one column of 0 and 1 a class."""

from __future__ import annotations

import re
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
    header,
    pictures_below,
    read_csv,
)  # fmt: skip

CODES = ("AK", "AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "SCC", "UNK", "VASC")
LICENCE = "CC BY-NC 4.0"
ATTRIBUTION = (
    "Trained on the ISIC challenge's pictures (challenge.isic-archive.com; Codella et al. 2019, "
    "arXiv:1902.03368; Combalia et al. 2019, arXiv:1908.02288; Tschandl et al. 2018, "
    "doi:10.1038/sdata.2018.161), CC BY-NC 4.0"
)
_SPLITS = (("train", "train"), ("valid", "validation"), ("test", "test"))


def fits(root: Path) -> bool:
    """Tell whether a folder is laid out so."""
    return any(_truth_files(root))


def load(root: Path) -> Dataset:
    """Read a challenge's pictures with their one-hot ground truth.

    Args:
        root: Folder with ``…_GroundTruth.csv`` (also a folder deeper, as in the published
            archives), the pictures anywhere below and, where they are at hand, the challenge's
            ``…_Metadata.csv`` (2019) and ``…_LesionGroupings.csv`` (2018), which tell lesions.

    Raises:
        DatasetError: Ground truth or pictures are missing.
    """
    files = list(_truth_files(root))
    if not files:
        raise DatasetError(f"{root}: no …GroundTruth.csv with columns image, MEL, NV …")
    pictures = pictures_below(root)
    skipped: dict[str, int] = {}
    parts = []
    for csv in files:
        rows, left_out = _part(csv, pictures)
        # One file alone is no published split: its test pictures are to be made of it.
        parts.append(rows.assign(given=_split_of(csv) if len(files) > 1 else None))
        for reason, count in left_out.items():
            skipped[reason] = skipped.get(reason, 0) + count
    rows = pd.concat(parts)
    if rows.empty:
        raise DatasetError(f"{root}: no usable row is left ({skipped})")
    rows = _with_extras(rows, root)
    labels = tuple(sorted(rows["label"].unique()))
    return Dataset(
        "ISIC challenge",
        finished(rows),
        labels,
        skipped,
        attribution=ATTRIBUTION,
        licence=LICENCE,
        limits=(DERMOSCOPIC,),
        modality=DERMOSCOPY,
    )


def _truth_files(root: Path) -> Iterator[Path]:
    for csv in sorted([*root.glob("*.csv"), *root.glob("*/*.csv")]):
        cells = header(csv)
        if cells[:1] == ["image"] and len(set(cells) & set(CODES)) > 1:
            yield csv


def _split_of(csv: Path) -> str | None:
    name = csv.name.lower()
    return next((split for word, split in _SPLITS if word in name), None)


def _part(csv: Path, pictures: dict[str, Path]) -> tuple[pd.DataFrame, dict[str, int]]:
    rows, malformed = read_csv(csv, ("image",))
    codes = [code for code in CODES if code in rows]
    # The cells read 1.0 and 0.0; what is no number counts as neither.
    marks = rows[codes].apply(pd.to_numeric, errors="coerce")
    rows["label"] = marks.fillna(0).idxmax(axis=1).str.lower()
    rows["path"] = rows["image"].map(pictures)
    rows, skipped = drop(
        rows,
        {
            "image is missing": rows["image"].isna(),
            "not exactly one class is marked": ~_one_marked(marks),
            "no picture": rows["path"].isna(),
            "listed twice": rows["image"].duplicated(),
        },
    )  # fmt: skip
    return rows, {**skipped, **({"malformed line": malformed} if malformed else {})}


def _one_marked(marks: pd.DataFrame) -> pd.Series[bool]:
    return marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1)


def _with_extras(rows: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Add lesion, age, sex and site from whatever other table of the challenge lies there."""
    names = {
        "lesion_id": "lesion", "age_approx": "age", "anatom_site_general": "localization",
        "sex": "sex", "diagnosis confirm type": "dx_type", "diagnosis_confirm_type": "dx_type",
    }  # fmt: skip
    for csv in sorted([*root.glob("*.csv"), *root.glob("*/*.csv")]):
        if not re.search("metadata|lesiongroupings", csv.name.lower()):
            continue
        extra, _ = read_csv(csv, ("image",))
        extra = extra.rename(columns=names).drop_duplicates("image").set_index("image")
        for column in set(names.values()) & set(extra.columns):
            known = rows["image"].map(extra[column])
            rows[column] = rows[column].fillna(known) if column in rows else known
    return rows
