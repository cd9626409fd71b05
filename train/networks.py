"""What is done with a Keras model besides training it: quantize, load, run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train import pipeline
from train.losses import both_classes
from train.run import RunError

MOST_GROWN = 4.0
"""How many times as large, or as small, rounding may make a channel's variance; more is noise."""

INPUT_RANGE = "quantize_layer"
"""What tensorflow_model_optimization calls the layer that rounds the input; it numbers further
ones of a process."""

RANGE_VALUES = 2048
"""How many of a batch's activations of every layer its range is chosen by."""
SHRUNK = tuple(np.linspace(1.0, 0.15, 35).tolist())
"""Shares of the widest range that are considered, the widest first: it wins a tie."""


def quantization_aware(model: keras.Model) -> keras.Model:
    """Make every layer round its weights and activations to 8 bits in the forward pass.

    (Jacob et al. 2018, arXiv:1712.05877; tensorflow_model_optimization's default 8-bit scheme.)
    """
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras.quantize_model(model)


def start_ranges(
    quantized: keras.Model, floating: keras.Model, batches: Iterable[tf.Tensor]
) -> None:
    """Set the range of every rounded activation to where rounding errs least.

    tensorflow_model_optimization starts all ranges at [-6, 6] and moves them by a thousandth a
    step: a short quantization-aware training would end with bottlenecks clipped at 6 and the
    input rounded to steps four times too coarse. Here the mean of the batches' extremes, its own
    statistic, is the widest range that is considered. A narrower one clips what is rare and rounds
    all else more finely; the one with the least mean squared error is taken (Nagel et al. 2021,
    arXiv:2106.08295, section 3.1). The answer itself, the last layer's, is not clipped.

    Args:
        quantized: From ``quantization_aware``, with the float model's weights; changed.
        floating: The float model, before it was wrapped.
        batches: Batches of (B, H, W, 3) float32 in [-1, 1).
    """
    ranges = {name: pair for layer in quantized.layers for name, pair in _ranges(layer).items()}
    low, high = ranges.pop(next(name for name in ranges if name.startswith(INPUT_RANGE)))
    low.assign(-pipeline.PIXEL_MEAN / pipeline.PIXEL_STD)
    high.assign(pipeline.LARGEST)
    watched = keras.Model(floating.input, [floating.get_layer(name).output for name in ranges])

    @tf.function
    def look(pictures: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flat = [tf.reshape(y, [-1]) for y in watched(pictures)]
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
    """Give the float layer's name -> the range that a quantization-aware one rounds it in."""
    own = {v.name.split("/")[-1].split(":")[0]: v for v in layer.weights}
    return {
        layer.name.removeprefix("quant_"): (own[f"{what}_min"], own[f"{what}_max"])
        for what in (layer.name, "output", "post_activation")
        if f"{what}_min" in own
    }


def take_out_rounding(
    quantized: keras.Model, floating: keras.Model, batches: Iterable[tf.Tensor]
) -> None:
    """Move batch normalisation's statistics by as much as rounding moves its input.

    A rounded weight shifts what a channel is on average, the more so where the channel's input
    is nearly constant and its variance small; the mean takes the shift out again (bias correction;
    Nagel et al. 2019, arXiv:1906.04721, section 4.2). Only the difference between both models on
    the same pictures counts: the statistics may be of other pictures, and stay so. Measuring them
    anew on training's cost a network that was trained elsewhere four points of balanced accuracy.

    Args:
        quantized: From ``quantization_aware``, with the float model's weights and its ranges set;
            changed.
        floating: The float model, before it was wrapped; unchanged.
        batches: Batches of (B, H, W, 3) float32 in [-1, 1).
    """
    kept = [layer.get_weights() for layer in batch_norms(floating)]
    seen = list(batches)
    refresh_batch_norm(floating, seen)
    refresh_batch_norm(quantized, seen)
    for norm, other, own in zip(batch_norms(quantized), batch_norms(floating), kept):
        _, _, mean, variance = own
        moved = norm.moving_mean.numpy() - other.moving_mean.numpy()
        grown = norm.moving_variance.numpy() / np.maximum(other.moving_variance.numpy(), 1e-12)
        norm.moving_mean.assign(mean + moved)
        norm.moving_variance.assign(variance * grown.clip(1 / MOST_GROWN, MOST_GROWN))
        other.set_weights(own)


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Give a model's batch normalisations, also those of a quantization-aware one, in order."""
    inner = [getattr(layer, "layer", layer) for layer in model.layers]
    return [layer for layer in inner if isinstance(layer, keras.layers.BatchNormalization)]


def refresh_batch_norm(model: keras.Model, batches: Iterable[tf.Tensor]) -> None:
    """Measure the mean and variance of every batch normalisation's input anew.

    Args:
        model: Float or quantization-aware; changed.
        batches: Batches of (B, H, W, 3) float32 in [-1, 1).
    """
    norms = batch_norms(model)
    before = [(norm.momentum, norm.trainable) for norm in norms]
    for norm in norms:
        # The moving statistics are then the last batch's.
        norm.momentum, norm.trainable = 0.0, True
    run = tf.function(lambda batch: model(batch, training=True))
    moving = [v for norm in norms for v in (norm.moving_mean, norm.moving_variance)]
    seen = []
    for batch in batches:
        run(batch)
        seen.append([variable.numpy() for variable in moving])
    for variable, *values in zip(moving, *seen):
        variable.assign(np.mean(values, axis=0))
    for norm, (momentum, trainable) in zip(norms, before):
        norm.momentum, norm.trainable = momentum, trainable


def load_model(file: Path) -> keras.Model:
    """Load a run's Keras model, quantization-aware or not.

    Raises:
        RunError: The file is missing.
    """
    import tensorflow_model_optimization as tfmot

    if not file.is_file():
        raise RunError(f"{file}: missing; the training has not ended yet: run fit again")
    with tfmot.quantization.keras.quantize_scope():
        return keras.models.load_model(file, compile=False)


def logits(
    model: keras.Model, inputs: np.ndarray, weights: list[np.ndarray] | None = None
) -> np.ndarray:
    """Run a model over prepared pictures.

    Args:
        model: Ends in logits, one a class or one for two classes.
        inputs: (N, H, W, 3) uint8 RGB.
        weights: Used in place of the model's own, which are put back.

    Returns:
        (N, classes) float32; of a model with one output (N, 2): 0 for the negative class, and
        its logit, so that their softmax is its sigmoid.
    """
    own = None
    if weights is not None:
        own = model.get_weights()
        model.set_weights(weights)
    predict = tf.function(lambda x: both_classes(model(pipeline.normalise(x), training=False)))
    size = 32
    whole = np.concatenate(
        [predict(inputs[i : i + size]).numpy() for i in range(0, len(inputs), size)]
    )
    if own is not None:
        model.set_weights(own)
    return whole
