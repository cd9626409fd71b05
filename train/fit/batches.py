"""Cached images -> shuffled, randomly changed batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train.fit.augmentation import random_changes
from train.recipe import Augment, Recipe

STATISTICS_BATCHES = 32
"""How many training batches activations' statistics are measured on."""


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


def training_batches(
    lessons: Lessons, *, augment: Augment, input_px: int, batch_size: int, seed: tuple[int, int],
    shares: tuple[int, range] = (1, range(1)),
) -> tf.data.Dataset:  # fmt: skip
    """Return one epoch of training batches.

    Args:
        lessons: What is trained on; each row comes once, in an order drawn from the seed.
        augment: Ranges of the random changes.
        input_px: Side of the images given.
        batch_size: Images a batch; the rest of the last one is left out.
        seed: Two numbers that fix the order and every change.
        shares: In how many equal shares each batch is divided, and which of them are given, one
            after the other; ``batch_size`` is a multiple of their number.

    Returns:
        Batches of ((B, input_px, input_px, 3) float32 in [-1, 1), (B,) int32, (B, classes) float32
        soft labels, or (B, 0) where there are none), B the share's size.
    """
    order, numbers = _order(lessons.rows, batch_size, seed, shares)
    shape = (batch_size // shares[0], *lessons.pixels.shape[1:])
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

    dataset = tf.data.Dataset.from_tensor_slices((numbers, order))
    # There is nothing to tune, and the tuning thread sleeps up to a minute before it lets an
    # epoch end.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.map(prepare, num_parallel_calls=2).prefetch(2).with_options(options)


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
