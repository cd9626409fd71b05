"""What an answer rests on: occlusion sensitivity, by the same .tflite and without gradients.

A part of the image is covered by what surrounds it (the image itself, blurred), and the
probability of the label is asked for again: what it loses is how much it rests on that part
(Zeiler and Fergus 2014, arXiv:1311.2901, section 2.1). Windows that overlap are covered in two
rounds, first large ones over all of the image; then, with the one that mattered most still
covered, smaller ones where the first round found most. An answer has often two grounds, of which
either is enough: only the second round finds both. ``PASSES`` runs of the network in all: what is
explained is the answer to the image as it is, whatever the classifier's ``views``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFilter

from lesionedge import image as images
from lesionedge.classifier import Classifier, shared
from lesionedge.image import ImageSource, Preprocessing
from lesionedge.wording import percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.prediction import Prediction

CELLS = 8
"""Cells along each side of the grid."""

WINDOW, FINER = 3, 2
"""Sides of the covered windows, in cells, of the first round and of the second; they overlap."""

REFINED = 41
"""Windows of the second round."""

PASSES = 1 + (CELLS - WINDOW + 1) ** 2 + REFINED
"""How often the network is run: 78."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in cells."""

_BLUR = 1 / 8  # of the side: no structure of a lesion is left, its surroundings' colour is
_TOGETHER = 16  # images that are held in memory at a time


@dataclass(frozen=True)
class Explanation:
    """How much an answer rests on each part of an image."""

    heat: NDArray[np.float32]
    """(H, W) float32, the size of the model's input: by how much the label's probability falls
    when the place is covered, the mean of both rounds, -1 to 1; negative where it rises."""
    cells: NDArray[np.float32]
    """(8, 8) float32: the same before it was enlarged, one value a cell of the grid."""
    label: str
    """The class that is explained."""
    name: str
    """Its name."""
    probability: float
    """Its calibrated probability with nothing covered, 0-1."""
    prediction: Prediction
    """The whole answer."""
    preprocessing: Preprocessing
    """The model's; says which part of the image ``heat`` covers."""
    passes: int
    """How often the network was run."""

    def overlay(self, image: ImageSource, *, abstain: bool = True) -> Image.Image:
        """Draw the heat map onto its image, with a legend.

        Args:
            image: The image that was explained.
            abstain: Draw no diagnosis of an image that the gate refuses.

        Returns:
            A new RGB image without any metadata; small ones are enlarged to be legible.

        Raises:
            ImageError: The image cannot be read.
        """
        from lesionedge.render import heat_map

        title = f"{self.label}  {self.name}  {percent(self.probability)}"
        return heat_map(
            image, self.heat, self.preprocessing, prediction=self.prediction, title=title,
            abstain=abstain,
        )  # fmt: skip


def explain(
    image: ImageSource, *, model: Classifier | str | os.PathLike[str] | None = None,
    label: str | None = None,
) -> Explanation:  # fmt: skip
    """Measure how much an answer rests on each part of an image.

    Args:
        image: Path, bytes, file, PIL image or (H, W, 3) uint8 RGB array; a file is read once.
        model: A loaded model, or as ``lesionedge.classify`` takes it.
        label: The class to explain; None for the likeliest.

    Raises:
        ImageError: The image cannot be read.
        ModelError: The model cannot be loaded.
        ValueError: The model knows no such label.
    """
    classifier = model if isinstance(model, Classifier) else shared(model)
    decoded = images.decode(image, classifier.preprocessing)
    prediction = classifier.classify_decoded(decoded, views=1)
    if label is None:
        label = prediction.label
    if label not in classifier.labels:
        raise ValueError(f"label is {label!r}; this model knows {', '.join(classifier.labels)}")
    number = classifier.labels.index(label)
    pixels = decoded.fit(classifier.preprocessing)
    whole = next(c.probability for c in prediction.top if c.label == label)
    cells, passes = _cells(_Drops(classifier, pixels, number, whole))
    return Explanation(
        heat=_enlarged(cells, pixels.shape[:2]), cells=cells, label=label,
        name=classifier.names[number], probability=whole, prediction=prediction,
        preprocessing=classifier.preprocessing, passes=passes,
    )  # fmt: skip


class _Drops:
    """Covers boxes of an image and tells by how much a class's probability falls."""

    def __init__(
        self, classifier: Classifier, pixels: NDArray[np.uint8], number: int, whole: float
    ) -> None:
        import numpy as np

        self._classifier, self._pixels, self._number = classifier, pixels, number
        self._cover = np.asarray(surroundings(Image.fromarray(pixels)))
        self._whole = whole
        self.passes = 1  # the one that gave the answer

    def __call__(self, boxes: list[Box], *, besides: Box | None = None) -> list[float]:
        """Return the fall for each box; one more may be covered besides."""
        base = self._pixels if besides is None else self._covered(self._pixels, besides)
        falls: list[float] = []
        for start in range(0, len(boxes), _TOGETHER):
            covered = [self._covered(base, box) for box in boxes[start : start + _TOGETHER]]
            falls += [self._whole - score for score in self._scores(covered)]
        self.passes += len(boxes)
        return falls

    def _covered(self, base: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        height, width = base.shape[:2]
        left, right = (round(side * width / CELLS) for side in (box[0], box[2]))
        top, bottom = (round(side * height / CELLS) for side in (box[1], box[3]))
        covered: NDArray[np.uint8] = base.copy()
        covered[top:bottom, left:right] = self._cover[top:bottom, left:right]
        return covered

    def _scores(self, inputs: list[NDArray[np.uint8]]) -> list[float]:
        scores = self._classifier.probabilities_of_inputs(inputs, views=1)[:, self._number]
        return [float(score) for score in scores]


def surroundings(image: Image.Image) -> Image.Image:
    """Return what parts are covered by: the image, blurred until no structure is left."""
    return image.filter(ImageFilter.GaussianBlur(_BLUR * min(image.size)))


def _cells(drops: _Drops) -> tuple[NDArray[np.float32], int]:
    import numpy as np

    windows = _windows(WINDOW)
    alone = drops(windows)
    coarse = _averaged(windows, alone)
    best, most = windows[int(np.argmax(alone))], max(alone)
    inside = np.zeros((CELLS, CELLS), bool)
    inside[best[1] : best[3], best[0] : best[2]] = True
    # What backs the answer up only shows once its strongest ground is gone.
    finer = [w for w in _windows(FINER) if not inside[w[1] : w[3], w[0] : w[2]].all()]
    finer.sort(key=lambda w: -float(coarse[w[1] : w[3], w[0] : w[2]].mean()))
    finer = finer[:REFINED]
    further = [fall - most for fall in drops(finer, besides=best)]
    beside = _averaged(finer, further)
    cells = coarse + np.where(np.isnan(beside), min(0.0, *further), beside)
    cells[inside] = coarse[inside] + max(0.0, float(np.nanmax(beside[~inside])))
    return (cells / 2).astype(np.float32), drops.passes


def _windows(side: int) -> list[Box]:
    starts = range(CELLS - side + 1)
    return [(x, y, x + side, y + side) for y in starts for x in starts]


def _averaged(windows: list[Box], falls: list[float]) -> NDArray[np.float64]:
    """Return for each cell the mean of the windows that cover it; not a number where none does."""
    import numpy as np

    total, count = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (left, top, right, bottom), fall in zip(windows, falls):
        total[top:bottom, left:right] += fall
        count[top:bottom, left:right] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _enlarged(cells: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    import numpy as np

    image = Image.fromarray(cells).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)
