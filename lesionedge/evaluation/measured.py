"""Labelled images, and a model's predictions and figures for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def file_name(name: str) -> str:
    """Return a model's name as its plots' files have it: without slashes."""
    return re.sub(r"[^\w.() -]", "-", name)


def chosen(probabilities: np.ndarray, decision: float | None) -> np.ndarray:
    """Return the classes that a model names, (N,) int.

    Args:
        probabilities: (N, classes).
        decision: Probability from which a two-class model names the second class; None: the
            likelier.
    """
    if decision is None:
        found: np.ndarray = probabilities.argmax(1)
        return found
    return (probabilities[:, 1] >= decision).astype(np.int64)


def confidence(probabilities: np.ndarray, decision: float | None) -> np.ndarray:
    """Say how sure a model is of what it names, (N,): its probability, or way past the decision.

    Args:
        probabilities: (N, classes).
        decision: As in ``chosen``.
    """
    if decision is None:
        found: np.ndarray = probabilities.max(1)
        return found
    past = probabilities[:, 1] - decision
    return np.where(past >= 0, past / max(1 - decision, 1e-9), -past / max(decision, 1e-9))


@dataclass(frozen=True)
class LabelledImages:
    """The images that models are measured on."""

    table: pd.DataFrame
    """One row per image: ``path``, ``group`` (images of one ``unit`` share a number), and further
    columns about it."""
    truth: np.ndarray
    """(N,) int class numbers."""
    unit: str = "lesion"
    """What the images of one ``group`` are of: ``lesion`` or ``patient``; or ``image``."""

    @property
    def names(self) -> list[str]:
        """The N images; one may be in an archive or at an address."""
        return [str(path) for path in self.table["path"]]

    @property
    def paths(self) -> list[Path]:
        """The N image files, where all are files."""
        return [Path(path) for path in self.table["path"]]


@dataclass(frozen=True)
class MeasuredModel:
    """A model's predictions for labelled images, and their figures."""

    name: str
    """``float``, ``int8`` or a file's name."""
    probabilities: np.ndarray
    """(N, classes)."""
    predicted: np.ndarray
    """(N,) int, the predicted classes."""
    scores: dict[str, np.ndarray]
    """Name -> (N,) scores; predictions with a low score may be withheld."""
    figures: dict[str, Any] = field(default_factory=dict)
    """The model's part of ``metrics.json``."""
