"""What ``lesionedge evaluate`` measures: each model, and each with a site profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionedge.card import Card, Label, OperatingPoint
from lesionedge.datasets.meaning import CLASSES, MALIGNANT, MELANOMA
from lesionedge.evaluation.measured import MeasuredModel, chosen, confidence

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.profile import Profile

TWO = {
    MALIGNANT: (("benign", "Benign", False), ("malignant", "Malignant", True)),
    MELANOMA: (("other", "Not melanoma", False), ("mel", "Melanoma", True)),
}
"""Kind of truth that has two classes -> their label, name and whether they are malignant."""


@dataclass(frozen=True)
class Entry:
    """A model whose predictions are measured."""

    name: str
    """As the report calls it."""
    classifier: Classifier
    """The model."""
    profile: Profile | None = None
    """The site profile that its probabilities go through."""

    @property
    def decision(self) -> float | None:
        """A two-class model's threshold of its second class; None: the likelier one is named."""
        threshold = self.classifier.threshold
        if threshold is None or self.profile is None:
            return threshold
        return float(self.profile.recalibration.apply([1 - threshold, threshold])[1])

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """Its thresholds."""
        return (self.profile or self.classifier.card).operating_points


def facts(classifier: Classifier, kind: str, name: str) -> Card:
    """Return a model's card with the classes that are measured.

    Args:
        classifier: The model.
        kind: The kind of truth.
        name: What the report calls the images.
    """
    card = replace(classifier.card, name=name, input=_input(classifier))
    if kind != CLASSES:
        return replace(card, labels=tuple(Label(*one) for one in TWO[kind]))
    known = classifier.unknown_notice is None
    labels = (Label(d.label, d.name, bool(d.malignant) and known) for d in classifier.diagnoses)
    return replace(card, labels=tuple(labels))


def _input(classifier: Classifier) -> Any:
    from lesionedge.card import Input

    made = classifier.preprocessing
    return classifier.card.input or Input(made.width_px, made.height_px, made.crop)


def measured(entry: Entry, kind: str, raw: np.ndarray, reliable: Sequence[bool | None]) -> Any:
    """Return a model's predictions as the figures take them, without figures.

    Args:
        entry: The model.
        kind: The kind of truth.
        raw: (N, classes) the model file's probabilities.
        reliable: (N,) the gate's verdicts.
    """
    shares = raw if entry.profile is None else entry.profile.recalibration.apply(raw)
    shares = _two(entry.classifier, kind, shares)
    decision = entry.decision if kind == CLASSES else None
    predicted = chosen(shares, decision)
    scores = {"confidence": confidence(shares, decision)}
    gate = np.array([verdict is not False for verdict in reliable], float)
    if gate.min() < gate.max():
        scores["gate"] = gate
    points = [_plain(point) for point in entry.points if _is_measured(point, kind)]
    return MeasuredModel(entry.name, shares, predicted, scores, {"operating_points": points})


def _is_measured(point: OperatingPoint, kind: str) -> bool:
    """Return whether a kind of truth has what a point's sensitivity is of."""
    return kind == CLASSES or (kind == MALIGNANT and point.extra.get("of", kind) == MALIGNANT)


def _plain(point: OperatingPoint) -> dict[str, Any]:
    found = point._asdict()
    extra = found.pop("extra")
    return {**found, **{key: extra[key] for key in ("of", "guaranteed") if key in extra}}


def _two(classifier: Classifier, kind: str, shares: np.ndarray) -> np.ndarray:
    """Return the probabilities of the two classes of a kind of truth that has two."""
    if kind == CLASSES:
        return shares
    if kind == MALIGNANT:
        mask = np.array([bool(diagnosis.malignant) for diagnosis in classifier.diagnoses])
    else:
        mask = np.array([diagnosis.code == "mel" for diagnosis in classifier.diagnoses])
    score = np.minimum(shares[:, mask].sum(1), 1.0)
    return np.stack([1 - score, score], axis=1)
