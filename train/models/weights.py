"""Starts a network from published weights, or from another training's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train.models import folded
from train.models.architectures import in_head
from train.models.batch_norm import batch_norms
from train.settings import RecipeError

layers = keras.layers

NORMALIZATION_STD = (0.229, 0.224, 0.225)
"""By what Keras divides pixels a second time for its published EfficientNet weights."""


def load_weights(model: keras.Model, file: Path | None, sample: np.ndarray) -> bool:
    """Start a network from ImageNet weights, or from another training's.

    Args:
        model: From ``build``; its layers carry Keras' names.
        file: A float16 or float32 .tflite file of the same network, or an .npz of
            ``<layer>/kernel`` and ``/bias`` with batch normalisation folded in; of its head (dense
            layers and ``logits``) what comes before the first layer of another size is taken. Or
            ImageNet's: such an .npz, or the .h5 that Keras publishes (without top). None downloads
            Keras' own.
        sample: (N, H, W, 3) float32 training images in [-1, 1) at the model's size, by which
            folded batch normalisation is given back its statistics.

    Returns:
        Whether all of the head is the file's; else some of it is still random.

    Raises:
        RecipeError: The file lacks a layer or is of another network, there is no network to
            download from, or there are no such weights for the architecture.
    """
    if file is not None and file.suffix in (".tflite", ".npz"):
        return _load_folded(model, file, sample)
    if model.name == "efficientnetb3":
        _load_keras_imagenet(model, keras.applications.EfficientNetB3, file)
        _divide_twice(_normalization(model))
    elif model.name not in ("mobilenetv2", "gate"):
        raise RecipeError(
            f"there are no ImageNet weights for {model.name}; expected a .tflite or .npz file of "
            "the same network, or none"
        )
    else:
        _load_keras_imagenet(model, keras.applications.MobileNetV2, file)
    return False


def _load_keras_imagenet(model: keras.Model, make: Callable[..., Any], file: Path | None) -> None:
    weights = "imagenet" if file is None else str(file)
    try:
        published = make(include_top=False, weights=weights)
    except Exception as error:
        raise RecipeError(
            f"ImageNet weights cannot be had from {file or 'the network'} ({error}); give a file "
            "by --weights, or --weights random to do without"
        ) from error
    names = {layer.name for layer in model.layers}
    for layer in published.layers:
        if isinstance(layer, layers.Normalization):  # Keras numbers these through
            _normalization(model).set_weights(layer.get_weights())
        elif layer.weights and layer.name in names:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def _normalization(model: keras.Model) -> keras.layers.Layer:
    return next(layer for layer in model.layers if isinstance(layer, layers.Normalization))


def _divide_twice(normalization: keras.layers.Layer) -> None:
    """Take into the variance that Keras' EfficientNets divide by the standard deviation again.

    With weights="imagenet" Keras adds a layer that does so; the weights are of networks that
    were trained with (pixel - mean) / std, and its Normalization divides by sqrt(std) only.
    """
    mean, variance, count = normalization.get_weights()
    normalization.set_weights([mean, variance * np.array(NORMALIZATION_STD, np.float32), count])
    normalization.finalize_state()


def _load_folded(model: keras.Model, file: Path, sample: np.ndarray) -> bool:
    """Load kernels and biases, then turn each bias back into a batch normalisation.

    With mean 0, variance 1 - eps, gamma 1 and beta = bias the network computes exactly what the
    folded one does; then the mean and variance that each layer really sees go in, with gamma =
    sqrt(variance + eps) and beta = bias + mean, which leaves the function unchanged.
    """
    weights = folded.read(file)
    norms = {layer.input.node.layer.name: layer for layer in batch_norms(model)}
    others = [v for v in model.layers if v.weights and v.name not in norms and not _is_norm(v)]
    # The head is learnt where the file has none.
    norms = {n: v for n, v in norms.items() if f"{n}/kernel" in weights or not in_head(n)}
    body = [layer for layer in others if not in_head(layer.name)]
    needed = [*norms, *(layer.name for layer in body)]
    missing = [n for n in needed if not {f"{n}/kernel", f"{n}/bias"} <= set(weights)]
    if missing:
        raise RecipeError(
            f"{file}: no weights for {', '.join(missing[:3])} ({len(missing)} in all)"
        )
    for layer in (*map(model.get_layer, norms), *body):
        if not _load(layer, weights):
            raise RecipeError(f"{file}: its weights of {layer.name} are those of another network")
    for name, norm in norms.items():
        bias = weights[f"{name}/bias"]
        ones, zeros = np.ones_like(bias), np.zeros_like(bias)
        norm.set_weights([ones, bias, zeros, ones - norm.epsilon])
    # Up to the first that does not fit.
    whole = all(_load(layer, weights) for layer in others if in_head(layer.name))
    if not norms:
        return whole
    seen = keras.Model(model.input, [norm.input for norm in norms.values()])
    for norm, (mean, variance) in zip(norms.values(), _moments(seen, sample)):
        bias = norm.get_weights()[1]
        norm.set_weights([np.sqrt(variance + norm.epsilon), bias + mean, mean, variance])
    return whole


def _load(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> bool:
    """Load a layer's kernel, and its bias if it has one; return whether they fit."""
    parts = ("kernel", "bias")[: len(layer.weights)]
    given = [weights.get(f"{layer.name}/{part}") for part in parts]
    shapes = [one.shape for one in given if one is not None]
    if shapes != [tuple(own.shape) for own in layer.weights]:
        return False
    layer.set_weights(given)
    return True


def _is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, layers.BatchNormalization)


def _moments(model: keras.Model, sample: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    sums: list[list[np.ndarray]] = []
    for start in range(0, len(sample), 32):
        outputs = [
            x.numpy().astype(np.float64) for x in tf.nest.flatten(model(sample[start : start + 32]))
        ]
        sums.append([np.stack([x.mean((0, 1, 2)), (x**2).mean((0, 1, 2))]) for x in outputs])
    moments = [np.mean(layer, axis=0) for layer in zip(*sums)]
    return [(m.astype(np.float32), (q - m**2).astype(np.float32)) for m, q in moments]
