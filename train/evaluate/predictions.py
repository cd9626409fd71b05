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
    """A model to be asked."""

    ask: Callable[[LabelledImages], np.ndarray]
    """Gives (N, classes) probabilities that sum to 1."""
    decision: float | None = None
    """Probability from which a two-class model names the second class; None: the likelier."""

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the classes that it names, (N,) int."""
        if self.decision is None:
            return probabilities.argmax(1)
        return (probabilities[:, 1] >= self.decision).astype(np.int64)

    def confidence(self, probabilities: np.ndarray) -> np.ndarray:
        """Say how sure it is of what it names, (N,): probability, or way past the decision."""
        if self.decision is None:
            return probabilities.max(1)
        past = probabilities[:, 1] - self.decision
        return np.where(past >= 0, past / max(1 - self.decision, 1e-9), -past / self.decision)


def sources(
    run: Run, facts: Card, *, files: Sequence[Path], weights: Sequence[Path],
    calibration: LabelledImages, cache_folder: Path, say: Callable[[str], None],
) -> dict[str, Source]:  # fmt: skip
    """Return every model that there is to measure, by name.

    Args:
        run: A finished run; its Keras models may be absent, where files or weights are given.
        facts: Its card.
        files: .tflite files beside those that lie in the run folder.
        weights: Saved Keras models.
        calibration: What saved models are calibrated on.
        cache_folder: Where prepared images are cached.
        say: Told how far a slow one is.

    Raises:
        RunError: There is none, or one cannot be used.
    """
    found: dict[str, Source] = {}
    for kind, file in run.models().items():
        found[kind] = _of_run(file, facts, Calibration.from_card(facts, kind), cache_folder)
    for file in weights:
        found[_free(file.name, found)] = _of_saved(file, facts, calibration, cache_folder)
    for file in sorted({*files, *run.folder.glob("*.tflite")}):
        found[_free(file.name, found)] = _of_tflite(file, facts, say)
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


def _of_run(file: Path, facts: Card, calibration: Calibration, cache_folder: Path) -> Source:
    from train.models.inference import load_model, logits

    model = load_model(file)
    return Source(
        lambda asked: calibration.probabilities(logits(model, _inputs(asked, facts, cache_folder))),
        decision(facts),
    )


def _of_saved(file: Path, facts: Card, calibration: LabelledImages, cache_folder: Path) -> Source:
    from train.models import saved

    model = saved.load(file, facts)

    def raw(asked: LabelledImages) -> np.ndarray:
        return saved.outputs(model, _inputs(asked, facts, cache_folder), facts)

    if saved.are_probabilities(first := raw(calibration)):
        return Source(lambda asked: two_columns(raw(asked)))
    fitted = calibrations.fit(two_logits(first), calibration.truth)
    return Source(lambda asked: fitted.probabilities(two_logits(raw(asked))))


def _of_tflite(file: Path, facts: Card, say: Callable[[str], None]) -> Source:
    import lesionedge

    classifier = lesionedge.Classifier(file, check=False)
    wanted = list(facts.codes)
    if list(classifier.labels) != wanted:
        raise RunError(
            f"{file}: its labels are {', '.join(classifier.labels)}; the run's are "
            f"{', '.join(wanted)}"
        )

    def ask(asked: LabelledImages) -> np.ndarray:
        whole = []
        for number, path in enumerate(asked.paths, start=1):
            whole.append(classifier.probabilities(path))
            if number % TOLD_EVERY == 0 or number == len(asked.paths):
                say(f"{file.name}: {number} of {len(asked.paths)} images")
        return np.array(whole, dtype=np.float64)

    return Source(ask, decision(facts))


def decision(facts: Card) -> float | None:
    """Return the card's probability from which a two-class model names the second class."""
    return facts.decision_threshold if len(facts.labels) == 2 else None


def _inputs(asked: LabelledImages, facts: Card, cache_folder: Path) -> np.ndarray:
    return cache.prepared(asked.paths, Preprocessing.from_card(facts.input), cache_folder)[0]


def two_logits(logits: np.ndarray) -> np.ndarray:
    """Return one logit of the second class its counterpart: softmax of (0, z) is sigmoid of z."""
    return logits if logits.shape[1] > 1 else np.hstack([np.zeros_like(logits), logits])


def two_columns(outputs: np.ndarray) -> np.ndarray:
    """Return one probability of the second class its counterpart."""
    return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
