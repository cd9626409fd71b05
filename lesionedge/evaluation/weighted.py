"""Figures of weighted images, for the bootstrap; a weight, 0, 1, …, is how often an image counts.

Many resamples are measured at once: weights are (R, N), one row per resample, and
figures (R,).

scikit-learn has them, too, but its input checks are too slow to run a thousand times per figure,
and it takes 70 MB of memory. Tests compare these functions with it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lesionedge.evaluation.intervals import Weighted


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole; NaN where the whole is 0."""
    nothing = np.full(part.shape, np.nan)
    divided: np.ndarray = np.divide(part, whole, out=nothing, where=whole > 0)
    return divided


def share(chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the chosen images' share of the weight; NaN if there is no weight.

    Args:
        chosen: (N,) bool.
        weights: (R, N).

    Returns:
        (R,).
    """
    return _divided(weights @ chosen.astype(weights.dtype), weights.sum(axis=1))


def shares(chosen: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return several shares, each among images of its own; NaN if these have no weight.

    Args:
        chosen: (N, K) bool; or float, how much of each image is chosen, 0-1.
        among: (N, K) bool.
        weights: (R, N).

    Returns:
        (R, K).
    """
    dtype = weights.dtype if chosen.dtype == bool else chosen.dtype
    parts = weights @ np.where(among, chosen, 0).astype(dtype)
    return _divided(parts, weights @ among.astype(weights.dtype))


def balanced_accuracy(
    right: np.ndarray, truth: np.ndarray, weights: np.ndarray, *, subsets: np.ndarray | None = None
) -> np.ndarray:
    """Return the mean recall of the classes that have any weight; NaN if none has.

    Args:
        right: (N,) bool, whether each image was classified rightly; or float, in which share of its
            views.
        truth: (N,) int class numbers.
        weights: (R, N).
        subsets: (N, K) bool, to measure each of K subsets of the images; None: all of them.

    Returns:
        (R,); with subsets (R, K).
    """
    chosen = np.ones((len(truth), 1), bool) if subsets is None else subsets
    of_class = truth[:, None] == np.unique(truth)
    among = (chosen[:, :, None] & of_class[:, None, :]).reshape(len(truth), -1)
    recall = shares(right[:, None], among, weights).reshape(len(weights), chosen.shape[1], -1)
    here = ~np.isnan(recall)
    found = _divided(np.where(here, recall, 0).sum(axis=2), here.sum(axis=2))
    return found[:, 0] if subsets is None else found


def auroc(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """Return a function for the area under the ROC curve.

    It is the probability that a positive scores above a negative; ties count half.
    """
    if 2 * positive.sum() > len(positive):  # the fewer are looked up among the others
        positive, score = ~positive, -score
    few, others = np.flatnonzero(positive), _by_score(~positive, score)
    below = np.searchsorted(score[others], score[few], side="left")
    level = np.searchsorted(score[others], score[few], side="right")

    def area(weights: np.ndarray) -> np.ndarray:
        found, beaten = weights.take(few, axis=1), _sums(weights.take(others, axis=1))
        pairs = (found * (beaten[:, below] + beaten[:, level])).sum(axis=1) / 2
        return _divided(pairs, found.sum(axis=1) * beaten[:, -1])

    return area


def average_precision(positive: np.ndarray, score: np.ndarray) -> Weighted:
    """Return a function for the area under the precision-recall curve, as steps."""
    called = _called(positive, score)

    def area(weights: np.ndarray) -> np.ndarray:
        hits, found, alarms, _ = called(weights)
        both = found + alarms
        precision = np.divide(found, both, out=np.zeros(found.shape), where=both > 0)
        return _divided((precision * hits).sum(axis=1), hits.sum(axis=1))

    return area


def sensitivity_at(positive: np.ndarray, score: np.ndarray, *, specificity: float) -> Weighted:
    """Return a function for the highest sensitivity at this specificity or more."""
    called = _called(positive, score)

    def highest(weights: np.ndarray) -> np.ndarray:
        hits, _, alarms, negatives = called(weights)
        allowed = alarms <= (1 - specificity + 1e-6) * negatives[:, None]
        known = np.where(negatives > 0, hits.sum(axis=1), 0)
        return _divided((hits * allowed).sum(axis=1), known)

    return highest


def _by_score(chosen: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the numbers of the chosen images, from the lowest score on."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(score[rows], kind="stable")]


def _sums(weights: np.ndarray) -> np.ndarray:
    """Return (R, n + 1) sums of the first 0 to n weights of each row."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1), np.int32)
    # Integers are added three times as fast, one after the other, as floating-point numbers.
    np.cumsum(weights.astype(np.int32), axis=1, out=sums[:, 1:])
    return sums


def _called(
    positive: np.ndarray, score: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return a function for what is called positive with each positive's score as the threshold.

    Of (R, N) weights it gives (R, positives): the positives' own, those called with them, and the
    negatives called; and (R,), all negatives.
    """
    yes, no = _by_score(positive, -score), _by_score(~positive, -score)
    found = np.searchsorted(-score[yes], -score[yes], side="right")
    alarms = np.searchsorted(-score[no], -score[yes], side="right")

    def count(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        own, others = weights.take(yes, axis=1), _sums(weights.take(no, axis=1))
        return own, _sums(own)[:, found], others[:, alarms], others[:, -1]

    return count


def roc_curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 1 - specificity and sensitivity from the highest threshold on, from (0, 0)."""
    hits, alarms = _tally(positive, score)
    return _rising(alarms), _rising(hits)


def _rising(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])


def precision_recall_curve(
    positive: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall from the lowest threshold on, to precision 1 at recall 0."""
    hits, alarms = _tally(positive, score)
    found, called = np.cumsum(hits), np.cumsum(hits + alarms)
    precision, recall = (found / called)[::-1], (found / found[-1])[::-1]
    return np.append(precision, 1.0), np.append(recall, 0.0)


def _tally(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many positives and negatives have each score, from the highest."""
    values, place = np.unique(-score, return_inverse=True)
    yes, no = (np.bincount(place, kind, minlength=len(values)) for kind in (positive, ~positive))
    return yes, no


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Weighted:
    """Return a function for the counts by truth (row) and prediction (column)."""
    cells = (truth * classes + predicted)[:, None] == np.arange(classes**2)

    def counts(weights: np.ndarray) -> np.ndarray:
        return np.reshape(weights @ cells.astype(weights.dtype), (-1, classes, classes))

    return counts


def precision_recall_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Weighted:
    """Return a function for precision, recall and F1 by class, (R, 3, classes); else NaN."""
    count = confusion(truth, predicted, classes)

    def scores(weights: np.ndarray) -> np.ndarray:
        matrix = count(weights)
        hits, rows, columns = matrix.diagonal(axis1=1, axis2=2), matrix.sum(2), matrix.sum(1)
        wholes = columns, rows, (rows + columns) / 2
        return np.stack([_divided(hits, whole) for whole in wholes], axis=1)

    return scores


def expected_calibration_error(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, *, bins: int
) -> np.ndarray:
    """Return the mean gap between probability and accuracy over bins of equal width, (R,).

    (Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, equation 3.)
    """
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = (numbers[:, None] == np.arange(bins)) * (right - confidence)[:, None]
    sums = weights @ gaps.astype(weights.dtype)
    result: np.ndarray = np.abs(sums).sum(axis=1) / weights.sum(axis=1)
    return result
