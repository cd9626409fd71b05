"""Runs a Keras model over prepared images."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train.models.pixels import normalise


def logits(
    model: keras.Model, inputs: np.ndarray, weights: list[np.ndarray] | None = None
) -> np.ndarray:
    """Run a model over prepared images.

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
    predict = tf.function(lambda x: both_classes(model(normalise(x), training=False)))
    size = 32
    whole = np.concatenate(
        [predict(inputs[i : i + size]).numpy() for i in range(0, len(inputs), size)]
    )
    if own is not None:
        model.set_weights(own)
    return whole


def both_classes(logits: tf.Tensor) -> tf.Tensor:
    """Return two logits, (0, z), of a network with one, z: their softmax is z's sigmoid.

    Args:
        logits: (N, classes); or (N, 1), of the positive class.

    Returns:
        (N, classes), with 2 for 1: negative, positive.
    """
    if logits.shape[-1] != 1:
        return logits
    return tf.concat([tf.zeros_like(logits), logits], axis=-1)
