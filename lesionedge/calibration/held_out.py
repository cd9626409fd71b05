"""What a profile does on lesions that it was not made of: fitted and checked on different ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionedge.calibration import guarantee
from lesionedge.calibration.fit import fit
from lesionedge.calibration.sample import UNKNOWN, Sample, one_a_lesion

FOLDS = 5
ECE_BINS = 15
RESAMPLES = 1000
LEAST = 1e-12

Array = NDArray[np.float64]


def folds(sample: Sample, *, seed: int = 0) -> NDArray[np.int64] | None:
    """Return each image's fold, (N,); whole lesions, malignant and benign ones dealt alike.

    None where there are fewer than two malignant or benign lesions.
    """
    _, numbers = np.unique(sample.lesions, return_inverse=True)
    kinds = np.full(numbers.max() + 1, UNKNOWN)
    np.maximum.at(kinds, numbers, sample.malignant)
    counts = [int((kinds == kind).sum()) for kind in (0, 1)]
    count = min(FOLDS, *counts)
    if count < 2:
        return None
    rng = np.random.default_rng(seed)
    dealt = np.zeros(len(kinds), np.int64)
    for kind in (0, 1, UNKNOWN):
        members = rng.permutation(np.flatnonzero(kinds == kind))
        dealt[members] = np.arange(len(members)) % count
    found: NDArray[np.int64] = dealt[numbers]
    return found


def report(
    sample: Sample, malignant: Sequence[bool | None], positive: NDArray[np.bool_],
    card_thresholds: dict[float, float],
) -> dict[str, Any]:  # fmt: skip
    """Measure predictions before and after, each lesion by a profile made of other lesions.

    Args:
        sample: The labelled predictions.
        malignant: Whether each class is malignant; None where not known.
        positive: (N,) what sensitivity is of.
        card_thresholds: Sensitivity -> the model card's threshold of the malignant probability.

    Returns:
        Figures before and after; empty where there are too few lesions. A threshold is among them
        only if the other lesions gave one of the same kind each time: guaranteed, or the card's.
    """
    fold = folds(sample)
    if fold is None:
        return {}
    same = fit(sample.rows(np.zeros(0, np.int64)), malignant)  # of no image: no change
    before = same.apply(sample.probabilities)
    after = np.empty_like(before)
    scores = same.suspicion(sample.probabilities)
    final = _limits(sample, positive, scores, card_thresholds)
    hits = {wanted: np.zeros(len(sample), bool) for wanted in final}
    for number in range(int(fold.max()) + 1):
        rest, own = fold != number, fold == number
        change = fit(sample.rows(rest), malignant)
        after[own] = change.apply(sample.probabilities[own])
        limits = _limits(sample, rest & positive, scores, card_thresholds)
        for wanted, limit in final.items():
            there = limits.get(wanted)
            if there is None or there.guaranteed != limit.guaranteed:
                hits.pop(wanted, None)
            elif wanted in hits:
                hits[wanted][own] = scores[own] >= there.value
    mask = np.array(same.malignant)
    return {
        "folds": int(fold.max()) + 1,
        **_probabilities(sample, before, after, mask),
        "operating_points": [
            {
                "sensitivity": wanted,
                "before": at(sample, positive, before[:, mask].sum(1) >= card_thresholds[wanted])
                if wanted in card_thresholds
                else None,
                "after": at(sample, positive, found),
            }
            for wanted, found in hits.items()
        ],
    }  # fmt: skip


def _limits(
    sample: Sample, positive: NDArray[np.bool_], scores: Array, card: dict[float, float]
) -> dict[float, guarantee.Limit]:
    """Return sensitivity -> threshold, by one image of each positive lesion."""
    rows = np.flatnonzero(positive)
    independent = scores[rows[one_a_lesion(sample.lesions[rows])]]
    return {limit.sensitivity: limit for limit in guarantee.limits(independent, card)}


def _probabilities(
    sample: Sample, before: Array, after: Array, mask: NDArray[np.bool_]
) -> dict[str, Any]:
    weights = sample.weights
    old, new = (losses(sample, shares, mask) for shares in (before, after))
    difference = new - old
    spread = _resampled(difference, sample)
    low, high = np.percentile(spread, [2.5, 97.5])
    found: dict[str, Any] = {
        "log_loss": {
            "before": _mean(old, weights), "after": _mean(new, weights),
            "difference": _mean(difference, weights), "low": float(low), "high": float(high),
        },
    }  # fmt: skip
    rows = sample.malignant != UNKNOWN
    truth = sample.malignant[rows].astype(float)
    for name, shares in (("before", before), ("after", after)):
        risk = shares[rows][:, mask].sum(1)
        found.setdefault("malignant_ece", {})[name] = _ece(risk, truth, weights[rows])
        found.setdefault("malignant_brier", {})[name] = _mean((risk - truth) ** 2, weights[rows])
    return found


def losses(sample: Sample, shares: Array, mask: NDArray[np.bool_]) -> Array:
    """Return each image's log loss: of its class, or else of malignant or benign."""
    risk = shares[:, mask].sum(1)
    binary = np.where(sample.malignant == 1, risk, 1 - risk)
    own = np.take_along_axis(shares, np.maximum(sample.classes, 0)[:, None], 1)[:, 0]
    found: Array = -np.log(np.maximum(np.where(sample.classes != UNKNOWN, own, binary), LEAST))
    return np.where((sample.classes == UNKNOWN) & (sample.malignant == UNKNOWN), 0.0, found)


def _resampled(values: Array, sample: Sample) -> Array:
    """Return the mean of ``RESAMPLES`` resamples of whole lesions, each as one."""
    _, numbers = np.unique(sample.lesions, return_inverse=True)
    means = np.bincount(numbers, values) / np.bincount(numbers)
    rng = np.random.default_rng(0)
    found = [means[rng.integers(len(means), size=len(means))].mean() for _ in range(RESAMPLES)]
    return np.array(found)


def _mean(values: Array | NDArray[np.bool_], weights: Array) -> float:
    return float((values * weights).sum() / weights.sum())


def _ece(risk: Array, truth: Array, weights: Array) -> float:
    from lesionedge.evaluation.weighted import expected_calibration_error

    return float(expected_calibration_error(risk, truth, weights[None], bins=ECE_BINS)[0])


def at(sample: Sample, positive: NDArray[np.bool_], found: NDArray[np.bool_]) -> dict[str, float]:
    """Return sensitivity and specificity of what is found, (N,) bool; each lesion as one."""
    benign, weights = sample.malignant == 0, sample.weights
    return {
        "sensitivity": _mean(found[positive], weights[positive]),
        "specificity": _mean(~found[benign], weights[benign]),
    }


def helps(report_: dict[str, Any]) -> bool | None:
    """Return whether probabilities got better, by the log loss; None where it was not measured."""
    loss = report_.get("log_loss")
    return None if loss is None else bool(loss["difference"] < 0)
