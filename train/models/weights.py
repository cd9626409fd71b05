"""Starts a network from published weights, or from another training's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from train.models import folded
from train.models.architectures import in_head
from train.models.batch_norm import batch_norms
from train.settings import RecipeError

layers = keras.layers

NORMALIZATION_STD = (0.229, 0.224, 0.225)
"""By what Keras divides pixels a second time for its published EfficientNet weights."""


def load_weights(model: keras.Model, file: Path | None, sample: np.ndarray) -> None:
    """Start a network from ImageNet weights, or from another training's.

    Args:
        model: From ``build``; its layers carry Keras' names.
        file: A float16 or float32 .tflite file of the same network, or an .npz of
            ``<convolution>/kernel`` and ``/bias`` with batch normalisation folded in; a head
            (``logits/kernel``) is taken, too, where it has as many classes. Or ImageNet's: such an
            .npz, or the .h5 that Keras publishes (without top). None downloads Keras' own.
        sample: (N, H, W, 3) float32 training images in [-1, 1) at the model's size, by which
            folded batch normalisation is given back its statistics.

    Raises:
        RecipeError: The file lacks a layer, there is no network to download from, or there are
            no such weights for the architecture.
    """
    if file is not None and file.suffix in (".tflite", ".npz"):
        _load_folded(model, file, sample)
    elif model.name == "efficientnetb3":
        _load_keras_imagenet(model, keras.applications.EfficientNetB3, file)
        _divide_twice(_normalization(model))
    elif model.name not in ("mobilenetv2", "gate"):
        raise RecipeError(f"there are no ImageNet weights for {model.name}; weights: random")
    else:
        _load_keras_imagenet(model, keras.applications.MobileNetV2, file)


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


def _load_folded(model: keras.Model, file: Path, sample: np.ndarray) -> None:
    """Load kernels and biases, then turn each bias back into a batch normalisation.

    With mean 0, variance 1 - eps, gamma 1 and beta = bias the network computes exactly what the
    folded one does; then the mean and variance that each layer really sees go in, with gamma =
    sqrt(variance + eps) and beta = bias + mean, which leaves the function unchanged.
    """
    weights = folded.read(file)
    norms = {layer.input.node.layer.name: layer for layer in batch_norms(model)}
    # The head is learnt where the file has none.
    norms = {n: v for n, v in norms.items() if f"{n}/kernel" in weights or not in_head(n)}
    missing = [name for name in norms if f"{name}/kernel" not in weights]
    if missing:
        raise RecipeError(
            f"{file}: no weights for {', '.join(missing[:3])} ({len(missing)} in all)"
        )
    for name, norm in norms.items():
        model.get_layer(name).set_weights([weights[f"{name}/kernel"]])
        bias = weights[f"{name}/bias"]
        ones, zeros = np.ones_like(bias), np.zeros_like(bias)
        norm.set_weights([ones, bias, zeros, ones - norm.epsilon])
    if (kernel := weights.get(f"{folded.HEAD}/kernel")) is not None:
        head = model.get_layer(folded.HEAD)
        if kernel.shape == head.kernel.shape:
            head.set_weights([kernel, weights[f"{folded.HEAD}/bias"]])
    seen = keras.Model(model.input, [norm.input for norm in norms.values()])
    for norm, (mean, variance) in zip(norms.values(), _moments(seen, sample)):
        bias = norm.get_weights()[1]
        norm.set_weights([np.sqrt(variance + norm.epsilon), bias + mean, mean, variance])


def _moments(model: keras.Model, sample: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    sums: list[list[np.ndarray]] = []
    for start in range(0, len(sample), 32):
        outputs = [x.numpy().astype(np.float64) for x in model(sample[start : start + 32])]
        sums.append([np.stack([x.mean((0, 1, 2)), (x**2).mean((0, 1, 2))]) for x in outputs])
    moments = [np.mean(layer, axis=0) for layer in zip(*sums)]
    return [(m.astype(np.float32), (q - m**2).astype(np.float32)) for m, q in moments]
