"""Does the stage ``mixed`` travel better if images exchange their style while it trains?

    python benchmarks/research/styles.py none|colours|fourier|features fit mobilenetv2 OPTIONS...

Trains as ``python -m train fit mobilenetv2 OPTIONS...`` does, but half of the images of each batch
take on, in part, the style of another image of the batch, mostly one of another collection or
diagnosis:

- ``colours``: the mean and the standard deviation of each colour channel;
- ``fourier``: the amplitudes of the Fourier transform of each channel, while the phases stay
  (Xu et al. 2021, arXiv:2105.11120);
- ``features``: as ``colours``, but of the channels after block 5, the last one that is frozen
  (MixStyle; Zhou et al. 2021, arXiv:2104.02008);
- ``none``: nothing, to compare with.

The network as it was before the stage, whose predictions are half of the target, sees the images
as they are.
"""

from __future__ import annotations

import sys
from typing import Any

from train.__main__ import main as train  # sets up TensorFlow's environment: first

import tensorflow as tf  # isort: skip
import tf_keras as keras  # isort: skip

from train.fit import stages
from train.fit.trainer import Trainer

SHARE = 0.5
"""How many of the images change."""
FROZEN_END = "block_5_add"
"""The last layer that the stage ``mixed`` leaves as it is."""
BETA = 0.1
"""Of MixStyle's paper: most images keep their style, or take on almost all of the other one's."""


def exchanged_statistics(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Return images or features with the means and deviations of others.

    Args:
        x: (B, H, W, C) float32.
        weight: (B, 1, 1, 1) float32, 0-1: how much of the other's style each one takes on.
    """
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    deviation = tf.sqrt(variance + 1e-6)
    order = tf.random.shuffle(tf.range(tf.shape(x)[0]))
    new_mean = mean + weight * (tf.gather(mean, order) - mean)
    new_deviation = deviation + weight * (tf.gather(deviation, order) - deviation)
    return (x - mean) / deviation * new_deviation + new_mean


def exchanged_amplitudes(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Return images with the Fourier amplitudes of others; shapes as above."""
    spectrum = tf.signal.rfft2d(tf.transpose(x, (0, 3, 1, 2)))
    amplitude, phase = tf.abs(spectrum), tf.math.angle(spectrum)
    order = tf.random.shuffle(tf.range(tf.shape(x)[0]))
    amplitude += weight * (tf.gather(amplitude, order) - amplitude)
    mixed = tf.cast(amplitude, tf.complex64) * tf.exp(tf.complex(tf.zeros_like(phase), phase))
    back = tf.signal.irfft2d(mixed, tf.shape(x)[1:3])
    return tf.clip_by_value(tf.transpose(back, (0, 2, 3, 1)), -1.0, 1.0)


def weights(count: tf.Tensor, *, beta: float | None = None) -> tf.Tensor:
    """Return (count, 1, 1, 1) float32 random weights; 0 for images that keep their style."""
    shape = (count, 1, 1, 1)
    if beta is None:
        drawn = tf.random.uniform(shape)
    else:
        one, other = (tf.random.gamma(shape, beta) for _ in range(2))
        drawn = one / tf.maximum(one + other, 1e-20)
    return tf.where(tf.random.uniform(shape) < SHARE, drawn, 0.0)


class Restyled(keras.layers.Layer):
    """The images with the style of others; while training only."""

    def __init__(self, style: str, **given: Any) -> None:
        super().__init__(**given)
        self.style = style

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return (B, H, W, 3) float32 images."""
        if not training:
            return x
        if self.style == "fourier":
            return exchanged_amplitudes(x, weights(tf.shape(x)[0]))
        return tf.clip_by_value(exchanged_statistics(x, weights(tf.shape(x)[0])), -1.0, 1.0)


class RestyledAdd(keras.layers.Add):
    """A sum of features that then take on the style of others; while training only."""

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Return (B, H, W, C) float32 features."""
        x = super().call(inputs)
        if not training:
            return x
        return exchanged_statistics(x, weights(tf.shape(x)[0], beta=BETA))


def restyled(model: keras.Model, style: str) -> keras.Model:
    """Return the model with another's style for some images; its weights are in the same order."""
    if style == "none":
        return model
    if style != "features":
        return keras.Sequential([keras.Input(model.input_shape[1:]), Restyled(style), model])

    def cloned(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = RestyledAdd if layer.name == FROZEN_END else type(layer)
        return kind.from_config(layer.get_config())

    other = keras.models.clone_model(model, clone_function=cloned)
    other.set_weights(model.get_weights())
    return other


def main() -> None:
    """Train with a style."""
    style, *arguments = sys.argv[1:] or ["--help"]
    if style not in ("none", "colours", "fourier", "features") or arguments[:1] != ["fit"]:
        raise SystemExit(__doc__)

    class Styled(Trainer):
        def __init__(self, recipe: Any, stage: Any, model: keras.Model, *args: Any, **more: Any):
            given = restyled(model, style) if stage.others else model
            super().__init__(recipe, stage, given, *args, **more)

    stages.Trainer = Styled
    train(arguments)


if __name__ == "__main__":
    main()
