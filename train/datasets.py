"""A dataset's folder -> one table: path, label, lesion, and what else is known of a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lesionedge.diagnosis import HAM10000
from lesionedge.errors import LesionEdgeError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
SPLITS = ("train", "validation", "calibration", "test")
FOLDS = {"train": 14, "validation": 2, "calibration": 1, "test": 3}
"""How many of twenty equal folds each split gets."""

HASH_BITS = 256
TWIN_BITS = 48
"""Pictures whose perceptual hashes differ in fewer of 256 bits are taken for one lesion.

In HAM10000 this joins about twenty pairs of lesions; the known one (ISIC_0025226 and
ISIC_0030074) differs by 14 bits, unrelated round lesions by 50 and more. Joining two lesions
that are merely alike costs nothing but a little freedom in the split."""


class DatasetError(LesionEdgeError):
    """A dataset's folder lacks something or cannot be understood."""


@dataclass(frozen=True)
class Dataset:
    """Pictures with their labels, and what was left out."""

    name: str
    """What the dataset is called."""
    table: pd.DataFrame
    """Columns path, label, lesion and, where known, age, sex, localization, dx_type."""
    labels: tuple[str, ...]
    """The classes, in the order that a model answers them."""
    skipped: dict[str, int]
    """Reason -> how many rows were left out for it."""


def load(root: Path) -> Dataset:
    """Read HAM10000 in any of its published layouts.

    Args:
        root: Folder with ``HAM10000_metadata`` (``.csv`` or without) and the pictures, in
            one folder (``images`` or the root) or in ``HAM10000_images_part_1`` and ``_2``.

    Raises:
        DatasetError: The metadata or the pictures are missing, or columns are.
    """
    csv = _metadata_file(root)
    rows = pd.read_csv(csv, dtype={"lesion_id": str, "image_id": str, "dx": str})
    missing = {"lesion_id", "image_id", "dx"} - set(rows.columns)
    if missing:
        found = ", ".join(map(str, rows.columns))
        raise DatasetError(
            f"{csv}: columns {', '.join(sorted(missing))} are missing; found {found}"
        )
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
    rows, skipped = _drop(rows, faults)
    if rows.empty:
        raise DatasetError(f"{csv}: no usable row is left ({skipped})")
    columns = ["path", "label", "lesion", "age", "sex", "localization", "dx_type"]
    table = rows[[column for column in columns if column in rows]]
    return Dataset("HAM10000", table.reset_index(drop=True), labels, skipped)


def _metadata_file(root: Path) -> Path:
    for name in ("HAM10000_metadata.csv", "HAM10000_metadata"):
        if (root / name).is_file():
            return root / name
    raise DatasetError(f"{root}: no HAM10000_metadata.csv; expected the folder as published")


def _pictures(root: Path) -> Iterable[Path]:
    parts = sorted(root.glob("HAM10000_images_part_*"))
    folders = [folder for folder in (root / "images", *parts) if folder.is_dir()] or [root]
    for folder in folders:
        yield from (p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURE_SUFFIXES)


def _drop(
    rows: pd.DataFrame, faults: dict[str, pd.Series[bool]]
) -> tuple[pd.DataFrame, dict[str, int]]:
    bad = pd.Series(False, index=rows.index)
    skipped = {}
    for reason, mask in faults.items():
        fresh = mask & ~bad
        if fresh.any():
            skipped[reason] = int(fresh.sum())
        bad |= mask
    return rows[~bad].copy(), skipped


def perceptual_hash(pixels: np.ndarray) -> np.ndarray:
    """Give a picture's perceptual hash (DCT of its grey values; ImageHash's ``phash``).

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        (32,) uint8, 256 bits.
    """
    import imagehash

    side = int(HASH_BITS**0.5)
    small = Image.fromarray(pixels).convert("L")
    return np.packbits(imagehash.phash(small, hash_size=side, highfreq_factor=4).hash)


def merge_twins(
    lesions: Sequence[str], hashes: np.ndarray
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Group pictures of one lesion, and of lesions that look the same under several names.

    Near-duplicates with different lesion ids are known in HAM10000 (Abhishek et al. 2025,
    arXiv:2401.14497); a split that parts them leaks.

    Args:
        lesions: (N,) lesion ids.
        hashes: (N, 32) uint8 from ``perceptual_hash``.

    Returns:
        (N,) int group numbers, and the (i, j) pairs that joined two lesions.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, ids = np.unique(np.asarray(lesions, dtype=str), return_inverse=True)
    twins = [(i, j) for i, j in _near_pairs(hashes) if ids[i] != ids[j]]
    count = int(ids.max()) + 1
    links = np.array([(ids[i], ids[j]) for i, j in twins], dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    _, merged = connected_components(graph, directed=False)
    return merged[ids], twins


def _near_pairs(hashes: np.ndarray) -> Iterable[tuple[int, int]]:
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for i in range(len(words) - 1):
        distance = np.bitwise_count(words[i + 1 :] ^ words[i]).sum(axis=1)
        for j in np.flatnonzero(distance < TWIN_BITS):
            yield i, i + 1 + int(j)


def split(labels: Sequence[str], groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Divide pictures into train, validation, calibration and test, whole groups at a time.

    Args:
        labels: (N,) classes, by which the folds are stratified.
        groups: (N,) group numbers; no group is divided.
        seed: Gives the same split for the same pictures.

    Returns:
        (N,) names of splits.

    Raises:
        DatasetError: There are too few pictures to split.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = sum(FOLDS.values())
    most = int(np.unique(labels, return_counts=True)[1].max())
    if most < count:
        raise DatasetError(
            f"the largest class has {most} pictures; a split into {count} folds needs {count}"
        )
    folds = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    owners = [name for name, share in FOLDS.items() for _ in range(share)]
    result = np.empty(len(labels), dtype=object)
    for owner, (_, chosen) in zip(owners, folds.split(np.zeros(len(labels)), labels, groups)):
        result[chosen] = owner
    return result
