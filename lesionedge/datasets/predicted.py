"""Reads predictions that are there already: the csv of ``predict`` and ``evaluate``."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionedge.datasets.table import DatasetError
from lesionedge.labels import distinct


@dataclass(frozen=True)
class Predicted:
    """N predictions of one model."""

    paths: list[str]
    """The images, as they were named."""
    probabilities: NDArray[np.float64]
    """(N, classes) in the order of the model's labels."""
    reliable: list[bool | None]
    """The gate's verdicts."""
    warnings: list[str]
    """Each image's warnings, with ``; `` between them."""
    failed: int
    """How many images failed, and are left out."""


def is_predictions(path: str) -> bool:
    """Return whether a file is a table of predictions."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, csv.Error):
        return False
    return {"path", "malignant_probability", "error"} <= set(header)


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
    paths, rows, reliable, warnings, failed = [], [], [], [], 0
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.DictReader(file)
            found = [name for name in table.fieldnames or () if name.startswith("p_")]
            if found != columns:
                raise DatasetError(
                    f"{path}: has the classes {', '.join(found)}; the model {model} has "
                    f"{', '.join(columns)}; name the model that made it with --model"
                )
            if raw and "profile" in (table.fieldnames or ()):
                raise DatasetError(
                    f"{path}: a site profile has changed its probabilities; expected the model "
                    "file's own: predict without --profile"
                )
            for number, row in enumerate(table, start=2):
                if row["error"]:
                    failed += 1
                    continue
                paths.append(row["path"])
                rows.append([_share(row[name], path, number) for name in columns])
                reliable.append({"true": True, "false": False}.get(row.get("reliable") or ""))
                warnings.append(row.get("warnings") or "")
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); expected a csv") from error
    if not rows:
        raise DatasetError(f"{path}: holds no predictions")
    return Predicted(paths, np.array(rows), reliable, warnings, failed)


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
