"""Figures of weighted images, for the bootstrap; an image's weight is how often it counts.

scikit-learn has them, too, but its input checks are too slow to run a thousand times per figure,
and it takes 70 MB of memory. Tests compare these functions with it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lesionedge.evaluation.intervals import Weighted

NAN = float("nan")


def share(chosen: np.ndarray, weights: np.ndarray) -> float:
    """Return the chosen images' share of the weight, (N,) bool; NaN if there is no weight."""
    total = weights.sum()
    return float((chosen * weights).sum() / total) if total else NAN


def balanced_accuracy(right: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean recall of the classes that have any weight; NaN if none has."""
    total, hits = np.bincount(truth, weights), np.bincount(truth, weights * right)
    here = total > 0
    return float((hits[here] / total[here]).mean()) if here.any() else NAN


def auroc(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """Return a function for the area under the ROC curve.

    It is the probability that a positive scores above a negative; ties count half.
    """
    tally = _tally(positive, score)

    def area(weights: np.ndarray) -> float:
        hits, alarms = tally(weights)
        above = np.cumsum(hits) - hits / 2
        total = hits.sum() * alarms.sum()
        return float((alarms * above).sum() / total) if total else NAN

    return area


def average_precision(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """Return a function for the area under the precision-recall curve, as steps."""
    tally = _tally(positive, score)

    def area(weights: np.ndarray) -> float:
        hits, alarms = tally(weights)
        found, called = np.cumsum(hits), np.cumsum(hits + alarms)
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        return float((precision * hits).sum() / found[-1]) if found[-1] else NAN

    return area


def sensitivity_at(positive: np.ndarray, score: np.ndarray, *, specificity: float) -> Weighted:
    """Return a function for the highest sensitivity at this specificity or more."""
    tally = _tally(positive, score)

    def highest(weights: np.ndarray) -> float:
        hits, alarms = tally(weights)
        if not (hits.sum() and alarms.sum()):
            return NAN
        allowed = np.cumsum(alarms) / alarms.sum() <= 1 - specificity + 1e-12
        return float((np.cumsum(hits) / hits.sum())[allowed].max(initial=0.0))

    return highest


def roc_curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 1 - specificity and sensitivity from the highest threshold on, from (0, 0)."""
    hits, alarms = _tally(positive, score)(np.ones(len(score)))
    return _rising(alarms), _rising(hits)


def _rising(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])


def precision_recall_curve(
    positive: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall from the lowest threshold on, to precision 1 at recall 0."""
    hits, alarms = _tally(positive, score)(np.ones(len(score)))
    found, called = np.cumsum(hits), np.cumsum(hits + alarms)
    precision, recall = (found / called)[::-1], (found / found[-1])[::-1]
    return np.append(precision, 1.0), np.append(recall, 0.0)


def _tally(
    positive: np.ndarray, score: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return a function for the weights of positives and negatives by score, from the highest."""
    values, place = np.unique(-score, return_inverse=True)

    def count(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        yes = np.bincount(place, weights * positive, minlength=len(values))
        no = np.bincount(place, weights * ~positive, minlength=len(values))
        return yes, no

    return count


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Weighted:
    """Return a function for the counts by truth (row) and prediction (column)."""
    cells = truth * classes + predicted
    return lambda weights: np.bincount(cells, weights, minlength=classes**2).reshape(
        classes, classes
    )


def precision_recall_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Weighted:
    """Return a function for precision, recall and F1 by class, (3, classes); NaN if undefined."""
    count = confusion(truth, predicted, classes)

    def scores(weights: np.ndarray) -> np.ndarray:
        matrix = np.asarray(count(weights))
        hits, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        with np.errstate(invalid="ignore"):
            return np.stack([hits / columns, hits / rows, 2 * hits / (rows + columns)])

    return scores


def expected_calibration_error(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, *, bins: int
) -> float:
    """Return the mean gap between probability and accuracy over bins of equal width.

    (Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, equation 3.)
    """
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(numbers, weights * (right - confidence), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())
