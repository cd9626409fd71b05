"""Operating points: thresholds of the malignant probability, chosen for a sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lesionedge.errors import ModelError


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold, as the model's card has it."""

    sensitivity: float
    """The sensitivity that it was chosen for, 0-1."""
    threshold: float
    """A malignant probability of at least this is above it."""
    measured_sensitivity: float
    """Share of malignant pictures above it, on the pictures that it was chosen on."""
    measured_specificity: float
    """Share of benign pictures below it, on those pictures."""

    def above(self, malignant_probability: float) -> bool:
        """Tell which side of the threshold a probability falls on."""
        return malignant_probability >= self.threshold


def points(card: Mapping[str, Any] | None, model: str) -> tuple[OperatingPoint, ...]:
    """Read a card's operating points of the malignant probability.

    Args:
        card: The card of a model file; None where it has none.
        model: Its name, for errors.

    Raises:
        ModelError: They are malformed.
    """
    try:
        # Entries with a name are thresholds of something else, such as a two-class decision.
        return tuple(
            OperatingPoint(**{key: float(entry[key]) for key in OperatingPoint.__annotations__})
            for entry in (card or {}).get("operating_points", ())
            if "name" not in entry
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{model}: the operating points in its card are unusable ({error!r})"
        ) from None


def find(sensitivity: float, *, card: Mapping[str, Any] | None, model: str) -> OperatingPoint:
    """Give the operating point that was chosen for a sensitivity.

    Args:
        sensitivity: Such as 0.95.
        card: The card of a model file; None where it has none.
        model: Its name, for errors.

    Raises:
        ModelError: The card has none, or none for this sensitivity.
    """
    known = points(card, model)
    if not known:
        raise ModelError(
            f"{model}: its card has no operating points; expected a model made by python -m "
            "convert from a run with malignant and benign pictures; leave --operating-point out"
        )
    for point in known:
        if abs(point.sensitivity - sensitivity) < 1e-6:
            return point
    have = ", ".join(f"{point.sensitivity:g}" for point in known)
    raise ModelError(
        f"{model}: its card has no operating point for sensitivity {sensitivity:g}; it has {have}"
    )
