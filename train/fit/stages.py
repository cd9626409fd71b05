"""One stage of a training: epochs until it is done, each checkpointed; a killed run resumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tf_keras as keras

from train.fit import checkpoints
from train.fit.batches import Lessons, statistics_batches
from train.fit.checkpoints import State
from train.fit.trainer import Trainer
from train.fit.validation import FIGURES, ValidationImages
from train.fit.workers import Team
from train.models import architectures
from train.models.batch_norm import folded, refresh_batch_norm, unfolded
from train.recipe import MOST_EPOCHS, Distil, Recipe, Stage
from train.run import Run
from train.settings import RecipeError


@dataclass(frozen=True)
class Training:
    """What the stages of a run have in common."""

    recipe: Recipe
    """As run."""
    run: Run
    """Where checkpoints, history and log go."""
    lessons: Lessons
    """What is trained on."""
    own: Lessons
    """The run's own images, of which batch statistics are measured; mostly the same."""
    held: ValidationImages
    """What each epoch is measured on."""
    team: Team
    """The workers, of which this process is one."""
    seed: int
    """Fixes the order and the random changes."""


def train_stage(
    training: Training, stage: Stage, number: int, model: keras.Model, state: State
) -> State:
    """Train a stage, or go on where it was stopped.

    Args:
        training: What the stages have in common.
        stage: What to do.
        number: The stage's, from 0; its weights are kept under it.
        model: Ends in logits; with the weights that the stage begins with. Its own weights are
            afterwards any epoch's: ``checkpoints.load_best`` returns those that are kept.
        state: Where the stage stands.

    Returns:
        Where the next stage begins.
    """
    run, team = training.run, training.team
    whole = model
    if stage.fold_batch_norm and stage.epochs:
        model = folded(whole)
    set_trainable(model, stage)
    trainer = _trainer(training, stage, model, whole)
    if state.arrays:
        trainer.restore(state.arrays)
    if not stage.epochs and team.chief:
        checkpoints.save_best(run, number, model.get_weights())
    while state.epoch < stage.epochs and state.epoch - state.best_epoch < stage.patience:
        facts = trainer.epoch(
            state.epoch, seed=(training.seed, number * MOST_EPOCHS + state.epoch),
            say=run.say, scores=_scores(stage, state),
        )  # fmt: skip
        arrays, weights = trainer.arrays(), trainer.average()  # takes all workers
        found = training.held.measure(model, weights) if team.chief else {}
        facts = {
            **facts,
            "stage": stage.name,
            "epoch": state.epoch + 1,
            **team.agreed(found, FIGURES),
        }
        state, is_kept = _after(stage, state, facts, arrays)
        if team.chief:
            if model is not whole:
                weights = unfolded(whole, model, weights)
            checkpoints.save_epoch(run, number, state, weights if is_kept else None)
        run.say(_report(stage, state))
    if team.chief:
        _settle(training, stage, number, whole)
    team.agree()  # when the chief has written what the next stage begins with
    return State.of_stage(number + 1, state.history)


def _trainer(training: Training, stage: Stage, model: keras.Model, whole: keras.Model) -> Trainer:
    """Return what trains a model for a stage.

    Args:
        training: What the stages have in common.
        stage: What to do.
        model: What learns.
        whole: The same, before batch normalisation was folded in: where the stage is ``taught``
            beside other collections, its predictions are learnt.
    """
    recipe, lessons = training.recipe, training.lessons
    if not stage.others:
        lessons = replace(lessons, others=())
    elif stage.taught:
        lessons = replace(lessons, teacher=folded(whole))
        recipe = replace(recipe, distil=Distil(share=stage.taught))
    team = training.team
    learner = _replicated(model, training, stage) if team.several else model
    return Trainer(recipe, stage, learner, lessons, strategy=team.strategy)


def set_trainable(model: keras.Model, stage: Stage) -> None:
    """Freeze the layers that a stage leaves as they are.

    Raises:
        RecipeError: The stage names a layer that the network has not.
    """
    names = [getattr(layer, "layer", layer).name for layer in model.layers]
    if stage.train not in ("all", "head", *names):
        raise RecipeError(
            f"stage {stage.name}: trains from layer {stage.train!r} on, which {model.name} has not"
        )
    first = names.index(stage.train) if stage.train in names else 0
    for number, layer in enumerate(model.layers):
        inner = getattr(layer, "layer", layer)
        if number < first or (stage.train == "head" and not architectures.in_head(inner.name)):
            layer.trainable = False
        if stage.freeze_batch_norm and isinstance(inner, keras.layers.BatchNormalization):
            layer.trainable = False


def _after(
    stage: Stage, state: State, facts: dict[str, Any], arrays: dict[str, list[np.ndarray]]
) -> tuple[State, bool]:
    """Return where a stage stands after an epoch, and whether that epoch's weights are kept."""
    score = _score(stage, facts)
    best = score > state.best
    if best:
        state = replace(state, best=score, best_epoch=state.epoch + 1)
    state = replace(state, epoch=state.epoch + 1, history=(*state.history, facts), arrays=arrays)
    return state, best or stage.keep == "last"


def _score(stage: Stage, facts: dict[str, Any]) -> float:
    """Return what the stage watches, the higher the better."""
    if stage.watch == "loss":
        return -float(facts["validation_loss"])
    return float(facts["validation_balanced_accuracy"])


def _scores(stage: Stage, state: State) -> list[float]:
    """Return the validation scores of the stage's epochs so far."""
    return [_score(stage, row) for row in state.history[len(state.history) - state.epoch :]]


def _report(stage: Stage, state: State) -> str:
    facts = state.history[-1]
    return (
        f"{stage.name} epoch {state.epoch}/{stage.epochs}: loss {facts['loss']:.3f}, "
        f"validation loss {facts['validation_loss']:.3f}, balanced accuracy "
        f"{facts['validation_balanced_accuracy']:.3f} (best epoch {state.best_epoch}), "
        f"{facts['images_per_s']:.0f} images/s"
    )


def _settle(training: Training, stage: Stage, number: int, model: keras.Model) -> None:
    """Mix the kept weights with the first ones where asked for, and measure their statistics.

    The moving statistics of batch normalisation are those of other weights (the average's are of
    the steps before) and of another size; averaged weights need their own (Izmailov et al. 2018,
    arXiv:1803.05407). What is frozen was trained with the statistics that it has.
    """
    if not stage.epochs:
        return
    if stage.mix < 1:
        checkpoints.mix(training.run, number, stage.mix)
    if stage.train != "all" or stage.freeze_batch_norm or stage.fold_batch_norm:
        return
    model.set_weights(checkpoints.load_best(training.run, number))
    refresh_batch_norm(model, statistics_batches(training.recipe, training.own, training.seed))
    checkpoints.save_best(training.run, number, model.get_weights())
    score = training.held.measure(model)["validation_balanced_accuracy"]
    training.run.say(
        f"{stage.name}, statistics measured anew: validation balanced accuracy {score:.3f}"
    )


def _replicated(model: keras.Model, training: Training, stage: Stage) -> keras.Model:
    """Make the model anew, with a copy of its variables in every replica."""
    height, width = model.input_shape[1:3]
    with training.team.strategy.scope():
        copies = architectures.build(
            training.recipe.model, classes=training.held.classes, height_px=height, width_px=width
        )
    copies.set_weights(training.team.share(model.get_weights()))
    set_trainable(copies, stage)
    return copies
