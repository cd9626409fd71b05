"""The learning rate at a step of a stage; nothing but the stage and its scores decides it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from train.recipe import Stage


def learning_rate(stage: Stage, step: int, *, steps: int, scores: Sequence[float]) -> float:
    """Return the rate at a step: linear warm-up, then what the schedule says.

    Args:
        stage: The recipe's stage.
        step: Number of the step within the stage.
        steps: Steps an epoch.
        scores: Validation score of each epoch of the stage that is done, so that a resumed
            stage goes on as if it had never been stopped.
    """
    warm = stage.warmup_epochs * steps
    if step < warm:
        return stage.learning_rate * (step + 1) / (warm + 1)
    if stage.schedule == "cosine":
        part = (step - warm) / max(1.0, stage.epochs * steps - warm)
        end = stage.final_learning_rate
        return end + (stage.learning_rate - end) * 0.5 * (1 + math.cos(math.pi * part))
    if stage.schedule == "steps":
        return stage.learning_rate * stage.cut ** max(0, step // steps - stage.cut_after + 1)
    if stage.schedule == "plateau":
        return stage.learning_rate * stage.cut ** plateaus(scores, stage.cut_after)
    return stage.learning_rate


def plateaus(scores: Sequence[float], patience: int) -> int:
    """Count how often ``patience`` epochs in a row brought no better score."""
    best, waited, count = -math.inf, 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if patience and waited >= patience:
            waited, count = 0, count + 1
    return count
