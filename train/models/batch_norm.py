"""Batch normalisation: finds a model's, and measures its statistics."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return a model's batch normalisations, also those of a quantization-aware one, in order."""
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
