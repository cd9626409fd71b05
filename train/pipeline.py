"""Cached pictures -> shuffled, randomly changed batches.

All random changes of shape (rotation, scale, shift, flips) are one projective transform, and
those of colour one 3x3 matrix and an offset, so that a batch costs a few per cent of a step;
``train.degrade`` does what is left.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from train.degrade import degrade
from train.recipe import Augment

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in brightness (ITU-R BT.601)."""


PIXEL_MEAN = PIXEL_STD = 128.0
"""A pixel enters a network as (pixel - mean) / std: -1 to 127/128.

With the more common 127.5 a uint8 input would want a zero point of 127.5, which there is not:
every pixel would lie between two steps, and be rounded to one in training, to the other on the
device."""

LARGEST = (255 - PIXEL_MEAN) / PIXEL_STD


def normalise(pixels: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Map 0-255 to the networks' input."""
    return (tf.cast(pixels, tf.float32) - PIXEL_MEAN) / PIXEL_STD


def batches(
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
    """Give one epoch of training batches.

    Args:
        pixels: (N, H, W, 3) uint8 RGB, memory-mapped.
        labels: (N,) int class numbers.
        rows: The row numbers to train on; each comes once, in an order drawn from the seed.
        soft: (N, classes) float32 soft labels; None: there are none.
        augment: Ranges of the random changes.
        input_px: Side of the pictures given.
        batch_size: Pictures a batch; the rest of the last one is left out.
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


def random_changes(
    batch: tf.Tensor, augment: Augment, input_px: int, seeds: tf.Tensor
) -> tf.Tensor:
    """Cut out, turn, mirror, recolour and degrade each picture at random.

    Args:
        batch: (B, H, W, 3) uint8 RGB.
        augment: Ranges of the changes.
        input_px: Side of the result.
        seeds: (2,) int64 that fix the changes.

    Returns:
        (B, input_px, input_px, 3) float32 in [-1, 1).
    """
    count, height, width = batch.shape[0], batch.shape[1], batch.shape[2]

    def draw(number: int, low: float, high: float, shape: tuple[int, ...]) -> tf.Tensor:
        here = seeds + tf.constant([0, 1_000_003 * number], tf.int64)
        return tf.random.stateless_uniform(shape, here, low, high)

    transforms = _transforms(draw, augment, count, (height, width), input_px)
    pictures = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(batch, tf.float32), transforms=transforms,
        output_shape=tf.constant([input_px, input_px]), fill_value=0.0,
        interpolation="BILINEAR", fill_mode="REFLECT",
    )  # fmt: skip
    changed = _recolour(draw, augment, count, normalise(pictures))
    if not (augment.blur or augment.noise or augment.jpeg or augment.erase):
        return changed
    return normalise(degrade(draw, augment, changed * PIXEL_STD + PIXEL_MEAN))


def _transforms(draw, augment: Augment, count: int, size: tuple[int, int], input_px: int):  # type: ignore[no-untyped-def]
    """Give (B, 8) matrices from the result's pixels to the cached picture's."""
    height, width = size
    turn = draw(1, -1.0, 1.0, (count,)) * math.radians(augment.rotation_deg)
    if augment.quarter_turns:
        turn += tf.floor(draw(10, 0.0, 4.0, (count,))) * (math.pi / 2)
    side = draw(2, *augment.scale, (count,)) * min(height, width)
    shift_x = draw(3, -1.0, 1.0, (count,)) * augment.shift * side
    shift_y = draw(4, -1.0, 1.0, (count,)) * augment.shift * side
    flips = tf.where(draw(5, 0.0, 1.0, (count, 2)) < (0.5 if augment.flip else 0.0), -1.0, 1.0)
    step = side / input_px
    cos, sin = tf.cos(turn) * step, tf.sin(turn) * step
    a, b = cos * flips[:, 0], -sin * flips[:, 1]
    c, d = sin * flips[:, 0], cos * flips[:, 1]
    middle = (input_px - 1) / 2
    left = (width - 1) / 2 + shift_x - (a + b) * middle
    top = (height - 1) / 2 + shift_y - (c + d) * middle
    zeros = tf.zeros_like(a)
    return tf.stack([a, b, left, c, d, top, zeros, zeros], axis=1)


def _recolour(draw, augment: Augment, count: int, pictures: tf.Tensor) -> tf.Tensor:  # type: ignore[no-untyped-def]
    """Change saturation, contrast, each channel's gain and brightness: one matrix, one offset."""
    contrast = 1 + draw(6, -1.0, 1.0, (count, 1, 1)) * augment.contrast
    saturation = 1 + draw(7, -1.0, 1.0, (count, 1, 1)) * augment.saturation
    gains = 1 + draw(8, -1.0, 1.0, (count, 1, 3)) * augment.tint
    brightness = draw(9, -1.0, 1.0, (count, 1, 1)) * 2 * augment.brightness
    grey = tf.constant([[w] * 3 for w in LUMA], tf.float32)
    matrix = (saturation * tf.eye(3) + (1 - saturation) * grey) * gains * contrast
    flat = tf.reshape(pictures, (count, -1, 3))
    # A channel's gain is meant for 0-255, the values here run from -1: shift by what black gains.
    offset = brightness + (gains - 1) * contrast
    flat = tf.clip_by_value(flat @ matrix + offset, -1.0, LARGEST)
    return tf.reshape(flat, tf.shape(pictures))
