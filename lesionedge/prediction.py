"""A model's result for an image: ``Prediction``, and the result format of every command.

Command line, server, camera and batch write ``Prediction.to_dict`` and add their own keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lesionedge.diagnosis import unknown_malignancy
from lesionedge.errors import ModelError
from lesionedge.notice import MALIGNANT_UNKNOWN, Notice

if TYPE_CHECKING:
    from lesionedge.card import OperatingPoint
    from lesionedge.diagnosis import Diagnosis

BY_CARD = "model card"
"""Source of a threshold that is in the model file's card."""


@dataclass(frozen=True)
class Candidate:
    """One class and its probability."""

    label: str
    """The short code, such as ``mel``."""
    name: str
    """The name for people, such as ``Melanoma``."""
    probability: float
    """Calibrated, 0-1."""

    def to_dict(self) -> dict[str, Any]:
        """Return it in the result format."""
        return {"label": self.label, "name": self.name, "probability": self.probability}


@dataclass(frozen=True)
class ThresholdSide:
    """Which side of an operating point's threshold the malignant probability is on."""

    point: OperatingPoint
    """The operating point."""
    above: bool
    """Whether the malignant probability reaches the threshold."""
    source: str
    """Where the threshold comes from: ``BY_CARD``, or the name of a site profile."""

    def to_dict(self) -> dict[str, Any]:
        """Return it in the result format."""
        return {
            "sensitivity": self.point.sensitivity,
            "specificity": self.point.measured_specificity,
            "threshold": self.point.threshold,
            "above": self.above,
            "source": self.source,
            **({} if self.of is None else {"of": self.of}),
        }

    @property
    def of(self) -> str | None:
        """The label that the threshold is to find; None for all malignant ones."""
        return of_label(self.point)


@dataclass(frozen=True)
class Prediction:
    """A model's result for one image."""

    label: str
    """Code of the most probable class, or of the class that the threshold of a two-class model
    decides for."""
    name: str
    """Its name."""
    probability: float
    """Its calibrated probability, 0-1."""
    malignant_probability: float | None
    """Sum of the probabilities of the malignant classes, 0-1; None if it is unknown whether some
    class is malignant (a warning says so)."""
    top: tuple[Candidate, ...]
    """The most probable classes, in falling order; if a threshold decides, its class is first."""
    warnings: tuple[Notice, ...]
    """Warnings about the image: texts, each with a ``code``."""
    timings_ms: Mapping[str, float]
    """Milliseconds of ``decode``, ``preprocess``, ``check`` (if there was one) and ``invoke``
    (with the wait for its turn)."""
    model: str
    """Name or path of the model."""
    reliable: bool | None = None
    """Whether the gate accepts the image as one that the model may speak about; None if it was not
    checked: ``check=False``, or a model that is not for dermoscopic images."""
    views: int = 1
    """How many views of the image the probabilities are averaged over."""
    operating_point: ThresholdSide | None = None
    """The side of the default operating point that it is on; None if the model has none, or if
    the malignant probability is unknown."""
    profile: str | None = None
    """Name of the site profile that recalibrated the probabilities; None: there was none."""
    colour: tuple[float, float, float] | None = None
    """Mean red, green and blue of the part that the model sees, 0-255 in sRGB; None where
    ``reliable`` is. Only the statistics of ``lesionedge.drift`` use it."""

    @property
    def remarks(self) -> tuple[Notice, ...]:
        """The warnings that are about this image, and not about the model."""
        return tuple(notice for notice in self.warnings if notice.code != MALIGNANT_UNKNOWN)

    def at(self, point: OperatingPoint, *, source: str | None = None) -> Prediction:
        """Return the same prediction at another operating point.

        Args:
            point: Such as one of ``Classifier.operating_points``.
            source: Where it comes from; None for the profile or else the model's card.

        Raises:
            ModelError: The malignant probability is unknown.
        """
        if self.malignant_probability is None:
            said = [str(notice) for notice in self.warnings if notice.code == MALIGNANT_UNKNOWN]
            raise ModelError(
                f"{self.model}: an operating point is a threshold of the malignant probability, "
                f"which is unknown{''.join(': ' + text for text in said)}"
            )
        source = source or source_of(point, self.profile)
        return replace(self, operating_point=side_of(point, self.malignant_probability, source))

    def to_dict(self, path: str | None = None) -> dict[str, Any]:
        """Return the result format: one JSON object, numbers unrounded.

        Args:
            path: The image's path as given; None leaves the key out.
        """
        point = self.operating_point
        return {
            **({} if path is None else {"path": path}),
            "label": self.label,
            "name": self.name,
            "probability": self.probability,
            "malignant_probability": self.malignant_probability,
            "top": [candidate.to_dict() for candidate in self.top],
            "reliable": self.reliable,
            "warnings": [str(warning) for warning in self.warnings],
            "warning_codes": [warning.code for warning in self.warnings],
            "operating_point": point and point.to_dict(),
            "model": self.model,
            "timings_ms": dict(self.timings_ms),
            **({} if self.views == 1 else {"views": self.views}),
            **({} if self.profile is None else {"profile": self.profile}),
        }


def of_label(point: OperatingPoint) -> str | None:
    """Return the label that an operating point is to find; None for all malignant ones."""
    label = point.extra.get("of", "malignant")
    return None if label == "malignant" else str(label)


def by_class(top: Sequence[Candidate], labels: Sequence[str]) -> list[float | None]:
    """Return probabilities in the order of a model's labels.

    Args:
        top: The classes that are listed, the most likely first.
        labels: The model's. If a label occurs twice, the first gets the higher probability.

    Returns:
        One probability per label; None for classes that ``top`` does not list.
    """
    found: dict[str, list[float]] = {}
    for candidate in top:
        found.setdefault(candidate.label, []).append(candidate.probability)
    return [found[label].pop(0) if found.get(label) else None for label in labels]


def rank(probabilities: Sequence[float], *, decision: float | None = None) -> list[int]:
    """Return the class numbers, the most likely first; equal ones in the model's order.

    Args:
        probabilities: One per class.
        decision: With two classes: the probability from which the second one comes first.
    """
    if decision is not None:
        return [1, 0] if probabilities[1] >= decision else [0, 1]
    return sorted(range(len(probabilities)), key=lambda i: -probabilities[i])


def malignant_probability(
    probabilities: Sequence[float], diagnoses: Sequence[Diagnosis]
) -> float | None:
    """Return the sum of the malignant classes' probabilities, 0-1; None: some may be malignant."""
    if any(diagnosis.malignant is None for diagnosis in diagnoses):
        return None
    return min(sum(p for d, p in zip(diagnoses, probabilities) if d.malignant), 1.0)


def side_of(
    point: OperatingPoint | None, malignant_probability: float | None, source: str
) -> ThresholdSide | None:
    """Return on which side of an operating point a probability is; None if either is unknown."""
    if point is None or malignant_probability is None:
        return None
    return ThresholdSide(point, point.above(malignant_probability), source)


def source_of(point: OperatingPoint | None, profile: str | None) -> str:
    """Return where a threshold comes from: the profile, if it is not the card's there too."""
    if profile is None or point is None or not point.extra.get("guaranteed"):
        return BY_CARD
    return profile


def notice_of_unknown(diagnoses: Sequence[Diagnosis]) -> Notice | None:
    """Return the warning that the malignant probability is unknown; None if it is known."""
    text = unknown_malignancy(diagnoses)
    return Notice(MALIGNANT_UNKNOWN, text) if text else None


def predict(
    probabilities: Sequence[float], diagnoses: Sequence[Diagnosis], *, model: str,
    decision: float | None = None, point: OperatingPoint | None = None, profile: str | None = None,
    top_k: int | None = None, warnings: tuple[Notice, ...] = (),
    timings_ms: Mapping[str, float] | None = None, reliable: bool | None = None, views: int = 1,
    colour: tuple[float, float, float] | None = None,
) -> Prediction:  # fmt: skip
    """Make a prediction from probabilities.

    Args:
        probabilities: One per class, 0-1.
        diagnoses: What the classes mean, in the same order.
        model: Name or path of the model.
        decision: As in ``rank``.
        point: The operating point to compare with.
        profile: Name of the site profile that recalibrated the probabilities; None without one.
        top_k: How many classes ``top`` lists; None for all.
        warnings: Warnings for people.
        timings_ms: Milliseconds of each stage.
        reliable: The gate's verdict.
        views: Over how many views of each image the probabilities are averaged.
        colour: As ``Prediction.colour``.
    """
    ranking = rank(probabilities, decision=decision)
    top = tuple(
        Candidate(diagnoses[i].label, diagnoses[i].name, probabilities[i]) for i in ranking[:top_k]
    )
    malignant = malignant_probability(probabilities, diagnoses)
    return Prediction(
        label=top[0].label, name=top[0].name, probability=top[0].probability,
        malignant_probability=malignant, top=top, warnings=warnings, timings_ms=timings_ms or {},
        model=model, reliable=reliable, views=views, profile=profile, colour=colour,
        operating_point=side_of(point, malignant, source_of(point, profile)),
    )  # fmt: skip
