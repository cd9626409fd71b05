"""Statistics of a batch's images, by which drift is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionedge.batch.libraries import need
from lesionedge.batch.rows import COLOUR
from lesionedge.drift.statistics import Statistics

COLUMNS = ("probability", "malignant_probability", "reliable", "warning_codes")
"""The columns that are read, beside ``colour``, which older folders lack."""

Array = NDArray[np.float32]


def of(tables: Iterable[Any]) -> Statistics:
    """Return the statistics of the rows that have no error.

    Args:
        tables: ``pyarrow.Table`` with ``COLUMNS``.
    """
    pc = need("pyarrow.compute")
    figures: list[Array] = [np.empty((0, 5), np.float32)]
    codes: Counter[str] = Counter()
    checked = refused = 0
    for table in tables:
        good = table.filter(pc.is_valid(table["probability"]))
        figures.append(_figures(good))
        judged = good.filter(pc.is_valid(good["reliable"]))
        checked += len(judged)
        refused += pc.sum(pc.equal(judged["reliable"], False)).as_py() or 0
        for found in pc.list_flatten(judged["warning_codes"]).value_counts().to_pylist():
            codes[found["values"]] += found["counts"]
    found = np.concatenate(figures).astype(np.float64)
    return Statistics.of_columns(
        confidence=found[:, 0], malignant_probability=found[:, 1], colour=found[:, 2:],
        checked=checked, refused=refused, warnings=codes,
    )  # fmt: skip


def _figures(table: Any) -> Array:
    """Return (N, 5): confidence, malignant probability, red, green and blue; NaN where unknown."""
    pc = need("pyarrow.compute")
    columns = [table["probability"], table["malignant_probability"]]
    if "colour" in table.column_names:
        columns += [pc.struct_field(table["colour"], name) for name in COLOUR]
    found = np.full((len(table), 5), np.nan, np.float32)
    for number, column in enumerate(columns):
        found[:, number] = column.to_numpy()
    return found
