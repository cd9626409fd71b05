"""What a training keeps in its run folder: what it resumes from, and the weights of its stages."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lesionedge import atomic
from train.run import Run, RunError

Weights = list[np.ndarray]
"""As ``keras.Model.get_weights`` returns them."""


def save_start(run: Run, weights: Weights) -> None:
    """Keep the weights that the training begins with."""
    _save(_start(run), weights)


def load_start(run: Run) -> Weights:
    """Return the weights that the training began with.

    Raises:
        RunError: There are none.
    """
    return _load(_start(run))


def keep_seed(run: Run, seed: int) -> None:
    """Write down the seed of a training: what resumes goes on with the same.

    Raises:
        RunError: The folder holds a training with another seed.
    """
    file = run.checkpoint / "seed"
    if file.exists() and (begun := file.read_text().strip()) != str(seed):
        raise RunError(
            f"{run.folder}: holds a training with the seed {begun}; choose another --out for the "
            f"seed {seed}"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(file, f"{seed}\n")


def keep_weights(run: Run, weights: Path) -> None:
    """Write down which file a training has begun with."""
    file = _begun_with(run)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(file, f"{_digest(weights)}\n")


def refuse_other_weights(run: Run, weights: Path | None) -> None:
    """Refuse a file that a training, which has begun with another, would pass over.

    Raises:
        RunError: The folder holds a training that has begun with another file.
    """
    file = _begun_with(run)
    if weights is None or not file.exists() or file.read_text().strip() == _digest(weights):
        return
    raise RunError(
        f"{run.folder}: holds a training that has begun with other weights; choose another --out "
        f"for {weights}"
    )


def _begun_with(run: Run) -> Path:
    return run.checkpoint / "weights"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def save_best(run: Run, stage: int, weights: Weights) -> None:
    """Keep the weights that a stage is to be remembered by."""
    _save(_best(run, stage), weights)


def load_best(run: Run, stage: int) -> Weights:
    """Return the weights that a stage is remembered by.

    Raises:
        RunError: There are none.
    """
    return _load(_best(run, stage))


def mix(run: Run, stage: int, share: float) -> None:
    """Put the mean of a stage's first and last weights in the place of its last ones.

    Between a model and what further training of other kinds made of it lie weights that keep what
    both are good at (Wortsman et al. 2022, arXiv:2109.01903). Batch statistics have to follow.

    Args:
        run: The run.
        stage: Its number.
        share: Of the stage's own weights, 0-1.
    """
    if not _own(run, stage).exists():  # else a killed training has mixed already
        _save(_own(run, stage), load_best(run, stage))
    first = load_best(run, stage - 1) if stage else load_start(run)
    last = _load(_own(run, stage))
    save_best(run, stage, [share * b + (1 - share) * a for a, b in zip(first, last)])


def _best(run: Run, stage: int) -> Path:
    return run.checkpoint / f"best-{stage}.npz"


def _own(run: Run, stage: int) -> Path:
    return run.checkpoint / f"own-{stage}.npz"


def _start(run: Run) -> Path:
    return run.checkpoint / "start.npz"


def _save(file: Path, weights: Weights) -> None:
    save_state(file, State(0, 0, 0.0, 0, (), {"weights": weights}))


def _load(file: Path) -> Weights:
    state = load_state(file)
    if state is None:
        raise RunError(f"{file}: missing; start the run in a fresh folder")
    return state.arrays["weights"]


@dataclass(frozen=True)
class State:
    """Where a training stands after an epoch."""

    stage: int
    """Number of the stage that goes on."""
    epoch: int
    """How many of its epochs are done."""
    best: float
    """Best validation score of the stage so far."""
    best_epoch: int
    """Epoch that gave it."""
    history: tuple[dict[str, Any], ...]
    """One entry an epoch, over all stages."""
    arrays: dict[str, list[np.ndarray]]
    """weights, average, optimizer: arrays in the order of the variables."""

    @classmethod
    def of_stage(cls, stage: int, history: tuple[dict[str, Any], ...] = ()) -> State:
        """Return where a stage begins."""
        return cls(stage, 0, -math.inf, 0, history, {})


def resume(run: Run) -> State:
    """Return where a training stands: at its beginning, or where it was stopped."""
    state = load_state(run.state)
    if state is None:
        return State.of_stage(0)
    say_resumed(run, state)
    return state


def say_resumed(run: Run, state: State) -> None:
    """Say where a training goes on."""
    run.say(f"resuming: stage {state.stage + 1}, after epoch {state.epoch}")


def save_epoch(run: Run, stage: int, state: State, best: Weights | None) -> None:
    """Write what a killed run resumes from, and an epoch's weights where they are to be kept."""
    if best is not None:
        save_best(run, stage, best)
    save_state(run.state, state)
    write_history(run.history, state.history)


def save_state(path: Path, state: State) -> None:
    """Write a checkpoint whole or not at all."""
    flat = {
        f"{kind}/{number:05d}": array
        for kind, arrays in state.arrays.items()
        for number, array in enumerate(arrays)
    }
    facts = {
        "stage": state.stage, "epoch": state.epoch, "best": state.best,
        "best_epoch": state.best_epoch, "history": state.history,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.whole_file(path) as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **flat)  # type: ignore[arg-type]


def load_state(path: Path) -> State | None:
    """Read a checkpoint; None where there is none."""
    if not path.exists():
        return None
    with np.load(path) as data:
        facts = json.loads(str(data["facts"]))
        arrays: dict[str, list[np.ndarray]] = {}
        for key in sorted(set(data.files) - {"facts"}):
            arrays.setdefault(key.split("/")[0], []).append(data[key])
    return State(**{**facts, "history": tuple(facts["history"])}, arrays=arrays)


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write one row an epoch, as CSV; what an epoch did not measure is left empty."""
    columns = list(dict.fromkeys(column for row in history for column in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(history)
    atomic.write_text(path, text.getvalue())
