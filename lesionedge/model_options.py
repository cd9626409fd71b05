"""The model and its options: one object that everything passes on."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lesionedge import tta

if TYPE_CHECKING:
    from lesionedge.profile import Profile


@dataclass(frozen=True)
class ModelOptions:
    """The arguments of a ``Classifier``; they are sent to worker processes too.

    A new option is one more field here, one more keyword of ``Classifier`` and one more entry of
    ``lesionedge.cli.options.MODEL_OPTIONS``; everything else passes this object on.
    """

    model: str | os.PathLike[str] | None = None
    """Name of an embedded model or path of a .tflite file; None for the default."""
    threads: int | None = None
    """Threads that run the network; None for the usable physical cores, at most 4."""
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    """Labels file (one per line) or the labels, in output order; None for those in the file."""
    malignant: Sequence[str] | None = None
    """The malignant labels; all others are benign. None for what is known about the labels."""
    normalize: tuple[float, ...] | None = None
    """(mean, std) of the pixels, 0-255, or three means and three stds, of red, green and blue;
    None for the file's own."""
    check: bool = True
    """Whether each image is checked (``lesionedge.reliability``)."""
    verbose: bool = False
    """Whether the native library's log lines are shown."""
    views: int = 1
    """How many views of an image to average over, 1 to 8."""
    operating_point: float | None = None
    """Sensitivity (0-1) that selects the operating point; None for 0.95 if the card has it."""
    profile: str | os.PathLike[str] | Profile | None = None
    """The site profile, or its file (``lesionedge.profile``); None for the file's own
    probabilities and thresholds."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: One is out of range.
        """
        check_views(self.views)
        if isinstance(self.labels, (Mapping, Set)):  # Keras' class_indices, for example
            kind = type(self.labels).__name__
            raise ValueError(f"labels is a {kind}; expected a list of labels in output order")
        if isinstance(self.malignant, str):
            raise ValueError(f"malignant is {self.malignant!r}; expected a list of labels")
        given = self.normalize
        if given is None:
            return
        if len(given) not in (2, 6) or not all(map(math.isfinite, given)) or 0 in _stds(given):
            raise ValueError(f"normalize is {given}; expected (mean, std), std not 0")

    @property
    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """``normalize`` in two parts, each of one value or one per channel."""
        given = self.normalize
        return None if given is None else (given[: len(given) // 2], _stds(given))


def _stds(normalize: tuple[float, ...]) -> tuple[float, ...]:
    return normalize[len(normalize) // 2 :]


def check_views(views: int) -> None:
    """Check the number of views.

    Raises:
        ValueError: It is not 1 to 8.
    """
    if views not in range(1, tta.MOST + 1):
        raise ValueError(f"views is {views}; expected 1 to {tta.MOST}")
