"""Figures of a classifier's answers, each with a 95 % interval by lesion."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

RESAMPLES = 1000
ECE_BINS = 15
Interval = dict[str, float]
Weighted = Callable[[np.ndarray], "np.ndarray | float"]


def measure(
    probabilities: np.ndarray, truth: np.ndarray, groups: np.ndarray, labels: Sequence[str],
    malignant: Sequence[bool], *, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measure a classifier's answers.

    Intervals are the 2.5th and 97.5th percentile over bootstrap resamples of whole lesions
    (cluster bootstrap; Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x), since
    pictures of one lesion are not independent.

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
    draws = _draws(groups, seed)
    figures = _figures(probabilities, answers, truth, labels, np.asarray(malignant))
    result: dict[str, Any] = {
        "pictures": len(truth),
        "lesions": len(np.unique(groups)),
        **{name: _interval(figure, draws) for name, figure in figures.items()},
    }
    result["per_class"] = _per_class(probabilities, answers, truth, labels, draws)
    result["confusion"] = _confusion(answers, truth, len(labels), draws)
    return result


def _draws(groups: np.ndarray, seed: int) -> np.ndarray:
    """Give (RESAMPLES, N): how often each picture is in each resample of the lesions."""
    _, numbers = np.unique(groups, return_inverse=True)
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)[:, numbers]


def _interval(figure: Weighted, draws: np.ndarray) -> Any:
    with warnings.catch_warnings():
        # A resample may lack a class altogether; its figure is then left out below.
        warnings.simplefilter("ignore", (UserWarning, RuntimeWarning, sk_undefined()))
        value = figure(np.ones(draws.shape[1]))
        spread = np.array([figure(weights.astype(float)) for weights in draws])
        low, high = np.nanpercentile(spread, [2.5, 97.5], axis=0)
    if np.ndim(value) == 0:
        return {"value": float(value), "low": float(low), "high": float(high)}
    return {"value": _list(value), "low": _list(low), "high": _list(high)}


def sk_undefined() -> type[Warning]:
    """Give the warning that scikit-learn emits for a figure that a sample leaves undefined."""
    from sklearn.exceptions import UndefinedMetricWarning

    return UndefinedMetricWarning


def _list(values: Any) -> Any:
    return np.asarray(values).tolist()


def _figures(
    probabilities: np.ndarray, answers: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    malignant: np.ndarray,
) -> dict[str, Weighted]:  # fmt: skip
    right = (answers == truth).astype(float)
    figures: dict[str, Weighted] = {
        "accuracy": lambda w: np.average(right, weights=w),
        "balanced_accuracy": lambda w: _recalls(right, truth, len(labels), w).mean(),
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


def _recalls(right: np.ndarray, truth: np.ndarray, classes: int, weights: np.ndarray) -> np.ndarray:
    hits = np.bincount(truth, right * weights, minlength=classes)
    with np.errstate(invalid="ignore"):
        recalls = hits / np.bincount(truth, weights, minlength=classes)
    return recalls[~np.isnan(recalls)]


def auroc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> float:
    """Area under the ROC curve; NaN where only one class is there."""
    here = weights > 0
    if len(np.unique(positive[here])) < 2:
        return float("nan")
    return float(sk.roc_auc_score(positive[here], score[here], sample_weight=weights[here]))


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

    spread = _interval(scores, draws)
    names = ("precision", "recall", "f1")
    result = {}
    for c, label in enumerate(labels):
        figures = {
            name: {part: spread[part][row][c] for part in ("value", "low", "high")}
            for row, name in enumerate(names)
        }
        figures["auroc"] = _interval(
            _one_against_rest(truth == c, probabilities[:, c]), draws[:200]
        )
        result[label] = {"pictures": int((truth == c).sum()), **figures}
    return result


def _one_against_rest(positive: np.ndarray, score: np.ndarray) -> Weighted:
    return lambda weights: auroc(positive, score, weights)


def _confusion(
    answers: np.ndarray, truth: np.ndarray, classes: int, draws: np.ndarray
) -> dict[str, Any]:
    cells = truth * classes + answers

    def count(weights: np.ndarray) -> np.ndarray:
        return np.bincount(cells, weights, minlength=classes**2).reshape(classes, classes)

    spread: dict[str, Any] = _interval(count, draws)
    return spread
