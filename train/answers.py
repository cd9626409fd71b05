"""Probabilities of a run's Keras models, of any saved Keras model and of .tflite files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionedge.image import Preprocessing
from train import cache, card
from train.calibration import fit_temperature, softmax
from train.run import Run, RunError

TOLD_EVERY = 500
"""Pictures after which a .tflite file's progress is told."""


@dataclass(frozen=True)
class Pictures:
    """What a model is asked."""

    table: pd.DataFrame
    """Rows of ``split.csv``."""
    truth: np.ndarray
    """(N,) int class numbers."""

    @property
    def paths(self) -> list[Path]:
        """The N picture files."""
        return [Path(path) for path in self.table["path"]]


Source = Callable[[Pictures], np.ndarray]
"""Gives (N, classes) probabilities that sum to 1."""


def sources(
    run: Run, facts: dict[str, Any], *, files: Sequence[Path], weights: Sequence[Path],
    calibration: Pictures, cache_folder: Path, say: Callable[[str], None],
) -> dict[str, Source]:  # fmt: skip
    """Give every model that there is to measure, by name.

    Args:
        run: A finished run; its Keras models may be absent, where files or weights are given.
        facts: Its card.
        files: .tflite files beside those that lie in the run folder.
        weights: Saved Keras models.
        calibration: What their temperature is fitted on.
        cache_folder: Where prepared pictures are cached.
        say: Told how far a slow one is.

    Raises:
        RunError: There is none, or one cannot be used.
    """
    found: dict[str, Source] = {}
    temperatures = facts["calibration"]["temperature"]
    for kind, file in card.models(run).items():
        if file.is_file():
            found[kind] = _of_run(file, facts, temperatures[kind], cache_folder)
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


def _of_run(file: Path, facts: dict[str, Any], temperature: float, cache_folder: Path) -> Source:
    from train.networks import load_model, logits

    model = load_model(file)
    return lambda asked: probabilities(
        logits(model, _inputs(asked, facts, cache_folder)) / temperature
    )


def _of_saved(
    file: Path, facts: dict[str, Any], calibration: Pictures, cache_folder: Path
) -> Source:
    from train import saved

    model = saved.load(file, facts)

    def raw(asked: Pictures) -> np.ndarray:
        return saved.outputs(model, _inputs(asked, facts, cache_folder), facts)

    if saved.are_probabilities(first := raw(calibration)):
        return lambda asked: two_columns(raw(asked))
    temperature = fit_temperature(two_logits(first), calibration.truth)
    return lambda asked: probabilities(raw(asked) / temperature)


def _of_tflite(file: Path, facts: dict[str, Any], say: Callable[[str], None]) -> Source:
    import lesionedge

    classifier = lesionedge.Classifier(file)
    wanted = [entry["label"] for entry in facts["labels"]]
    if list(classifier.labels) != wanted:
        raise RunError(
            f"{file}: its labels are {', '.join(classifier.labels)}; the run's are "
            f"{', '.join(wanted)}"
        )

    def answer(asked: Pictures) -> np.ndarray:
        whole = []
        for number, path in enumerate(asked.paths, start=1):
            whole.append(classifier.probabilities(path))
            if number % TOLD_EVERY == 0 or number == len(asked.paths):
                say(f"{file.name}: {number} of {len(asked.paths)} pictures")
        return np.array(whole, dtype=np.float64)

    return answer


def _inputs(asked: Pictures, facts: dict[str, Any], cache_folder: Path) -> np.ndarray:
    return cache.prepared(asked.paths, Preprocessing.from_card(facts["input"]), cache_folder)[0]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Give (N, classes) probabilities of (N, classes) logits, or of (N, 1) of the second class."""
    return softmax(two_logits(logits))


def two_logits(logits: np.ndarray) -> np.ndarray:
    """Give one logit of the second class its counterpart: softmax of (0, z) is sigmoid of z."""
    return logits if logits.shape[1] > 1 else np.hstack([np.zeros_like(logits), logits])


def two_columns(outputs: np.ndarray) -> np.ndarray:
    """Give one probability of the second class its counterpart."""
    return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
