"""The pictures of a run: read, prepared and split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lesionedge.image import Preprocessing
from train import cache, datasets
from train.recipe import Recipe
from train.run import Run, RunError, write_text

HASHED = Preprocessing(341, 256, resampling="bilinear")
"""The size at which look-alikes are searched for: the same for every recipe, so that all recipes
with one seed share one split."""


@dataclass(frozen=True)
class Data:
    """The pictures of a run, prepared."""

    name: str
    """What the dataset is called."""
    table: pd.DataFrame
    """``split.csv``."""
    labels: tuple[str, ...]
    """Classes in output order."""
    pixels: np.ndarray
    """(N, H, W, 3) uint8 RGB, larger than the model's input; N rows as in the table."""
    classes: np.ndarray
    """(N,) int class numbers."""
    folder: Path
    """Where prepared pictures are cached."""

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def inputs(self, split: str, preprocessing: Preprocessing) -> np.ndarray:
        """(n, height_px, width_px, 3) uint8: just what the device would feed the model."""
        paths = [Path(path) for path in self.table["path"].to_numpy()[self.rows(split)]]
        return cache.prepared(paths, preprocessing, self.folder)[0]


def prepare(recipe: Recipe, data: Path, run: Run, *, seed: int, cache_folder: Path) -> Data:
    """Read the dataset, prepare its pictures and split them; a split that exists is kept."""
    dataset = datasets.load(data)
    paths = [Path(path) for path in dataset.table["path"]]
    side = recipe.cache_side_px
    # As wide as the pictures are for their height (4:3), so that a turned part stays inside.
    whole = Preprocessing(round(side * 4 / 3), side, resampling=recipe.input.resampling)
    pixels, good = cache.prepared(paths, whole, cache_folder, progress=_progress(run))
    skipped = dict(dataset.skipped)
    if not good.all():
        skipped["unreadable picture"] = int((~good).sum())
    for reason, count in skipped.items():
        run.say(f"skipped {count} rows: {reason}")
    table = dataset.table[good].reset_index(drop=True)
    if not good.all():
        pixels = cache.prepared([Path(p) for p in table["path"]], whole, cache_folder)[0]
    table = _split(table, run, seed, cache_folder)
    classes = table["label"].map({label: i for i, label in enumerate(dataset.labels)})
    return Data(
        dataset.name, table, dataset.labels, pixels, classes.to_numpy(np.int64), cache_folder
    )


def _progress(run: Run) -> cache.Progress:
    def show(done: int, of: int) -> None:
        if done % 2000 == 0 or done == of:
            run.say(f"prepared {done} of {of} pictures")

    return show


def _split(table: pd.DataFrame, run: Run, seed: int, cache_folder: Path) -> pd.DataFrame:
    paths = table["path"].astype(str)
    if run.split.exists():
        kept = run.table()
        if [Path(path).name for path in kept["path"]] != [Path(path).name for path in paths]:
            raise RunError(
                f"{run.split}: lists other pictures than the dataset; choose another --out"
            )
        if not kept["path"].equals(paths):  # the dataset lies elsewhere than it did
            write_text(run.split, kept.assign(path=paths).to_csv(index=False))
        return kept.assign(path=paths)
    pixels, _ = cache.prepared([Path(path) for path in paths], HASHED, cache_folder)
    hashes = np.array([datasets.perceptual_hash(picture) for picture in pixels])
    groups, twins = datasets.merge_twins(table["lesion"].tolist(), hashes)
    run.say(f"{len(set(groups))} groups of pictures; {len(twins)} look-alike pairs kept together")
    labels = table["label"].tolist()
    table = table.assign(group=groups, split=datasets.split(labels, groups, seed=seed))
    table["path"] = paths
    write_text(run.split, table.to_csv(index=False))
    counts = pd.crosstab(table["split"], table["label"])
    run.say(f"pictures by split and class:\n{counts.to_string()}")
    return table
