"""Reads a flatbuffer from a mapped file and checks the bounds at every step.

A model may come from anywhere, and the device has neither flatbuffers nor TensorFlow.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Union

from lesionedge.errors import ModelError

MAX_ITEMS = 1_000_000
"""A model that lists more tables and numbers than this (a large one lists thousands) is refused."""

Bytes = Union[bytes, mmap.mmap]


class BrokenError(Exception):
    """The file contradicts itself or its length."""


@contextmanager
def mapped(path: str | os.PathLike[str]) -> Iterator[mmap.mmap]:
    """Map a model file into memory.

    Raises:
        ModelError: It cannot be mapped, or is not a model.
    """
    name = os.fsdecode(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            found = "a folder" if os.path.isdir(path) else "neither file nor folder"
            raise ModelError(f"{name}: is {found}; expected a .tflite model")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < 8:
                raise ModelError(f"{name}: is too short to be a .tflite model")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content[4:8] != b"TFL3":
                    raise ModelError(
                        f"{name}: not a .tflite model (its identifier is {content[4:8]!r}, "
                        "not b'TFL3')"
                    )
                yield content
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: cannot be read ({getattr(error, 'strerror', 0) or error})"
        ) from None


def cut(content: Bytes, start: int, size: int) -> bytes:
    """Return ``size`` bytes from ``start`` on.

    Raises:
        BrokenError: The content is too short.
    """
    if start < 0 or size < 0 or start + size > len(content):
        raise BrokenError(f"{size} bytes at {start} of {len(content)}")
    return bytes(content[start : start + size])


def _number(content: Bytes, form: str, at: int) -> Any:
    return struct.unpack(form, cut(content, at, struct.calcsize(form)))[0]


class _Budget:
    """Limits how much is read from one file: its lists may overlap without end."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS

    def spend(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise BrokenError(f"it lists more than {MAX_ITEMS} things")


class Table:
    """A flatbuffer table (flatbuffers.dev, "Internals"): fields by number.

    Every method raises ``BrokenError`` if it would read outside the file.
    """

    def __init__(self, content: Bytes, at: int, budget: _Budget) -> None:
        """Read the positions of the fields."""
        budget.spend(1)
        self._content, self._at, self._budget = content, at, budget
        self._fields = at - _number(content, "<i", at)
        self._size = _number(content, "<H", self._fields)

    @classmethod
    def root(cls, content: Bytes) -> Table:
        """Return the root table."""
        return cls(content, _number(content, "<I", 0), _Budget())

    def verify(self) -> None:
        """Check that its own fields lie within the file."""
        cut(self._content, self._fields, self._size)
        cut(self._content, self._at, _number(self._content, "<H", self._fields + 2))

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return None
        offset = _number(self._content, "<H", self._fields + entry)
        return self._at + offset if offset else None

    def scalar(self, number: int, form: str, default: Any) -> Any:
        """Return a number in the table itself; ``form`` is a format of ``struct``."""
        at = self._field(number)
        return default if at is None else _number(self._content, form, at)

    def _follow(self, number: int) -> int | None:
        at = self._field(number)
        return None if at is None else at + int(_number(self._content, "<I", at))

    def table(self, number: int) -> Table | None:
        """Return the table that a field refers to."""
        at = self._follow(number)
        return None if at is None else Table(self._content, at, self._budget)

    def vector(self, number: int, item_bytes: int) -> tuple[int, int]:
        """Return where a vector's items begin and how many there are."""
        at = self._follow(number)
        if at is None:
            return 0, 0
        count = _number(self._content, "<I", at)
        if at + 4 + count * item_bytes > len(self._content):
            raise BrokenError(f"a list of {count} items at {at} runs past the end")
        return at + 4, count

    def tables(self, number: int, *, backwards: bool = False) -> Iterator[Table]:
        """Yield the tables of a list, each read when needed."""
        start, count = self.vector(number, 4)
        places = range(start, start + 4 * count, 4)
        for at in reversed(places) if backwards else places:
            yield Table(self._content, at + _number(self._content, "<I", at), self._budget)

    def item(self, number: int, index: int) -> Table:
        """Return one table of a list."""
        start, count = self.vector(number, 4)
        if not 0 <= index < count:
            raise BrokenError(f"it names item {index} of a list of {count}")
        at = start + 4 * index
        return Table(self._content, at + _number(self._content, "<I", at), self._budget)

    def raw(self, number: int) -> bytes:
        """Return a list of bytes."""
        start, count = self.vector(number, 1)
        return cut(self._content, start, count)

    def text(self, number: int) -> str | None:
        """Return a text."""
        return None if self._field(number) is None else self.raw(number).decode("utf-8")

    def integers(self, number: int) -> tuple[int, ...]:
        """Return a list of 32-bit integers."""
        start, count = self.vector(number, 4)
        self._budget.spend(count)
        return struct.unpack(f"<{count}i", cut(self._content, start, 4 * count))

    def longs(self, number: int) -> tuple[int, ...]:
        """Return a list of 64-bit integers."""
        start, count = self.vector(number, 8)
        return struct.unpack(f"<{count}q", cut(self._content, start, 8 * count))

    def floats(self, number: int) -> tuple[float, ...]:
        """Return a list of 32-bit floats."""
        start, count = self.vector(number, 4)
        return struct.unpack(f"<{count}f", cut(self._content, start, 4 * count))
