"""Kernels and biases with batch normalisation folded in, by the name of the layer.

From an .npz, or out of a float .tflite file of ours: a training can begin with a published model,
the embedded ones included, where its run folder is not at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lesionedge import metadata
from lesionedge.atomic import whole_file
from lesionedge.card import Card, present
from lesionedge.errors import ModelError
from train import npz
from train.settings import RecipeError

HEAD = "logits"
"""Name of the last layer of the networks that are built here."""

_LAYER = re.compile(r"([^/;]+)/(?:Conv2D|depthwise|MatMul)\d*$")
"""The layer's name at the end of the name that the converter gives its kernel."""


def mean(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return the mean of several trainings' weights.

    What short trainings from the same weights, with other order and other changes to the images,
    have in common is what they learnt; what is each one's own mostly cancels out (Wortsman et al.
    2022, "Model soups", arXiv:2203.05482). Batch normalisation must have been frozen: folded
    kernels are then the same multiple of the ones that were trained in every file.

    Args:
        files: Each as ``read`` or ``of_keras_imagenet`` takes it, by its suffix; one or more.

    Returns:
        As ``read``.

    Raises:
        RecipeError: A file cannot be read, or they are of different networks.
    """
    found = [of_keras_imagenet(file) if file.suffix == ".h5" else read(file) for file in files]
    shapes = [{name: array.shape for name, array in each.items()} for each in found]
    for file, own in zip(files, shapes):
        differs = sorted(n for n in own | shapes[0] if own.get(n) != shapes[0].get(n))
        if differs:
            raise RecipeError(
                f"{file}: of another network than {files[0]}: they differ in "
                f"{', '.join(differs[:3])} ({len(differs)} in all)"
            )
    return {name: np.stack([each[name] for each in found]).mean(0) for name in found[0]}


def read(file: Path) -> Mapping[str, np.ndarray]:
    """Return ``<layer>/kernel`` and ``<layer>/bias`` float32, kernels with Keras' order of axes.

    A .tflite file has the head, too: dense layers, ``logits/kernel`` and ``logits/bias``.

    Raises:
        RecipeError: The file cannot be read, or is a .tflite file with rounded weights.
    """
    try:
        if file.suffix == ".tflite":
            return dict(_of_tflite(file))
        return npz.read(file)
    except (OSError, ValueError, KeyError, ModelError) as error:
        raise RecipeError(f"{file}: no weights that can be read ({error})") from error


def of_keras_imagenet(file: Path) -> dict[str, np.ndarray]:
    """Fold Keras' published MobileNetV2.

    Args:
        file: Its .h5, ``mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5``.

    Returns:
        As ``read``, without a head.

    Raises:
        RecipeError: The file holds no such weights.
    """
    from tf_keras import applications, layers

    try:
        model = applications.MobileNetV2(include_top=False, weights=str(file))
    except Exception as error:  # whatever h5py and Keras raise for a file that is another one
        raise RecipeError(f"{file}: no weights of MobileNetV2 without top ({error})") from error
    found: dict[str, np.ndarray] = {}
    for layer in model.layers:
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            name, kernel = layer.name, layer.get_weights()[0]
        elif isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + layer.epsilon)
            one_each = kernel.shape[-1] == 1  # a depthwise kernel's channels are its third axis
            found[f"{name}/kernel"] = kernel * (scale[:, None] if one_each else scale)
            found[f"{name}/bias"] = beta - mean * scale
    return found


def write(weights: Mapping[str, np.ndarray], file: Path) -> None:
    """Keep weights as an .npz of float16."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as stream:
        halved: dict[str, Any] = {k: array.astype(np.float16) for k, array in weights.items()}
        np.savez(stream, **halved)


def _of_tflite(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    from tensorflow.lite.python import schema_py_generated as schema

    card = metadata.read(file).card or Card()
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    graph = model.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    kinds = schema.BuiltinOperator
    halved = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if codes[operator.opcodeIndex] == kinds.DEQUANTIZE
    }

    def values(tensor: int) -> np.ndarray:
        kept = graph.tensors[halved.get(tensor, tensor)]
        dtypes = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}
        if kept.type not in dtypes:
            raise ValueError("its weights are rounded to integers; give the float16 file")
        array = np.frombuffer(model.buffers[kept.buffer].data.tobytes(), dtypes[kept.type])
        return array.reshape(kept.shape).astype(np.float32)

    for operator in graph.operators:
        kind = codes[operator.opcodeIndex]
        if kind not in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED):
            continue
        kernel, bias = (values(tensor) for tensor in operator.inputs[1:3])
        dense = kind == kinds.FULLY_CONNECTED
        # The converter folds the division by the temperature into the last layer, and renames it.
        name = _layer(graph.tensors[operator.inputs[1]], otherwise=HEAD if dense else None)
        factor: Any = 1
        if name == HEAD:
            factor = present(present(card.file, "file").temperature, "temperature")
        axes = (1, 0) if dense else (1, 2, 3, 0)
        yield f"{name}/kernel", kernel.transpose(axes) * factor
        yield f"{name}/bias", bias * factor


def _layer(kernel: Any, *, otherwise: str | None) -> str:
    """Return the name of a kernel's layer.

    Raises:
        ValueError: The kernel's name does not tell, and there is no other name to take.
    """
    found = _LAYER.search(kernel.name.decode())
    name = otherwise if found is None else found[1]
    if name is None:
        raise ValueError(f"a kernel of no known layer: {kernel.name.decode()}")
    return name
