"""From logits to probabilities that mean what they say, and thresholds on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lesionedge.card import Card, present
from train.run import RunError

SENSITIVITIES = (0.9, 0.95, 0.98)
TEMPERATURES = (0.1, 10.0)
"""Lowest and highest temperature that is considered."""
CLASS_PENALTY = 0.2
"""How hard classes' temperatures are drawn together: chosen among 0.03 to 1 on validation images,
with temperatures fitted on the calibration images."""
FURTHEST = 3.0
"""How far a class's temperature may lie from the common one, as the logarithm of their ratio."""


@dataclass(frozen=True)
class Calibration:
    """What turns a model's logits into probabilities."""

    temperature: float
    """T: logits are divided by it."""
    classes: tuple[float, ...] | None = None
    """T_c of every class, in output order; None: the one T is all."""

    @classmethod
    def from_card(cls, card: Card, kind: str) -> Calibration:
        """Read what a run's card says of its ``float`` or ``int8`` model.

        Raises:
            RunError: It says nothing: ``quantize`` was stopped before it was done.
        """
        section = present(card.calibration, "calibration")
        if kind not in section.temperature:
            raise RunError(
                f"{card.name}: its card has no calibration of {kind}: run quantize again"
            )
        return cls(section.temperature[kind], section.class_temperature.get(kind))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return (N, classes) probabilities that sum to 1.

        softmax(logits * s), where s = sum over c of softmax(logits / T)_c / T_c: images that look
        like a class are as sure as predictions of that class are right (class-based temperature
        scaling; Frenkel, Goldberger 2021, doi:10.23919/EUSIPCO54536.2021.9616219; softly here, so
        that nothing jumps where the prediction changes). Whatever the temperatures, the order of an
        image's classes stays.

        Args:
            logits: (N, classes).
        """
        first = softmax(logits / self.temperature)
        if self.classes is None:
            return first
        sharpness = first @ (1 / np.array(self.classes))
        return softmax(logits * sharpness[:, None])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return (N, classes) probabilities that sum to 1."""
    from scipy.special import softmax as scipy_softmax

    result: np.ndarray = scipy_softmax(logits.astype(np.float64), axis=1)
    return result


def fit(predictions: np.ndarray, truth: np.ndarray) -> Calibration:
    """Fit a calibration on images that were not trained on.

    A network that gives rare classes their due names them too often in the mix of classes that
    people bring: it is right less often when it says melanoma than when it says nevus, and no
    single temperature makes both honest. Classes' temperatures minimise the negative log-likelihood
    of "the top prediction is right" plus a penalty on the spread of their logarithms.

    Args:
        predictions: (N, classes) logits.
        truth: (N,) int class numbers.

    Returns:
        With classes' temperatures for three classes and more; of two, a threshold decides.
    """
    from scipy.optimize import minimize

    common = fit_temperature(predictions, truth)
    if predictions.shape[1] < 3:
        return Calibration(common)
    right = predictions.argmax(1) == truth

    def calibration(sharper: np.ndarray) -> Calibration:
        return Calibration(common, tuple((common * np.exp(-sharper)).tolist()))

    def cost(sharper: np.ndarray) -> float:
        top = calibration(sharper).probabilities(predictions).max(1).clip(1e-6, 1 - 1e-6)
        likelihood = float(np.log(np.where(right, top, 1 - top)).mean())
        return CLASS_PENALTY * float(sharper.var()) - likelihood

    count = predictions.shape[1]
    found = minimize(
        cost, np.zeros(count), method="L-BFGS-B", bounds=[(-FURTHEST, FURTHEST)] * count
    )
    return calibration(found.x)


def fit_temperature(predictions: np.ndarray, truth: np.ndarray) -> float:
    """Find the T for which softmax(logits / T) is as confident as it is right.

    Expectation consistency (Clarte et al. 2023, arXiv:2303.02644): the mean probability of the
    top prediction equals the share of top predictions that are right. The usual choice, least
    negative log-likelihood (Guo et al. 2017, arXiv:1706.04599), assumes that the
    logits are right but for their scale; these, trained to give rare classes their due, are not
    meant for the mix of classes that they are calibrated on.

    Args:
        predictions: (N, classes) logits.
        truth: (N,) int class numbers.

    Returns:
        T, within ``TEMPERATURES``.
    """
    from scipy.optimize import brentq

    right = float((predictions.argmax(1) == truth).mean())

    def excess(log_t: float) -> float:
        return float(softmax(predictions / np.exp(log_t)).max(1).mean()) - right

    low, high = np.log(TEMPERATURES)
    if excess(low) <= 0:
        return TEMPERATURES[0]
    if excess(high) >= 0:
        return TEMPERATURES[1]
    return float(np.exp(brentq(excess, low, high)))


def operating_points(risk: np.ndarray, malignant: np.ndarray) -> list[dict[str, float]]:
    """Choose thresholds of the malignant probability for given sensitivities.

    Args:
        risk: (N,) malignant probabilities.
        malignant: (N,) bool, the truth.

    Returns:
        For each wanted sensitivity the highest threshold that reaches it on these images,
        with the specificity and sensitivity found there; none where one class is absent.
    """
    from sklearn.metrics import roc_curve

    if malignant.all() or not malignant.any():
        return []
    fpr, tpr, thresholds = roc_curve(malignant, risk)
    points = []
    for wanted in SENSITIVITIES:
        at = int(np.argmax(tpr >= wanted))
        points.append(
            {
                "sensitivity": wanted, "threshold": float(thresholds[at]),
                "measured_sensitivity": float(tpr[at]), "measured_specificity": float(1 - fpr[at]),
            }
        )  # fmt: skip
    return points


def decision_point(probability: np.ndarray, positive: np.ndarray) -> list[dict[str, Any]]:
    """Choose the probability from which a two-class model names the positive class.

    The threshold with the largest sum of sensitivity and specificity (Youden 1950,
    doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3), so that the rarer class is
    found as well as the commoner one; between it and the next lower probability seen, so that
    rounding decides nothing.

    Args:
        probability: (N,) of the positive class.
        positive: (N,) bool, the truth.

    Returns:
        One entry named ``decision``; none where one class is absent.
    """
    from sklearn.metrics import roc_curve

    if positive.all() or not positive.any():
        return []
    fpr, tpr, thresholds = roc_curve(positive, probability, drop_intermediate=False)
    at = int(np.argmax(tpr - fpr))
    lower = probability[probability < thresholds[at]]
    threshold = (thresholds[at] + lower.max()) / 2 if len(lower) else thresholds[at]
    return [
        {
            "name": "decision", "sensitivity": float(tpr[at]),
            "threshold": float(min(threshold, 1.0)),
            "measured_sensitivity": float(tpr[at]), "measured_specificity": float(1 - fpr[at]),
        }
    ]  # fmt: skip
