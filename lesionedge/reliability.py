"""The gate: a second, tiny model that checks whether the model may speak about an image.

The gate knows three classes: dermoscopic images of lesions, clinical photographs of skin, and
everything else. ``python -m train.gate`` trains it. Its card holds the threshold.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from lesionedge import metadata, quality
from lesionedge.card import Card
from lesionedge.errors import ModelError
from lesionedge.interpreter import Interpreter
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "gate-int8.tflite"
"""The gate's file in ``lesionedge/models``."""

SIDE_PX = quality.SIDE_PX
"""Side of the thumbnail that the gate gets."""

CLINICAL = Notice(
    "not-dermoscopic",
    "not a dermoscopic image: looks like a photograph of skin without a dermatoscope",
)
OTHER = Notice("not-a-lesion", "not a dermoscopic image: shows something else, or nothing clearly")
MODALITY = "dermoscopy"
_LABELS = ("dermoscopic", "clinical", "other")


@dataclass(frozen=True)
class Verdict:
    """The gate's result for an image."""

    dermoscopic: float
    """Probability that it is a dermoscopic image of a lesion, 0-1."""
    clinical: float
    """Probability that it is a photograph of skin without a dermatoscope, 0-1."""
    other: float
    """Probability that it is anything else, 0-1."""
    reliable: bool
    """Whether ``dermoscopic`` reaches the threshold."""

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Warnings for people; empty if the image is reliable."""
        if self.reliable:
            return ()
        return (CLINICAL if self.clinical >= self.other else OTHER,)


def is_for_dermoscopy(card: Card) -> bool:
    """Return whether a model's card says that it is for dermoscopic images.

    Either the card's ``modality`` is ``dermoscopy``, or it has no modality and its
    ``intended_use`` names dermoscopic images, as ``train`` writes it. Nothing is guessed.

    Args:
        card: The model's card; empty if it has none.
    """
    if card.modality is not None:
        return card.modality == MODALITY
    return "dermoscopic" in card.intended_use


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a model's input to the gate's input.

    Args:
        pixels: (H, W, 3) uint8 RGB, both sides ``SIDE_PX`` or more.

    Returns:
        (SIDE_PX, SIDE_PX, 3) uint8 RGB.
    """
    import numpy as np

    image = Image.fromarray(pixels)
    if image.size == (2 * SIDE_PX, 2 * SIDE_PX):
        return np.asarray(image.reduce(2))
    return np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))


class Gate:
    """The loaded gate; may be called from several threads."""

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, threads: int | None = None,
        verbose: bool = False,
    ) -> None:  # fmt: skip
        """Load the gate.

        Args:
            path: The gate's file; None for the one in ``lesionedge/models``.
            threads: Number of threads; None for the usable physical cores, at most 4.
            verbose: Let the native library's log lines through.

        Raises:
            ModelError: The file is missing or is not a gate.
        """
        path = os.path.join(os.path.dirname(__file__), "models", FILE) if path is None else path
        path = os.fsdecode(path)
        if not os.path.exists(path):
            raise ModelError(f"{path}: no such file; reinstall lesionedge to get the gate")
        card = metadata.read(path).card or Card()
        self._interpreter = Interpreter(path, threads=threads, verbose=verbose)
        if card.gate is None:
            raise ModelError(f'{path}: its card has no "gate"; expected {FILE}')
        self.threshold = card.gate.threshold
        if card.codes != _LABELS or self._interpreter.input.shape != (1, SIDE_PX, SIDE_PX, 3):
            raise ModelError(f"{path}: not a gate of {SIDE_PX} px; found {card.codes}")

    def judge(self, pixels: NDArray[np.uint8]) -> Verdict:
        """Judge an image.

        Args:
            pixels: (SIDE_PX, SIDE_PX, 3) uint8 RGB, from ``thumbnail``.
        """
        dermoscopic, clinical, other = self._interpreter.run(pixels).tolist()
        return Verdict(dermoscopic, clinical, other, dermoscopic >= self.threshold)


class InputCheck:
    """The gate and the quality checks together. The gate loads when it is first needed."""

    def __init__(self, *, threads: int | None, verbose: bool) -> None:
        self._options = {"threads": threads, "verbose": verbose}
        self._gate: Gate | None = None
        self._loading = threading.Lock()

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[bool, tuple[Notice, ...]]:
        """Check an image.

        Args:
            pixels: (SIDE_PX, SIDE_PX, 3) uint8 RGB, from ``thumbnail``.

        Returns:
            Whether a dermoscopic model may speak about the image, and the warnings for people.

        Raises:
            ModelError: The gate cannot be loaded.
        """
        verdict = self.gate().judge(pixels)
        return verdict.reliable, (
            *verdict.notices, *quality.notices(pixels, of_lesion=verdict.reliable)
        )  # fmt: skip

    def gate(self) -> Gate:
        """Return the gate; load it first if necessary."""
        with self._loading:
            if self._gate is None:
                self._gate = Gate(**self._options)  # type: ignore[arg-type]
            return self._gate
