"""The words in which people read a prediction, the same in every view.

Text, annotated images, heat maps, camera, preview, page and report take their words from here.
JSON, CSV and Parquet hold the numbers themselves (``Prediction.to_dict``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionedge.prediction import Prediction, ThresholdSide

RESEARCH_USE = "For research use only: not a diagnosis."
"""The last line of every view."""

CANNOT_TELL = "Can't tell: not a dermoscopic image"
"""The text in place of a diagnosis for an image that the gate refuses."""

_LEAST = 0.0005  # the smallest probability that rounds to 0.1 %


def percent(probability: float) -> str:
    """Return a probability, 0-1, in percent: never ``0.0 %``, and ``100.0 %`` only for 1."""
    if probability < _LEAST:
        return "<0.1 %"
    if 1 - _LEAST < probability < 1:
        return ">99.9 %"
    return f"{probability:.1%}".replace("%", " %")


def is_own_name(label: str, name: str) -> bool:
    """Return whether a label says the same as its name, so that one of the two is enough."""
    return label.casefold() == name.casefold()


def heading(label: str, name: str) -> str:
    """Return a class's label and name: ``mel  Melanoma``, or one of the two if it is enough."""
    return name if is_own_name(label, name) else f"{label}  {name}"


def counted(number: int) -> str:
    """Return a number of images: ``1 image``, ``2 images``."""
    return f"{number} image" if number == 1 else f"{number} images"


def copies(count: int) -> str:
    """Say how many images are copies of others."""
    are = "1 image is a copy of another" if count == 1 else f"{count} images are copies of others"
    return f"{are}, byte for byte; all of them are counted"


def malignancy(prediction: Prediction) -> str:
    """Return the malignant probability in words."""
    probability = prediction.malignant_probability
    return f"malignant {'unknown' if probability is None else percent(probability)}"


def threshold_side(side: ThresholdSide) -> str:
    """Return in words on which side of an operating point's threshold a prediction is."""
    where = "above" if side.above else "below"
    return (
        f"{where} the threshold of {percent(side.point.threshold)} "
        f"({side.point.sensitivity:.0%} sensitivity{_of(side)})"
    ).replace("% sens", " % sens")


def _of(side: ThresholdSide) -> str:
    """Name the label that a threshold is to find, where it is not all malignant ones."""
    return "" if side.of is None else f" for {side.of}"


def risk(prediction: Prediction) -> str:
    """Return the malignant probability in words, and its side of the operating point, if any."""
    side, profile = prediction.operating_point, prediction.profile
    found = malignancy(prediction)
    found = found if side is None else f"{found}, {threshold_side(side)}"
    return found if profile is None else f"{found}, by profile {profile}"


def is_refused(prediction: Prediction, *, abstain: bool = True) -> bool:
    """Return whether people read ``CANNOT_TELL`` in place of the diagnosis."""
    return abstain and prediction.reliable is False
