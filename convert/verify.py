"""Does a .tflite file predict what the run's Keras model does? Same images, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lesionedge
from convert.export import with_probabilities
from lesionedge.card import Card, present
from lesionedge.errors import ModelError
from lesionedge.evaluation.intervals import interval, resamples
from lesionedge.evaluation.weighted import balanced_accuracy
from lesionedge.image import Preprocessing
from train.run import Run

ALLOWED_LOSS = {"int8": 0.01, "float16": 0.002, "float32": 0.002}
"""Balanced accuracy that a format may lose before verification fails."""

PLAIN = ("none", "post-training")
"""Methods of files that are made of the run's float model, the only one it has."""


@dataclass(frozen=True)
class Agreement:
    """What comparing a file with its run found."""

    images: int
    """How many images both predicted."""
    top1_agreement: float
    """Share of images with the same top label."""
    largest_difference: float
    """Largest difference of any probability."""
    mean_difference: float
    """Mean over images of the largest difference of a probability."""
    keras_balanced_accuracy: float
    """Of the Keras model."""
    tflite_balanced_accuracy: float
    """Of the file, through ``lesionedge.Classifier``."""
    change: tuple[float, float, float]
    """File minus Keras, balanced accuracy: value, and the 95 % paired interval by lesion."""
    allowed_loss: float
    """What the file's format may lose."""

    @property
    def passed(self) -> bool:
        """False when the file loses more than allowed and the interval excludes zero."""
        value, _, high = self.change
        return not (value < -self.allowed_loss and high < 0)


def verify(
    file: Path, run: Run, *, split: str = "test", limit: int | None = None
) -> dict[str, Agreement]:
    """Compare a .tflite file with the Keras models of its run.

    A file of a quantization-aware run is held against both: the quantization-aware model that
    it was converted from, and the float model, which is what quantisation took away from.

    Args:
        file: The .tflite file.
        run: The run that it came from.
        split: Which of the run's held-out images.
        limit: Compare on at most so many.

    Returns:
        ``float`` and, where the file came from it, ``int8`` -> what comparing found.

    Raises:
        RunError: The run is not finished or something in it cannot be read.
        ModelError: The file cannot be read, or does not belong to the run.
    """
    card = run.read_card()
    classifier = lesionedge.Classifier(file, check=False)
    labels = list(card.codes)
    if list(classifier.labels) != labels:
        raise ModelError(f"{file}: labels {classifier.labels}; the run's are {labels}")
    own, wanted = (
        _size(one) for one in (classifier.preprocessing, Preprocessing.from_card(card.input))
    )
    if own != wanted:
        raise ModelError(f"{file}: takes images of {own} px; those of the run have {wanted}")
    made = classifier.card.file
    if made is None:
        raise ModelError(
            f"{file}: its card does not say how it was made; expected an exported file"
        )
    if made.format not in ALLOWED_LOSS:
        raise ModelError(
            f"{file}: its card says that its format is {made.format!r}; expected one of "
            f"{', '.join(ALLOWED_LOSS)}"
        )
    table = run.table()
    table = table[table["split"] == split]
    if limit is not None and limit < len(table):
        table = table.sample(limit, random_state=0)
    if table.empty:
        raise ModelError(f"{run.split}: has no {split} images")
    inputs = np.stack([classifier.model_input(path) for path in table["path"]])
    ours = classifier.probabilities_of_inputs(list(inputs))
    truth = table["label"].map(labels.index).to_numpy()
    kinds = ["float"] if made.method in PLAIN else ["int8", "float"]
    return {
        kind: _compare(
            ours, _keras(run, card, kind, inputs), truth, table["group"].to_numpy(),
            decision=card.decision_threshold if len(labels) == 2 else None,
            allowed=ALLOWED_LOSS[made.format],
        )
        for kind in kinds
    }  # fmt: skip


def _size(preprocessing: Preprocessing) -> str:
    return f"{preprocessing.width_px}x{preprocessing.height_px}"


def _compare(
    ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray, groups: np.ndarray, *,
    decision: float | None, allowed: float,
) -> Agreement:  # fmt: skip
    named, reference = (_named(one, decision) for one in (ours, theirs))
    gaps = np.abs(ours - theirs).max(1)
    return Agreement(
        images=len(truth),
        top1_agreement=float((named == reference).mean()),
        largest_difference=float(gaps.max()),
        mean_difference=float(gaps.mean()),
        keras_balanced_accuracy=_balanced(reference == truth, truth),
        tflite_balanced_accuracy=_balanced(named == truth, truth),
        change=_change(named == truth, reference == truth, truth, groups),
        allowed_loss=allowed,
    )


def _named(probabilities: np.ndarray, decision: float | None) -> np.ndarray:
    """Return the classes as ``predict`` names them, (N,): two by the card's decision threshold."""
    if decision is None:
        return probabilities.argmax(1)
    return (probabilities[:, 1] >= decision).astype(np.int64)


def _keras(run: Run, card: Card, kind: str, inputs: np.ndarray) -> np.ndarray:
    model = with_probabilities(run.load_model(kind), card, kind)
    section = present(card.input, "input")
    mean, std = (np.array(values, np.float32) for values in (section.mean, section.std))
    batches: Sequence[np.ndarray] = np.array_split(inputs, max(1, len(inputs) // 32))
    return np.concatenate([model((b - mean) / std, training=False).numpy() for b in batches])


def _balanced(right: np.ndarray, truth: np.ndarray) -> float:
    return float(balanced_accuracy(right, truth, np.ones((1, len(truth))))[0])


def _change(
    ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray, groups: np.ndarray
) -> tuple[float, float, float]:
    """Return the difference of balanced accuracy with its paired bootstrap interval by lesion."""
    found = interval(
        lambda w: balanced_accuracy(ours, truth, w) - balanced_accuracy(theirs, truth, w),
        resamples(groups),
    )
    return found["value"], found["low"], found["high"]
