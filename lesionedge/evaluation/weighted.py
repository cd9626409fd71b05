"""Figures of images that count as often as their weights say, for the bootstrap.

scikit-learn gives the values that ``evaluate`` reports; its checks of the input cost more than the
sums, too much to be made a thousand times a figure. These give the spread, and tests hold them
against scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lesionedge.evaluation.intervals import Weighted

NAN = float("nan")


def share(chosen: np.ndarray, weights: np.ndarray) -> float:
    """Share of the weights on what is chosen, (N,) bool; NaN where there is none."""
    total = weights.sum()
    return float((chosen * weights).sum() / total) if total else NAN


def balanced_accuracy(right: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Mean recall of the classes that have any weight; NaN where none has."""
    total, hits = np.bincount(truth, weights), np.bincount(truth, weights * right)
    here = total > 0
    return float((hits[here] / total[here]).mean()) if here.any() else NAN


def auroc(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half."""
    tally = _tally(positive, score)

    def area(weights: np.ndarray) -> float:
        hits, alarms = tally(weights)
        above = np.cumsum(hits) - hits / 2
        total = hits.sum() * alarms.sum()
        return float((alarms * above).sum() / total) if total else NAN

    return area


def average_precision(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """Area under the precision-recall curve, as steps."""
    tally = _tally(positive, score)

    def area(weights: np.ndarray) -> float:
        hits, alarms = tally(weights)
        found, answered = np.cumsum(hits), np.cumsum(hits + alarms)
        precision = np.divide(found, answered, out=np.zeros_like(found), where=answered > 0)
        return float((precision * hits).sum() / found[-1]) if found[-1] else NAN

    return area


def sensitivity_at(positive: np.ndarray, score: np.ndarray, *, specificity: float) -> Weighted:
    """Highest sensitivity of any threshold with at least this specificity."""
    tally = _tally(positive, score)

    def highest(weights: np.ndarray) -> float:
        hits, alarms = tally(weights)
        if not (hits.sum() and alarms.sum()):
            return NAN
        allowed = np.cumsum(alarms) / alarms.sum() <= 1 - specificity + 1e-12
        return float((np.cumsum(hits) / hits.sum())[allowed].max(initial=0.0))

    return highest


def _tally(
    positive: np.ndarray, score: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the weights of positives and of negatives by score, (S,) each, from the highest."""
    values, place = np.unique(-score, return_inverse=True)

    def count(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        yes = np.bincount(place, weights * positive, minlength=len(values))
        no = np.bincount(place, weights * ~positive, minlength=len(values))
        return yes, no

    return count


def confusion(truth: np.ndarray, answers: np.ndarray, classes: int) -> Weighted:
    """Counts by truth (row) and answer (column)."""
    cells = truth * classes + answers
    return lambda weights: np.bincount(cells, weights, minlength=classes**2).reshape(
        classes, classes
    )


def precision_recall_f1(truth: np.ndarray, answers: np.ndarray, classes: int) -> Weighted:
    """Precision, recall and F1 by class, (3, classes); NaN where undefined."""
    count = confusion(truth, answers, classes)

    def scores(weights: np.ndarray) -> np.ndarray:
        matrix = np.asarray(count(weights))
        hits, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        with np.errstate(invalid="ignore"):
            return np.stack([hits / columns, hits / rows, 2 * hits / (rows + columns)])

    return scores


def expected_calibration_error(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, *, bins: int
) -> float:
    """Mean gap between an answer's probability and accuracy over equal-width bins.

    (Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, equation 3.)
    """
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(numbers, weights * (right - confidence), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())
