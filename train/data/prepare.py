"""The images of a run: read, prepared and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lesionedge import datasets
from lesionedge.atomic import write_text
from lesionedge.card import present
from lesionedge.datasets.table import EXTRAS, Dataset
from lesionedge.image import Preprocessing
from train.data import cache, located, overlap, splits
from train.recipe import Recipe, check_classes, made_benign
from train.run import Run, RunError
from train.settings import RecipeError

HASHED = Preprocessing(341, 256, resampling="bilinear")
"""The size at which look-alikes are searched for: the same for every recipe, so that all recipes
with one seed share one split."""


@dataclass(frozen=True)
class Source:
    """Where the images are, and how to take them."""

    folder: Path
    """The dataset's folder."""
    layout: str | None = None
    """A name of ``datasets.LAYOUTS``; None finds it out."""
    overlap: str = "refuse"
    """What becomes of images that are in train and in test: refuse, drop or allow."""


@dataclass(frozen=True)
class Data:
    """The images of a run, prepared."""

    table: pd.DataFrame
    """``split.csv``."""
    labels: tuple[str, ...]
    """Classes in output order."""
    pixels: np.ndarray
    """(N, H, W, 3) uint8 RGB, larger than the model's input; N rows as in the table."""
    classes: np.ndarray
    """(N,) int class numbers."""
    train_rows: np.ndarray
    """Row numbers to train on; one may be there several times (``balance``)."""
    folder: Path
    """Where prepared images are cached."""
    dataset: Dataset | None = None
    """Where they are from, its table not split; None where only the run is known."""

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def inputs(self, split: str, preprocessing: Preprocessing) -> np.ndarray:
        """(n, height_px, width_px, 3) uint8: just what the device would feed the model."""
        paths = [Path(path) for path in self.table["path"].to_numpy()[self.rows(split)]]
        return cache.prepared(paths, preprocessing, self.folder)[0]


def prepare(recipe: Recipe, source: Source, run: Run, *, seed: int, cache_folder: Path) -> Data:
    """Read the dataset, prepare its images and split them; a split that exists is kept.

    Raises:
        DatasetError: The dataset cannot be understood, or its train and test share images.
        RecipeError: The recipe's classes are not the dataset's.
        RunError: The run's split is of other images.
    """
    if recipe.gate is not None:
        raise RecipeError(f"{recipe.name}: has a [gate], whose images fit prepares itself")
    dataset = datasets.load(source.folder, layout=source.layout)
    run.say(f"{dataset.name}: {len(dataset.table)} images of {len(dataset.labels)} classes")
    for reason, count in dataset.skipped.items():
        run.say(f"skipped {count} rows: {reason}")
    table = overlap.settle(dataset.table, choice=source.overlap, say=run.say)
    table = _readable(table, run, cache_folder)
    labels = _labels(dataset, recipe)
    _say_what_the_recipe_changes(recipe, table, labels, run)
    if run.split.exists():
        table = _kept(_relabelled(table, recipe), run, source.overlap)
    else:
        table = _relabelled(_split(table, run, source.overlap, seed, cache_folder), recipe)
        write_text(run.split, table.to_csv(index=False))
    counts = pd.crosstab(table["split"], table["label"])
    run.say(f"images by split and class:\n{counts.to_string()}")
    return replace(_prepared(recipe, table, labels, run, cache_folder, seed), dataset=dataset)


def of_run(run: Run, data: Path | None, *, layout: str | None = None, cache_folder: Path) -> Data:
    """Prepare the images of a run that ``fit`` has ended, as it did.

    Args:
        run: The run.
        data: The dataset's folder, where it lies elsewhere than ``split.csv`` says.
        layout: How that folder is laid out; None finds it out.
        cache_folder: Where prepared images are cached.

    Raises:
        RunError: The training has not ended, or the images are not there.
    """
    card, table = run.read_card(), located.table(run, data, layout=layout)
    seed = present(present(card.data, "data").seed, "seed")
    return _prepared(run.read_recipe(), table, card.codes, run, cache_folder, seed)


def _prepared(
    recipe: Recipe, table: pd.DataFrame, labels: tuple[str, ...], run: Run, cache_folder: Path,
    seed: int,
) -> Data:  # fmt: skip
    side = recipe.cache_side_px
    # As wide as the images are for their height, so that a turned part stays inside.
    whole = Preprocessing(
        round(side * recipe.cache_aspect), side, resampling=recipe.input.resampling
    )
    paths = [Path(path) for path in table["path"]]
    pixels, _ = cache.prepared(
        paths, whole, cache_folder, progress=_progress(run, "prepared {} of {} images")
    )
    classes = table["label"].map({label: i for i, label in enumerate(labels)}).to_numpy(np.int64)
    rows = np.flatnonzero((table["split"] == "train").to_numpy())
    rows = _training_rows(rows, classes, recipe, seed)
    return Data(table, labels, pixels, classes, rows, cache_folder)


def _progress(run: Run, said: str) -> cache.Progress:
    def show(done: int, of: int) -> None:
        if done % 2000 == 0 or done == of:
            run.say(said.format(done, of))

    return show


def _readable(table: pd.DataFrame, run: Run, cache_folder: Path) -> pd.DataFrame:
    """Leave out images that cannot be read."""
    told = _progress(run, "read {} of {} images, to find those that look alike")
    _, good = cache.prepared(
        [Path(path) for path in table["path"]], HASHED, cache_folder, progress=told
    )
    if good.all():
        return table
    run.say(f"skipped {int((~good).sum())} rows: unreadable image")
    return table[good].reset_index(drop=True)


def _split(
    table: pd.DataFrame, run: Run, choice: str, seed: int, cache_folder: Path
) -> pd.DataFrame:
    """Add the columns group and split.

    By the dataset's own classes, whatever the recipe makes of them: recipes then share a split.
    """
    paths = [Path(path) for path in table["path"]]
    hashes = cache.derived(paths, HASHED, cache_folder, "phash", splits.perceptual_hash)
    groups, twins = splits.merge_twins(splits.identities(table), hashes)
    run.say(f"{len(set(groups))} groups of images; {len(twins)} look-alike pairs kept together")
    _say_contradictions(table, twins, run)
    stay = overlap.settle_groups(table, groups, choice=choice, say=run.say)
    table, groups = table[stay].reset_index(drop=True), groups[stay]
    assigned = splits.complete(table["given"].tolist(), table["label"].tolist(), groups, seed=seed)
    table = table.assign(path=table["path"].astype(str), group=groups, split=assigned)
    return table[["path", "label", "lesion", "group", "split", *EXTRAS]]


def _say_contradictions(table: pd.DataFrame, twins: list[tuple[int, int]], run: Run) -> None:
    labels = table["label"].tolist()
    differ = sum(1 for one, other in twins if labels[one] != labels[other])
    if differ:
        run.say(f"{differ} of these pairs have two different labels: the labels are noisy")


def _kept(table: pd.DataFrame, run: Run, choice: str) -> pd.DataFrame:
    """Read ``split.csv`` again; the dataset may lie elsewhere than it did.

    Raises:
        RunError: It is of other images.
    """
    kept = run.table()
    here: dict[tuple[str, str], list[str]] = {}
    for path, label in zip(table["path"], table["label"]):
        here.setdefault((Path(path).name, label), []).append(str(path))
    names = [(Path(path).name, label) for path, label in zip(kept["path"], kept["label"])]
    # With --drop-overlap some of the dataset's images are not in the split.
    fewer = len(kept) < len(table) and choice != "drop"
    if fewer or any(n > len(here.get(name, ())) for name, n in Counter(names).items()):
        raise RunError(f"{run.split}: lists other images than the dataset; choose another --out")
    if set(kept["path"]) <= set(map(str, table["path"])):
        return kept
    # Several of one name and class keep the order that they are found in.
    kept = kept.assign(path=pd.Series([here[name].pop(0) for name in names], index=kept.index))
    write_text(run.split, kept.to_csv(index=False))
    return kept


def _labels(dataset: Dataset, recipe: Recipe) -> tuple[str, ...]:
    """Return the model's classes in output order.

    Raises:
        RecipeError: The recipe's classes are not the dataset's, or are too many for a sigmoid.
    """
    wanted = {old for olds in recipe.data.classes.values() for old in olds}
    unknown = sorted(wanted - set(dataset.labels))
    if unknown:
        raise RecipeError(
            f"{recipe.name}: [data.classes] names {', '.join(unknown)}; the dataset "
            f"{dataset.name} has {', '.join(dataset.labels)}"
        )
    labels = tuple(recipe.data.classes) or dataset.labels
    if len(labels) < 2:
        raise RecipeError(
            f"{recipe.name}: the dataset has one class, {labels[0]}; expected two and more"
        )
    if recipe.model.output == "sigmoid" and len(labels) != 2:
        raise RecipeError(
            f"{recipe.name}: a sigmoid is for two classes; the dataset has {', '.join(labels)}: "
            "name two in [data.classes], negative first"
        )
    check_classes(recipe, labels)
    return labels


def _say_what_the_recipe_changes(
    recipe: Recipe, table: pd.DataFrame, labels: Sequence[str], run: Run
) -> None:
    """Say which images it leaves out, and which malignant classes it counts as benign."""
    if recipe.data.classes:
        wanted = {old for olds in recipe.data.classes.values() for old in olds}
        unwanted = table.loc[~table["label"].isin(wanted), "label"]
        for label, count in unwanted.value_counts().items():
            run.say(f"skipped {count} rows: {label} is not in the recipe's [data.classes]")
    if benign := made_benign(recipe, labels):
        run.say(
            f"warning: {', '.join(benign)} will count as benign: the recipe's [data] malignant "
            "lists all malignant classes, and they are not in it"
        )


def _relabelled(table: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Replace the dataset's labels by the model's; leave out images that have none."""
    new = {old: label for label, olds in recipe.data.classes.items() for old in olds}
    if not new:
        return table
    table = table.assign(dataset_label=table["label"], label=table["label"].map(new))
    return table[table["label"].notna()].reset_index(drop=True)


def _training_rows(rows: np.ndarray, classes: np.ndarray, recipe: Recipe, seed: int) -> np.ndarray:
    """Choose the rows of an epoch: some of them, or those of small classes several times."""
    most = recipe.shortened.images
    if most and most < len(rows):
        from sklearn.model_selection import train_test_split

        counts = np.unique(classes[rows], return_counts=True)[1]
        fewest, largest = len(counts), len(rows) - len(counts)
        if counts.min() < 2 or not fewest <= most <= largest:
            raise RecipeError(
                f"--images {most}; expected {fewest} to {largest} of {len(rows)} training images, "
                f"and two and more of each class: the least common has {counts.min()}"
            )
        rows, _ = train_test_split(rows, train_size=most, stratify=classes[rows], random_state=seed)
        rows = np.sort(rows)
    if not recipe.data.balance:
        return rows
    by_class = [rows[classes[rows] == c] for c in np.unique(classes[rows])]
    largest = max(map(len, by_class))
    return np.concatenate([np.resize(own, largest) for own in by_class])
