"""The folder of Parquet files that a batch writes; a later run continues after a killed one.

Only the main process writes it, so each image is in it once, whatever happens to the workers. A
file appears whole or not at all; images that are in no file are not classified yet.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from lesionedge.batch import rows, statistics
from lesionedge.batch.folder import Folder
from lesionedge.batch.folder import folder as folder_at
from lesionedge.batch.libraries import need
from lesionedge.batch.model import Model
from lesionedge.classifier import DEFAULT_SENSITIVITY
from lesionedge.drift.statistics import Statistics
from lesionedge.errors import LesionEdgeError

ROWS_PER_FILE = 100_000
"""A file is written when there are this many rows, or when it is time to save."""

_SETTINGS = {
    "model": "model", "labels": "--labels", "malignant": "--malignant", "normalize": "--normalize",
    "views": "--views", "profile": "--profile", "operating_point": "--operating-point",
}  # fmt: skip


class Output:
    """The folder, for the one process that writes it; a context manager."""

    def __init__(self, folder: str, model: Model, *, save_every_s: float) -> None:
        """Make the folder, or check the files in it.

        Args:
            folder: Where the files go: a path or a URL.
            model: The model.
            save_every_s: How often to write the new rows, in seconds.

        Raises:
            LesionEdgeError: It cannot be used, is in use, or holds other files.
        """
        self._model = model
        self._every_s, self._saved = save_every_s, time.monotonic()
        self._tables: list[Any] = []
        self._rows = 0
        self._folder = folder_at(folder)
        self.name = self._folder.name
        try:
            self._parts = _listed(self._folder)
            for part in self._parts:
                self._check(part)
        except BaseException:
            self._folder.close()
            raise

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Write the rows so far, also when the run was interrupted."""
        try:
            self.save()
        finally:
            self._folder.close()

    def done(self) -> Any:
        """Return the names of the images that have a row (a ``pyarrow.ChunkedArray``)."""
        pa = need("pyarrow")
        chunks = [c for part in self._parts for c in self._read(part, ["path"])["path"].chunks]
        return pa.chunked_array(chunks, pa.string())

    def add(self, table: Any) -> None:
        """Add rows (a ``pyarrow.Table``); write them if it is time."""
        self._tables.append(table)
        self._rows += len(table)
        if self._rows >= ROWS_PER_FILE or time.monotonic() - self._saved >= self._every_s:
            self.save()

    def save(self) -> None:
        """Write the rows that are not yet written."""
        if self._tables:
            last = self._parts[-1] if self._parts else "part-000000"
            part = f"part-{int(last[5:11]) + 1:06d}.parquet"
            self._folder.write(part, need("pyarrow").concat_tables(self._tables))
            self._parts.append(part)
            self._tables, self._rows = [], 0
        self._saved = time.monotonic()

    def forget_failures(self, listed: Any) -> None:
        """Remove the rows of these images that have an error, so that they are tried again.

        Args:
            listed: The images' names (a ``pyarrow.ChunkedArray``). Errors of others stay.
        """
        pc = need("pyarrow.compute")
        for part in list(self._parts):
            table = self._read(part)
            others = pc.invert(pc.is_in(table["path"], value_set=listed))
            kept = table.filter(pc.or_(pc.is_null(table["error"]), others))
            if len(kept) == 0:
                self._folder.remove(part)
                self._parts.remove(part)
            elif len(kept) < len(table):
                self._folder.write(part, kept)

    def refused(self) -> int:
        """Count the images that the gate refuses."""
        pc = need("pyarrow.compute")
        parts = (self._read(part, ["reliable"])["reliable"] for part in self._parts)
        return sum(pc.sum(pc.equal(part, False)).as_py() or 0 for part in parts)

    def count(self) -> tuple[Counter[str], Counter[str]]:
        """Count the images that the gate does not refuse by label, and failed ones by error."""
        pc = need("pyarrow.compute")
        labels: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        for part in self._parts:
            table = self._read(part, ["path", "label", "reliable", "error"])
            accepted = table.filter(pc.fill_null(table["reliable"], True))
            for found in accepted["label"].value_counts().to_pylist():
                if found["values"] is not None:
                    labels[found["values"]] += found["counts"]
            bad = table.filter(pc.is_valid(table["error"]))
            for row in bad.to_pylist():
                errors[rows.reason(row["path"], row["error"])] += 1
        return labels, errors

    def statistics(self) -> Statistics:
        """Return the statistics of all images but the failed ones, by which drift is told."""
        return statistics.of(self._read(part, self._there(part)) for part in self._parts)

    def _there(self, part: str) -> list[str]:
        """Return the columns for statistics that a part has."""
        names = _parquet(self._folder, "read_schema", part).names
        return [name for name in (*statistics.COLUMNS, "colour") if name in names]

    def _check(self, part: str) -> None:
        """Refuse to mix predictions that were made with different settings."""
        path = self._folder.path(part)
        before = _settings(self._folder, part)
        # Older folders lack these settings.
        before.setdefault("views", 1)
        before.setdefault("malignant", list(self._model.malignant or ()))
        before.setdefault("operating_point", None)
        now = rows.about(self._model)
        for settings in (before, now):  # without the option, it is the default
            settings["operating_point"] = settings["operating_point"] or DEFAULT_SENSITIVITY
        for key, name in _SETTINGS.items():
            if before.get(key) != now[key]:
                raise LesionEdgeError(
                    f"{path}: holds predictions with {name} {_short(before.get(key))}, not "
                    f"{_short(now[key])}; use the same, or another --output"
                )

    def _read(self, part: str, columns: list[str] | None = None) -> Any:
        return _parquet(self._folder, "read_table", part, columns=columns, partitioning=None)


def failures(where: str) -> Iterator[str]:
    """Yield the error of each image that failed; a command that writes there is not disturbed.

    Args:
        where: The folder: a path or a URL.

    Raises:
        LesionEdgeError: It cannot be read, or holds no rows.
    """
    folder = folder_at(where, write=False)
    parts = _listed(folder)
    if not parts:
        raise LesionEdgeError(f"{folder.name}: holds no results of lesionedge batch")
    for part in parts:
        _settings(folder, part)
        table = _parquet(folder, "read_table", part, columns=["error"], partitioning=None)
        yield from table["error"].drop_null().to_pylist()


def _listed(folder: Folder) -> list[str]:
    names = folder.names()
    for name in names:
        number = name.removeprefix("part-").removesuffix(".parquet")
        if name != f"part-{number}.parquet" or not (number.isdecimal() and len(number) == 6):
            raise LesionEdgeError(
                f"{folder.path(name)}: was not written by lesionedge batch; "
                "expected an empty or new folder, or one to continue in"
            )
    return sorted(names)


def _settings(folder: Folder, part: str) -> dict[str, Any]:
    """Return the settings that a part was made with."""
    metadata = _parquet(folder, "read_schema", part).metadata or {}
    try:
        return dict(json.loads(metadata[rows.ABOUT]))
    except (KeyError, ValueError, TypeError):
        path = folder.path(part)
        raise LesionEdgeError(f"{path}: was not written by lesionedge batch") from None


def _parquet(folder: Folder, function: str, part: str, **options: Any) -> Any:
    path = folder.path(part)
    content = folder.read(part)
    try:
        return getattr(need("pyarrow.parquet"), function)(content, **options)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise LesionEdgeError(
            f"{path}: cannot be read as Parquet ({error}); remove it, and its images are "
            "classified again"
        ) from error


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 64 else f"{text[:60]} …"
