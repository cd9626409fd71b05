"""Makes the network of a run that ``fit`` has ended ready for 8 bits; the same call resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tf_keras as keras

from lesionedge.card import present
from train import card
from train.data import prepare
from train.fit import checkpoints, validation, workers
from train.fit.batches import Lessons, statistics_batches
from train.fit.checkpoints import State
from train.fit.stages import Training, train_stage
from train.models.architectures import check_quantizable
from train.quantize.rounding import rounded, unmeasured
from train.recipe import Distil, Recipe
from train.run import Run
from train.settings import RecipeError


def quantize(
    run: Run, *, data: Path | None = None, layout: str | None = None, cache_folder: Path
) -> None:
    """Round a run's float network, and train it so where the recipe says for how many epochs.

    Args:
        run: Its ``float.h5`` is read; ``int8.h5`` is written, and its calibration into the card.
        data: The dataset's folder, where it lies elsewhere than ``split.csv`` says.
        layout: How that folder is laid out; None finds it out.
        cache_folder: Where prepared images are cached.

    Raises:
        RunError: The training has not ended, the folder is in use, or its images are not there.
        RecipeError: There is no quantization-aware form of the network.
    """
    recipe = run.read_recipe()
    if recipe.gate is not None:
        raise RecipeError(f"{recipe.name}: the gate is rounded by python -m convert export")
    check_quantizable(recipe)
    with run.lock():
        images = prepare.of_run(run, data, layout=layout, cache_folder=cache_folder)
        floating = run.load_model("float")
        training = _training(recipe, images, run, floating)
        number, state = _state(recipe, run)
        if state.arrays:  # which hold the ranges
            model = unmeasured(floating)
        else:
            own = statistics_batches(recipe, training.own, training.seed)
            model = rounded(floating, list(own))
        train_stage(training, recipe.quantized, number, model, state)
        # Anew: what has been trained or measured has variables that HDF5 cannot hold.
        made = unmeasured(run.load_model("float"))
        made.set_weights(checkpoints.load_best(run, number))
        run.save_model("int8", made)
        card.calibrate(recipe, images, run)
        run.say(f"{run.int8_weights} written; python -m convert export converts it")


def _training(recipe: Recipe, images: prepare.Data, run: Run, floating: keras.Model) -> Training:
    """Put together what the stage needs; it learns from the labels and from the float network."""
    seed = present(present(run.read_card().data, "data").seed, "seed")
    keras.utils.set_random_seed(seed)
    own = Lessons(images.pixels, images.classes, images.train_rows)
    held = validation.held(recipe, images, seed)
    taught = recipe.quantized.taught
    alone = replace(recipe, distil=Distil(share=taught))
    lessons = replace(own, teacher=floating) if taught else own
    return Training(alone, run, lessons, own, held, workers.alone(), seed)


def _state(recipe: Recipe, run: Run) -> tuple[int, State]:
    """Return the stage's number, and where it stands."""
    number, state = len(recipe.float_stages), checkpoints.load_state(run.state)
    if state is not None and state.stage == number:
        checkpoints.say_resumed(run, state)
        return number, state
    return number, State.of_stage(number, state.history if state is not None else ())
