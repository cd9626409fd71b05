"""Images that take on another's style in a training: three ways of domain generalisation.

- ``colours``: the mean and the standard deviation of each colour channel;
- ``fourier``: the amplitudes of each channel's Fourier transform, while the phases stay (Xu et al.
  2021, arXiv:2105.11120);
- ``features``: as ``colours``, but of the channels of ``FROZEN_END`` (MixStyle; Zhou et al. 2021,
  arXiv:2104.02008).

Half of a batch's images take on a random part of the style of another image of the batch, mostly
one of another collection or diagnosis.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

STYLES = ("none", "colours", "fourier", "features")
SHARE = 0.5
"""How many of the images change."""
FROZEN_END = "block_5_add"
"""The last layer of MobileNetV2 that the stage ``mixed`` leaves as it is."""
BETA = 0.1
"""Of MixStyle's paper: most images keep their style, or take on almost all of the other one's."""
LEAST_VARIANCE = 1e-6


def restyled(model: keras.Model, style: str) -> keras.Model:
    """Return a network that exchanges styles while it trains.

    Args:
        model: MobileNetV2 with batch normalisation folded in. It learns too, except where the
            style is ``features``: then a copy of it learns.
        style: One of ``STYLES``.

    Returns:
        A network whose weights are in the model's order.
    """
    if style == "none":
        return model
    if style != "features":
        return keras.Sequential([keras.Input(model.input_shape[1:]), _Restyled(style), model])

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = _RestyledAdd if layer.name == FROZEN_END else type(layer)
        made = kind.from_config(layer.get_config())
        made.trainable = layer.trainable
        return made

    other = keras.models.clone_model(model, clone_function=copy)
    other.set_weights(model.get_weights())
    return other


class _Restyled(keras.layers.Layer):
    """Images, (B, H, W, 3) float32 in [-1, 1), with the style of others."""

    def __init__(self, style: str, **given: Any) -> None:
        super().__init__(**given)
        self.style = style

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return x
        weight = _weights(tf.shape(x)[0], tf.random.uniform((tf.shape(x)[0], 1, 1, 1)))
        change = _amplitudes if self.style == "fourier" else _statistics
        return tf.clip_by_value(change(x, weight), -1.0, 1.0)


class _RestyledAdd(keras.layers.Add):
    """A sum of features that take on the style of others."""

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        x = super().call(inputs)
        if not training:
            return x
        one, other = (tf.random.gamma((tf.shape(x)[0], 1, 1, 1), BETA) for _ in range(2))
        return _statistics(x, _weights(tf.shape(x)[0], one / tf.maximum(one + other, 1e-20)))


def _weights(count: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Return how much of the other's style each image takes on, (B, 1, 1, 1) float32, 0-1."""
    return tf.where(tf.random.uniform((count, 1, 1, 1)) < SHARE, drawn, 0.0)


def _statistics(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Return (B, H, W, C) float32 with the means and deviations of others."""
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    deviation = tf.sqrt(variance + LEAST_VARIANCE)
    new_mean, new_deviation = _mixed((mean, deviation), weight)
    return (x - mean) / deviation * new_deviation + new_mean


def _amplitudes(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Return (B, H, W, C) float32 with the Fourier amplitudes of others."""
    spectrum = tf.signal.rfft2d(tf.transpose(x, (0, 3, 1, 2)))
    phase = tf.math.angle(spectrum)
    (amplitude,) = _mixed((tf.abs(spectrum),), weight)
    mixed = tf.cast(amplitude, tf.complex64) * tf.exp(tf.complex(tf.zeros_like(phase), phase))
    return tf.transpose(tf.signal.irfft2d(mixed, tf.shape(x)[1:3]), (0, 2, 3, 1))


def _mixed(values: tuple[tf.Tensor, ...], weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return each image's values, in part those of another one, the same one for all values."""
    order = tf.random.shuffle(tf.range(tf.shape(weight)[0]))
    return tuple(value + weight * (tf.gather(value, order) - value) for value in values)
