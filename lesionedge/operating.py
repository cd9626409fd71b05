"""Operating points: thresholds of the malignant probability, by the sensitivity they reach."""

from __future__ import annotations

from collections.abc import Sequence

from lesionedge.card import OperatingPoint
from lesionedge.errors import ModelError


def nearest(points: Sequence[OperatingPoint], sensitivity: float) -> OperatingPoint | None:
    """Return the point that was chosen for a sensitivity; None if there is none."""
    return next((point for point in points if abs(point.sensitivity - sensitivity) < 1e-6), None)


def find(
    sensitivity: float, *, points: Sequence[OperatingPoint], model: str, profile: str | None = None
) -> OperatingPoint:  # fmt: skip
    """Return the operating point that was chosen for a sensitivity.

    Args:
        sensitivity: Such as 0.95.
        points: The points of a model's card, or of a site profile.
        model: The model's name, for messages.
        profile: The profile's name; None if they are the card's.

    Raises:
        ModelError: There are none, or none for this sensitivity.
    """
    if not points and profile is None:
        raise ModelError(
            f"{model}: its card has no operating points; expected a model made by python -m "
            "convert from a run with malignant and benign images; leave --operating-point out"
        )
    found = nearest(points, sensitivity)
    if found is None:
        have = ", ".join(f"{point.sensitivity:g}" for point in points) or "none"
        owner = f"{model}: its card" if profile is None else f"profile {profile}: it"
        raise ModelError(
            f"{owner} has no operating point for sensitivity {sensitivity:g}; it has {have}"
        )
    return found
