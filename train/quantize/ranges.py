"""Ranges for rounding activations, measured on what the layers return."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train.models.pixels import LARGEST, PIXEL_MEAN, PIXEL_STD

INPUT_RANGE = "quantize_layer"
"""What tensorflow_model_optimization calls the layer that rounds the input; it numbers further
ones of a process."""

RANGE_VALUES = 2048
"""How many of a batch's activations of every layer its range is chosen by."""

SHRUNK = tuple(np.linspace(1.0, 0.15, 35).tolist())
"""Shares of the widest range that are considered, the widest first: it wins a tie."""


def start_ranges(
    quantized: keras.Model, floating: keras.Model, batches: Iterable[tf.Tensor]
) -> None:
    """Set the range of every rounded activation so that rounding errs least.

    tensorflow_model_optimization starts all ranges at [-6, 6] and moves them by a thousandth of
    the way in each step. After 500 steps, activations up to 30 would still be clipped near 15, and
    the input would be rounded to steps four times too coarse. Here the widest range is the mean of
    the batches' extremes. A narrower range clips rare values and rounds all others more finely.
    The range with the least mean squared error is taken (Nagel et al. 2021, arXiv:2106.08295,
    section 3.1). The output of the last layer is not clipped.

    Args:
        quantized: From ``quantization_aware``, with the float model's weights; changed.
        floating: The float model, before it was wrapped.
        batches: Batches of (B, H, W, 3) float32 in [-1, 1).
    """
    ranges = {name: pair for layer in quantized.layers for name, pair in _ranges(layer).items()}
    low, high = ranges.pop(next(name for name in ranges if name.startswith(INPUT_RANGE)))
    low.assign(-PIXEL_MEAN / PIXEL_STD)
    high.assign(LARGEST)
    watched = keras.Model(floating.input, [floating.get_layer(name).output for name in ranges])

    @tf.function
    def look(images: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flat = [tf.reshape(y, [-1]) for y in watched(images)]
        extremes = [tf.stack([tf.reduce_min(y), tf.reduce_max(y)]) for y in flat]
        return tf.stack(extremes), tf.stack([_some(y, seed) for y in flat])

    seen = [
        [found.numpy() for found in look(batch, tf.constant([number, 0]))]
        for number, batch in enumerate(batches)
    ]
    extremes = np.mean([each for each, _ in seen], axis=0)
    values = np.concatenate([each for _, each in seen], axis=1)
    last = floating.layers[-1].name
    for (name, (low, high)), (smallest, largest), own in zip(ranges.items(), extremes, values):
        # Zero must be exact: it pads.
        widest = min(float(smallest), 0.0), max(float(largest), 0.0)
        chosen = widest if name == last else least_error(own, *widest)
        low.assign(chosen[0])
        high.assign(chosen[1])


def _some(values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw ``RANGE_VALUES`` of (N,) values, some of them more than once."""
    chosen = tf.random.stateless_uniform([RANGE_VALUES], seed, 0, tf.size(values), tf.int32)
    return tf.gather(values, chosen)


def least_error(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Find the range within [low, high] in which rounding to 8 bits errs least.

    Args:
        values: (N,) float32, what is rounded.
        low: Lowest end, 0 or below; one end after the other is drawn in.
        high: Highest end, 0 or above.
    """

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        if step <= 0:
            return float(np.square(values).mean())
        zero = round(-low / step)
        rounded = np.clip(np.rint(values / step), -zero, 255 - zero) * step
        return float(np.square(values - rounded).mean())

    best = low, high
    for _ in range(2):
        best = best[0], min((high * s for s in SHRUNK), key=lambda end: error(best[0], end))
        best = min((low * s for s in SHRUNK), key=lambda end: error(end, best[1])), best[1]
    return best


def _ranges(layer: keras.layers.Layer) -> dict[str, tuple[tf.Variable, tf.Variable]]:
    """Return the float layer's name -> the range that a quantization-aware one rounds it in."""
    own = {v.name.split("/")[-1].split(":")[0]: v for v in layer.weights}
    return {
        layer.name.removeprefix("quant_"): (own[f"{what}_min"], own[f"{what}_max"])
        for what in (layer.name, "output", "post_activation")
        if f"{what}_min" in own
    }
