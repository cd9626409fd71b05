"""Trains a recipe's float stages, one after the other; the same call again resumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import tf_keras as keras

from train import card
from train.data.prepare import Data, Source, prepare
from train.fit import checkpoints, crops, distillation, network, others, validation, workers
from train.fit.batches import Lessons
from train.fit.checkpoints import State
from train.fit.stages import Training, train_stage
from train.fit.workers import Team
from train.models import architectures
from train.recipe import Recipe
from train.run import Run
from train.settings import RecipeError


@dataclass(frozen=True)
class Given:
    """What a training is given beside its recipe."""

    source: Source
    """The dataset."""
    cache_folder: Path
    """Where prepared images are cached."""
    seed: int = 1
    """Fixes the split, the initial weights, the order and the random changes."""
    weights: Path | None = None
    """What it begins with; None downloads ImageNet's where the recipe wants them."""
    soft_labels: Path | None = None
    """From ``python -m train label``, where the recipe has a ``[distil]``."""
    teachers: Sequence[Path] = ()
    """.tflite files, where the recipe's ``[distil]`` has ``crops``."""
    also: Mapping[str, Path] = field(default_factory=dict)
    """Folder of each other collection by its name in the recipe."""


def fit(recipe: Recipe, recipe_text: str, run: Run, given: Given) -> bool:
    """Train as the recipe says, or go on where a killed training of the same folder stopped.

    As one of several workers (``TF_CONFIG``) it trains only; one of them then goes on alone.

    Args:
        recipe: What to train.
        recipe_text: Its TOML, kept in the run folder.
        run: The run folder; gets ``float.h5`` and ``card.json``.
        given: What the training is given.

    Returns:
        Whether all is done; else one worker has to go on alone.

    Raises:
        RunError: The folder is in use or holds a run of another recipe, seed or first weights.
        DatasetError: The dataset cannot be understood.
        RecipeError: The recipe does not fit what is given.
        SoftLabelsError: The soft labels are of other images.
        CropsError: The teachers do not fit, or there is no room for the crops.
    """
    check(recipe, given)
    if run.float_weights.exists() and run.card.exists():
        run.keep_recipe(recipe_text)
        checkpoints.keep_seed(run, given.seed)
        checkpoints.refuse_other_weights(run, given.weights)
        run.say("is trained already; another --out begins another training")
        return True
    team = workers.join()
    _check_alone(recipe, team)
    network.check(recipe)
    with run.lock() if team.chief else nullcontext():
        if team.chief:
            run.keep_recipe(recipe_text)
            checkpoints.keep_seed(run, given.seed)
            checkpoints.refuse_other_weights(run, given.weights)
        else:
            team.agree()  # when the chief has split and prepared the images
            run = replace(run, silent=True)
        keras.utils.set_random_seed(given.seed)
        data = prepare(
            recipe, given.source, run, seed=given.seed, cache_folder=given.cache_folder
        )  # fmt: skip
        if team.chief:
            team.agree()
        state = checkpoints.resume(run)
        training = _training(recipe, data, run, team, given, state)
        for number in range(state.stage, len(recipe.float_stages)):
            model = network.begin(training, number, state, given.weights)
            state = train_stage(training, recipe.stages[number], number, model, state)
        if workers.is_member():
            return False
        _finish(training, data)
    return True


def check(recipe: Recipe, given: Given) -> None:
    """Refuse a recipe without what it needs, and what it has no use for.

    Raises:
        RecipeError: Something is missing, or cannot be used.
    """
    if any(stage.quantize for stage in recipe.stages):
        architectures.check_quantizable(recipe)
    share, asks = recipe.distil.share, recipe.distil.crops > 0
    for option, is_given, wanted in (
        ("--soft-labels", given.soft_labels is not None, share > 0 and not asks),
        ("--teacher", bool(given.teachers), asks),
    ):
        if is_given != wanted:
            raise RecipeError(
                f"{recipe.name}: [distil] has share {share:g} and {recipe.distil.crops} crops; "
                f"{option} is {'given' if is_given else 'missing'}"
            )
    missing = [other.name for other in recipe.others if other.name not in given.also]
    if missing:
        raise RecipeError(
            f"{recipe.name}: is to learn from {', '.join(missing)}; expected where its images "
            "are: --also NAME=FOLDER"
        )
    if given.weights is None and not any(stage.epochs for stage in recipe.float_stages):
        raise RecipeError(
            f"{recipe.name}: trains no stage; expected trained weights: --weights FILE"
        )
    if given.weights is None and recipe.stages[0].mix < 1:
        raise RecipeError(
            f"{recipe.name}: the first stage mixes its last weights with its first ones; none are "
            "given: --weights FILE"
        )
    if given.weights is not None and not given.weights.is_file():
        raise RecipeError(f"{given.weights}: no such file; expected weights to start from")


def _check_alone(recipe: Recipe, team: Team) -> None:
    """Refuse what several workers, or several GPUs, cannot share."""
    alone = {
        "[distil] crops": recipe.distil.crops > 0,
        "[[others]]": bool(recipe.others),
        "fold_batch_norm": any(stage.fold_batch_norm and stage.epochs for stage in recipe.stages),
    }
    if team.several and any(alone.values()):
        found = ", ".join(name for name, there in alone.items() if there)
        raise RecipeError(f"{recipe.name}: has {found}: for one worker with at most one GPU")


def _training(
    recipe: Recipe, data: Data, run: Run, team: Team, given: Given, state: State
) -> Training:
    """Put together what the stages need; crops are made where teachers are asked about them."""
    own = Lessons(data.pixels, data.classes, data.train_rows)
    lessons = own
    if recipe.others:
        mixed, meanings = others.prepare(recipe, data, given.also, run)
        lessons = replace(own, others=mixed, meanings=meanings)
    if given.soft_labels is not None:
        soft = distillation.read(given.soft_labels, data.table, data.labels, recipe.distil)
        lessons = replace(own, soft=soft)
    if given.teachers and any(stage.epochs for stage in recipe.float_stages[state.stage :]):
        lessons = crops.make(
            given.teachers, data, recipe, run.crops, seed=given.seed, say=run.say
        )  # fmt: skip
    # The others have nothing to measure: they would only prepare the same images at once.
    held = (
        validation.held(recipe, data, given.seed)
        if team.chief
        else validation.nothing(len(data.labels))
    )
    return Training(recipe, run, lessons, own, held, team, given.seed)


def _finish(training: Training, data: Data) -> None:
    """Write the best float model and the card."""
    recipe, run = training.recipe, training.run
    run.save_model("float", network.finished(training))
    crops.remove(run.crops)
    mixed = zip(recipe.others, training.lessons.others)
    also = {other.name: len(images.rows) for other, images in mixed}
    card.write(recipe, data, run, seed=training.seed, also=also)
    if recipe.model.architecture in architectures.NO_QUANTIZATION_AWARE:
        run.say(f"done; python -m convert export {run.folder} makes files of it, int8 ones too")
    else:
        run.say(f"done; python -m train quantize {run.folder} makes it ready for 8 bits")
    if len(data.rows("test")):
        run.say(f"python -m train evaluate {run.folder} measures it on held-out lesions")
    else:
        run.say("no test images: python -m train pool measures its folds")
