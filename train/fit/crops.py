"""Crops: parts of the training images, changed at random, with teachers' predictions to each.

A soft label of the whole image says nothing of a part of it that is recoloured and blurred. Here
the teachers are asked about just what the student sees (Beyer et al. 2022, "Knowledge distillation:
a good teacher is patient and consistent", arXiv:2106.05237), each about two ways of turning it, so
that their mean depends less on how it was turned. The crops are kept while they are trained on:
the teachers take about as long as an epoch of training.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from lesionedge import tta
from lesionedge.atomic import replacing, whole_file
from lesionedge.errors import LesionEdgeError
from train.data import cache
from train.data.prepare import Data
from train.fit import distillation
from train.fit.batches import Lessons, training_batches
from train.models.pixels import PIXEL_MEAN, PIXEL_STD
from train.recipe import Recipe
from train.settings import RecipeError

if TYPE_CHECKING:
    from lesionedge import Classifier

FIRST_PASS = 500_000
"""Number of the first pass's random changes: no training epoch has such a number."""

TELL_EVERY_S = 60.0


class CropsError(LesionEdgeError):
    """Crops cannot be made, or are of other teachers."""


def size_px(recipe: Recipe) -> int:
    """Return the side of the crops: that of the images which the float stages train on.

    Raises:
        RecipeError: They train on several sizes.
    """
    sides = {stage.input_px for stage in recipe.float_stages if stage.epochs}
    if len(sides) != 1:
        raise RecipeError(
            f"{recipe.name}: crops have one size; stages train at {sorted(sides) or 'no'} px"
        )
    return sides.pop()


def make(
    models: Sequence[Path], data: Data, recipe: Recipe, folder: Path, *, seed: int,
    say: Callable[[str], None],
) -> Lessons:  # fmt: skip
    """Return ``recipe.distil.crops`` crops of every training image, with the teachers' predictions.

    A pass over the images that is done is not done again when a killed training is resumed.

    Args:
        models: .tflite files with the run's labels, whose input is of the recipe's size; one that
            is given several times is asked once and counts as often.
        data: The run's images.
        recipe: Its ``[augment]`` changes the images.
        folder: Where the crops are kept; ``remove`` removes them.
        seed: Fixes the crops and the ways of turning.
        say: Told how far it is.

    Returns:
        The crops in place of the images: (n, side, side, 3) uint8 RGB, classes and soft labels,
        all of them to train on.

    Raises:
        CropsError: A teacher does not fit, the crops in the folder are of other teachers, or there
            is no room.
        RecipeError: The stages train at several sizes.
    """
    teachers = [(_teacher(model, data, recipe), n) for model, n in Counter(models).items()]
    side, passes = size_px(recipe), recipe.distil.crops
    count = len(data.train_rows) // recipe.batch_size * recipe.batch_size
    images = _images(folder / "images.npy", (passes * count, side, side, 3))
    classes, soft = [], []
    for number in range(passes):
        file = folder / f"pass-{number}.npz"
        if not file.exists():
            part = images[number * count : (number + 1) * count]
            found, asked = _ask(teachers, data, recipe, part, (seed, FIRST_PASS + number), say)
            images.flush()
            _keep(file, classes=found, soft=asked, teachers=_digests(models))
            say(
                f"teachers asked about {(number + 1) * count} of {passes * count} crops: they name "
                f"the label of {np.mean(asked.argmax(1) == found):.1%} of these {count}"
            )
        with np.load(file) as kept:
            if not np.array_equal(kept["teachers"], _digests(models)):
                raise CropsError(f"{folder}: crops of other teachers; remove it, or give those")
            classes.append(kept["classes"])
            soft.append(distillation.softened(kept["soft"], recipe.distil))
    rows = np.arange(passes * count)
    return Lessons(images, np.concatenate(classes), rows, np.concatenate(soft))


def remove(folder: Path) -> None:
    """Remove crops that are no longer needed: they take gigabytes."""
    shutil.rmtree(folder, ignore_errors=True)


def _teacher(model: Path, data: Data, recipe: Recipe) -> Classifier:
    from lesionedge import Classifier

    teacher = Classifier(model, check=False)
    if teacher.labels != tuple(data.labels):
        raise CropsError(
            f"{model}: its labels are {', '.join(teacher.labels)}; the run's are "
            f"{', '.join(data.labels)}"
        )
    theirs = (teacher.preprocessing.width_px, teacher.preprocessing.height_px)
    ours = (recipe.input.width_px, recipe.input.height_px)
    if theirs != ours:
        raise CropsError(
            f"{model}: its input is {theirs[0]}x{theirs[1]} px; the recipe's is "
            f"{ours[0]}x{ours[1]} px"
        )
    return teacher


def _images(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """Open the crops, or make room for them."""
    if file.exists():
        kept = np.lib.format.open_memmap(file, mode="r+")
        if kept.shape == shape:
            return kept
        raise CropsError(f"{file.parent}: crops of another training; remove it")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with replacing(file, part=part):
        try:
            cache.blank(part, shape)
        except OSError as error:
            size = math.prod(shape)
            reason = f"no room for {size / 1e9:.1f} GB of crops ({error.strerror})"
            raise CropsError(f"{file}: {reason}") from error
    return np.lib.format.open_memmap(file, mode="r+")


def _keep(file: Path, **arrays: np.ndarray) -> None:
    with whole_file(file) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _digests(models: Sequence[Path]) -> np.ndarray:
    """Return each teacher's hash, as text that ``numpy.savez`` takes."""
    return np.array([hashlib.sha256(model.read_bytes()).hexdigest() for model in models])


def _ask(
    teachers: Sequence[tuple[Classifier, int]], data: Data, recipe: Recipe, images: np.ndarray,
    changes: tuple[int, int], say: Callable[[str], None],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Make one crop of every image, into ``images``; return classes and mean predictions."""
    batches = training_batches(
        Lessons(data.pixels, data.classes, data.train_rows), augment=recipe.augment,
        input_px=recipe.input.width_px, batch_size=recipe.batch_size, seed=changes,
    )  # fmt: skip
    chance = np.random.default_rng(changes)
    classes, soft = np.zeros(len(images), np.int64), np.zeros((len(images), len(data.labels)))
    side, done, told = images.shape[1], 0, time.monotonic()
    for batch, labels, _ in batches:
        seen = _bytes(batch)
        here = slice(done, done + len(seen))
        small = tf.image.resize(tf.cast(seen, tf.float32), (side, side), antialias=True)
        images[here] = np.clip(np.rint(small.numpy()), 0, 255)
        ways = [[*tta.views(crop, tta.MOST)] for crop in seen]
        turned = [np.ascontiguousarray(way[chance.integers(1, tta.MOST)]) for way in ways]
        given = [
            t.probabilities_of_inputs(way) for t, _ in teachers for way in (list(seen), turned)
        ]
        soft[here] = np.average(given, axis=0, weights=[n for _, n in teachers for _ in range(2)])
        classes[here] = labels.numpy()
        done += len(seen)
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            say(f"teachers asked about {done} of {len(images)} crops of this pass")
    return classes, soft.astype(np.float32)


def _bytes(batch: tf.Tensor) -> np.ndarray:
    """Turn a network's input back into (N, H, W, 3) uint8 RGB."""
    pixels = batch.numpy() * PIXEL_STD + PIXEL_MEAN
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
