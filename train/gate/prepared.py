"""The gate's training images: every copy made once, into one memory-mapped array on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from lesionedge.atomic import replacing
from lesionedge.image import decode
from train.data import cache
from train.gate import copies, drawings
from train.gate.sources import LABELS
from train.recipe import Gate

DRAWN, RUINED = "drawn", "ruined"
Task = tuple[str, str, str]
"""Path (empty for a drawn image), label and source."""

Job = tuple[str, str, int, int, int, bool]
"""Path (empty for a drawn image), label, seed, number, side, and whether it is for measuring."""


@dataclass(frozen=True)
class Images:
    """Copies with their classes."""

    pixels: np.ndarray
    """(N, side, side, 3) uint8 RGB."""
    classes: np.ndarray
    """(N,) int, in the order of ``LABELS``."""
    sources: np.ndarray
    """(N,) where each is from."""


@dataclass(frozen=True)
class Copies:
    """Makes copies, each set once."""

    folder: Path
    """Where they are kept."""
    seed: int
    """Fixes which images are ruined, and every change."""
    say: Callable[[str], None]
    """Told how far it is."""

    def training(self, table: pd.DataFrame, settings: Gate, side_px: int) -> Images:
        """Make the training copies, as many of each source as the recipe's ``[gate]`` says.

        Args:
            table: From ``sources.table``.
            settings: How many.
            side_px: Side of the copies.
        """
        rows = table[table["split"] == "train"]
        tasks: list[Task] = []
        for source, part in rows.groupby("source", sort=True):
            for path, label in zip(part["path"], part["label"]):
                tasks += [(path, label, str(source))] * int(getattr(settings, str(source)))
        tasks += [("", "other", DRAWN)] * settings.drawn
        ruined = rows.sample(settings.ruined, replace=True, random_state=self.seed)["path"]
        tasks += [(path, "other", RUINED) for path in ruined]
        return self._made(tasks, side_px, self.seed, plainly=False)

    def held_out(self, table: pd.DataFrame, split: str, side_px: int) -> Images:
        """Make one re-encoded copy of each image of a split, and some generated ones."""
        rows = table[table["split"] == split]
        tasks: list[Task] = list(zip(rows["path"], rows["label"], rows["source"]))
        tasks += [("", "other", DRAWN)] * max(50, len(rows) // 6)
        ruined = rows.sample(len(rows) // 6, random_state=self.seed)["path"]
        tasks += [(path, "other", RUINED) for path in ruined]
        return self._made(tasks, side_px, self.seed + 1, plainly=True)

    def _made(self, tasks: list[Task], side_px: int, seed: int, *, plainly: bool) -> Images:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([[Path(path).name, *rest] for path, *rest in tasks] + [[side_px, seed]])
        files = [Path(path) for path in dict.fromkeys(path for path, *_ in tasks) if path]
        name = cache.digest(files, text, code=(copies, drawings))
        file = self.folder / f"gate-{name}.npy"
        if not file.exists():
            jobs = [
                (path, label if source != RUINED else RUINED, seed, number, side_px, plainly)
                for number, (path, label, source) in enumerate(tasks)
            ]
            self._fill(jobs, file, side_px)
        classes = np.array([LABELS.index(label) for _, label, _ in tasks])
        sources = np.array([source for _, _, source in tasks])
        return Images(np.load(file, mmap_mode="r"), classes, sources)

    def _fill(self, jobs: list[Job], file: Path, side_px: int) -> None:
        part = file.with_suffix(".part")
        shape = (len(jobs), side_px, side_px, 3)
        with replacing(file, part=part):
            pixels = cache.blank(part, shape)
            # Not fork: TensorFlow's threads would not survive it.
            with get_context("spawn").Pool() as pool:
                for number, copy in enumerate(pool.imap(_one, jobs, chunksize=64), start=1):
                    pixels[number - 1] = copy
                    if number % 5000 == 0 or number == len(jobs):
                        self.say(f"made {number} of {len(jobs)} copies")
            pixels.flush()


def _one(job: Job) -> np.ndarray:
    path, label, seed, number, side_px, plainly = job
    rng = np.random.default_rng((seed, number))
    image = drawings.draw(rng) if not path else decode(path).image
    if label == RUINED:
        image, label, plainly = copies.ruined(image, rng), "other", True
    return copies.copied(image, label, side_px, rng, plainly=plainly)
