"""Cached images -> shuffled, randomly changed batches."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from train.fit.augmentation import random_changes
from train.recipe import Augment


def training_batches(
    pixels: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    soft: np.ndarray | None = None,
    augment: Augment,
    input_px: int,
    batch_size: int,
    seed: tuple[int, int],
    shares: tuple[int, range] = (1, range(1)),
) -> tf.data.Dataset:
    """Return one epoch of training batches.

    Args:
        pixels: (N, H, W, 3) uint8 RGB, memory-mapped.
        labels: (N,) int class numbers.
        rows: The row numbers to train on; each comes once, in an order drawn from the seed.
        soft: (N, classes) float32 soft labels; None: there are none.
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
    order = np.random.default_rng(seed).permutation(rows)
    steps = len(order) // batch_size
    parts, given = shares
    order = order[: steps * batch_size].reshape(steps, parts, -1)[:, list(given)]
    order = order.reshape(steps * len(given), -1)
    numbers = np.arange(steps * parts, dtype=np.int64).reshape(steps, parts)[:, list(given)]
    shape = (batch_size // parts, *pixels.shape[1:])

    softer = np.zeros((len(labels), 0), np.float32) if soft is None else soft

    def gather(indices: np.ndarray) -> np.ndarray:
        return pixels[np.sort(indices)]

    def prepare(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        indices = tf.sort(indices)
        batch = tf.numpy_function(gather, [indices], tf.uint8, stateful=False)
        batch = tf.ensure_shape(batch, shape)
        seeds = tf.stack([tf.cast(seed[1] * 100_003 + seed[0], tf.int64), step])
        changed = random_changes(batch, augment, input_px, seeds)
        own = (tf.gather(tf.constant(each), indices) for each in (labels.astype(np.int32), softer))
        return changed, *own

    dataset = tf.data.Dataset.from_tensor_slices((numbers.reshape(-1), order))
    # There is nothing to tune, and the tuning thread sleeps up to a minute before it lets an
    # epoch end.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.map(prepare, num_parallel_calls=2).prefetch(2).with_options(options)
