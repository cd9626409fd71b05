"""The networks: ``build(model, …)`` returns a flat functional Keras model that ends in logits.

Quantization-aware training wants it so: no nested model, batch normalisation right after a
convolution, no layer that rescales. Strided convolutions pad as TensorFlow's ``same`` does,
which for even sizes is what the published MobileNetV2 does with a layer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tf_keras as keras

from train.models.pixels import PIXEL_MEAN, PIXEL_STD
from train.recipe import Model, Recipe
from train.settings import RecipeError

layers = keras.layers

MOBILENETV2_BLOCKS = (
    # expansion, channels, repeats, stride (Sandler et al. 2018, arXiv:1801.04381, table 2)
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Of MobileNetV2."""

CNN_BLOCKS = (32, 48, 64, 96)
"""Channels of the small custom network's pairs of convolutions."""

HEAD = ("features", "dropout", "logits")
"""Names of the layers that a head-only stage trains, beside dense layers and the gate's."""

MOMENTUM = 0.9
"""Batch normalisation's. With Keras' 0.99 the statistics lag a hundred steps behind weights that
move fast, and the network is useless whenever it is evaluated in mid-training."""


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
    others = (model.convolutions > 1, model.batch_norm, model.block_dropout)
    if model.architecture != "stacked" and any(others):
        raise RecipeError(
            "convolutions, batch_norm and block_dropout are for the architecture 'stacked'; "
            f"found {model.architecture!r}"
        )
    if model.dense_dropout and not model.dense:
        raise RecipeError("dense_dropout is for dense layers; there are none (dense)")
    images = keras.Input((height_px, width_px, 3), name="image")
    x = body(images, model)
    top = layers.Flatten if model.flatten else layers.GlobalAveragePooling2D
    x = top(name="features")(x)
    x = layers.Dropout(model.dropout, name="dropout")(x)
    for number, units in enumerate(model.dense, start=1):
        x = layers.Dense(units, name=f"dense_{number}", kernel_initializer="he_normal")(x)
        x = layers.ReLU(name=f"dense_{number}_relu")(x)
        x = layers.Dropout(model.dense_dropout, name=f"dense_{number}_dropout")(x)
    outputs = 1 if model.output == "sigmoid" else classes
    return keras.Model(images, layers.Dense(outputs, name="logits")(x), name=model.architecture)


def in_head(name: str) -> bool:
    """Return whether a layer comes behind what published weights hold."""
    return name in HEAD or name.startswith(("dense_", "gate_"))


def mobilenetv2(x: keras.KerasTensor, _: Model) -> keras.KerasTensor:
    """MobileNetV2 at width 1.0 (Sandler et al. 2018), with Keras' own layer names."""
    x = _mobilenetv2_blocks(x, MOBILENETV2_BLOCKS)
    x = _conv_bn(x, 1280, "Conv_1", bn="Conv_1_bn", kernel=1)
    return layers.ReLU(6.0, name="out_relu")(x)


def gate(x: keras.KerasTensor, _: Model) -> keras.KerasTensor:
    """Put a small head on the lower six blocks of MobileNetV2.

    Few photographs can be had, so what edges and textures are has to come from elsewhere.
    """
    x = _mobilenetv2_blocks(x, MOBILENETV2_BLOCKS[:3])
    x = _conv_bn(x, 128, "gate_features", kernel=1)
    return layers.ReLU(6.0, name="gate_relu")(x)


def _mobilenetv2_blocks(
    x: keras.KerasTensor, blocks: Sequence[tuple[int, int, int, int]]
) -> keras.KerasTensor:
    x = _conv_bn(x, 32, "Conv1", bn="bn_Conv1", strides=2)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    number = 0
    for expansion, channels, repeats, stride in blocks:
        for repeat in range(repeats):
            x = _inverted_residual(x, number, expansion, channels, stride if repeat == 0 else 1)
            number += 1
    return x


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
    "gate": gate,
    "cnn": cnn,
    "stacked": stacked,
    "efficientnetb3": efficientnetb3,
}


def _is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, layers.BatchNormalization)


NO_QUANTIZATION_AWARE = {
    "efficientnetb3": "tensorflow_model_optimization has no quantization-aware form of its "
    "Rescaling and Normalization layers, nor of the Multiply in its 26 squeeze-and-excitation "
    "blocks",
}
"""Architecture -> why it cannot go through quantization-aware training."""


def check_quantizable(recipe: Recipe) -> None:
    """Refuse a network that cannot go through quantization-aware training.

    Raises:
        RecipeError: It cannot.
    """
    why = NO_QUANTIZATION_AWARE.get(recipe.model.architecture)
    if why:
        raise RecipeError(
            f"{recipe.name}: {recipe.model.architecture} cannot be quantization-aware: {why}; "
            "leave the stage out, and python -m convert quantizes after training"
        )
