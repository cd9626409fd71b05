"""The ISIC challenges of 2016 to 2020 as published: tables of ground truth beside image folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lesionedge.datasets import files, isic_truth
from lesionedge.datasets.isic_truth import Truth
from lesionedge.datasets.table import (
    DERMOSCOPIC,
    DERMOSCOPY,
    FACTS,
    Dataset,
    DatasetError,
    add,
    drop,
    expect_rows,
    finished,
    header,
    once,
    read_csv,
    tables,
    with_facts,
)  # fmt: skip

_WORKS = {
    "2016": "Gutman et al. 2016, arXiv:1605.01397",
    "2017": "Codella et al. 2018, arXiv:1710.05006",
    "2018": "Codella et al. 2019, arXiv:1902.03368; Tschandl et al. 2018, "
    "doi:10.1038/sdata.2018.161",
    "2019": "Combalia et al. 2019, arXiv:1908.02288; Tschandl et al. 2018, "
    "doi:10.1038/sdata.2018.161; Codella et al. 2018, arXiv:1710.05006",
    "2020": "Rotemberg et al. 2021, doi:10.1038/s41597-021-00815-z",
}
_LICENCES = {"2016": "CC0 1.0", "2017": "CC0 1.0"}
LICENCE = "CC BY-NC 4.0"
"""Of the others."""

_KEYS = ("image", "image_id", "image_name", "isic_id")
# Words in the names of tables and folders that do not tell one part of a challenge from another.
_COMMON_WORDS = re.compile(r"groundtruth|input|data|jpeg|images|part3b?|v[0-9]+")


def fits(root: Path) -> bool:
    """Return whether a folder is laid out so."""
    return any(isic_truth.find(root))


def load(root: Path) -> Dataset:
    """Read a challenge's images with their ground truth.

    Args:
        root: Folder with ``…_GroundTruth.csv`` (also in a folder below, as in the published
            archives; Kaggle's ``train.csv`` for 2020), the images anywhere below and, where they
            are at hand, the challenge's ``…_Metadata.csv``, ``…_LesionGroupings.csv`` and
            ``…_Duplicates.csv``. Images of more than one published part keep its split.

    Raises:
        DatasetError: Ground truth or images are missing, or there are several challenges.
    """
    truths = list(isic_truth.find(root))
    if not truths:
        raise DatasetError(f"{root}: no …GroundTruth.csv of the ISIC challenges of 2016 to 2020")
    years = sorted({truth.year for truth in truths})
    if len(years) > 1:
        named = "; ".join(f"{truth.year or 'unknown'}: {truth.file}" for truth in truths)
        raise DatasetError(
            f"{root}: tables of several challenges ({named}), which share images; give one's folder"
        )
    rows, skipped = _joined(root, truths)
    expect_rows(rows, root, skipped)
    works = _WORKS.get(years[0], "; ".join(_WORKS.values()))
    licence = _LICENCES.get(years[0], LICENCE)
    return Dataset(
        f"ISIC challenge {years[0]}".strip(), finished(_with_extras(rows, root)),
        tuple(sorted(rows["label"].unique())), skipped,
        attribution="Trained on the ISIC challenge's images (challenge.isic-archive.com; "
        f"{works}), {licence}",
        licence=licence, limits=(DERMOSCOPIC,), modality=DERMOSCOPY,
    )  # fmt: skip


def _joined(root: Path, truths: Sequence[Truth]) -> tuple[pd.DataFrame, dict[str, int]]:
    skipped: dict[str, int] = {}
    parts = []
    for truth in truths:
        rows, faults, malformed = truth.read(truth.file)
        rows["path"] = files.find(rows["image"], _image_folders(root, truth))
        faults = {
            "image is missing": rows["image"].isna(),
            **faults,
            "no image": rows["path"].isna(),
        }
        rows, left_out = drop(rows, faults)
        rows, repeated = once(rows, "image", truth.file)
        add(skipped, repeated)
        add(skipped, {**left_out, **({"malformed line": malformed} if malformed else {})})
        parts.append(rows.assign(given=truth.split, file=str(truth.file)))
    rows = _once(pd.concat(parts, ignore_index=True))
    if rows["given"].nunique() < 2:  # one part alone is no split: its test is to be made of it
        rows["given"] = None
    duplicate = rows["image"].isin(_duplicates(root, set(rows["image"])))
    rows, left_out = drop(rows, {"duplicate of another image": duplicate})
    return rows, {**skipped, **left_out}


def _once(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one row of an image that several tables of a part list; the fuller table's.

    Raises:
        DatasetError: They give it different labels.
    """
    key = ["image", "given"]
    rows = rows.assign(filled=rows.notna().sum(axis=1), given=rows["given"].fillna(""))
    rows = rows.sort_values("filled", ascending=False, kind="stable")
    kept = rows.groupby(key)[["label", "file"]].transform("first")
    for row in rows.index[rows["label"] != kept["label"]]:
        raise DatasetError(
            f"{rows['file'][row]}: says {rows['label'][row]} of {rows['image'][row]}, "
            f"{kept['file'][row]} says {kept['label'][row]}; remove one of the two"
        )
    rows = rows.drop_duplicates(key).sort_index()
    return rows.assign(given=rows["given"].where(rows["given"] != "", None))


def _image_folders(root: Path, truth: Truth) -> list[Path]:
    """Find the folders that a table's images are in by their names; else the dataset's."""
    kaggle = root / "jpeg" / truth.file.stem  # beside the same images in other formats
    if kaggle.is_dir():
        return [kaggle]
    wanted = _part(truth.file.stem)
    folders = [p for level in (1, 2) for p in sorted(root.glob("*/" * level)) if p.is_dir()]
    named = [p for p in folders if _part(p.name) == wanted and any(files.images_below(p))]
    return [p for p in named if not set(p.parents) & set(named)] or [root]


def _part(name: str) -> tuple[str, ...]:
    """Return what a published name says of the part that a table or a folder is of.

    ``ISIC-2017_Training_Part3_GroundTruth`` and ``ISIC-2017_Training_Data`` are of one part.
    """
    words = re.split(r"[-_ ]+", name.lower())
    return tuple(word for word in words if not _COMMON_WORDS.fullmatch(word))


def _duplicates(root: Path, names: set[str]) -> set[str]:
    """Return the images that 2020's list calls duplicates of others that are there."""
    found: set[str] = set()
    for file in tables(root, depth=isic_truth.DEPTH):
        if {"image_name_1", "image_name_2"} <= set(header(file)):
            pairs, _ = read_csv(file, ("image_name_1", "image_name_2"))
            for one, other in zip(pairs["image_name_1"], pairs["image_name_2"]):
                if one in names and one not in found:
                    found.add(other)
    return found


def _with_extras(rows: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Add lesion, age, sex and site, also from other tables of the challenge that lie there."""
    rows = with_facts(rows)
    for file in tables(root, depth=isic_truth.DEPTH):
        key = next((name for name in _KEYS if name in header(file)), None)
        if key is None or not re.search("metadata|lesiongroupings", file.name.lower()):
            continue
        extra, _ = read_csv(file, (key,))
        extra = with_facts(extra.drop_duplicates(key).set_index(key))
        for column in FACTS.keys() & set(extra.columns):
            known = rows["image"].map(extra[column])
            rows[column] = rows[column].fillna(known) if column in rows else known
    columns = [column for column in FACTS if column in rows]
    return rows.assign(**{c: rows[c].where(rows[c] != "unknown", None) for c in columns})
