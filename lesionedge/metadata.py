"""Reads a .tflite file's description: standard Model Metadata and our card.

The file is a flatbuffer (tensorflow/lite/schema/schema.fbs) whose ``TFLITE_METADATA`` buffer is
another (tflite_support/metadata/metadata_schema.fbs); the files it names, such as the labels,
lie in a zip archive behind it.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from math import isfinite
from typing import NamedTuple

from lesionedge import labels
from lesionedge.appended import Appended
from lesionedge.card import Card
from lesionedge.errors import ModelError
from lesionedge.flatbuffer import BrokenError, Table, cut, mapped

CARD_FILE = "lesionedge.json"
"""Name of the model card inside the appended zip."""

_NONE: Mapping[str, tuple[str, ...]] = {}
_TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS = 2, 3
# Kinds of process units: steps before or after the network.
_NORMALIZATION, _SCORE_CALIBRATION, _SCORE_THRESHOLDING = 1, 2, 3


class ModelMetadata(NamedTuple):
    """A model file's description of itself."""

    labels: tuple[str, ...] | None = None
    """Lines of the labels file, of the default locale; None if the file has none."""
    names: Mapping[str, tuple[str, ...]] = _NONE
    """Locale -> labels, for label files that have one."""
    mean: tuple[float, ...] | None = None
    """NormalizationOptions of the input: what is subtracted from a pixel, as one value or one per
    channel."""
    std: tuple[float, ...] | None = None
    """What the difference is divided by, as one value or one per channel."""
    score_calibration: bool = False
    """Whether each class's score must be calibrated outside the graph
    (ScoreCalibrationOptions)."""
    score_threshold: float | None = None
    """The score below which the model's author wants no prediction (ScoreThresholdingOptions)."""
    name: str | None = None
    """The model's name."""
    description: str | None = None
    """What the model does."""
    version: str | None = None
    """The model's version."""
    author: str | None = None
    """The model's author."""
    license: str | None = None
    """The model's licence."""
    card: Card | None = None
    """The model card, ``lesionedge.json``; None if the file has none."""


def read(path: str | os.PathLike[str]) -> ModelMetadata:
    """Read the metadata of a .tflite file; empty if the file has none.

    Args:
        path: The file.

    Raises:
        ModelError: It is missing, not a .tflite, or its metadata is broken.
    """
    with mapped(path) as content:
        return _read(content, os.fsdecode(path))


def _read(content: mmap.mmap, name: str) -> ModelMetadata:
    try:
        standard = _metadata_buffer(content)
        table = Table.root(standard) if standard is not None else None
        return _assemble(table, Appended(content), name)
    except (BrokenError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(
            f"{name}: its metadata is broken ({error}); the file may be cut short"
        ) from None


def _metadata_buffer(content: mmap.mmap) -> bytes | None:
    """Find the flatbuffer under the name TFLITE_METADATA."""
    model = Table.root(content)
    for entry in model.tables(6):
        if entry.text(0) == "TFLITE_METADATA":
            buffer = model.item(4, entry.scalar(1, "<I", 0))
            # Models over 2 GB keep buffers behind the flatbuffer, by offset and size.
            offset, size = buffer.scalar(1, "<Q", 0), buffer.scalar(2, "<Q", 0)
            return cut(content, offset, size) if offset > 1 else buffer.raw(0)
    return None


def _assemble(table: Table | None, archive: Appended, name: str) -> ModelMetadata:
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
        names={locale: lines for locale, lines in by_locale.items() if locale},
        mean=mean, std=std,
        score_calibration=scores is not None and _unit(scores, _SCORE_CALIBRATION) is not None,
        score_threshold=_score_threshold(scores) if scores else None,
        name=table.text(0), description=table.text(1), version=table.text(2),
        author=table.text(4), license=table.text(5), card=card,
    )  # fmt: skip


def _unit(tensor: Table, kind: int) -> Table | None:
    """Find the first process unit of a kind; ``table(1)`` of it are its options."""
    return next((unit for unit in tensor.tables(4) if unit.scalar(0, "<B", 0) == kind), None)


def _normalization(
    tensor: Table,
) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    unit = _unit(tensor, _NORMALIZATION)
    options = unit.table(1) if unit else None
    if options is None:
        return None, None
    mean, std = options.floats(0), options.floats(1)
    sane = all(map(isfinite, (*mean, *std))) and 0.0 not in std
    if not mean or len(mean) != len(std) or not sane:
        raise BrokenError(f"NormalizationOptions of mean {mean} and std {std}")
    return mean, std


def _score_threshold(tensor: Table) -> float | None:
    unit = _unit(tensor, _SCORE_THRESHOLDING)
    options = unit.table(1) if unit else None
    if options is None:
        return None
    threshold = float(options.scalar(0, "<f", 0.0))
    if not isfinite(threshold):
        raise BrokenError(f"ScoreThresholdingOptions of {threshold}")
    return threshold


def _labels(tensor: Table, archive: Appended) -> dict[str, tuple[str, ...]]:
    """Return locale -> labels. A labels file is recognised by its type, never by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for file in tensor.tables(6):
        if file.scalar(2, "<B", 0) in (_TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS):
            text = archive.read(file.text(0) or "")
            found.setdefault(file.text(3) or "", labels.split(text.decode("utf-8-sig")))
    return found


def _card(archive: Appended, name: str) -> Card | None:
    return Card.from_json(archive.read(CARD_FILE), name) if CARD_FILE in archive else None
