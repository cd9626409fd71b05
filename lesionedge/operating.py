"""Operating points: thresholds of the malignant probability, by the sensitivity they reach."""

from __future__ import annotations

from collections.abc import Sequence

from lesionedge.card import OperatingPoint
from lesionedge.errors import ModelError


def nearest(points: Sequence[OperatingPoint], sensitivity: float) -> OperatingPoint | None:
    """Return the point that was chosen for a sensitivity; None if there is none."""
    return next((point for point in points if abs(point.sensitivity - sensitivity) < 1e-6), None)


def find(sensitivity: float, *, points: Sequence[OperatingPoint], model: str) -> OperatingPoint:
    """Return the operating point that was chosen for a sensitivity.

    Args:
        sensitivity: Such as 0.95.
        points: The points of a model's card.
        model: The model's name, for messages.

    Raises:
        ModelError: The card has none, or none for this sensitivity.
    """
    if not points:
        raise ModelError(
            f"{model}: its card has no operating points; expected a model made by python -m "
            "convert from a run with malignant and benign images; leave --operating-point out"
        )
    found = nearest(points, sensitivity)
    if found is None:
        have = ", ".join(f"{point.sensitivity:g}" for point in points)
        raise ModelError(
            f"{model}: its card has no operating point for sensitivity {sensitivity:g}; "
            f"it has {have}"
        )
    return found
