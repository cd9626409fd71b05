"""Random changes of a batch of training images.

All random changes of shape (rotation, scale, shift, flips) are one projective transform, and
those of colour one 3x3 matrix and an offset, so that a batch costs a few per cent of a step;
``train.fit.degradation`` does what is left.
"""

from __future__ import annotations

import math

import tensorflow as tf

from train.fit.degradation import degrade
from train.models.pixels import LARGEST, PIXEL_MEAN, PIXEL_STD, normalise
from train.recipe import Augment

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in brightness (ITU-R BT.601)."""


def random_changes(
    batch: tf.Tensor, augment: Augment, input_px: int, seeds: tf.Tensor
) -> tf.Tensor:
    """Cut out, turn, mirror, recolour and degrade each image at random.

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
    images = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(batch, tf.float32), transforms=transforms,
        output_shape=tf.constant([input_px, input_px]), fill_value=0.0,
        interpolation="BILINEAR", fill_mode="REFLECT",
    )  # fmt: skip
    changed = _recolour(draw, augment, count, normalise(images))
    if not (augment.blur or augment.sharpness or augment.noise or augment.jpeg or augment.erase):
        return changed
    return normalise(degrade(draw, augment, changed * PIXEL_STD + PIXEL_MEAN))


def _transforms(draw, augment: Augment, count: int, size: tuple[int, int], input_px: int):  # type: ignore[no-untyped-def]
    """Return (B, 8) matrices from the result's pixels to the cached image's."""
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


def _recolour(draw, augment: Augment, count: int, images: tf.Tensor) -> tf.Tensor:  # type: ignore[no-untyped-def]
    """Change saturation, contrast, each channel's gain and brightness: one matrix, one offset."""
    contrast = 1 + draw(6, -1.0, 1.0, (count, 1, 1)) * augment.contrast
    saturation = 1 + draw(7, -1.0, 1.0, (count, 1, 1)) * augment.saturation
    gains = 1 + draw(8, -1.0, 1.0, (count, 1, 3)) * augment.tint
    brightness = draw(9, -1.0, 1.0, (count, 1, 1)) * 2 * augment.brightness
    grey = tf.constant([[w] * 3 for w in LUMA], tf.float32)
    matrix = (saturation * tf.eye(3) + (1 - saturation) * grey) * gains * contrast
    flat = tf.reshape(images, (count, -1, 3))
    # A channel's gain is meant for 0-255, the values here run from -1: shift by what black gains.
    offset = brightness + (gains - 1) * contrast
    flat = tf.clip_by_value(flat @ matrix + offset, -1.0, LARGEST)
    return tf.reshape(flat, tf.shape(images))
