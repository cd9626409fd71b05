"""What is measured: labelled images, and a model's predictions for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class LabelledImages:
    """What a model is asked about."""

    table: pd.DataFrame
    """One row an image: ``path``, ``group`` (images of one lesion share a number), and what else
    is known of it."""
    truth: np.ndarray
    """(N,) int class numbers."""

    @property
    def paths(self) -> list[Path]:
        """The N image files."""
        return [Path(path) for path in self.table["path"]]


@dataclass(frozen=True)
class MeasuredModel:
    """A model's predictions for labelled images, and what was measured of them."""

    name: str
    """``float``, ``int8`` or a file's name."""
    probabilities: np.ndarray
    """(N, classes)."""
    answers: np.ndarray
    """(N,) int, the classes that it names."""
    scores: dict[str, np.ndarray]
    """What predictions may be withheld by: name -> (N,), the highest are given first."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Its part of ``metrics.json``."""
