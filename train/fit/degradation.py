"""What cameras, networks and archives do to an image, done to training images at random.

In the order in which it happens: detail is lost (small sensors, motion, shrunken files), the sensor
adds noise, JPEG rounds. HAM10000's images are all alike in this; other people's are not, and a
network that has seen one kind only judges others by the kind instead of by the lesion.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from train.recipe import Augment

Draw = Callable[[int, float, float, tuple[int, ...]], tf.Tensor]
"""(number of the choice, lowest, highest, shape) -> uniform floats, the same for the same seeds."""

GRAINS = 4
"""How many different grains the noise of a batch has."""
QUALITY = (30.0, 95.0)
"""Lowest and highest JPEG quality (Pillow's scale)."""


def degrade(draw: Draw, augment: Augment, images: tf.Tensor) -> tf.Tensor:
    """Blur, add noise, compress and erase, as the recipe's ``[augment]`` says.

    Args:
        draw: Gives random numbers; choices 20 to 30 are this module's.
        augment: How much.
        images: (B, H, W, 3) float32, 0-255.

    Returns:
        (B, H, W, 3) float32, 0-255.
    """
    if augment.blur:
        images = _blur(draw, augment, images)
    if augment.sharpness:
        images = _sharpen(draw, augment, images)
    if augment.noise:
        images = _noise(draw, augment, images)
    if augment.jpeg:
        images = _compress(draw, augment, images)
    if augment.erase:
        images = _erase(draw, augment, images)
    return images


def _blur(draw: Draw, augment: Augment, images: tf.Tensor) -> tf.Tensor:
    """Shrink a share of the images, all of a batch by one factor, and enlarge them again."""
    count, side = images.shape[0], images.shape[1]
    chosen = tf.argsort(draw(20, 0.0, 1.0, (count,)))[: round(count * augment.blur)]
    smaller = tf.cast(draw(21, augment.detail, 1.0, ()) * side, tf.int32)
    small = tf.image.resize(tf.gather(images, chosen), tf.repeat(smaller, 2), antialias=True)
    soft = tf.image.resize(small, images.shape[1:3])
    return tf.tensor_scatter_nd_update(images, chosen[:, None], soft)


def _sharpen(draw: Draw, augment: Augment, images: tf.Tensor) -> tf.Tensor:
    """Add some of the difference to a weighted 3x3 average (unsharp masking), or take some off."""
    weights = np.outer((0.25, 0.5, 0.25), (0.25, 0.5, 0.25)).astype(np.float32)
    kernel = tf.constant(np.repeat(weights[:, :, None, None], 3, axis=2))
    padded = tf.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="REFLECT")
    soft = tf.nn.depthwise_conv2d(padded, kernel, (1, 1, 1, 1), "VALID")
    change = draw(30, -augment.sharpness, augment.sharpness, (images.shape[0], 1, 1, 1))
    return tf.clip_by_value(images + change * (images - soft), 0.0, 255.0)


def _noise(draw: Draw, augment: Augment, images: tf.Tensor) -> tf.Tensor:
    """Add noise of one standard deviation an image to half of the images."""
    count, height, width = images.shape[:3]
    deviation = draw(22, -1.0, 1.0, (count, 1, 1, 1)) * augment.noise * 255
    seeds = tf.cast(draw(23, 0.0, 2.0**30, (2,)), tf.int32)
    # Drawing costs more than all else here: several images share their grain, at other strengths.
    own = math.gcd(count, GRAINS)
    grain = tf.random.stateless_normal((own, height, width, 3), seeds)
    grain = tf.tile(grain, (count // own, 1, 1, 1))
    return tf.clip_by_value(images + tf.nn.relu(deviation) * grain, 0.0, 255.0)


def _compress(draw: Draw, augment: Augment, images: tf.Tensor) -> tf.Tensor:
    """Code a share of the images as JPEG and decode them."""
    count = images.shape[0]
    quality = draw(25, *QUALITY, (count,))
    chosen = draw(26, 0.0, 1.0, (count,)) < augment.jpeg
    coded = tf.numpy_function(_through_jpeg, [images, quality, chosen], tf.float32, stateful=False)
    return tf.ensure_shape(coded, images.shape)


def _through_jpeg(images: np.ndarray, quality: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    result = images.copy()
    for number in np.flatnonzero(chosen):
        stream = io.BytesIO()
        pixels = np.rint(images[number]).astype(np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG", quality=int(quality[number]))
        with Image.open(stream) as coded:
            result[number] = np.asarray(coded)
    return result


def _erase(draw: Draw, augment: Augment, images: tf.Tensor) -> tf.Tensor:
    """Cover a square in half of the images with grey (DeVries, Taylor 2017, arXiv:1708.04552).

    The network then cannot rely on one part of the lesion alone.
    """
    count, height, width = images.shape[:3]
    half = draw(27, -1.0, 1.0, (count, 1, 1)) * augment.erase * min(height, width) / 2
    y = draw(28, 0.0, 1.0, (count, 1, 1)) * height
    x = draw(29, 0.0, 1.0, (count, 1, 1)) * width
    rows = tf.abs(tf.range(height, dtype=tf.float32)[None, :, None] - y) < half
    columns = tf.abs(tf.range(width, dtype=tf.float32)[None, None, :] - x) < half
    return tf.where((rows & columns)[..., None], 128.0, images)
