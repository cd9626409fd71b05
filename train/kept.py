"""The weights that a training keeps in its run folder beside what it resumes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.run import Run, RunError, State, load_state, save_state

Weights = list[np.ndarray]
"""As ``keras.Model.get_weights`` gives them."""


def save_start(run: Run, weights: Weights) -> None:
    """Keep the weights that the training begins with."""
    _save(_start(run), weights)


def save_best(run: Run, stage: int, weights: Weights) -> None:
    """Keep the weights that a stage is to be remembered by."""
    _save(_best(run, stage), weights)


def load_best(run: Run, stage: int) -> Weights:
    """Give the weights that a stage is remembered by.

    Raises:
        RunError: There are none.
    """
    return _load(_best(run, stage))


def mix(run: Run, stage: int, share: float) -> None:
    """Put the mean of a stage's weights and those of the start in the place of the stage's.

    Between a model and what further training of other kinds made of it lie weights that keep what
    both are good at (Wortsman et al. 2022, arXiv:2109.01903). Batch statistics have to follow.

    Args:
        run: The run.
        stage: Its number.
        share: Of the stage's own weights, 0-1.
    """
    if not _own(run, stage).exists():  # else a killed training has mixed already
        _save(_own(run, stage), load_best(run, stage))
    start, own = ends(run, stage)
    save_best(run, stage, [share * b + (1 - share) * a for a, b in zip(start, own)])


def ends(run: Run, stage: int) -> tuple[Weights, Weights]:
    """Give the weights that a training began with and those that a stage with ``mix`` came to.

    Raises:
        RunError: They are not there (yet).
    """
    return _load(_start(run)), _load(_own(run, stage))


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
