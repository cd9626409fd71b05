"""How pixels enter a network."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

PIXEL_MEAN = PIXEL_STD = 128.0
"""A pixel enters a network as (pixel - mean) / std: -1 to 127/128.

With the more common 127.5 a uint8 input would want a zero point of 127.5, which there is not:
every pixel would lie between two steps, and be rounded to one in training, to the other on the
device."""

LARGEST = (255 - PIXEL_MEAN) / PIXEL_STD


def normalise(pixels: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Map 0-255 to the networks' input."""
    return (tf.cast(pixels, tf.float32) - PIXEL_MEAN) / PIXEL_STD
