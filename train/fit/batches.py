"""Cached images -> shuffled, randomly changed batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train.fit.augmentation import random_changes
from train.fit.losses import LabelMeanings
from train.recipe import MOST_EPOCHS, Augment, Recipe
from train.settings import RecipeError

MOST_STEPS = 1_000_000
"""More than an epoch has: each collection draws its random changes from numbers of its own."""

STATISTICS_BATCHES = 32
"""How many training batches activations' statistics are measured on."""


@dataclass(frozen=True)
class OtherImages:
    """Images of another collection, some of which are in every batch."""

    pixels: np.ndarray
    """(N, H, W, 3) uint8 RGB, mostly memory-mapped."""
    rows: np.ndarray
    """(n,) row numbers to train on."""
    labels: np.ndarray
    """(n,) int label numbers of these rows; they go on where the classes end."""
    share: float
    """Its share of a batch, 0-1."""
    augment: Augment | None = None
    """Ranges of the random changes; None: the same as of the other images."""


@dataclass(frozen=True)
class Lessons:
    """What is trained on."""

    pixels: np.ndarray
    """(N, H, W, 3) uint8 RGB, mostly memory-mapped; larger than what a network is shown."""
    classes: np.ndarray
    """(N,) int class numbers."""
    rows: np.ndarray
    """The row numbers to train on; one may be there several times."""
    soft: np.ndarray | None = None
    """(N, classes) float32 soft labels; None: there are none."""
    teacher: keras.Model | None = None
    """Asked for the soft labels of each image as it is shown; None: ``soft`` has them."""
    others: tuple[OtherImages, ...] = ()
    """Other collections; not beside soft labels."""
    meanings: LabelMeanings | None = None
    """What all label numbers stand for; None: for the classes."""

    def own(self, batch_size: int) -> int:
        """Return how many images of a batch are not of other collections."""
        return batch_size - sum(_count(other, batch_size) for other in self.others)


def _count(other: OtherImages, batch_size: int) -> int:
    return max(1, round(other.share * batch_size))


def training_batches(
    lessons: Lessons, *, augment: Augment, input_px: int, batch_size: int, seed: tuple[int, int],
    shares: tuple[int, range] = (1, range(1)),
) -> tf.data.Dataset:  # fmt: skip
    """Return one epoch of training batches.

    Args:
        lessons: What is trained on; each row comes once, in an order drawn from the seed. Images of
            other collections come in turn, as often as need be.
        augment: Ranges of the random changes.
        input_px: Side of the images returned.
        batch_size: Images a batch; the rest of the last one is left out.
        seed: Two numbers that fix the order and every change.
        shares: In how many equal shares each batch is divided, and which of them are returned, one
            after the other; ``batch_size`` is a multiple of their number.

    Returns:
        Batches of ((B, input_px, input_px, 3) float32 in [-1, 1), (B,) int32, (B, classes) float32
        soft labels, or (B, 0) where there are none), B the share's size.
    """
    own = lessons.own(batch_size)
    order, numbers = _order(lessons.rows, own, seed, shares)
    shape = (own // shares[0], *lessons.pixels.shape[1:])
    labels = tf.constant(lessons.classes.astype(np.int32))
    soft = np.zeros((len(lessons.classes), 0), np.float32) if lessons.soft is None else lessons.soft

    def gather(indices: np.ndarray) -> np.ndarray:
        return lessons.pixels[np.sort(indices)]

    def prepare(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        indices = tf.sort(indices)
        batch = tf.numpy_function(gather, [indices], tf.uint8, stateful=False)
        seeds = tf.stack([tf.cast(seed[1] * 100_003 + seed[0], tf.int64), step])
        changed = random_changes(tf.ensure_shape(batch, shape), augment, input_px, seeds)
        return changed, tf.gather(labels, indices), tf.gather(tf.constant(soft), indices)

    dataset = tf.data.Dataset.from_tensor_slices((numbers, order)).map(
        prepare, num_parallel_calls=2
    )
    for place, other in enumerate(lessons.others, start=1):
        more = _mixed(other, len(order), augment, input_px, batch_size, (*seed, place))
        dataset = tf.data.Dataset.zip((dataset, more)).map(_joined)
    # There is nothing to tune, and the tuning thread sleeps up to a minute before it lets an
    # epoch end.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


def _mixed(
    other: OtherImages, steps: int, augment: Augment, input_px: int, batch_size: int,
    seed: tuple[int, int, int],
) -> tf.data.Dataset:  # fmt: skip
    """Return what another collection adds to each of an epoch's batches: images and labels.

    An epoch goes on in the collection where the one before ended.
    """
    count = _count(other, batch_size)
    if len(other.labels) < count:
        raise RecipeError(
            f"a batch has {count} images of a collection that has {len(other.labels)}; expected a "
            "smaller share"
        )
    rows = len(other.labels) // count * count
    first = seed[1] % MOST_EPOCHS * steps * count  # the epoch's number within its stage
    turns = range(first // rows, (first + steps * count) // rows + 1)
    chance = (seed[0], seed[2])
    orders = [np.random.default_rng((*chance, t)).permutation(len(other.labels))[:rows]
              for t in turns]  # fmt: skip
    order = np.concatenate(orders)[first - turns[0] * rows :][: steps * count]
    order = np.sort(order.reshape(steps, count), axis=1)
    shape = (count, *other.pixels.shape[1:])

    def gather(indices: np.ndarray) -> np.ndarray:
        return other.pixels[other.rows[indices]]

    def prepare(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.numpy_function(gather, [indices], tf.uint8, stateful=False)
        number = seed[1] * 100_003 + seed[0]
        seeds = tf.stack([tf.constant(number, tf.int64), step + seed[2] * MOST_STEPS])
        changes = other.augment or augment
        changed = random_changes(tf.ensure_shape(batch, shape), changes, input_px, seeds)
        return changed, tf.gather(tf.constant(other.labels.astype(np.int32)), indices)

    numbers = np.arange(steps, dtype=np.int64)
    slices = tf.data.Dataset.from_tensor_slices((numbers, order))
    return slices.map(prepare, num_parallel_calls=2)


def _joined(
    batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor], more: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    images, labels, soft = batch
    return tf.concat([images, more[0]], 0), tf.concat([labels, more[1]], 0), soft


def _order(
    rows: np.ndarray, batch_size: int, seed: tuple[int, int], shares: tuple[int, range]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of each share of a batch, (n, B), and the (n,) numbers of these shares."""
    order = np.random.default_rng(seed).permutation(rows)
    steps = len(order) // batch_size
    parts, given = shares
    order = order[: steps * batch_size].reshape(steps, parts, -1)[:, list(given)]
    numbers = np.arange(steps * parts, dtype=np.int64).reshape(steps, parts)[:, list(given)]
    return order.reshape(steps * len(given), -1), numbers.reshape(-1)


def statistics_batches(recipe: Recipe, lessons: Lessons, seed: int) -> Iterator[tf.Tensor]:
    """Return some batches of training images at the size that the model is used at.

    Not degraded: statistics of images with noise and covered parts are not those of what it will
    mostly be asked about (Xie et al. 2020, arXiv:1911.09665, section 4).
    """
    batches = training_batches(
        lessons, augment=recipe.augment.undegraded(), input_px=recipe.input.width_px,
        batch_size=recipe.batch_size, seed=(seed, 0),
    )  # fmt: skip
    for images, *_ in batches.take(STATISTICS_BATCHES):
        yield images
