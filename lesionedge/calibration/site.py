"""Makes a site profile."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lesionedge
from lesionedge.calibration import guarantee, held_out, prevalence
from lesionedge.calibration.fit import fit
from lesionedge.calibration.sample import UNKNOWN, Sample, one_a_lesion
from lesionedge.card import Card, OperatingPoint
from lesionedge.errors import LesionEdgeError
from lesionedge.profile import MARGIN, Owner, Profile, Recalibration

MALIGNANT = "malignant"
"""What sensitivity is of, if not of one label."""
FEW = 20
"""Fewer images of a class than this are too few for a verdict."""


class CalibrationError(LesionEdgeError):
    """No profile can be made of these images."""


def make(
    sample: Sample, owner: Owner, card: Card, *, name: str, of: str = MALIGNANT,
    mix: str = prevalence.MEASURED, data: Mapping[str, Any] | None = None,
) -> Profile:  # fmt: skip
    """Make a profile of labelled predictions.

    Args:
        sample: The predictions of the model file, without another profile.
        owner: The model.
        card: Its card.
        name: What results call the profile.
        of: What sensitivity is of: ``malignant``, or one of the model's labels.
        mix: ``measured``, ``card``, or shares such as ``mel=0.02``.
        data: What else is to be said of the images.

    Raises:
        CalibrationError: There are no malignant or no benign images, or none of the label, or it is
            not malignant.
        ModelError: The mix cannot be used.
    """
    _check_label(owner, of)
    check_images(sample, owner, of=of)
    positive = _positive(sample, owner, of)
    change = fit(sample, owner.malignant)
    change, target = _for_mix(change, sample, owner, card, mix)
    thresholds = {point.sensitivity: point.threshold for point in card.operating_points}
    if of != MALIGNANT or change.between is None:
        thresholds = {}
    points = _points(sample, positive, change, thresholds, of) if change.between else []
    return Profile(
        name=name, owner=owner, recalibration=change, operating_points=tuple(points),
        made=datetime.date.today().isoformat(), version=lesionedge.__version__,
        data={
            "images": len(sample), "lesions": len(np.unique(sample.lesions)),
            "malignant": int((sample.malignant == 1).sum()),
            "benign": int((sample.malignant == 0).sum()),
            "of": of, "positive_lesions": len(np.unique(sample.lesions[positive])),
            "by_label": {
                label: int((sample.classes == number).sum())
                for number, label in enumerate(owner.labels)
            },
            **(data or {}),
        },
        prevalence={"source": mix, "mix": dict(zip(owner.labels, target.round(6).tolist()))},
        report=held_out.report(sample, owner.malignant, positive, thresholds),
    )  # fmt: skip


def check(owner: Owner, card: Card, *, of: str = MALIGNANT, mix: str = prevalence.MEASURED) -> None:
    """Refuse what no profile of a model can be made for, before its images are classified.

    Args:
        owner: As in ``make``.
        card: As in ``make``.
        of: As in ``make``.
        mix: As in ``make``.

    Raises:
        CalibrationError: The model has no such label, or it is not malignant.
        ModelError: The mix cannot be used.
    """
    _check_label(owner, of)
    kinds = tuple(bool(kind) for kind in owner.malignant)
    _wanted(mix, owner, card, np.full(len(kinds), 1 / len(kinds)), kinds)


def check_images(sample: Sample, owner: Owner, *, of: str = MALIGNANT) -> None:
    """Refuse images without a positive or a benign one; probabilities are not needed.

    Args:
        sample: As in ``make``.
        owner: As in ``make``.
        of: As in ``make``.

    Raises:
        CalibrationError: There is none.
    """
    positive = _positive(sample, owner, of)
    counts = {of: int(positive.sum()), "benign": int((sample.malignant == 0).sum())}
    missing = [name for name, count in counts.items() if not count]
    if missing:
        raise CalibrationError(
            f"the {len(sample)} labelled images have none that is {' or '.join(missing)}; "
            "expected malignant and benign ones"
        )


def _check_label(owner: Owner, of: str) -> None:
    if of == MALIGNANT:
        return
    if of not in owner.labels:
        raise CalibrationError(
            f"--of {of}: the model has no such label; expected malignant or one of "
            f"{', '.join(owner.labels)}"
        )
    if not owner.malignant[owner.labels.index(of)]:
        kinds = zip(owner.labels, owner.malignant)
        raise CalibrationError(
            f"--of {of}: it is benign, and the thresholds are of the malignant probability; "
            f"expected malignant or one of {', '.join(label for label, bad in kinds if bad)}"
        )


def _positive(sample: Sample, owner: Owner, of: str) -> NDArray[np.bool_]:
    if of == MALIGNANT:
        return np.equal(sample.malignant, 1)
    return np.equal(sample.classes, owner.labels.index(of))


def _for_mix(
    change: Recalibration, sample: Sample, owner: Owner, card: Card, mix: str
) -> tuple[Recalibration, NDArray[np.float64]]:
    """Make a recalibration for the mix that is wanted; return it, and the mix."""
    weights = sample.weights
    old = change.apply(sample.probabilities)
    implied = (old * weights[:, None]).sum(0) / weights.sum()
    if mix == prevalence.MEASURED:
        return change, implied
    wanted = _wanted(mix, owner, card, implied, change.malignant)
    return prevalence.shifted(change, implied, wanted), wanted


def _wanted(
    mix: str, owner: Owner, card: Card, measured: NDArray[np.float64], malignant: Sequence[bool]
) -> NDArray[np.float64]:
    if mix == prevalence.MEASURED:
        return measured
    if mix == prevalence.CARD:
        return prevalence.of_card(card, owner.labels)
    return prevalence.given(mix, owner.labels, measured, malignant)


def _points(
    sample: Sample, positive: NDArray[np.bool_], change: Recalibration,
    card_thresholds: Mapping[float, float], of: str,
) -> Sequence[OperatingPoint]:  # fmt: skip
    scores = change.suspicion(sample.probabilities)
    rows = np.flatnonzero(positive)
    independent = rows[one_a_lesion(sample.lesions[rows])]
    points = []
    for limit in guarantee.limits(scores[independent], card_thresholds):
        extra = {
            "of": of, "guaranteed": limit.guaranteed, "confidence": guarantee.CONFIDENCE,
            "lesions": len(independent),
            "missing": max(0, guarantee.needed(limit.sensitivity) - len(independent)),
            "source": guarantee.SOURCE if limit.guaranteed else "model card",
        }  # fmt: skip
        figures = held_out.at(sample, positive, scores >= limit.value)
        threshold = float(change.malignant_probability(np.float64(limit.value))) * (1 - MARGIN)
        points.append(OperatingPoint(
            limit.sensitivity, threshold, figures["sensitivity"], figures["specificity"], extra
        ))  # fmt: skip
    return points


def few(sample: Sample, owner: Owner) -> dict[str, int]:
    """Return the classes that have images, but fewer than ``FEW``, with their number."""
    counts = {
        label: int((sample.classes == number).sum()) for number, label in enumerate(owner.labels)
    }
    if (sample.classes == UNKNOWN).all():
        counts = {"malignant": int((sample.malignant == 1).sum()),
                  "benign": int((sample.malignant == 0).sum())}  # fmt: skip
    return {label: count for label, count in counts.items() if 0 < count < FEW}
