"""The mix of diagnoses that probabilities are for, and its exchange for another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lesionedge import diagnosis
from lesionedge.card import Card
from lesionedge.errors import ModelError
from lesionedge.profile import Line, Recalibration

MEASURED, CARD = "measured", "card"
"""Sources of a mix: the labelled images; the model's training data."""
MIXES: Mapping[str, Mapping[str, int]] = {
    "HAM10000": {
        "akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142,
    },
}  # fmt: skip
"""Name of a dataset, as a card has it -> its images by label."""

Array = NDArray[np.float64]


def of_card(card: Card, labels: Sequence[str]) -> Array:
    """Return the mix of the data that a model was trained on, (classes,).

    Raises:
        ModelError: It is not known.
    """
    counts = MIXES.get(card.data.name if card.data else "", {})
    if set(counts) != set(labels):
        raise ModelError(
            "the mix of diagnoses that the model was trained on is not known; give --prevalence "
            "measured, or the local mix, such as --prevalence mel=0.02,bcc=0.05"
        )
    found = np.array([counts[label] for label in labels], float)
    result: Array = found / found.sum()
    return result


def given(text: str, labels: Sequence[str], measured: Array, malignant: Sequence[bool]) -> Array:
    """Read a mix such as ``mel=0.02,bcc=0.05``; the other classes keep their proportions.

    Args:
        text: Labels, or ``malignant`` or ``benign`` for all of these, with their shares.
        labels: The model's.
        measured: (classes,) the mix that the others keep.
        malignant: Whether each class is malignant.

    Returns:
        (classes,) shares that sum to 1.

    Raises:
        ModelError: It is no such list.
    """
    wanted = np.full(len(labels), np.nan)
    for part in text.split(","):
        name, _, value = part.partition("=")
        members = _members(name.strip(), labels, malignant)
        share = _share(value)
        if not members or share is None or not np.isnan(wanted[members]).all():
            raise ModelError(
                f"--prevalence {text}: {part.strip()!r} is unusable; expected measured, card or "
                f"shares such as mel=0.02, each of another label of {', '.join(labels)}"
            )
        old = measured[members]
        split = old / old.sum() if old.sum() > 0 else np.full(len(members), 1 / len(members))
        wanted[members] = share * split
    return _completed(text, wanted, measured)


def _completed(text: str, wanted: Array, measured: Array) -> Array:
    """Share what is left among the classes that were not named."""
    rest, left = np.isnan(wanted), 1 - float(np.nansum(wanted))
    if left < -1e-9 or (not rest.any() and abs(left) > 1e-6):
        raise ModelError(f"--prevalence {text}: the shares add up to {1 - left:g}; expected 1")
    if rest.any():
        old = np.maximum(measured[rest], LEAST_SHARE)
        wanted[rest] = max(left, 0) * old / old.sum()
    wanted = np.maximum(wanted, LEAST_SHARE)
    result: Array = wanted / wanted.sum()
    return result


LEAST_SHARE = 1e-6
"""No class is held for impossible."""


def _members(name: str, labels: Sequence[str], malignant: Sequence[bool]) -> list[int]:
    if name in ("malignant", "benign") and name not in labels:
        return [i for i, kind in enumerate(malignant) if kind == (name == "malignant")]
    label = diagnosis.same(name, labels) if name else None
    return [] if label is None else [list(labels).index(label)]


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def shifted(change: Recalibration, old: Array, new: Array) -> Recalibration:
    """Exchange the mix that recalibrated probabilities are for (Saerens et al. 2002).

    The odds of malignant against benign are multiplied by the change of these odds; and so for the
    classes of each (doi:10.1162/089976602753284446). Where the mix within malignant or benign
    changes too, theirs would also change which of two images is the more suspicious; this does not.

    Args:
        change: What gives the probabilities.
        old: (classes,) the mix that they are for.
        new: (classes,) the mix wanted.
    """
    old, new = np.maximum(old, LEAST_SHARE), np.maximum(new, LEAST_SHARE)
    mask = np.array(change.malignant)
    biases, between = np.array(change.biases), change.between
    for kind in (mask, ~mask):
        if kind.any():
            ratio = new[kind] / new[kind].sum() / (old[kind] / old[kind].sum())
            biases[kind] += np.log(ratio)
    if between is not None:
        odds = [shares[mask].sum() / shares[~mask].sum() for shares in (new, old)]
        between = Line(between.temperature, between.bias + float(np.log(odds[0] / odds[1])))
    return Recalibration(change.malignant, between, change.temperatures, tuple(biases.tolist()))
