"""Makes the batch of one that a .tflite file runs with a fixed one.

Keras models have an open batch, which the converter keeps in the signature of every shape that
depends on it (-1). Programs that take the file as it is then read one image or many, but
LiteRT.js refuses it, and other compilers for small devices do, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from lesionedge.atomic import whole_file
from lesionedge.errors import ModelError
from lesionedge.graph import verify


def fixed(content: bytes) -> bytes:
    """Return a model whose tensors all have a fixed shape.

    Only the signatures of shapes change, in their places: weights, metadata and everything else
    stay as they are, byte for byte.

    Args:
        content: A .tflite file's bytes, with or without metadata, whose shapes have a batch of 1.

    Returns:
        As many bytes.

    Raises:
        ModelError: A shape is open in another axis than the batch, or its batch is not 1.
    """
    changed = bytearray(content)
    model = schema.Model.GetRootAs(changed, 0)
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            if tensor.ShapeSignatureLength():
                # A view of the bytes: what is assigned to it is written.
                _fix(tensor.ShapeSignatureAsNumpy(), tensor.ShapeAsNumpy(), tensor.Name())
    return bytes(changed)


def _fix(signature: np.ndarray, shape: np.ndarray, name: bytes) -> None:
    opened = np.flatnonzero(signature == -1)
    if not len(opened):
        return
    if opened.tolist() != [0] or shape[0] != 1:
        raise ModelError(
            f"tensor {name.decode()}: its shape is {signature.tolist()}, now {shape.tolist()}; "
            "expected an open batch, now 1, and no other open axis"
        )
    signature[0] = 1


def fix(file: Path) -> bool:
    """Rewrite a .tflite file with a fixed batch, whole or not at all.

    Args:
        file: What ``export`` wrote, now or before batches were fixed.

    Returns:
        Whether anything had to be changed.

    Raises:
        ModelError: It is no .tflite file, or its shapes are open in another way.
    """
    verify(file)
    content = file.read_bytes()
    try:
        changed = fixed(content)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None
    if changed == content:
        return False
    with whole_file(file) as stream:
        stream.write(changed)
    return True
