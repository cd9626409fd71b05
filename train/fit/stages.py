"""Float stages, then quantization-aware ones; every epoch is checkpointed, a killed run resumes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lesionedge.atomic import replacing, write_text
from train import card
from train.data.prepare import Data, Source, prepare
from train.fit import checkpoints, crops, distillation, workers
from train.fit.batches import training_batches
from train.fit.checkpoints import State, load_state, save_state, write_history
from train.fit.trainer import Trainer
from train.fit.workers import Team
from train.models import architectures
from train.models.batch_norm import refresh_batch_norm
from train.models.inference import logits
from train.models.pixels import normalise
from train.models.weights import load_weights
from train.quantize.aware import NO_QUANTIZATION_AWARE, quantization_aware
from train.quantize.bias_correction import take_out_rounding
from train.quantize.kernels import equalise_depthwise, keep_biases
from train.quantize.ranges import start_ranges
from train.recipe import Recipe, Stage
from train.run import Run, RunError
from train.settings import RecipeError

STATISTICS_IMAGES = 512
"""How many training images give folded batch normalisation its statistics back."""

VALIDATED = ("validation_loss", "validation_accuracy", "validation_balanced_accuracy")
"""What is measured on the validation images after an epoch."""

STATISTICS_BATCHES = 32
"""How many training batches activations' statistics are measured on."""


def fit(
    recipe: Recipe, recipe_text: str, source: Source, run: Run, *, weights: Path | None, seed: int,
    cache_folder: Path, soft_labels: Path | None = None, teachers: Sequence[Path] = (),
) -> bool:  # fmt: skip
    """Train as the recipe says, or go on where a killed training of the same folder stopped.

    As one of several workers (``TF_CONFIG``) it trains only; one of them then goes on alone.

    Args:
        recipe: What to train.
        recipe_text: Its TOML, kept in the run folder.
        source: The dataset.
        run: The run folder.
        weights: ImageNet weights; None downloads them where the recipe wants them.
        seed: Fixes the split, the initial weights, the order and the random changes.
        cache_folder: Where prepared images are cached.
        soft_labels: From ``python -m train label``, where the recipe has a ``[distil]``.
        teachers: .tflite files, where the recipe's ``[distil]`` has ``crops``.

    Returns:
        Whether all is done; else one worker has to go on alone.

    Raises:
        RunError: The folder is in use or holds a run of another recipe.
        DatasetError: The dataset cannot be understood.
        RecipeError: The recipe does not fit what is given.
        SoftLabelsError: The soft labels are of other images.
        CropsError: The teachers do not fit, or there is no room for the crops.
    """
    _demand_quantizable(recipe)
    _demand_soft_labels(recipe, soft_labels, teachers)
    _demand_start(recipe, weights)
    team = workers.join()
    with run.lock() if team.chief else nullcontext():
        if team.chief:
            _keep_recipe(run, recipe_text)
        else:
            team.agree()  # when the chief has split and prepared the images
            run = replace(run, silent=True)
        keras.utils.set_random_seed(seed)
        prepared = prepare(recipe, source, run, seed=seed, cache_folder=cache_folder)
        if soft_labels is not None:
            soft = distillation.read(soft_labels, prepared.table, prepared.labels, recipe.distil)
            prepared = replace(prepared, soft=soft)
        if team.chief:
            team.agree()
        state = load_state(run.state)
        if state is None:
            state = State(0, 0, -math.inf, 0, (), {})
        else:
            run.say(f"resuming: stage {state.stage + 1}, after epoch {state.epoch}")
        lessons = prepared
        if teachers and any(stage.epochs for stage in recipe.stages[state.stage :]):
            lessons = crops.make(teachers, prepared, recipe, run.crops, seed=seed, say=run.say)
        for number in range(state.stage, len(recipe.stages)):
            state = _stage(
                recipe, number, prepared, lessons, run, state, team, weights=weights, seed=seed
            )
        if workers.is_member():
            return False
        _finish(recipe, prepared, run, seed=seed)
    return True


def _demand_quantizable(recipe: Recipe) -> None:
    """Refuse before the float stages what would fail after them."""
    why = NO_QUANTIZATION_AWARE.get(recipe.model.architecture)
    if why and any(stage.quantize for stage in recipe.stages):
        raise RecipeError(
            f"{recipe.name}: {recipe.model.architecture} cannot be quantization-aware: {why}; "
            "leave the stage out, and python -m convert quantizes after training"
        )


def _demand_soft_labels(recipe: Recipe, file: Path | None, teachers: Sequence[Path]) -> None:
    """Refuse a recipe with a ``[distil]`` without what it learns from, and the other way round."""
    share, asks = recipe.distil.share, recipe.distil.crops > 0
    for option, is_given, wanted in (
        ("--soft-labels", file is not None, share > 0 and not asks),
        ("--teacher", bool(teachers), asks),
    ):
        if is_given != wanted:
            raise RecipeError(
                f"{recipe.name}: [distil] has share {share:g} and {recipe.distil.crops} crops; "
                f"{option} is {'given' if is_given else 'missing'}"
            )
    if asks and workers.is_member():
        raise RecipeError(f"{recipe.name}: has [distil] crops, which are for one worker alone")


def _demand_start(recipe: Recipe, weights: Path | None) -> None:
    if weights is None and any(stage.mix < 1 for stage in recipe.stages):
        raise RecipeError(
            f"{recipe.name}: mixes its weights with those that it begins with; none are given: "
            "--weights FILE"
        )


def _keep_recipe(run: Run, text: str) -> None:
    if run.recipe.exists() and run.recipe.read_text(encoding="utf-8") != text:
        raise RunError(
            f"{run.folder}: holds a run of another recipe; choose another --out, or remove it"
        )
    write_text(run.recipe, text)


def _build(
    recipe: Recipe, stage: Stage, data: Data, best: list[np.ndarray] | None, *, seed: int,
    resumed: bool,
) -> keras.Model:  # fmt: skip
    """Make a stage's model with the best weights of the stage before it.

    A stage that is resumed brings its own ranges and statistics.
    """
    # A float stage may train at another size than the one that it is evaluated at.
    fixed = stage.quantize or recipe.model.flatten
    size = (recipe.input.height_px, recipe.input.width_px) if fixed else (None, None)
    model = architectures.build(
        recipe.model, classes=len(data.labels), height_px=size[0], width_px=size[1]
    )
    if best is not None:
        model.set_weights(best)
    if not stage.quantize:
        return model
    keep_biases(model)
    equalise_depthwise(model)
    quantized = quantization_aware(model)
    if not resumed:
        start_ranges(quantized, model, statistics_images(recipe, data, seed))
        take_out_rounding(quantized, model, statistics_images(recipe, data, seed))
    return quantized


def statistics_images(recipe: Recipe, data: Data, seed: int) -> Iterator[tf.Tensor]:
    """Return some batches of training images at the size that the model is used at.

    Not degraded: statistics of images with noise and covered parts are not those of what it will
    mostly be asked about (Xie et al. 2020, arXiv:1911.09665, section 4).
    """
    batches = training_batches(
        data.pixels, data.classes, data.train_rows, augment=recipe.augment.undegraded(),
        input_px=recipe.input.width_px, batch_size=recipe.batch_size, seed=(seed, 0),
    )  # fmt: skip
    for images, *_ in batches.take(STATISTICS_BATCHES):
        yield images


def _set_trainable(model: keras.Model, stage: Stage) -> None:
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


def _stage(
    recipe: Recipe, number: int, data: Data, lessons: Data, run: Run, state: State, team: Team, *,
    weights: Path | None, seed: int,
) -> State:  # fmt: skip
    stage = recipe.stages[number]
    before = _best_before(run, recipe, number)
    model = _build(recipe, stage, data, before, seed=seed, resumed=bool(state.arrays))
    begins = number == 0 and not state.arrays
    if begins and (recipe.model.weights == "imagenet" or weights is not None):
        _start_from(weights, model, data, stage, seed)
        if team.chief:
            checkpoints.save_start(run, model.get_weights())
    _set_trainable(model, stage)
    trainer = Trainer(
        recipe, stage, _replicated(model, recipe, stage, data, team) if team.several else model,
        lessons.classes[lessons.train_rows], len(data.labels), strategy=team.strategy,
    )  # fmt: skip
    if state.arrays:
        trainer.restore(state.arrays)
    if not stage.epochs and team.chief:
        checkpoints.save_best(run, number, model.get_weights())
    # The others have nothing to validate: they would only prepare the same images at once.
    inputs, truth = _validation_images(recipe, data, seed) if team.chief else (np.empty(0),) * 2
    while state.epoch < stage.epochs and state.epoch - state.best_epoch < stage.patience:
        facts: dict[str, Any] = trainer.epoch(
            lessons, state.epoch, seed=(seed, number * 1000 + state.epoch), say=run.say,
            scores=_scores(stage, state),
        )  # fmt: skip
        arrays, average = trainer.arrays(), trainer.average()  # takes all workers
        predictions = logits(model, inputs, average) if team.chief else None
        facts |= {"stage": stage.name, "epoch": state.epoch + 1}
        facts |= _agreed(team, {} if predictions is None else _validation(truth, predictions))
        score = _score(stage, facts)
        keep = score > state.best or stage.keep == "last"
        if score > state.best:
            state = replace(state, best=score, best_epoch=state.epoch + 1)
        state = replace(
            state, epoch=state.epoch + 1, history=(*state.history, facts), arrays=arrays
        )
        if team.chief:
            _keep(run, number, state, average if keep else None)
        run.say(
            f"{stage.name} epoch {state.epoch}/{stage.epochs}: loss {facts['loss']:.3f}, "
            f"validation loss {facts['validation_loss']:.3f}, balanced accuracy "
            f"{facts['validation_balanced_accuracy']:.3f} (best epoch {state.best_epoch}), "
            f"{facts['pictures_per_s']:.0f} images/s"
        )
    if stage.epochs and stage.mix < 1 and team.chief:
        checkpoints.mix(run, number, stage.mix)
    # What is frozen was trained with the statistics that it has.
    if stage.train == "all" and stage.epochs and not stage.freeze_batch_norm and team.chief:
        _settle(recipe, number, data, run, model, inputs, truth, seed=seed)
    team.agree()  # when the chief has written what the next stage begins with
    return State(number + 1, 0, -math.inf, 0, state.history, {})


def _replicated(
    model: keras.Model, recipe: Recipe, stage: Stage, data: Data, team: Team
) -> keras.Model:
    """Make the model anew, with a copy of its variables in every replica."""
    size = model.input_shape[1:3]
    with team.strategy.scope():
        copies = architectures.build(
            recipe.model, classes=len(data.labels), height_px=size[0], width_px=size[1]
        )
        copies = quantization_aware(copies) if stage.quantize else copies
    copies.set_weights(team.share(model.get_weights()))
    _set_trainable(copies, stage)
    return copies


def _keep(run: Run, number: int, state: State, best: list[np.ndarray] | None) -> None:
    """Write what a killed run resumes from."""
    if best is not None:
        checkpoints.save_best(run, number, best)
    save_state(run.state, state)
    write_history(run.history, state.history)


def _validation_images(recipe: Recipe, data: Data, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the validation images and classes; a shortened run has no more than it trains on.

    Where there are none, as in a fold, they are the calibration images.
    """
    split = "validation" if len(data.rows("validation")) else "calibration"
    inputs = data.inputs(split, recipe.input)
    truth = data.classes[data.rows(split)]
    most = recipe.shortened.images
    if not most or most >= len(truth):
        return inputs, truth
    rows = np.sort(np.random.default_rng(seed).permutation(len(truth))[:most])
    return inputs[rows], truth[rows]


def _validation(truth: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    from scipy.special import log_softmax

    losses = -log_softmax(predictions.astype(np.float64), axis=1)[np.arange(len(truth)), truth]
    return {
        "validation_loss": float(losses.mean()),
        "validation_accuracy": float((predictions.argmax(1) == truth).mean()),
        "validation_balanced_accuracy": _balanced_accuracy(truth, predictions.argmax(1)),
    }


def _agreed(team: Team, found: dict[str, float]) -> dict[str, float]:
    """Return every worker what the chief has found."""
    return {name: team.agree(found.get(name, 0.0)) for name in VALIDATED}


def _score(stage: Stage, facts: dict[str, Any]) -> float:
    """Return what the stage watches, the higher the better."""
    if stage.watch == "loss":
        return -float(facts["validation_loss"])
    return float(facts["validation_balanced_accuracy"])


def _scores(stage: Stage, state: State) -> list[float]:
    """Return the validation scores of the stage's epochs so far."""
    return [_score(stage, row) for row in state.history[len(state.history) - state.epoch :]]


def _settle(
    recipe: Recipe, number: int, data: Data, run: Run, model: keras.Model, inputs: np.ndarray,
    truth: np.ndarray, *, seed: int,
) -> None:  # fmt: skip
    """Measure the kept weights' batch normalisation at the size that the model is used at.

    The moving statistics are those of other weights (the average's are of the steps before) and
    of another size; averaged weights need their own (Izmailov et al. 2018, arXiv:1803.05407).
    """
    model.set_weights(checkpoints.load_best(run, number))
    refresh_batch_norm(model, statistics_images(recipe, data, seed))
    checkpoints.save_best(run, number, model.get_weights())
    score = _balanced_accuracy(truth, logits(model, inputs).argmax(1))
    name = recipe.stages[number].name
    run.say(f"{name}, statistics measured anew: validation balanced accuracy {score:.3f}")


def _start_from(
    weights: Path | None, model: keras.Model, data: Data, stage: Stage, seed: int
) -> None:
    if weights is not None and not weights.is_file():
        raise RecipeError(f"{weights}: no such file; expected weights to start from")
    rows = np.random.default_rng(seed).permutation(data.train_rows)[:STATISTICS_IMAGES]
    resized = tf.image.resize(data.pixels[np.sort(rows)], (stage.input_px, stage.input_px))
    load_weights(model, weights, normalise(resized).numpy())


def _best_before(run: Run, recipe: Recipe, number: int) -> list[np.ndarray] | None:
    floats = [n for n in range(number) if not recipe.stages[n].quantize]
    if number and recipe.stages[number - 1].quantize:
        raise RecipeError(f"stage {recipe.stages[number].name}: only one quantized stage, the last")
    return checkpoints.load_best(run, floats[-1]) if floats else None


def _balanced_accuracy(truth: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    # balanced_accuracy_score warns of predictions of classes that are absent
    return float(recall_score(truth, predictions, labels=np.unique(truth), average="macro"))


def _finish(recipe: Recipe, data: Data, run: Run, *, seed: int) -> None:
    """Write the best models and the card."""
    last = len(recipe.stages) - 1
    floats = [n for n, stage in enumerate(recipe.stages) if not stage.quantize]
    for number, file in ((floats[-1], run.float_weights), (last, run.weights)):
        quantize = recipe.stages[number].quantize
        model = architectures.build(
            recipe.model, classes=len(data.labels),
            height_px=recipe.input.height_px, width_px=recipe.input.width_px,
        )  # fmt: skip
        model = quantization_aware(model) if quantize else model
        model.set_weights(checkpoints.load_best(run, number))
        with replacing(file, suffix=".h5") as part, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that HDF5 is Keras' older format
            model.save(part, include_optimizer=False)
    crops.remove(run.crops)
    card.write(recipe, data, run, seed=seed)
    if len(data.rows("test")):
        run.say(f"done; python -m train evaluate {run.folder} measures it on held-out lesions")
    else:
        run.say(f"done: {run.folder}; no test images: python -m train pool measures its folds")
