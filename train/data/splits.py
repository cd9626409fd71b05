"""Which images belong together, and which of train, validation, calibration and test they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from PIL import Image

from lesionedge.datasets.table import DatasetError

FOLDS = {"train": 14, "validation": 2, "calibration": 1, "test": 3}
"""How many of twenty equal folds each split gets."""

PUBLISHED_FOLDS = {"train": 16, "validation": 2, "calibration": 2}
"""The same where the dataset comes with test images: of twenty folds of the others."""

HASH_BITS = 256
TWIN_BITS = 48
"""Images whose perceptual hashes differ in fewer than this of 256 bits are taken for one lesion.

In HAM10000 this joins about twenty pairs of lesions; the known one (ISIC_0025226 and
ISIC_0030074) differs by 14 bits, unrelated round lesions by 50 and more. Joining two lesions
that are merely alike costs nothing but a little freedom in the split."""


def perceptual_hash(pixels: np.ndarray) -> np.ndarray:
    """Return an image's perceptual hash (DCT of its grey values; ImageHash's ``phash``).

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        (32,) uint8, 256 bits.
    """
    import imagehash

    side = int(HASH_BITS**0.5)
    small = Image.fromarray(pixels).convert("L")
    return np.packbits(imagehash.phash(small, hash_size=side, highfreq_factor=4).hash)


def identities(table: pd.DataFrame) -> list[str]:
    """Name what each image shows: images that share a lesion or a patient share a name.

    Args:
        table: Columns path, lesion and patient, missing where unknown.

    Returns:
        A name an image; one of its own where neither is known.
    """
    names: list[str] = []
    of_lesion = dict(
        table[["lesion", "patient"]].dropna().drop_duplicates("lesion").itertuples(index=False)
    )
    for path, lesion, patient in zip(table["path"], table["lesion"], table["patient"]):
        owner = patient if isinstance(patient, str) else of_lesion.get(lesion)
        if owner is not None:
            names.append(f"patient {owner}")
        else:
            names.append(lesion if isinstance(lesion, str) else f"image {path}")
    return names


def merge_twins(
    lesions: Sequence[str], hashes: np.ndarray
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Group images of one lesion, and of lesions that look the same under several names.

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


def looks_like(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which images look the same as any of others.

    Args:
        hashes: (N, 32) uint8 from ``perceptual_hash``.
        others: (M, 32) uint8.

    Returns:
        (N,) bool.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64)
    alike = np.zeros(len(words), bool)
    for other in np.ascontiguousarray(others).view(np.uint64):
        alike |= np.bitwise_count(words ^ other).sum(axis=1) < TWIN_BITS
    return alike


def _near_pairs(hashes: np.ndarray) -> Iterable[tuple[int, int]]:
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for i in range(len(words) - 1):
        distance = np.bitwise_count(words[i + 1 :] ^ words[i]).sum(axis=1)
        for j in np.flatnonzero(distance < TWIN_BITS):
            yield i, i + 1 + int(j)


def split(
    labels: Sequence[str], groups: np.ndarray, *, seed: int, shares: dict[str, int] = FOLDS
) -> np.ndarray:
    """Divide images into train, validation, calibration and test, whole groups at a time.

    Args:
        labels: (N,) classes, by which the folds are stratified.
        groups: (N,) group numbers; no group is divided.
        seed: Gives the same split for the same images.
        shares: How many equal folds each split gets.

    Returns:
        (N,) names of splits.

    Raises:
        DatasetError: There are too few images to split.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = sum(shares.values())
    most = int(np.unique(labels, return_counts=True)[1].max())
    if most < count:
        raise DatasetError(
            f"the largest class has {most} images; a split into {count} folds needs {count}"
        )
    if (own := len(np.unique(groups))) < count:
        raise DatasetError(
            f"the images are of {own} lesions or patients, counting look-alikes as one; a split "
            f"into {count} folds needs {count}"
        )
    folds = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    owners = [name for name, share in shares.items() for _ in range(share)]
    result = np.empty(len(labels), dtype=object)
    for owner, (_, chosen) in zip(owners, folds.split(np.zeros(len(labels)), labels, groups)):
        result[chosen] = owner
    return result


def complete(
    given: Sequence[str | None], labels: Sequence[str], groups: np.ndarray, *, seed: int
) -> np.ndarray:
    """Keep the split that a dataset comes with, and take from its train what is still missing.

    Args:
        given: (N,) the published split; missing in all rows where there is none.
        labels: (N,) classes, by which the folds are stratified.
        groups: (N,) group numbers; only the published split may divide one.
        seed: Gives the same split for the same images.

    Returns:
        (N,) names of splits.

    Raises:
        DatasetError: There are too few images to split.
    """
    published = np.array([name if isinstance(name, str) else "" for name in given], dtype=object)
    there = set(published) - {"", "train"}
    if not there:
        return split(labels, groups, seed=seed)
    shares = {name: n for name, n in PUBLISHED_FOLDS.items() if name not in there}
    if "test" not in there:
        shares["test"] = FOLDS["test"]
    rest = np.flatnonzero(~np.isin(published, list(there)))
    if len(rest) == 0:
        raise DatasetError(f"all images are of {', '.join(sorted(there))}; none to train on")
    own = split(np.asarray(labels)[rest].tolist(), groups[rest], seed=seed, shares=shares)
    published[rest] = own
    return published
