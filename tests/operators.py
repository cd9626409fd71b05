"""Lists the operators of a .tflite file in order."""

from __future__ import annotations

import os
from pathlib import Path


def operators(file: str | os.PathLike[str]) -> list[str]:
    """Return the operators of a model's main graph.

    Args:
        file: A .tflite file.

    Returns:
        Names such as ``CONV_2D`` in the order in which they run.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    names = {
        code: name
        for name, code in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.ModelT.InitFromPackedBuf(Path(file).read_bytes(), 0)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return [names[codes[operator.opcodeIndex]] for operator in model.subgraphs[0].operators]
