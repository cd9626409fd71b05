"""Figures of a classifier's answers, each with a 95 % interval by lesion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from train.bootstrap import Weighted, interval, resamples

ECE_BINS = 15
SECTIONS = ("per_class", "confusion", "risk_coverage", "operating_points", "subgroups")
"""What ``metrics.json`` holds of a model beside the headline figures."""


def measure(
    probabilities: np.ndarray, truth: np.ndarray, groups: np.ndarray, labels: Sequence[str],
    malignant: Sequence[bool], *, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measure a classifier's answers.

    Intervals are by lesion (``train.bootstrap``).

    Args:
        probabilities: (N, classes) float, rows sum to 1.
        truth: (N,) int class numbers.
        groups: (N,) int; pictures of one lesion share a number.
        labels: Class codes in output order.
        malignant: Which classes count as malignant.
        seed: Fixes the resamples.

    Returns:
        Figures as ``{"value", "low", "high"}``; ``per_class`` by label; ``confusion`` as
        matrices (row: truth, column: answer) of counts with lowest and highest.
    """
    answers = probabilities.argmax(1)
    draws = resamples(groups, seed=seed)
    figures = _figures(probabilities, answers, truth, labels, np.asarray(malignant))
    result: dict[str, Any] = {
        "pictures": len(truth),
        "lesions": len(np.unique(groups)),
        **{
            name: found
            for name, figure in figures.items()
            if (found := interval(figure, draws))["value"] is not None
        },
    }
    result["per_class"] = _per_class(probabilities, answers, truth, labels, draws)
    result["confusion"] = _confusion(answers, truth, len(labels), draws)
    return result


def _figures(
    probabilities: np.ndarray, answers: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    malignant: np.ndarray,
) -> dict[str, Weighted]:  # fmt: skip
    right = answers == truth
    figures: dict[str, Weighted] = {
        "accuracy": lambda w: share(right, w),
        "balanced_accuracy": lambda w: balanced_accuracy(right, truth, w),
        "macro_auroc": lambda w: float(
            np.mean([auroc(truth == c, probabilities[:, c], w) for c in range(len(labels))])
        ),
        "ece": lambda w: expected_calibration_error(probabilities, truth, w),
    }
    if "mel" in labels:
        melanoma = list(labels).index("mel")
        figures["melanoma_auroc"] = lambda w: auroc(
            truth == melanoma, probabilities[:, melanoma], w
        )
        figures["melanoma_sensitivity_at_90_specificity"] = lambda w: sensitivity_at(
            truth == melanoma, probabilities[:, melanoma], w, specificity=0.9
        )
    if malignant.any() and not malignant.all():
        score = probabilities[:, malignant].sum(1)
        figures["malignant_auroc"] = lambda w: auroc(malignant[truth], score, w)
    return figures


def share(chosen: np.ndarray, weights: np.ndarray) -> float:
    """Share of the weights on what is chosen, (N,) bool; NaN where there is none."""
    total = weights.sum()
    return float((chosen * weights).sum() / total) if total else float("nan")


def balanced_accuracy(right: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Mean recall of the classes that have any weight; NaN where none has.

    scikit-learn's figure, without the checks that cost more than the sums in a bootstrap.
    """
    total, hits = np.bincount(truth, weights), np.bincount(truth, weights * right)
    here = total > 0
    return float((hits[here] / total[here]).mean()) if here.any() else float("nan")


def auroc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> float:
    """Area under the ROC curve; NaN where only one class is there."""
    here = weights > 0
    if len(np.unique(positive[here])) < 2:
        return float("nan")
    return float(sk.roc_auc_score(positive[here], score[here], sample_weight=weights[here]))


def average_precision(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> float:
    """Area under the precision-recall curve, as steps; NaN where nothing is positive."""
    here = weights > 0
    if not positive[here].any():
        return float("nan")
    return float(
        sk.average_precision_score(positive[here], score[here], sample_weight=weights[here])
    )


def sensitivity_at(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray, *, specificity: float
) -> float:
    """Highest sensitivity of any threshold with at least this specificity."""
    fpr, tpr, _ = sk.roc_curve(positive, score, sample_weight=weights)
    return float(tpr[fpr <= 1 - specificity + 1e-12].max())


def expected_calibration_error(
    probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, *, bins: int = ECE_BINS
) -> float:
    """Mean gap between confidence and accuracy of the top answer over equal-width bins.

    (Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, equation 3.)
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(numbers, weights * (right - confidence), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())


def _per_class(
    probabilities: np.ndarray, answers: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    draws: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    classes = range(len(labels))

    def scores(weights: np.ndarray) -> np.ndarray:
        table = sk.precision_recall_fscore_support(
            truth, answers, labels=list(classes), sample_weight=weights, zero_division=np.nan
        )
        return np.stack(table[:3])

    spread = interval(scores, draws)
    names = ("precision", "recall", "f1")
    result = {}
    for c, label in enumerate(labels):
        figures = {
            name: {part: spread[part][row][c] for part in ("value", "low", "high")}
            for row, name in enumerate(names)
        }
        for name, figure in (("auroc", auroc), ("average_precision", average_precision)):
            one = _one_against_rest(figure, truth == c, probabilities[:, c])
            figures[name] = interval(one, draws[:200])
        result[label] = {"pictures": int((truth == c).sum()), **figures}
    return result


def _one_against_rest(
    figure: Callable[..., float], positive: np.ndarray, score: np.ndarray
) -> Weighted:
    return lambda weights: figure(positive, score, weights)


def _confusion(
    answers: np.ndarray, truth: np.ndarray, classes: int, draws: np.ndarray
) -> dict[str, Any]:
    cells = truth * classes + answers

    def count(weights: np.ndarray) -> np.ndarray:
        return np.bincount(cells, weights, minlength=classes**2).reshape(classes, classes)

    spread: dict[str, Any] = interval(count, draws)
    return spread
