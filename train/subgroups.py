"""Who is served how well: figures by sex, age band, body site and how the truth is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from train import weighted
from train.bootstrap import Weighted, interval, resamples

AGE_BANDS = (0, 30, 45, 60, 75, 200)
"""Years at which bands begin; the last is no one's."""
UNKNOWN = "unknown"
VARIABLES = {
    "sex": "sex", "age_band": "age", "site": "localization", "confirmation": "dx_type",
}  # fmt: skip
"""What pictures are grouped by -> the column of ``split.csv`` that it comes from."""
HISTOLOGY, OTHERWISE = "histology", "otherwise"


def groups_of(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Give each picture's group, by every variable that the table knows something of.

    Args:
        table: Rows of ``split.csv``, with any of the columns sex, age, localization, dx_type.

    Returns:
        Variable -> (N,) names of groups, ``unknown`` where the table has none.
    """
    found = {}
    for variable, column in VARIABLES.items():
        if column in table and table[column].notna().any():
            names = _named(variable, table[column]).fillna(UNKNOWN)
            if (names != UNKNOWN).any():
                found[variable] = names
    return found


def _named(variable: str, values: pd.Series) -> pd.Series:
    if variable == "age_band":
        years = pd.to_numeric(values, errors="coerce")
        return pd.cut(years, AGE_BANDS, right=False, labels=_bands()).astype(object)
    text = values.astype("string").str.strip().str.lower().replace("", pd.NA).astype(object)
    if variable == "confirmation":
        return text.map({"histo": HISTOLOGY, "histopathology": HISTOLOGY}).where(
            text.isna() | text.isin(("histo", "histopathology")), OTHERWISE
        )
    return text


def _bands() -> list[str]:
    edges = AGE_BANDS[1:-1]
    inner = [f"{low}-{high - 1}" for low, high in itertools.pairwise(edges)]
    return [f"under {edges[0]}", *inner, f"{edges[-1]} and over"]


def measure(
    probabilities: np.ndarray, truth: np.ndarray, table: pd.DataFrame, malignant: Sequence[bool],
    *, threshold: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure each group by itself.

    Args:
        probabilities: (N, classes), rows sum to 1.
        truth: (N,) int class numbers.
        table: (N rows) of ``split.csv``, with ``group``.
        malignant: Which classes count as malignant.
        threshold: Of the malignant probability, for sensitivity and specificity; None leaves
            them out.

    Returns:
        Variable -> group -> pictures, lesions, malignant pictures, accuracy, balanced accuracy
        (over the classes that the group has), malignant AUROC, sensitivity and specificity,
        with intervals by lesion; None where a group has no case for a figure.
    """
    lesions = table["group"].to_numpy()
    found: dict[str, Any] = {}
    for variable, names in groups_of(table).items():
        order = _bands() if variable == "age_band" else list(names.value_counts().index)
        order = [*(name for name in order if name != UNKNOWN), UNKNOWN]
        members = {name: np.flatnonzero((names == name).to_numpy()) for name in order}
        found[variable] = {
            name: _group(
                probabilities[rows], truth[rows], lesions[rows], np.asarray(malignant), threshold
            )
            for name, rows in members.items()
            if len(rows)
        }
    return found


def _group(
    probabilities: np.ndarray, truth: np.ndarray, lesions: np.ndarray, malignant: np.ndarray,
    threshold: float | None,
) -> dict[str, Any]:  # fmt: skip
    draws = resamples(lesions)
    positive = malignant[truth]
    figures = _figures(probabilities, truth, malignant, threshold)
    return {
        "pictures": len(truth),
        "lesions": len(np.unique(lesions)),
        "malignant": int(positive.sum()),
        **{name: interval(figure, draws) for name, figure in figures.items()},
    }  # fmt: skip


def _figures(
    probabilities: np.ndarray, truth: np.ndarray, malignant: np.ndarray, threshold: float | None
) -> dict[str, Weighted]:
    right = probabilities.argmax(1) == truth
    figures: dict[str, Weighted] = {
        "accuracy": lambda w: weighted.share(right, w),
        "balanced_accuracy": lambda w: weighted.balanced_accuracy(right, truth, w),
    }
    if malignant.any() and not malignant.all():
        positive, risk = malignant[truth], probabilities[:, malignant].sum(1)
        figures["malignant_auroc"] = weighted.auroc(positive, risk)
        if threshold is not None:
            found = risk >= threshold
            figures["sensitivity"] = lambda w: weighted.share(found, w * positive)
            figures["specificity"] = lambda w: weighted.share(~found, w * ~positive)
    return figures
