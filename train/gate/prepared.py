"""The gate's training images: every copy made once, into one memory-mapped array on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from lesionedge.atomic import replacing
from lesionedge.image import decode
from train.gate import copies, drawings
from train.gate.recipe import GateRecipe
from train.gate.sources import LABELS

Say = Callable[[str], None]
DRAWN, RUINED = "drawn", "ruined"
Task = tuple[str, str, int, int, int, bool]
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


def training(table: pd.DataFrame, recipe: GateRecipe, folder: Path, seed: int, say: Say) -> Images:
    """Make the training copies, as many of each source as the recipe says."""
    rows = table[table["split"] == "train"]
    wanted = asdict(recipe.copies)
    tasks: list[tuple[str, str, str]] = []
    for source, part in rows.groupby("source", sort=True):
        for path, label in zip(part["path"], part["label"]):
            tasks += [(path, label, str(source))] * wanted[str(source)]
    tasks += [("", "other", DRAWN)] * wanted[DRAWN]
    ruined = rows.sample(wanted[RUINED], replace=True, random_state=seed)["path"]
    tasks += [(path, "other", RUINED) for path in ruined]
    return _made(tasks, recipe.cache_px, folder, seed, say, plainly=False)


def held_out(
    table: pd.DataFrame, split: str, side_px: int, folder: Path, seed: int, say: Say
) -> Images:
    """Make one re-encoded copy of each image of a split, and some generated ones."""
    rows = table[table["split"] == split]
    tasks = list(zip(rows["path"], rows["label"], rows["source"]))
    tasks += [("", "other", DRAWN)] * max(50, len(rows) // 6)
    ruined = rows.sample(len(rows) // 6, random_state=seed)["path"]
    tasks += [(path, "other", RUINED) for path in ruined]
    return _made(tasks, side_px, folder, seed + 1, say, plainly=True)


def _made(
    tasks: list[tuple[str, str, str]], side_px: int, folder: Path, seed: int,
    say: Say, *, plainly: bool,
) -> Images:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([[Path(path).name, *rest] for path, *rest in tasks] + [[side_px, seed]])
    file = folder / f"gate-{hashlib.sha256(text.encode()).hexdigest()[:20]}.npy"
    if not file.exists():
        _fill(tasks, side_px, file, seed, say, plainly=plainly)
    classes = np.array([LABELS.index(label) for _, label, _ in tasks])
    sources = np.array([source for _, _, source in tasks])
    return Images(np.load(file, mmap_mode="r"), classes, sources)


def _fill(
    tasks: list[tuple[str, str, str]], side_px: int, file: Path, seed: int,
    say: Say, *, plainly: bool,
) -> None:  # fmt: skip
    part = file.with_suffix(".part")
    shape = (len(tasks), side_px, side_px, 3)
    jobs = [
        (path, label if source != RUINED else RUINED, seed, number, side_px, plainly)
        for number, (path, label, source) in enumerate(tasks)
    ]
    with replacing(file, part=part):
        pixels = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        # Not fork: TensorFlow's threads would not survive it.
        with get_context("spawn").Pool() as pool:
            for number, copy in enumerate(pool.imap(_one, jobs, chunksize=64), start=1):
                pixels[number - 1] = copy
                if number % 5000 == 0 or number == len(jobs):
                    say(f"made {number} of {len(jobs)} copies")
        pixels.flush()


def _one(task: Task) -> np.ndarray:
    path, label, seed, number, side_px, plainly = task
    rng = np.random.default_rng((seed, number))
    image = drawings.draw(rng) if not path else decode(path).image
    if label == RUINED:
        image, label, plainly = copies.ruined(image, rng), "other", True
    return copies.copied(image, label, side_px, rng, plainly=plainly)


def batches(
    images: Images, side_px: int, batch_size: int, seed: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return one epoch of batches: random parts, turned by quarters, mirrored, recoloured.

    Args:
        images: The copies.
        side_px: Side of the parts.
        batch_size: Images a batch; the rest of the last one is left out.
        seed: Fixes the order and every change.

    Returns:
        ((B, side_px, side_px, 3) float32, 0-255; (B,) int).
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images.classes))
    for start in range(0, len(order) - batch_size + 1, batch_size):
        rows = np.sort(order[start : start + batch_size])
        changed = np.stack([_changed(images.pixels[row], side_px, rng) for row in rows])
        yield _recoloured(changed.astype(np.float32), rng), images.classes[rows]


def _changed(pixels: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    room = pixels.shape[0] - side_px
    top, left = rng.integers(room + 1, size=2)
    cut = np.rot90(pixels[top : top + side_px, left : left + side_px], int(rng.integers(4)))
    return cut[:, ::-1] if rng.random() < 0.5 else cut


def _recoloured(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change contrast, saturation and each channel's gain."""
    count = len(batch)
    grey = batch.mean(axis=3, keepdims=True)
    saturation = rng.uniform(0.75, 1.25, (count, 1, 1, 1)).astype(np.float32)
    gains = rng.uniform(0.92, 1.08, (count, 1, 1, 3)).astype(np.float32)
    contrast = rng.uniform(0.8, 1.2, (count, 1, 1, 1)).astype(np.float32)
    coloured = (grey + (batch - grey) * saturation) * gains
    middle = coloured.mean(axis=(1, 2, 3), keepdims=True)
    return np.clip(np.rint(middle + (coloured - middle) * contrast), 0, 255)
