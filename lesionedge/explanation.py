"""What an answer rests on: occlusion sensitivity, by the same .tflite and without gradients.

A part of the picture is covered by what surrounds it (the picture itself, blurred), and the
probability of the label is asked for again: what it loses is how much it rests on that part
(Zeiler and Fergus 2014, arXiv:1311.2901, section 2.1). First overlapping windows over all of the
picture, then quarters of the cells that mattered most: ``PASSES`` runs of the network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFilter

from lesionedge import image as images
from lesionedge.classifier import Classifier, Prediction, shared
from lesionedge.image import ImageSource, Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELLS = 8
"""Cells along each side of the coarse grid; the fine grid has twice as many."""

WINDOW = 2
"""Side of the covered windows, in coarse cells; they overlap by one cell."""

REFINED = 7
"""Coarse cells of which each quarter is covered by itself."""

PASSES = 1 + (CELLS - WINDOW + 1) ** 2 + 4 * REFINED
"""How often the network is run: 78."""

_BLUR = 1 / 8  # of the side: no structure of a lesion is left, its surroundings' colour is
_TOGETHER = 16  # pictures that are held in memory at a time


@dataclass(frozen=True)
class Explanation:
    """How much an answer rests on each part of a picture."""

    heat: NDArray[np.float32]
    """(H, W) float32, the size of the model's input: by how much the label's probability falls
    when the place is covered, -1 to 1; negative where covering it raises it."""
    cells: NDArray[np.float32]
    """(16, 16) float32: the same before it was enlarged, one value a cell of the fine grid."""
    label: str
    """The class that is explained."""
    name: str
    """Its name."""
    probability: float
    """Its calibrated probability with nothing covered, 0-1."""
    prediction: Prediction
    """The whole answer."""
    preprocessing: Preprocessing
    """The model's; says which part of the picture ``heat`` covers."""
    passes: int
    """How often the network was run."""

    def overlay(self, image: ImageSource) -> Image.Image:
        """Draw the heat map onto its picture, with a legend.

        Args:
            image: The picture that was explained.

        Returns:
            A new RGB picture without any metadata; small ones are enlarged to be legible.

        Raises:
            ImageError: The picture cannot be read.
        """
        from lesionedge.render import heat_map

        return heat_map(image, self)


def explain(
    image: ImageSource, *, model: Classifier | str | os.PathLike[str] | None = None,
    label: str | None = None,
) -> Explanation:  # fmt: skip
    """Measure how much an answer rests on each part of a picture.

    Args:
        image: Path, bytes, file, PIL image or (H, W, 3) uint8 RGB array; a file is read once.
        model: A loaded model, or as ``lesionedge.classify`` takes it.
        label: The class to explain; None for the likeliest.

    Raises:
        ImageError: The picture cannot be read.
        ModelError: The model cannot be loaded.
        ValueError: The model knows no such label.
    """
    classifier = model if isinstance(model, Classifier) else shared(model)
    picture = images.decode(image, classifier.preprocessing)
    prediction = classifier.classify_picture(picture)
    if label is None:
        label = prediction.label
    if label not in classifier.labels:
        raise ValueError(f"label is {label!r}; this model knows {', '.join(classifier.labels)}")
    number = classifier.labels.index(label)
    pixels = images.fit(picture.image, classifier.preprocessing, full_size=picture.size)
    whole = next(c.probability for c in prediction.top if c.label == label)
    cells, passes = _cells(_Drops(classifier, pixels, number, whole))
    return Explanation(
        heat=_enlarged(cells, pixels.shape[:2]), cells=cells, label=label,
        name=classifier.names[number], probability=whole, prediction=prediction,
        preprocessing=classifier.preprocessing, passes=passes,
    )  # fmt: skip


class _Drops:
    """Covers boxes of a picture and tells by how much a class's probability falls."""

    def __init__(
        self, classifier: Classifier, pixels: NDArray[np.uint8], number: int, whole: float
    ) -> None:
        import numpy as np

        self._classifier, self._pixels, self._number = classifier, pixels, number
        self._cover = np.asarray(surroundings(Image.fromarray(pixels)))
        self._whole = whole
        self.passes = 1  # the one that gave the answer

    def __call__(self, boxes: list[tuple[int, int, int, int]], grid: int) -> list[float]:
        """Give the fall for each box (left, top, right, bottom) of a grid's cells."""
        falls: list[float] = []
        for start in range(0, len(boxes), _TOGETHER):
            covered = [self._covered(box, grid) for box in boxes[start : start + _TOGETHER]]
            falls += [self._whole - score for score in self._scores(covered)]
        self.passes += len(boxes)
        return falls

    def _covered(self, box: tuple[int, int, int, int], grid: int) -> NDArray[np.uint8]:
        height, width = self._pixels.shape[:2]
        left, right = (round(side * width / grid) for side in (box[0], box[2]))
        top, bottom = (round(side * height / grid) for side in (box[1], box[3]))
        covered: NDArray[np.uint8] = self._pixels.copy()
        covered[top:bottom, left:right] = self._cover[top:bottom, left:right]
        return covered

    def _scores(self, pictures: list[NDArray[np.uint8]]) -> list[float]:
        scores = self._classifier.scores(pictures)[:, self._number]
        return [float(score) for score in scores]


def surroundings(picture: Image.Image) -> Image.Image:
    """Give what parts are covered by: the picture, blurred until no structure is left."""
    return picture.filter(ImageFilter.GaussianBlur(_BLUR * min(picture.size)))


def _cells(drops: _Drops) -> tuple[NDArray[np.float32], int]:
    import numpy as np

    starts = range(CELLS - WINDOW + 1)
    windows = [(x, y, x + WINDOW, y + WINDOW) for y in starts for x in starts]
    total, count = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (left, top, right, bottom), fall in zip(windows, drops(windows, CELLS)):
        total[top:bottom, left:right] += fall
        count[top:bottom, left:right] += 1
    coarse = total / count
    fine = np.kron(coarse, np.ones((2, 2)))
    best = np.argsort(-coarse, axis=None, kind="stable")[:REFINED]
    corners = [(2 * x + i, 2 * y + j) for y, x in (divmod(int(b), CELLS) for b in best)
               for j in (0, 1) for i in (0, 1)]  # fmt: skip
    falls = np.array(drops([(x, y, x + 1, y + 1) for x, y in corners], 2 * CELLS))
    # The quarters tell where in its cell the fall comes from; the windows, by how much.
    within = falls.reshape(-1, 4) - falls.reshape(-1, 4).mean(axis=1, keepdims=True)
    for (x, y), difference in zip(corners, within.ravel()):
        fine[y, x] += difference
    return fine.astype(np.float32), drops.passes


def _enlarged(cells: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    import numpy as np

    image = Image.fromarray(cells).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)
