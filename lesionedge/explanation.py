"""Explains a prediction by occlusion sensitivity: with the same .tflite, without gradients.

The method covers a part of the image with a blurred copy of the image and runs the network again.
The more the label's probability falls, the more the prediction depends on that part (Zeiler and
Fergus 2014, arXiv:1311.2901, section 2.1).

There are two rounds of overlapping windows. The first covers large windows all over the image. The
second keeps the window that mattered most covered, and covers smaller windows where the first round
found most. A prediction often rests on two parts, and either one is enough; only the second round
finds both. The network runs ``PASSES`` times in all, without test-time augmentation (``views``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFilter

from lesionedge import image as images
from lesionedge.classifier import Classifier, shared
from lesionedge.image import ImageSource, Preprocessing
from lesionedge.wording import heading, percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.prediction import Prediction

CELLS = 8
"""Cells along each side of the grid."""

WINDOW, FINER = 3, 2
"""Sides in cells of the windows of the first and the second round; windows overlap."""

REFINED = 41
"""Number of windows in the second round."""

PASSES = 1 + (CELLS - WINDOW + 1) ** 2 + REFINED
"""How often the network runs: 78."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in cells."""

_BLUR = 1 / 8  # of the side: removes a lesion's structure and keeps the skin's colour
_TOGETHER = 16  # images in memory at a time


@dataclass(frozen=True)
class Explanation:
    """How much a prediction depends on each part of an image."""

    heat: NDArray[np.float32]
    """(H, W) float32, -1 to 1, the size of the model's input: how far the label's probability falls
    when this place is covered (mean of both rounds); negative where it rises."""
    cells: NDArray[np.float32]
    """(8, 8) float32: the same before enlarging, one value per cell of the grid."""
    label: str
    """The label that is explained; where several classes have it, all of them together."""
    name: str
    """Its name."""
    probability: float
    """Its calibrated probability with nothing covered, 0-1."""
    prediction: Prediction
    """The whole prediction."""
    preprocessing: Preprocessing
    """The model's preprocessing; it defines which part of the image ``heat`` covers."""
    passes: int
    """How often the network ran."""
    most: float
    """How far the probability falls, at most, when one of the first round's windows is covered; 0
    or less if it falls for none. ``heat`` holds means, which are smaller."""

    def overlay(self, image: ImageSource, *, abstain: bool = True) -> Image.Image:
        """Return the image with the heat map drawn onto it, and a legend.

        Args:
            image: The image that was explained.
            abstain: Draw no diagnosis if the gate refuses the image.

        Returns:
            A new RGB image without metadata; a small one is enlarged so that the text is legible.

        Raises:
            ImageError: The image cannot be read.
        """
        from lesionedge.render import heat_map

        title = f"{heading(self.label, self.name)}  {percent(self.probability)}"
        return heat_map(
            image, self.heat, self.preprocessing, prediction=self.prediction, title=title,
            abstain=abstain,
        )  # fmt: skip


def explain(
    image: ImageSource, *, model: Classifier | str | os.PathLike[str] | None = None,
    label: str | None = None,
) -> Explanation:  # fmt: skip
    """Return how much a prediction depends on each part of an image.

    Args:
        image: Path, bytes, file, PIL image or (H, W, 3) uint8 RGB array; a file is read once.
        model: A loaded model, or as ``lesionedge.classify`` takes it.
        label: The label to explain; None for the most probable one.

    Raises:
        ImageError: The image cannot be read.
        ModelError: The model cannot be loaded.
        ValueError: The model has no such label.
    """
    classifier = model if isinstance(model, Classifier) else shared(model)
    decoded = images.decode(image, classifier.preprocessing)
    prediction = classifier.classify_decoded(decoded, views=1)
    if label is None:
        label = prediction.label
    if label not in classifier.labels:
        raise ValueError(f"label is {label!r}; this model knows {', '.join(classifier.labels)}")
    numbers = [n for n, own in enumerate(classifier.labels) if own == label]
    pixels = decoded.fit(classifier.preprocessing)
    whole = sum(c.probability for c in prediction.top if c.label == label)
    drops = _Drops(classifier, pixels, numbers, whole)
    cells, most = _cells(drops)
    return Explanation(
        heat=_enlarged(cells, pixels.shape[:2]), cells=cells, label=label,
        name=classifier.names[numbers[0]], probability=whole, prediction=prediction,
        preprocessing=classifier.preprocessing, passes=drops.passes, most=most,
    )  # fmt: skip


class _Drops:
    """Covers boxes of an image and measures how far a label's probability falls."""

    def __init__(
        self, classifier: Classifier, pixels: NDArray[np.uint8], numbers: list[int], whole: float
    ) -> None:
        import numpy as np

        self._classifier, self._pixels, self._numbers = classifier, pixels, numbers
        self._cover = np.asarray(surroundings(Image.fromarray(pixels)))
        self._whole = whole
        self.passes = 1  # the prediction itself

    def __call__(self, boxes: list[Box], *, besides: Box | None = None) -> list[float]:
        """Return the fall for each box; cover ``besides`` as well, if given."""
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
        scores = self._classifier.probabilities_of_inputs(inputs, views=1)[:, self._numbers]
        return [float(score) for score in scores.sum(1)]


def surroundings(image: Image.Image) -> Image.Image:
    """Return the image that covers parts: a copy, blurred until no structure is left."""
    return image.filter(ImageFilter.GaussianBlur(_BLUR * min(image.size)))


def _cells(drops: _Drops) -> tuple[NDArray[np.float32], float]:
    """Return each cell's heat, and the largest fall of the first round."""
    import numpy as np

    windows = _windows(WINDOW)
    alone = drops(windows)
    coarse = _averaged(windows, alone)
    best, most = windows[int(np.argmax(alone))], max(alone)
    inside = np.zeros((CELLS, CELLS), bool)
    inside[best[1] : best[3], best[0] : best[2]] = True
    # A second part that matters shows only while the first one is covered.
    finer = [w for w in _windows(FINER) if not inside[w[1] : w[3], w[0] : w[2]].all()]
    finer.sort(key=lambda w: -float(coarse[w[1] : w[3], w[0] : w[2]].mean()))
    finer = finer[:REFINED]
    further = [fall - most for fall in drops(finer, besides=best)]
    beside = _averaged(finer, further)
    cells = coarse + np.where(np.isnan(beside), min(0.0, *further), beside)
    cells[inside] = coarse[inside] + max(0.0, float(np.nanmax(beside[~inside])))
    return (cells / 2).astype(np.float32), most


def _windows(side: int) -> list[Box]:
    starts = range(CELLS - side + 1)
    return [(x, y, x + side, y + side) for y in starts for x in starts]


def _averaged(windows: list[Box], falls: list[float]) -> NDArray[np.float64]:
    """Return each cell's mean over the windows that cover it; NaN where none does."""
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
