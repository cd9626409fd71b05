"""Where the gate's images come from: one table of path, label, group, split and source."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from lesionedge import formats
from lesionedge.datasets import files
from lesionedge.datasets.table import read_csv
from lesionedge.errors import LesionEdgeError

LABELS = ("dermoscopic", "clinical", "other")
SPLIT_FILE = Path(__file__).parents[2] / "release" / "split.csv"
"""Its test and calibration images are those of the classifiers' first fold: what their twins are
measured on, the gate has not seen either. The fold's own split has no validation images."""

SHARES = {"train": 0.60, "validation": 0.08, "calibration": 0.07, "test": 0.25}
"""Of the photographs, which are few: a quarter is kept to measure on."""

COLUMNS = ["path", "label", "group", "split", "source"]
IMAGES = (".jpg", ".jpeg", ".png")


class SourceError(LesionEdgeError):
    """A folder of training images is missing."""


def table(data: Path) -> pd.DataFrame:
    """List every image.

    Args:
        data: Folder with ``ham10000``, ``clinical_photos`` and ``not_skin``, and optionally
            ``isic_binary`` (ISIC 2017).

    Raises:
        SourceError: One of the three is missing.
        DatasetError: The table of the clinical photographs cannot be read.
    """
    for name in ("ham10000", "clinical_photos", "not_skin"):
        if not (data / name).is_dir():
            raise SourceError(f"{data / name}: no such folder; the gate needs its images")
    parts = [_ham10000(data), _isic(data), _clinical(data), _not_skin(data)]
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _ham10000(data: Path) -> pd.DataFrame:
    split = pd.read_csv(SPLIT_FILE, dtype=str)
    names = split["path"].map(lambda path: Path(path).stem)
    split["path"] = files.find(names, [data / "ham10000"]).map(str, na_action="ignore")
    rows = split.dropna(subset="path")
    if rows.empty:
        raise SourceError(f"{data / 'ham10000'}: holds none of HAM10000's images")
    return rows.assign(label="dermoscopic", source="ham10000")


def _isic(data: Path) -> pd.DataFrame:
    """ISIC 2017: other clinics and cameras, dark corners, rulers and coloured discs."""
    rows = [
        (str(path), "dermoscopic", path.stem, split, "isic")
        for split in ("train", "test")
        for path in _images(data / "isic_binary" / "data" / split)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _clinical(data: Path) -> pd.DataFrame:
    rows, _ = read_csv(data / "clinical_photos" / "labels.csv", ("image_id", "patient_id"))
    rows = rows.dropna(subset=["image_id", "patient_id"])
    found = files.find(rows["image_id"], [data / "clinical_photos"])
    rows["path"] = found.map(str, na_action="ignore")
    rows = rows.dropna(subset="path")
    split = [_drawn_split(patient) for patient in rows["patient_id"]]
    return rows.assign(label="clinical", group=rows["patient_id"], split=split, source="clinical")


def _not_skin(data: Path) -> pd.DataFrame:
    rows = [
        (str(path), "other", path.stem, _drawn_split(path.stem), "not_skin")
        for path in _images(data / "not_skin")
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _drawn_split(group: str) -> str:
    """Draw a group's split from its name: the same whatever else is in the folder."""
    number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32
    for name, share in SHARES.items():
        number -= share
        if number < 0:
            return name
    return "test"


def _images(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGES)
    return sorted(p for p in found if not formats.is_hidden(str(p.relative_to(folder))))
