"""The networks: ``build(recipe, …)`` gives a flat functional Keras model that ends in logits.

Quantization-aware training wants it so: no nested model, batch normalisation right after a
convolution, no layer that rescales. Strided convolutions pad as TensorFlow's ``same`` does,
which for even sizes is what the published MobileNetV2 does with a layer of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from train import folded
from train.blocks import CNN_BLOCKS, MOBILENETV2_BLOCKS
from train.pipeline import PIXEL_MEAN, PIXEL_STD
from train.recipe import Model
from train.settings import RecipeError

layers = keras.layers
HEAD = ("features", "dropout", "logits")
"""Names of the layers that a head-only stage trains, beside those that begin with ``dense``."""

MOMENTUM = 0.9
"""Batch normalisation's. With Keras' 0.99 the statistics lag a hundred steps behind weights that
move fast, and the network is useless whenever it is evaluated in mid-training."""

SMALLEST_WEIGHT = 2.0**-14
"""Least size of a channel's largest weight, with batch normalisation folded in, for its bias."""

NORMALIZATION_STD = (0.229, 0.224, 0.225)
"""By what Keras divides pixels a second time for its published EfficientNet weights."""


def build(
    model: Model, *, classes: int, height_px: int | None, width_px: int | None
) -> keras.Model:
    """Make the network that a recipe names.

    Args:
        model: The recipe's ``[model]``.
        classes: Number of classes.
        height_px: Input height; None leaves it open.
        width_px: Input width; None leaves it open.

    Returns:
        A model from (N, height_px, width_px, 3) float32 in [-1, 1) to (N, classes) logits; with
        output ``sigmoid`` to the (N, 1) logit of the second of two classes.

    Raises:
        RecipeError: There is no such architecture, or a setting is not for it.
    """
    body = ARCHITECTURES.get(model.architecture)
    if body is None:
        known = ", ".join(ARCHITECTURES)
        raise RecipeError(f"architecture {model.architecture!r} is unknown; known: {known}")
    if (model.architecture == "stacked") != bool(model.filters):
        raise RecipeError("filters are for the architecture 'stacked', which needs them")
    pictures = keras.Input((height_px, width_px, 3), name="image")
    x = body(pictures, model)
    top = layers.Flatten if model.flatten else layers.GlobalAveragePooling2D
    x = top(name="features")(x)
    x = layers.Dropout(model.dropout, name="dropout")(x)
    for number, units in enumerate(model.dense, start=1):
        x = layers.Dense(units, name=f"dense_{number}", kernel_initializer="he_normal")(x)
        x = layers.ReLU(name=f"dense_{number}_relu")(x)
        x = layers.Dropout(model.dense_dropout, name=f"dense_{number}_dropout")(x)
    outputs = 1 if model.output == "sigmoid" else classes
    return keras.Model(pictures, layers.Dense(outputs, name="logits")(x), name=model.architecture)


def in_head(name: str) -> bool:
    """Tell whether a layer comes behind the features."""
    return name in HEAD or name.startswith("dense_")


def mobilenetv2(x: keras.KerasTensor, _: Model) -> keras.KerasTensor:
    """MobileNetV2 at width 1.0 (Sandler et al. 2018), with Keras' own layer names."""
    x = _conv_bn(x, 32, "Conv1", bn="bn_Conv1", strides=2)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    number = 0
    for expansion, channels, repeats, stride in MOBILENETV2_BLOCKS:
        for repeat in range(repeats):
            x = _inverted_residual(x, number, expansion, channels, stride if repeat == 0 else 1)
            number += 1
    x = _conv_bn(x, 1280, "Conv_1", bn="Conv_1_bn", kernel=1)
    return layers.ReLU(6.0, name="out_relu")(x)


def _inverted_residual(
    x: keras.KerasTensor, number: int, expansion: int, channels: int, stride: int
) -> keras.KerasTensor:
    prefix = f"block_{number}_" if number else "expanded_conv_"
    start, incoming = x, x.shape[-1]
    if expansion > 1:
        x = _conv_bn(x, incoming * expansion, prefix + "expand", kernel=1)
        x = layers.ReLU(6.0, name=prefix + "expand_relu")(x)
    x = layers.DepthwiseConv2D(
        3, strides=stride, padding="same", use_bias=False, name=prefix + "depthwise"
    )(x)
    x = _batch_norm(x, prefix + "depthwise_BN")
    x = layers.ReLU(6.0, name=prefix + "depthwise_relu")(x)
    x = _conv_bn(x, channels, prefix + "project", kernel=1)
    if stride == 1 and incoming == channels:
        x = layers.Add(name=prefix + "add")([start, x])
    return x


def cnn(x: keras.KerasTensor, _: Model) -> keras.KerasTensor:
    """Stack conv-BN-ReLU blocks with pooling and dropout: small, and trained from scratch."""
    x = _conv_bn_relu(x, 24, "stem", strides=2)
    for number, channels in enumerate(CNN_BLOCKS, start=1):
        x = _conv_bn_relu(x, channels, f"block_{number}_a")
        x = _conv_bn_relu(x, channels, f"block_{number}_b")
        if number < 4:
            x = layers.MaxPooling2D(name=f"block_{number}_pool")(x)
            x = layers.Dropout(0.05, name=f"block_{number}_dropout")(x)
    return x


def stacked(x: keras.KerasTensor, model: Model) -> keras.KerasTensor:
    """Stack blocks of 3x3 convolutions, each halved by max pooling: the classroom network.

    Before an average over all positions the last block is not pooled.
    """
    for number, filters in enumerate(model.filters, start=1):
        for letter in "abcdefgh"[: model.convolutions]:
            name = f"block_{number}_{letter}"
            if model.batch_norm:
                x = _conv_bn(x, filters, name)
            else:
                x = layers.Conv2D(
                    filters, 3, padding="same", kernel_initializer="he_normal", name=name
                )(x)
            x = layers.ReLU(name=name + "_relu")(x)
        if number < len(model.filters) or model.flatten:
            x = layers.MaxPooling2D(name=f"block_{number}_pool")(x)
        if model.block_dropout:
            x = layers.Dropout(model.block_dropout, name=f"block_{number}_dropout")(x)
    return x


def efficientnetb3(x: keras.KerasTensor, _: Model) -> keras.KerasTensor:
    """EfficientNetB3 (Tan and Le 2019, arXiv:1905.11946), Keras' own, which wants pixels 0-255."""
    pixels = layers.Rescaling(PIXEL_STD, offset=PIXEL_MEAN, name="pixels")(x)
    network = keras.applications.EfficientNetB3(
        include_top=False, weights=None, input_tensor=pixels
    )
    for norm in filter(_is_norm, network.layers):
        norm.momentum = MOMENTUM
    return network.output


def _conv_bn_relu(
    x: keras.KerasTensor, filters: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    return layers.ReLU(6.0, name=name + "_relu")(_conv_bn(x, filters, name, strides=strides))


def _conv_bn(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    *,
    bn: str | None = None,
    kernel: int = 3,
    strides: int = 1,
) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters, kernel, strides=strides, padding="same", use_bias=False, name=name,
        kernel_initializer="he_normal",
    )(x)  # fmt: skip
    return _batch_norm(x, bn or name + "_BN")


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=1e-3, momentum=MOMENTUM, name=name)(x)


ARCHITECTURES: dict[str, Callable[[keras.KerasTensor, Model], keras.KerasTensor]] = {
    "mobilenetv2": mobilenetv2,
    "cnn": cnn,
    "stacked": stacked,
    "efficientnetb3": efficientnetb3,
}

NO_QUANTIZATION_AWARE = {
    "efficientnetb3": "tensorflow_model_optimization has no quantization-aware form of its "
    "Rescaling and Normalization layers, nor of the Multiply in its 26 squeeze-and-excitation "
    "blocks",
}
"""Architecture -> why it cannot go through quantization-aware training."""


def load_weights(model: keras.Model, file: Path | None, sample: np.ndarray) -> None:
    """Start a network from ImageNet weights, or from another training's.

    Args:
        model: From ``build``; its layers carry Keras' names.
        file: A float16 or float32 .tflite file of the same network, or an .npz of
            ``<convolution>/kernel`` and ``/bias`` with batch normalisation folded in; a head
            (``logits/kernel``) is taken, too, where it has as many classes. Or ImageNet's: such an
            .npz, or the .h5 that Keras publishes (without top). None downloads Keras' own.
        sample: (N, H, W, 3) float32 training pictures in [-1, 1) at the model's size, by which
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
    elif model.name != "mobilenetv2":
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
    for layer in published.layers:
        if isinstance(layer, layers.Normalization):  # Keras numbers these through
            _normalization(model).set_weights(layer.get_weights())
        elif layer.weights:
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
    norms = {layer.input.node.layer.name: layer for layer in model.layers if _is_norm(layer)}
    weights = folded.read(file)
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


def equalise_depthwise(model: keras.Model) -> None:
    """Scale every channel of every depthwise kernel to a largest weight of 1.

    The batch normalisation behind it undoes the scaling, so that the network computes what it
    did. But quantization-aware training rounds a depthwise kernel with one step for all its
    channels, and channels with small weights would be rounded away (Nagel et al. 2019,
    arXiv:1906.04721, section 3.1); after this, one step suits them all.
    """
    for norm in filter(_is_norm, model.layers):
        depthwise = norm.input.node.layer
        if not isinstance(depthwise, layers.DepthwiseConv2D):
            continue
        (kernel,) = depthwise.get_weights()
        gamma, beta, mean, variance = norm.get_weights()
        scale = np.abs(kernel).max(axis=(0, 1, 3))
        scale[scale == 0] = 1
        smaller = np.maximum((variance + norm.epsilon) / scale**2 - norm.epsilon, 0)
        gamma *= scale * np.sqrt((smaller + norm.epsilon) / (variance + norm.epsilon))
        depthwise.set_weights([kernel / scale[:, None]])
        norm.set_weights([gamma, beta, mean / scale, smaller])


def keep_biases(model: keras.Model) -> None:
    """Give convolutions' channels that died a weight so small that it changes nothing.

    TensorFlow Lite stores a bias as a 32-bit number of steps, a step being the input's times that
    of the channel's weights. Weight decay takes a channel that nothing needs to zero, its bias
    stays; with steps of next to nothing it is cut off at 2**31 of them, and the channel says
    another constant than it did. A weight of 2**-14 of the bias makes steps of which 2**30 cover
    it, for inputs in steps of 1/512 and more, as all are here.

    Args:
        model: From ``build``; changed, by less than rounding changes it.
    """
    for norm in filter(_is_norm, model.layers):
        convolution = norm.input.node.layer
        (kernel,) = convolution.get_weights()
        gamma, beta, mean, variance = norm.get_weights()
        factor = gamma / np.sqrt(variance + norm.epsilon)
        # A view of the kernel: (H, W, input channels, output channels), whatever the layer's order.
        depthwise = isinstance(convolution, layers.DepthwiseConv2D)
        weights = np.swapaxes(kernel, 2, 3) if depthwise else kernel
        least = np.abs(beta - mean * factor) * SMALLEST_WEIGHT
        largest = np.abs(weights).max(axis=(0, 1, 2)) * np.abs(factor)
        for channel in np.flatnonzero((largest < least) & (factor != 0)):
            weights[..., channel] = 0
            weights[0, 0, 0, channel] = least[channel] / factor[channel]
        convolution.set_weights([kernel])


def _is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, layers.BatchNormalization)


def _moments(model: keras.Model, sample: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    sums: list[list[np.ndarray]] = []
    for start in range(0, len(sample), 32):
        outputs = [x.numpy().astype(np.float64) for x in model(sample[start : start + 32])]
        sums.append([np.stack([x.mean((0, 1, 2)), (x**2).mean((0, 1, 2))]) for x in outputs])
    moments = [np.mean(layer, axis=0) for layer in zip(*sums)]
    return [(m.astype(np.float32), (q - m**2).astype(np.float32)) for m, q in moments]
