"""Measures groups of images: by sex, age band, body site and how the diagnosis was confirmed."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lesionedge.evaluation import thresholds, weighted
from lesionedge.evaluation.intervals import interval, resamples
from lesionedge.evaluation.metrics import auroc

AGE_BANDS = (0, 30, 45, 60, 75, 200)
"""Ages, in years, at which the bands begin; the last one ends the last band."""
UNKNOWN = "unknown"
VARIABLES = {
    "sex": "sex", "age_band": "age", "site": "localization", "confirmation": "dx_type",
    "skin_type": "skin_type",
}  # fmt: skip
"""Property that images are grouped by -> its column in ``split.csv``."""
SPELLINGS: dict[str, dict[str, str]] = {
    "sex": {"m": "male", "man": "male", "f": "female", "woman": "female"},
    "skin_type": {
        spelling: numeral
        for number, numeral in enumerate(("I", "II", "III", "IV", "V", "VI"), start=1)
        for spelling in (str(number), f"{number}.0", numeral.lower())
    }
    | {"-1": UNKNOWN, "-1.0": UNKNOWN},
}
"""Property -> spelling -> the name of its group; other words are names themselves."""
_TYPE = re.compile(r"^((fitzpatrick|fst|skin|type)[\s_:-]*)+")
_AGE = re.compile(
    r"(?P<sign><=?|>=?|≤|≥)?\s*(?P<first>\d+(\.\d+)?)"
    r"\s*((-|–|to)\s*(?P<last>\d+(\.\d+)?)|(?P<more>\+))?\s*(y|yrs?|years?|yo)?(\s*old)?"
)
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")  # of tables whose cells semicolons part
_HISTOLOGY = re.compile(r"(histo|biops|patholog)(?!.*\b(no|not)\b)")
HISTOLOGY, OTHERWISE = "histology", "otherwise"


def groups_of(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Return each image's group, for every property that the table has.

    Args:
        table: Rows of ``split.csv``, with any of the columns sex, age, localization, dx_type,
            skin_type.

    Returns:
        Property -> (N,) names of groups; ``unknown`` for an image without a value.
    """
    found = {}
    for variable, column in VARIABLES.items():
        if column in table and table[column].notna().any():
            names = _named(variable, table[column]).fillna(UNKNOWN)
            if (_text(table[column]).fillna(UNKNOWN) != UNKNOWN).any():
                found[variable] = names
    return found


def _named(variable: str, values: pd.Series) -> pd.Series:
    text = _text(values)
    if variable == "age_band":
        return text.map(_band, na_action="ignore")
    if variable in SPELLINGS:
        plain = text.map(lambda word: _TYPE.sub("", word), na_action="ignore")
        return plain.map(SPELLINGS[variable]).fillna(text)
    if variable == "confirmation":
        return text.map(_confirmed, na_action="ignore")
    return text


def _text(values: pd.Series) -> pd.Series:
    """Return values as text in lower case, missing where there is none."""
    text = values.astype("string").str.strip().str.lower()
    return text.replace("", pd.NA).astype(object)


def _confirmed(how: str) -> str:
    if how == UNKNOWN:
        return UNKNOWN
    return HISTOLOGY if _HISTOLOGY.match(how) else OTHERWISE


def _band(age: str) -> str | None:
    """Return the band of an age such as 50, 50 years, 85+, <30 or 45-50.

    None: it has not one, or may be in several, such as 60+.
    """
    found = _AGE.fullmatch(_DECIMAL_COMMA.sub(".", age))
    if found is None:
        return None
    first, sign = float(found["first"]), found["sign"] or ""
    low, high = first, float(found["last"] or first)
    if sign in ("<", "<=", "≤"):
        low, high = 0.0, first - (0.1 if sign == "<" else 0)
    elif sign or found["more"]:
        high = AGE_BANDS[-1] - 1
    bands = {_number_of_band(low), _number_of_band(high)}
    number = bands.pop()
    return None if bands or not 0 <= number < len(AGE_BANDS) - 1 else _bands()[number]


def _number_of_band(age: float) -> int:
    return bisect.bisect_right(AGE_BANDS, age) - 1


def _bands() -> list[str]:
    edges = AGE_BANDS[1:-1]
    inner = [f"{low}-{high - 1}" for low, high in itertools.pairwise(edges)]
    return [f"under {edges[0]}", *inner, f"{edges[-1]} and over"]


def measure(
    probabilities: np.ndarray, truth: np.ndarray, table: pd.DataFrame, malignant: Sequence[bool],
    *, predicted: np.ndarray | None = None, threshold: float | np.ndarray | None = None,
    positive: np.ndarray | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure each group.

    Args:
        probabilities: (N, classes), rows sum to 1.
        truth: (N,) int class numbers.
        table: (N rows) of ``split.csv``, with ``group``.
        malignant: Which classes count as malignant.
        predicted: (N,) int, the predicted classes; None for the most probable ones.
        threshold: The threshold of the malignant probability for sensitivity and specificity, or
            (N,) one for each image; None leaves these figures out.
        positive: (N,) bool, what sensitivity is of; None: of the malignant images.

    Returns:
        Property -> group -> images, lesions, malignant images, accuracy, balanced accuracy
        (over the group's classes), malignant AUROC, sensitivity and specificity, with intervals
        by lesion; None for figures that are undefined for a group.
    """
    lesions = table["group"].to_numpy()
    right = (probabilities.argmax(1) if predicted is None else predicted) == truth
    kinds = np.asarray(malignant)
    risk = probabilities[:, kinds].sum(1)
    positive = kinds[truth] if positive is None else positive
    own = None if threshold is None else np.broadcast_to(threshold, len(truth))
    found: dict[str, Any] = {}
    for variable, names in groups_of(table).items():
        order = _bands() if variable == "age_band" else list(names.value_counts().index)
        order = [*(name for name in order if name != UNKNOWN), UNKNOWN]
        members = {name: np.flatnonzero((names == name).to_numpy()) for name in order}
        found[variable] = {
            name: _group(
                right[rows],
                truth[rows],
                lesions[rows],
                risk[rows],
                positive[rows],
                kinds,
                None if own is None else own[rows],
            )
            for name, rows in members.items()
            if len(rows)
        }
    return found


def _group(
    right: np.ndarray, truth: np.ndarray, lesions: np.ndarray, risk: np.ndarray,
    positive: np.ndarray, malignant: np.ndarray, threshold: np.ndarray | None,
) -> dict[str, Any]:  # fmt: skip
    draws = resamples(lesions)
    bad = malignant[truth]
    found = {
        "images": len(truth),
        "lesions": len(np.unique(lesions)),
        "malignant": int(bad.sum()),
        "accuracy": interval(lambda w: weighted.share(right, w), draws),
        "balanced_accuracy": interval(lambda w: weighted.balanced_accuracy(right, truth, w), draws),
    }
    if malignant.any() and not malignant.all():
        found["malignant_auroc"] = auroc(bad, risk, draws)
        if threshold is not None:
            measured = thresholds.at(threshold, risk, positive, draws, negative=~bad)
            found |= {name: measured[name] for name in ("sensitivity", "specificity")}
    return found
