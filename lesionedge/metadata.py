"""Reads what a .tflite file says of itself: standard Model Metadata and our card.

The file is a flatbuffer (tensorflow/lite/schema/schema.fbs) whose ``TFLITE_METADATA`` buffer is
another (tflite_support/metadata/metadata_schema.fbs); the files it names, such as the labels,
lie in a zip archive behind it. Both are read here with bounds checked at every step, since a
model may come from anywhere and neither flatbuffers nor TensorFlow is on the device.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, BinaryIO, Union

from lesionedge.card import Card
from lesionedge.errors import ModelError

CARD_FILE = "lesionedge.json"
"""Name of the model card inside the appended zip."""

MAX_FILE_BYTES = 4_000_000
"""Files inside the zip larger than this are not labels or cards and are refused."""

MAX_ITEMS = 1_000_000
"""A model that lists more tables and numbers than this (a large one lists thousands) is refused."""

_TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS = 2, 3
_NORMALIZATION_OPTIONS = 1
Bytes = Union[bytes, mmap.mmap]


@dataclass(frozen=True)
class ModelMetadata:
    """What a model file says of itself."""

    labels: tuple[str, ...] | None = None
    """Class labels in output order, of the default locale; None where the file has none."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Locale -> labels, for label files that have one."""
    mean: tuple[float, ...] | None = None
    """NormalizationOptions of the input: what is subtracted from a pixel, one or one a channel."""
    std: tuple[float, ...] | None = None
    """What the difference is divided by, one or one a channel."""
    name: str | None = None
    """The model's name."""
    description: str | None = None
    """What the model does."""
    version: str | None = None
    """The model's version."""
    author: str | None = None
    """Who made it."""
    license: str | None = None
    """Under which terms."""
    card: Card | None = None
    """The model card, ``lesionedge.json``; None where the file has none."""


def read(path: str | os.PathLike[str]) -> ModelMetadata:
    """Read the metadata of a .tflite file; a file without any gives an empty answer.

    Args:
        path: The file.

    Raises:
        ModelError: It is missing, not a .tflite, or its metadata is broken.
    """
    with _mapped(path) as (content, file):
        return _read(content, file, os.fsdecode(path))


@contextmanager
def _mapped(path: str | os.PathLike[str]) -> Iterator[tuple[mmap.mmap, BinaryIO]]:
    """Map a model file into memory.

    Raises:
        ModelError: It cannot be.
    """
    name = os.fsdecode(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe would wait for its writer
            found = "a folder" if os.path.isdir(path) else "neither file nor folder"
            raise ModelError(f"{name}: is {found}; expected a .tflite model")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < 8:
                raise ModelError(f"{name}: is too short to be a .tflite model")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield content, file
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: cannot be read ({getattr(error, 'strerror', 0) or error})"
        ) from None


def _read(content: mmap.mmap, file: BinaryIO, name: str) -> ModelMetadata:
    if content[4:8] != b"TFL3":
        raise ModelError(
            f"{name}: not a .tflite model (its identifier is {content[4:8]!r}, not b'TFL3')"
        )
    try:
        standard = _metadata_buffer(content)
        table = _Table.root(standard) if standard is not None else None
        return _assemble(table, _Archive(content, file), name)
    except (_BrokenError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(
            f"{name}: its metadata is broken ({error}); the file may be cut short"
        ) from None


# What the tables of a model (schema.fbs) refer to: field -> kind of table, list of such a kind,
# or list of items of so many bytes.
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


def verify(path: str | os.PathLike[str]) -> None:
    """Check that everything a model file refers to lies within it.

    LiteRT does so itself; tflite-runtime would crash the process.

    Args:
        path: The file.

    Raises:
        ModelError: Something does not.
    """
    with _mapped(path) as (content, _):
        try:
            model = _Table.root(content)
            _verify(model, "Model")
            _verify_numbers(model)
        except (_BrokenError, struct.error) as error:
            raise ModelError(
                f"{os.fsdecode(path)}: damaged or cut short ({error}); expected a .tflite model"
            ) from None


def _verify(table: _Table, kind: str) -> None:
    table.verify()
    for number, what in _LAYOUT[kind].items():
        if isinstance(what, int):
            table.vector(number, what)
        elif isinstance(what, list):
            for item in table.tables(number):
                _verify(item, what[0])
        elif (inner := table.table(number)) is not None:
            _verify(inner, what)


def _verify_numbers(model: _Table) -> None:
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
                raise _BrokenError(f"it names number {found} of {count}")


def _metadata_buffer(content: mmap.mmap) -> bytes | None:
    """Find the flatbuffer under the name TFLITE_METADATA."""
    model = _Table.root(content)
    for entry in model.tables(6):
        if entry.text(0) == "TFLITE_METADATA":
            buffers = list(model.tables(4))
            number = entry.scalar(1, "<I", 0)
            if number >= len(buffers):
                raise _BrokenError(f"it names buffer {number} of {len(buffers)}")
            # Models over 2 GB keep buffers behind the flatbuffer, by offset and size.
            offset, size = buffers[number].scalar(1, "<Q", 0), buffers[number].scalar(2, "<Q", 0)
            if offset > 1:
                return _slice(content, offset, size)
            return bytes(buffers[number].raw(0))
    return None


def _assemble(table: _Table | None, archive: _Archive, name: str) -> ModelMetadata:
    card = _card(archive, name)
    if table is None:
        return ModelMetadata(card=card)
    graph = next(table.tables(3), None)
    images = next(graph.tables(2), None) if graph else None
    scores = next(graph.tables(3), None) if graph else None
    mean, std = _normalization(images) if images else (None, None)
    by_locale = _labels(scores, archive) if scores else {}
    return ModelMetadata(
        labels=by_locale.get("", next(iter(by_locale.values()), None)),
        names={locale: labels for locale, labels in by_locale.items() if locale},
        mean=mean, std=std, name=table.text(0), description=table.text(1), version=table.text(2),
        author=table.text(4), license=table.text(5), card=card,
    )  # fmt: skip


def _normalization(
    tensor: _Table,
) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.scalar(0, "<B", 0) == _NORMALIZATION_OPTIONS and options is not None:
            mean, std = options.floats(0), options.floats(1)
            sane = all(map(isfinite, (*mean, *std))) and 0.0 not in std
            if not mean or len(mean) != len(std) or not sane:
                raise _BrokenError(f"NormalizationOptions of mean {mean} and std {std}")
            return mean, std
    return None, None


def _labels(tensor: _Table, archive: _Archive) -> dict[str, tuple[str, ...]]:
    """Give locale -> labels; the file's type says what it is, never its name."""
    found: dict[str, tuple[str, ...]] = {}
    for file in tensor.tables(6):
        if file.scalar(2, "<B", 0) in (_TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS):
            text = archive.read(file.text(0) or "")
            found.setdefault(file.text(3) or "", split_labels(text.decode("utf-8-sig")))
    return found


def split_labels(text: str) -> tuple[str, ...]:
    """Split a labels file: one label a line, blank lines at the end left out."""
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _card(archive: _Archive, name: str) -> Card | None:
    return Card.from_json(archive.read(CARD_FILE), name) if CARD_FILE in archive else None


class _BrokenError(Exception):
    """What is read contradicts itself or the file's length."""


def _slice(content: Bytes, start: int, size: int) -> bytes:
    if start < 0 or size < 0 or start + size > len(content):
        raise _BrokenError(f"{size} bytes at {start} of {len(content)}")
    return bytes(content[start : start + size])


def _number(content: Bytes, form: str, at: int) -> Any:
    return struct.unpack(form, _slice(content, at, struct.calcsize(form)))[0]


class _Budget:
    """How much may still be read of one file, whose lists may overlap and so be without end."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS

    def spend(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise _BrokenError(f"it lists more than {MAX_ITEMS} things")


class _Table:
    """A flatbuffer table (flatbuffers.dev, "Internals"): fields by number."""

    def __init__(self, content: Bytes, at: int, budget: _Budget) -> None:
        budget.spend(1)
        self._content, self._at, self._budget = content, at, budget
        self._fields = at - _number(content, "<i", at)
        self._size = _number(content, "<H", self._fields)

    @classmethod
    def root(cls, content: Bytes) -> _Table:
        return cls(content, _number(content, "<I", 0), _Budget())

    def verify(self) -> None:
        """Check that its own fields lie within the file."""
        _slice(self._content, self._fields, self._size)
        _slice(self._content, self._at, _number(self._content, "<H", self._fields + 2))

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return None
        offset = _number(self._content, "<H", self._fields + entry)
        return self._at + offset if offset else None

    def scalar(self, number: int, form: str, default: Any) -> Any:
        at = self._field(number)
        return default if at is None else _number(self._content, form, at)

    def _follow(self, number: int) -> int | None:
        at = self._field(number)
        return None if at is None else at + int(_number(self._content, "<I", at))

    def table(self, number: int) -> _Table | None:
        at = self._follow(number)
        return None if at is None else _Table(self._content, at, self._budget)

    def vector(self, number: int, item_bytes: int) -> tuple[int, int]:
        """Give where a vector's items begin and how many there are."""
        at = self._follow(number)
        if at is None:
            return 0, 0
        count = _number(self._content, "<I", at)
        if at + 4 + count * item_bytes > len(self._content):
            raise _BrokenError(f"a list of {count} items at {at} runs past the end")
        return at + 4, count

    def tables(self, number: int) -> Iterator[_Table]:
        start, count = self.vector(number, 4)
        for at in range(start, start + 4 * count, 4):
            yield _Table(self._content, at + _number(self._content, "<I", at), self._budget)

    def raw(self, number: int) -> bytes:
        start, count = self.vector(number, 1)
        return _slice(self._content, start, count)

    def text(self, number: int) -> str | None:
        return None if self._field(number) is None else self.raw(number).decode("utf-8")

    def integers(self, number: int) -> tuple[int, ...]:
        start, count = self.vector(number, 4)
        self._budget.spend(count)
        return struct.unpack(f"<{count}i", _slice(self._content, start, 4 * count))

    def floats(self, number: int) -> tuple[float, ...]:
        start, count = self.vector(number, 4)
        return struct.unpack(f"<{count}f", _slice(self._content, start, 4 * count))


class _Archive:
    """The zip archive behind a model, where there is one."""

    def __init__(self, content: mmap.mmap, file: BinaryIO) -> None:
        self._file = file
        self._names: set[str] = set()
        # The end record is at most 64 kB of comment away from the end.
        if content.rfind(b"PK\x05\x06", max(0, len(content) - 65_557)) >= 0:
            with self._open() as archive:
                self._names = set(archive.namelist())

    def _open(self) -> Any:
        import zipfile

        try:
            return zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise _BrokenError(f"the files appended to it cannot be read: {error}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        import zipfile
        import zlib

        if name not in self._names:
            raise _BrokenError(f"it names the file {name!r}, which is not in it")
        with self._open() as archive:
            if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise _BrokenError(f"the file {name!r} in it is over {MAX_FILE_BYTES} bytes")
            try:
                with archive.open(name) as file:
                    data: bytes = file.read(MAX_FILE_BYTES + 1)
            except (
                zipfile.BadZipFile,
                zlib.error,
                NotImplementedError,
                RuntimeError,
                EOFError,
            ) as error:
                raise _BrokenError(f"the file {name!r} in it cannot be read: {error}") from None
        return data
