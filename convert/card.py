"""Rewrites the card in a .tflite file; the network's bytes stay as they are."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.metadata import archive, card_text
from lesionedge.atomic import write_bytes
from lesionedge.card import Card, OperatingPoint
from lesionedge.errors import ModelError
from lesionedge.metadata import CARD_FILE, read

KEYS = ("sensitivity", "threshold", "measured_sensitivity", "measured_specificity")
"""What the card keeps of a measured operating point."""


def set_operating_points(file: Path, metrics: Path) -> tuple[OperatingPoint, ...]:
    """Put the operating points that ``evaluate`` chose on the file itself into its card.

    Args:
        file: The .tflite file; replaced whole or not at all.
        metrics: The ``metrics.json`` of an evaluation that measured it.

    Returns:
        The points as written.

    Raises:
        ModelError: The file has no card, or was not measured there: ``pool`` measures twins, whose
            thresholds are not the file's.
    """
    card = read(file).card
    if card is None:
        raise ModelError(f"{file}: has no card ({CARD_FILE}); expected a file made by export")
    points = _measured(file, metrics)
    changed = replace(card, operating_points=points)
    write_bytes(file, with_card(file.read_bytes(), changed))
    return points


def set_figures(file: Path, metrics: Path) -> None:
    """Put the figures that were measured on the file itself into its card.

    Of an embedded model's file they are those of its twin's file of the same name: the card that
    training writes has those of Keras models, which differ a little.

    Args:
        file: The .tflite file; replaced whole or not at all.
        metrics: The ``metrics.json`` of an evaluation that measured a file of this name.

    Raises:
        ModelError: The file has no card, or no file of its name was measured there.
    """
    card = read(file).card
    if card is None or card.file is None:
        raise ModelError(
            f"{file}: has no card ({CARD_FILE}) that says how it was made; expected a file made by "
            "export"
        )
    try:
        record = json.loads(metrics.read_text(encoding="utf-8"))
        figures = _figures(record["models"][file.name])
        measured = {record["split"]: {card.file.format: figures}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{metrics}: has no figures of {file.name} ({error!r}); expected the metrics.json of: "
            "python -m train evaluate RUN --model FILE"
        ) from error
    write_bytes(file, with_card(file.read_bytes(), replace(card, metrics=measured)))


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a card keeps of a model's measurements: figures with intervals, and counts."""
    single = {
        key: value
        for key, value in found.items()
        if isinstance(value, dict) and set(value) == {"value", "low", "high"} and key != "confusion"
    }
    recall = {label: row["recall"] for label, row in found["per_class"].items()}
    images = found["images"] if "images" in found else found["pictures"]  # of 0.1.0
    return {"images": images, "lesions": found["lesions"], **single, "recall": recall}


def _measured(file: Path, metrics: Path) -> tuple[OperatingPoint, ...]:
    try:
        record = json.loads(metrics.read_text(encoding="utf-8"))
        found = record["models"][file.name]["operating_points"]
        points = tuple(_point(point) for point in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{metrics}: has no operating points of {file.name} ({error!r}); expected the "
            "metrics.json of: python -m train evaluate RUN --model FILE"
        ) from error
    if "folds" in record:
        raise ModelError(
            f"{metrics}: python -m train pool wrote it, of twins of {file.name}, which have "
            "thresholds of their own; expected the metrics.json of: python -m train evaluate RUN "
            "--model FILE"
        )
    if not points:
        raise ModelError(f"{metrics}: the calibration split gave {file.name} no operating points")
    return points


def _point(found: dict[str, Any]) -> OperatingPoint:
    values = {key: float(found[key]) for key in KEYS}
    return OperatingPoint(**values, extra={})


def with_card(content: bytes, card: Card) -> bytes:
    """Return a model file's bytes with another card.

    Args:
        content: A .tflite file with a zip of stored files behind the network.
        card: What ``lesionedge.json`` will hold.

    Returns:
        The network's bytes, unchanged, and a new zip.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        start = min(entry.header_offset for entry in files.infolist())
        kept = {name: files.read(name) for name in files.namelist()}
    return content[:start] + archive({**kept, CARD_FILE: card_text(card)})
