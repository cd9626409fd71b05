"""The network that a stage begins with, and the one that a training comes to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train.fit import checkpoints
from train.fit.checkpoints import State
from train.fit.stages import Training, set_trainable
from train.models import architectures
from train.models.pixels import normalise
from train.models.weights import load_weights
from train.recipe import Recipe
from train.settings import RecipeError

STATISTICS_IMAGES = 512
"""How many training images the statistics of batch normalisation are measured on."""


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose network cannot be built, or has not the layers that its stages name.

    Raises:
        RecipeError: It is such a recipe.
    """
    model = architectures.build(
        recipe.model, classes=2, height_px=recipe.input.height_px, width_px=recipe.input.width_px
    )
    for stage in recipe.stages:
        set_trainable(model, stage)


def begin(training: Training, number: int, state: State, weights: Path | None) -> keras.Model:
    """Build a stage's model: with what the training starts from, or the stage before came to."""
    recipe, run = training.recipe, training.run
    # A stage may train at another size than the one that it is measured at.
    fixed = recipe.model.flatten
    model = architectures.build(
        recipe.model, classes=training.held.classes,
        height_px=recipe.input.height_px if fixed else None,
        width_px=recipe.input.width_px if fixed else None,
    )  # fmt: skip
    if number:
        model.set_weights(checkpoints.load_best(run, number - 1))
    elif not state.arrays:
        if recipe.model.weights == "imagenet" or weights is not None:
            whole = load_weights(model, weights, _sample(training, recipe.stages[0].input_px))
            if recipe.shortened.as_given and not whole:
                raise RecipeError(
                    f"{weights}: has no head of this recipe's {training.held.classes} classes; "
                    "--as-given takes weights that have one"
                )
            if weights is not None and training.team.chief:
                checkpoints.keep_weights(run, weights)
        if training.team.chief:
            checkpoints.save_start(run, model.get_weights())
    elif recipe.stages[0].fold_batch_norm:  # its statistics are the start's
        model.set_weights(checkpoints.load_start(run))
    return model


def _sample(training: Training, side_px: int) -> np.ndarray:
    """Return some training images, (n, side_px, side_px, 3) float32 in [-1, 1)."""
    own = training.own
    rows = np.random.default_rng(training.seed).permutation(own.rows)[:STATISTICS_IMAGES]
    resized = tf.image.resize(own.pixels[np.sort(rows)], (side_px, side_px))
    return normalise(resized).numpy()


def finished(training: Training) -> keras.Model:
    """Return the network that the stages have come to, at the size that it is used at."""
    recipe = training.recipe
    model = architectures.build(
        recipe.model, classes=training.held.classes,
        height_px=recipe.input.height_px, width_px=recipe.input.width_px,
    )  # fmt: skip
    model.set_weights(checkpoints.load_best(training.run, len(recipe.float_stages) - 1))
    return model
