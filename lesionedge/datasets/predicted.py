"""Reads predictions that are there already: the csv of ``predict`` and ``evaluate``."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from lesionedge.datasets.table import DatasetError, header
from lesionedge.labels import distinct

COLOURS = ("red", "green", "blue")
"""Columns of evaluate's table."""


@dataclass(frozen=True)
class Predicted:
    """N predictions of one model."""

    paths: list[str]
    """The images, as they were named."""
    probabilities: NDArray[np.float64]
    """(N, classes) in the order of the model's labels."""
    reliable: list[bool | None]
    """The gate's verdicts."""
    confidence: NDArray[np.float64]
    """(N,) probabilities of the labels."""
    risks: NDArray[np.float64]
    """(N,) malignant probabilities; NaN where they are not known."""
    codes: list[tuple[str, ...]]
    """Codes of each image's warnings; none where the table lacks them, as predict's does."""
    colours: NDArray[np.float64]
    """(N, 3) mean red, green and blue, 0-255; NaN where the table lacks them."""
    failed: int
    """How many images failed, and are left out."""


def is_predictions(path: str) -> bool:
    """Return whether a file is a table of predictions."""
    try:
        cells = header(Path(path))
    except DatasetError:
        return False
    return {"path", "malignant_probability", "error"} <= set(cells)


def refuse(path: str) -> None:
    """Refuse a table of predictions as labels: a model would be measured against itself.

    Raises:
        DatasetError: It is one.
    """
    if is_predictions(path):
        raise DatasetError(
            f"{path}: holds predictions, and its column label is what a model says; expected a "
            "table of what the images show"
        )


def read(path: str, labels: Sequence[str], *, model: str, raw: bool = False) -> Predicted:
    """Read a table of predictions.

    Args:
        path: The csv.
        labels: The model's.
        model: Its name, for messages.
        raw: Whether they must be the model file's own, without a profile.

    Raises:
        DatasetError: It cannot be read, is another model's, or a profile has changed it.
    """
    columns = [f"p_{label}" for label in distinct(labels)]
    found, failed = _Rows(), 0
    try:
        with opened(path) as file:
            table = csv.DictReader(file)
            _check_columns(path, table.fieldnames or (), columns, model=model, raw=raw)
            for number, row in enumerate(table, start=2):
                if row.get("error"):
                    failed += 1
                else:
                    found.add(row, [_share(row[name], path, number) for name in columns])
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); expected a csv") from error
    if not found.paths:
        why = f": all {failed} images failed" if failed else ""
        raise DatasetError(f"{path}: holds no predictions{why}")
    return Predicted(
        found.paths, np.array(found.shares), found.reliable, np.array(found.confidence),
        np.array(found.risks), found.codes, np.array(found.colours), failed,
    )  # fmt: skip


def opened(path: str) -> TextIO:
    """Open a table of predictions; a spreadsheet that saved it again may have marked it as UTF-8.

    Raises:
        OSError: It cannot be opened.
    """
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _check_columns(
    path: str, found: Sequence[str], expected: Sequence[str], *, model: str, raw: bool
) -> None:
    """Refuse a table of another model's classes, or of a profile's probabilities."""
    classes = [name for name in found if name.startswith("p_")]
    if not classes:
        raise DatasetError(
            f"{path}: has no columns {', '.join(expected)}; expected cells between commas, as "
            "predict and evaluate write them"
        )
    if classes != list(expected):
        raise DatasetError(
            f"{path}: has the classes {', '.join(classes)}; the model {model} has "
            f"{', '.join(expected)}; name the model that made it with --model"
        )
    if raw and "profile" in found:
        raise DatasetError(
            f"{path}: a site profile has changed its probabilities; expected the model "
            "file's own: predict without --profile"
        )


class _Rows:
    """The columns of a table while it is read."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.shares: list[list[float]] = []
        self.reliable: list[bool | None] = []
        self.confidence: list[float] = []
        self.risks: list[float] = []
        self.codes: list[tuple[str, ...]] = []
        self.colours: list[list[float]] = []

    def add(self, row: dict[str, str | None], shares: list[float]) -> None:
        """Take a row's values; those that the table lacks are NaN, None or empty."""
        self.paths.append(row["path"] or "")
        self.shares.append(shares)
        self.reliable.append({"true": True, "false": False}.get(row.get("reliable") or ""))
        self.confidence.append(_number(row.get("probability")))
        self.risks.append(_number(row.get("malignant_probability")))
        self.codes.append(tuple(filter(None, (row.get("warning_codes") or "").split("; "))))
        self.colours.append([_number(row.get(name)) for name in COLOURS])


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _share(text: str | None, path: str, number: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1.01:
        raise DatasetError(
            f"{path}: line {number}: {text!r} is no probability; expected one for every class, as "
            "predict -o FILE.csv writes without --top-k and --threshold"
        )
    return value
