"""Reads a model's graph: what its outputs are, and whether the file is complete.

Field numbers and operator codes are those of tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from typing import Literal, NamedTuple

from lesionedge.errors import ModelError
from lesionedge.flatbuffer import BrokenError, Table, mapped

Kind = Literal["softmax", "sigmoid", "combined", "other"]

_MAX_DEPTH = 100  # operators between softmax and output; real graphs have five

_CUSTOM = 32
# Operators that may stand at a graph's end, by code; others are named by their number.
_NAMES = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE", 9: "FULLY_CONNECTED", 11: "L2_NORMALIZATION", 14: "LOGISTIC",
    17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 20: "RELU_N1_TO_1", 21: "RELU6", 22: "RESHAPE",
    25: "SOFTMAX", 28: "TANH", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB",
    42: "DIV", 43: "SQUEEZE", 45: "STRIDED_SLICE", 47: "EXP", 48: "TOPK_V2", 49: "SPLIT",
    50: "LOG_SOFTMAX", 53: "CAST", 55: "MAXIMUM", 56: "ARG_MAX", 57: "MINIMUM", 65: "SLICE",
    69: "TILE", 70: "EXPAND_DIMS", 73: "LOG", 74: "SUM", 75: "SQRT", 76: "RSQRT", 78: "POW",
    82: "REDUCE_MAX", 83: "PACK", 88: "UNPACK", 92: "SQUARE", 98: "LEAKY_RELU", 102: "SPLIT_V",
    105: "REVERSE_V2", 106: "ADD_N", 114: "QUANTIZE", 117: "HARD_SWISH", 118: "IF", 119: "WHILE",
    126: "BATCH_MATMUL", 130: "BROADCAST_TO", 150: "GELU", 152: "RELU_0_TO_1",
    206: "STABLEHLO_COMPOSITE",
}  # fmt: skip
# Operators that only change how numbers are stored or arranged.
_PASSING = {
    "QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE",
    "REVERSE_V2",
}  # fmt: skip
# Operators that may combine probabilities: means, complements, sums of classes, prior shifts.
_COMBINING = {
    "ADD", "ADD_N", "SUB", "MUL", "DIV", "POW", "MEAN", "SUM", "AVERAGE_POOL_2D", "MAXIMUM",
    "MINIMUM", "RELU", "RELU_0_TO_1", "CONCATENATION", "PACK", "UNPACK", "SPLIT", "SPLIT_V",
    "SLICE", "STRIDED_SLICE", "GATHER", "TILE", "BROADCAST_TO",
}  # fmt: skip


class Ending(NamedTuple):
    """How a model's output is computed."""

    kind: Kind
    """``softmax`` or ``sigmoid``: such an operator computes it. ``combined``: it is computed from
    the outputs of such operators, or divided by its own sum; these are probabilities if they add
    up to 1. ``other``: anything else, such as logits."""
    operator: str
    """Name of the last operator that computes something."""


def ending(path: str | os.PathLike[str]) -> Ending:
    """Return how a model's first output is computed.

    Args:
        path: A .tflite file.

    Raises:
        ModelError: The file is damaged.
    """
    with mapped(path) as content:
        try:
            return _Graph(Table.root(content)).ending()
        except (BrokenError, struct.error, UnicodeDecodeError) as error:
            raise _damaged(path, error) from None


class _Graph:
    """A model's main graph, read from its end, only as far as needed."""

    def __init__(self, model: Table) -> None:
        self._codes = list(model.tables(1))
        graph = next(model.tables(2), None)
        if graph is None:
            raise BrokenError("it has no graph")
        self._inputs, self._outputs = graph.integers(1), graph.integers(2)
        self._operators = graph.tables(3, backwards=True)
        self._makers: dict[int, Table] = {}
        self._kinds: dict[int, Kind | None] = {}

    def ending(self) -> Ending:
        if not self._outputs:
            raise BrokenError("its graph has no output")
        output = self._outputs[0]
        kind = self._kind(output, 0)
        maker = self._maker(output)
        for _ in range(_MAX_DEPTH):
            if maker is None or self._name(maker) not in _PASSING:
                break
            maker = self._maker(self._arguments(maker)[0])
        return Ending(kind or "other", self._name(maker) if maker else "none")

    def _kind(self, tensor: int, depth: int) -> Kind | None:
        """Return what a tensor comes from; None: it is a constant."""
        if tensor not in self._kinds:
            self._kinds[tensor] = "other"  # ends the recursion if a damaged graph has a cycle
            self._kinds[tensor] = self._traced(tensor, depth)
        return self._kinds[tensor]

    def _traced(self, tensor: int, depth: int) -> Kind | None:
        maker = self._maker(tensor)
        if maker is None:
            return "other" if tensor in self._inputs else None
        if depth > _MAX_DEPTH:
            return "other"
        name, arguments = self._name(maker), self._arguments(maker)
        if name in ("SOFTMAX", "LOGISTIC"):
            return "softmax" if name == "SOFTMAX" else "sigmoid"
        if name in _PASSING:
            return self._kind(arguments[0], depth + 1)
        if name == "EXP" and self._maker_name(arguments[0]) == "LOG_SOFTMAX":
            return "softmax"
        if name == "DIV" and self._is_sum(arguments[1], of=arguments[0]):
            return "combined"
        if name in _COMBINING:
            kinds = {self._kind(argument, depth + 1) for argument in arguments} - {None}
            return "combined" if kinds and "other" not in kinds else "other"
        return "other"

    def _is_sum(self, tensor: int, *, of: int) -> bool:
        maker = self._maker(tensor)
        return maker is not None and self._name(maker) == "SUM" and self._arguments(maker)[0] == of

    def _maker(self, tensor: int) -> Table | None:
        """Find the operator that a tensor comes from."""
        while tensor not in self._makers:
            operator = next(self._operators, None)
            if operator is None:
                return None
            for made in operator.integers(2):
                self._makers.setdefault(made, operator)
        return self._makers[tensor]

    def _maker_name(self, tensor: int) -> str:
        maker = self._maker(tensor)
        return self._name(maker) if maker is not None else "none"

    def _arguments(self, operator: Table) -> tuple[int, ...]:
        found = tuple(number for number in operator.integers(1) if number >= 0)
        needed = 2 if self._name(operator) == "DIV" else 1
        if len(found) < needed:
            raise BrokenError(f"an operator has {len(found)} inputs")
        return found

    def _name(self, operator: Table) -> str:
        number = operator.scalar(0, "<I", 0)
        if number >= len(self._codes):
            raise BrokenError(f"it names operator {number} of {len(self._codes)}")
        code = self._codes[number]
        # Codes above 127 have their own field, which older files lack.
        kind = max(code.scalar(0, "<b", 0), code.scalar(3, "<i", 0))
        if kind == _CUSTOM:
            return code.text(1) or "CUSTOM"
        return _NAMES.get(kind, f"operator {kind}")


# What the tables of a model (schema.fbs) refer to: field -> kind of table, list of such a kind,
# or list of items of this many bytes.
_LAYOUT: Mapping[str, Mapping[int, str | list[str] | int]] = {
    "Model": {1: ["OperatorCode"], 2: ["SubGraph"], 3: 1, 4: ["Buffer"], 5: 4, 6: ["Metadata"]},
    "OperatorCode": {1: 1},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: 1},
    "Tensor": {0: 4, 3: 1, 4: "Quantization", 7: 4},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8},
    "Operator": {1: 4, 2: 4, 4: "Options", 5: 1},
    "Options": {},
    "Buffer": {0: 1},
    "Metadata": {0: 1},
}


# Type of a tensor (uint8, int16, int8) -> the range of its stored numbers.
_STORED = {3: (0, 255), 7: (-32_768, 32_767), 9: (-128, 127)}


def check(path: str | os.PathLike[str]) -> None:
    """Check that a file is a model, and that its inputs and outputs stand for numbers.

    LiteRT 2.3 crashes the process at a scale or zero point that makes no sense.

    Args:
        path: The file.

    Raises:
        ModelError: It cannot be read, is not a model, or such a number makes no sense.
    """
    with mapped(path) as content:
        try:
            graph = next(Table.root(content).tables(2), None)
            if graph is None:
                raise BrokenError("it has no graph")
            for number in (*graph.integers(1), *graph.integers(2)):
                _check_numbers(graph.item(0, number))
        except (BrokenError, struct.error) as error:
            raise _damaged(path, error) from None


def _check_numbers(tensor: Table) -> None:
    limits, quantization = _STORED.get(tensor.scalar(1, "<b", 0)), tensor.table(4)
    if limits is None or quantization is None:
        return
    for scale, zero_point in zip(quantization.floats(2), quantization.longs(3)):
        if not (2**-126 <= scale < math.inf and limits[0] <= zero_point <= limits[1]):
            raise BrokenError(
                f"an input or output has the scale {scale:g} and the zero point {zero_point}"
            )


def verify(path: str | os.PathLike[str]) -> None:
    """Check that everything a model file refers to lies within it.

    LiteRT does so itself; tflite-runtime would crash the process.

    Args:
        path: The file.

    Raises:
        ModelError: Something lies outside.
    """
    with mapped(path) as content:
        try:
            model = Table.root(content)
            _verify(model, "Model")
            _verify_numbers(model)
        except (BrokenError, struct.error) as error:
            raise _damaged(path, error) from None


def _damaged(path: str | os.PathLike[str], error: Exception) -> ModelError:
    return ModelError(
        f"{os.fsdecode(path)}: damaged or cut short ({error}); expected a .tflite model"
    )


def _verify(table: Table, kind: str) -> None:
    table.verify()
    for number, what in _LAYOUT[kind].items():
        if isinstance(what, int):
            table.vector(number, what)
        elif isinstance(what, list):
            for item in table.tables(number):
                _verify(item, what[0])
        elif (inner := table.table(number)) is not None:
            _verify(inner, what)


def _verify_numbers(model: Table) -> None:
    buffers, codes = len(list(model.tables(4))), len(list(model.tables(1)))
    for graph in model.tables(2):
        tensors = list(graph.tables(0))
        numbers = [(tensor.scalar(2, "<I", 0), buffers) for tensor in tensors]
        users = [(graph, (1, 2))] + [(operator, (1, 2)) for operator in graph.tables(3)]
        for table, fields in users:
            # -1 stands for an input that is left out.
            numbers += [
                (n, len(tensors)) for field in fields for n in table.integers(field) if n + 1
            ]
        numbers += [(operator.scalar(0, "<I", 0), codes) for operator in graph.tables(3)]
        for found, count in numbers:
            if not 0 <= found < count:
                raise BrokenError(f"it names number {found} of {count}")
