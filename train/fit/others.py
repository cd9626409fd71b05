"""Other collections that a training mixes in: read, prepared, and what their labels stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lesionedge import datasets
from lesionedge.datasets.meaning import CLASSES, understand
from lesionedge.datasets.table import DatasetError
from lesionedge.diagnosis import describe
from lesionedge.image import Preprocessing
from train.data import cache, splits
from train.data.prepare import Data
from train.fit.batches import OtherImages
from train.fit.losses import LabelMeanings, classes_alone
from train.recipe import Collection, Recipe
from train.run import Run
from train.settings import RecipeError


def prepare(
    recipe: Recipe, data: Data, folders: Mapping[str, Path], run: Run
) -> tuple[tuple[OtherImages, ...], LabelMeanings]:
    """Read and prepare the other collections of a recipe.

    Images of a published validation or test split are left out, and those that look like an image
    of the run's own which is not trained on: they would be trained on by another name.

    Args:
        recipe: Its ``[[others]]``.
        data: The run's own images.
        folders: Each collection's folder, as published.
        run: Told what is found.

    Returns:
        The collections, and what all label numbers stand for: first the classes.

    Raises:
        DatasetError: A collection cannot be understood, or none of its images is left.
        RecipeError: A collection's labels or classes do not fit.
    """
    counts = np.bincount(data.classes[data.train_rows], minlength=len(data.labels))
    meanings = classes_alone(counts)
    mixed = []
    for other in recipe.others:
        found, own = _of(other, recipe, data, folders[other.name], run)
        mixed.append(replace(found, labels=found.labels + len(meanings.possible)))
        more = np.tile(_mix(own, found.labels, counts), (len(own), 1))
        meanings = LabelMeanings(
            np.concatenate([meanings.possible, own]), np.concatenate([meanings.shares, more])
        )
    return tuple(mixed), meanings


def _of(
    other: Collection, recipe: Recipe, data: Data, folder: Path, run: Run
) -> tuple[OtherImages, np.ndarray]:
    """Return a collection's images, labels from 0, and which classes each label may be."""
    dataset = datasets.load(folder)
    table = dataset.table
    table = table[~table["given"].isin(["validation", "test"])]
    stands_for = _stands_for(other, recipe, data, table["label"].tolist())
    table = table[table["label"].isin(list(stands_for))].reset_index(drop=True)
    paths = [Path(path) for path in table["path"]]
    crop = "stretch" if other.stretch else recipe.input.crop
    side = other.cache_side_px
    whole = Preprocessing(
        round(side * other.cache_aspect), side, crop=crop, resampling=recipe.input.resampling
    )
    pixels, good = cache.prepared(paths, whole, data.folder)
    hashes = cache.derived(paths, whole, data.folder, "phash", splits.perceptual_hash)
    # The run's own images cut to the same shape: else a copy would not look like them.
    kept = _kept_out(data, replace(whole, crop=recipe.input.crop))
    known = splits.looks_like(hashes, kept)
    rows = np.flatnonzero(good & ~known)
    if len(rows) == 0:
        raise DatasetError(f"{folder}: no image of it is left to be trained on as {other.name}")
    labels = table["label"].to_numpy()[rows]
    shown = ", ".join(f"{label} {n} ({'/'.join(stands_for[label])})"
                      for label, n in Counter(labels).most_common())  # fmt: skip
    run.say(
        f"{other.name}: {len(rows)} images: {shown}; left out: {len(dataset.table) - len(table)} "
        f"of other labels or held out by their publisher, {int((~good).sum())} unreadable, "
        f"{int(known.sum())} that look like an image on which this run is measured"
    )
    names = sorted(set(labels))
    possible = np.array([[label in stands_for[name] for label in data.labels] for name in names])
    numbers = np.searchsorted(names, labels)
    return OtherImages(pixels, rows, numbers, other.share, other.augment), possible


def _stands_for(
    other: Collection, recipe: Recipe, data: Data, labels: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the classes that each label may stand for; what is left out is not there.

    Raises:
        RecipeError: The recipe names a label or class that is not there.
    """
    if not other.classes:
        diagnoses = [describe(label) for label in data.labels]
        meanings = understand(labels, diagnoses, name=other.name, kind=CLASSES).meanings
        return {m.label: (m.model_label,) for m in meanings if m.model_label is not None}
    strange = sorted(set(other.classes) - set(labels))
    strange += sorted({own for owns in other.classes.values() for own in owns} - set(data.labels))
    if strange:
        raise RecipeError(
            f"{recipe.name}: [[others]] {other.name} names {', '.join(strange)}; its labels are "
            f"{', '.join(sorted(set(labels)))}, the model's {', '.join(data.labels)}"
        )
    return dict(other.classes)


def _mix(possible: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (classes,) shares of a collection; a label's classes share it as the run's own do."""
    own = np.maximum(counts, 1) * possible
    shares = own / own.sum(1, keepdims=True)
    found = np.bincount(labels, minlength=len(possible)) @ shares
    result: np.ndarray = found / found.sum()
    return result


def _kept_out(data: Data, shape: Preprocessing) -> np.ndarray:
    """Return the hashes of the run's images that are not trained on, cut to a shape."""
    paths = [Path(path) for path in data.table["path"]]
    hashes = cache.derived(paths, shape, data.folder, "phash", splits.perceptual_hash)
    return hashes[(data.table["split"] != "train").to_numpy()]
