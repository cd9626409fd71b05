"""Batch normalisation: finds a model's, measures its statistics, folds it into convolutions."""

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


def folded(model: keras.Model) -> keras.Model:
    """Make a network without batch normalisation that computes the same.

    Each convolution takes the one behind it into its kernel and bias. Names of layers stay, so do
    layers that are not trainable.

    Args:
        model: Float, built by ``train.models.architectures``; unchanged.
    """
    behind = _convolutions(model)

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in {norm.name for norm in behind.values()}:
            return keras.layers.Activation("linear", name=layer.name)
        config = layer.get_config()
        return type(layer).from_config(
            {**config, "use_bias": True} if layer.name in behind else config
        )

    made = keras.models.clone_model(model, clone_function=copy)
    for layer in model.layers:
        own = layer.get_weights()
        if layer.name in behind:
            scale, shift = _scale_and_shift(behind[layer.name])
            own = [_scaled(layer, own[0], scale), shift]
        if layer.weights and made.get_layer(layer.name).weights:
            made.get_layer(layer.name).set_weights(own)
    return made


def unfolded(model: keras.Model, made: keras.Model, weights: list[np.ndarray]) -> list[np.ndarray]:
    """Return a model's weights so that it computes what its folded network does.

    Batch normalisation keeps its scale and statistics; kernels are divided by what they were
    multiplied with, and the shift takes up the rest.

    Args:
        model: What was folded; unchanged.
        made: From ``folded``.
        weights: As ``made.get_weights()`` returns them.
    """
    values = {id(v): value for v, value in zip(made.weights, weights)}
    behind = _convolutions(model)
    found = {id(v): v.numpy() for v in model.weights}
    for layer in model.layers:
        fresh = [values[id(v)] for v in made.get_layer(layer.name).weights]
        if layer.name in behind:
            norm = behind[layer.name]
            scale, shift = _scale_and_shift(norm)
            found[id(layer.weights[0])] = _scaled(layer, fresh[0], 1 / scale)
            found[id(norm.beta)] = norm.beta.numpy() + fresh[1] - shift
        elif fresh:
            found.update({id(v): value for v, value in zip(layer.weights, fresh)})
    return [found[id(v)] for v in model.weights]


def _convolutions(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Return each convolution's name -> the batch normalisation behind it."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    before = {norm: norm.input.node.layer for norm in batch_norms(model)}
    return {
        layer.name: norm
        for norm, layer in before.items()
        if isinstance(layer, kinds) and not layer.use_bias
    }


def _scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _scaled(layer: keras.layers.Layer, kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Multiply a kernel's output channels; a depthwise kernel's are its third axis."""
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    result: np.ndarray = kernel * (scale[:, None] if depthwise else scale)
    return result
