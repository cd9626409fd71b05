"""Probabilities of a run's Keras models, of any saved Keras model and of .tflite files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionedge.card import Card
from lesionedge.evaluation.measured import LabelledImages
from lesionedge.image import Preprocessing
from train import calibration as calibrations
from train.calibration import Calibration
from train.data import cache
from train.run import Run, RunError

TOLD_EVERY = 500
"""Images after which a .tflite file's progress is told."""


@dataclass(frozen=True)
class Source:
    """A model that predicts labelled images."""

    predict: Callable[[LabelledImages], np.ndarray]
    """Returns (N, classes) probabilities that sum to 1."""
    decision: float | None = None
    """Probability from which a two-class model names the second class; None: the likelier."""


def sources(
    run: Run, card: Card, *, files: Sequence[Path], weights: Sequence[Path],
    calibration: LabelledImages, cache_folder: Path, say: Callable[[str], None],
) -> dict[str, Source]:  # fmt: skip
    """Return every model that there is to measure, by name.

    Args:
        run: A finished run; its Keras models may be absent, where files or weights are given.
        card: Its card.
        files: .tflite files beside those that lie in the run folder.
        weights: Saved Keras models.
        calibration: What saved models are calibrated on.
        cache_folder: Where prepared images are cached.
        say: Told how far a slow one is.

    Raises:
        RunError: There is none, or one cannot be used.
    """
    found: dict[str, Source] = {}
    for kind in run.models():
        found[kind] = _of_run(run, kind, card, cache_folder)
    for file in weights:
        found[_free(file.name, found)] = _of_saved(file, card, calibration, cache_folder)
    for file in sorted({*files, *run.folder.glob("*.tflite")}):
        found[_free(file.name, found)] = _of_tflite(file, card, say)
    if not found:
        raise RunError(
            f"{run.folder}: holds no trained model; give a file with --model or --weights, "
            "or run fit again"
        )
    return found


def _free(name: str, taken: dict[str, Source]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free


def _of_run(run: Run, kind: str, card: Card, cache_folder: Path) -> Source:
    from train.models.inference import logits

    model, calibration = run.load_model(kind), Calibration.from_card(card, kind)
    return Source(
        lambda images: calibration.probabilities(
            logits(model, _inputs(images, card, cache_folder))
        ),
        decision(card),
    )


def _of_saved(file: Path, card: Card, calibration: LabelledImages, cache_folder: Path) -> Source:
    from train.models import saved

    model = saved.load(file, card)

    def raw(images: LabelledImages) -> np.ndarray:
        return saved.outputs(model, _inputs(images, card, cache_folder), card)

    if saved.are_probabilities(first := raw(calibration)):
        return Source(lambda images: two_columns(raw(images)))
    fitted = calibrations.fit(two_logits(first), calibration.truth)
    return Source(lambda images: fitted.probabilities(two_logits(raw(images))))


def _of_tflite(file: Path, card: Card, say: Callable[[str], None]) -> Source:
    import lesionedge

    classifier = lesionedge.Classifier(file, check=False)
    wanted = list(card.codes)
    if list(classifier.labels) != wanted:
        raise RunError(
            f"{file}: its labels are {', '.join(classifier.labels)}; the run's are "
            f"{', '.join(wanted)}"
        )

    def predict(images: LabelledImages) -> np.ndarray:
        whole = []
        for number, path in enumerate(images.paths, start=1):
            whole.append(classifier.probabilities(path))
            if number % TOLD_EVERY == 0 or number == len(images.paths):
                say(f"{file.name}: {number} of {len(images.paths)} images")
        return np.array(whole, dtype=np.float64)

    return Source(predict, decision(card))


def decision(card: Card) -> float | None:
    """Return the card's probability from which a two-class model names the second class."""
    return card.decision_threshold if len(card.labels) == 2 else None


def _inputs(images: LabelledImages, card: Card, cache_folder: Path) -> np.ndarray:
    return cache.prepared(images.paths, Preprocessing.from_card(card.input), cache_folder)[0]


def two_logits(logits: np.ndarray) -> np.ndarray:
    """Add a logit of 0 for the first class if there is only z: softmax of (0, z) is z's sigmoid."""
    return logits if logits.shape[1] > 1 else np.hstack([np.zeros_like(logits), logits])


def two_columns(outputs: np.ndarray) -> np.ndarray:
    """Add the first class's probability, 1 - p, where there is only the second's, p."""
    return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
