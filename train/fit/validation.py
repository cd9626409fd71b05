"""What every epoch is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tf_keras as keras

from train.data.prepare import Data
from train.models.inference import logits
from train.recipe import Recipe

FIGURES = ("validation_loss", "validation_accuracy", "validation_balanced_accuracy")
"""Names of what is measured."""


@dataclass(frozen=True)
class ValidationImages:
    """Images that are not trained on."""

    inputs: np.ndarray
    """(N, H, W, 3) uint8, as the device feeds them to the model."""
    truth: np.ndarray
    """(N,) int class numbers."""
    classes: int
    """How many classes there are."""

    def measure(
        self, model: keras.Model, weights: list[np.ndarray] | None = None
    ) -> dict[str, float]:
        """Return ``FIGURES`` of a model, with other weights than its own where they are given."""
        from scipy.special import log_softmax

        found = logits(model, self.inputs, weights)
        losses = -log_softmax(found.astype(np.float64), axis=1)[np.arange(len(found)), self.truth]
        named = found.argmax(1)
        values = float(losses.mean()), float((named == self.truth).mean()), self._balanced(named)
        return dict(zip(FIGURES, values))

    def _balanced(self, named: np.ndarray) -> float:
        from sklearn.metrics import recall_score

        # balanced_accuracy_score warns of predictions of classes that are absent
        present = np.unique(self.truth)
        return float(recall_score(self.truth, named, labels=present, average="macro"))


def held(recipe: Recipe, data: Data, seed: int) -> ValidationImages:
    """Return a run's validation images; a shortened run has no more than it trains on.

    Where there are none, as in a fold, they are the calibration images.
    """
    split = "validation" if len(data.rows("validation")) else "calibration"
    inputs, truth = data.inputs(split, recipe.input), data.classes[data.rows(split)]
    most = recipe.shortened.images
    if most and most < len(truth):
        rows = np.sort(np.random.default_rng(seed).permutation(len(truth))[:most])
        inputs, truth = inputs[rows], truth[rows]
    return ValidationImages(inputs, truth, len(data.labels))


def nothing(classes: int) -> ValidationImages:
    """Return no images: for workers whose chief measures."""
    return ValidationImages(np.empty(0), np.empty(0), classes)
