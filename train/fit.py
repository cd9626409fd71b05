"""Float stages, then quantization-aware ones; every epoch is checkpointed, a killed run resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tf_keras as keras

from lesionedge.image import Preprocessing
from train import architectures, cache, datasets, losses, pipeline
from train.recipe import Recipe, RecipeError, Stage
from train.run import Run, RunError, State, load_state, save_state, write_history, write_text

REPORT_EVERY_S = 15.0
STATISTICS_PICTURES = 512
"""How many training pictures give folded batch normalisation its statistics back."""


@dataclass(frozen=True)
class Data:
    """The pictures of a run, prepared."""

    name: str
    """What the dataset is called."""
    table: pd.DataFrame
    """``split.csv``."""
    labels: tuple[str, ...]
    """Classes in output order."""
    pixels: np.ndarray
    """(N, H, W, 3) uint8 RGB, larger than the model's input; N rows as in the table."""
    classes: np.ndarray
    """(N,) int class numbers."""
    folder: Path
    """Where prepared pictures are cached."""

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def inputs(self, split: str, preprocessing: Preprocessing) -> np.ndarray:
        """(n, height_px, width_px, 3) uint8: just what the device would feed the model."""
        paths = [Path(path) for path in self.table["path"].to_numpy()[self.rows(split)]]
        return cache.prepared(paths, preprocessing, self.folder)[0]


def fit(
    recipe: Recipe, recipe_text: str, data: Path, run: Run, *, weights: Path | None, seed: int,
    cache_folder: Path,
) -> None:  # fmt: skip
    """Train as the recipe says, or go on where a killed training of the same folder stopped.

    Args:
        recipe: What to train.
        recipe_text: Its TOML, kept in the run folder.
        data: The dataset's folder.
        run: The run folder.
        weights: ImageNet weights (.npz); None downloads them where the recipe wants them.
        seed: Fixes the split, the initial weights, the order and the random changes.
        cache_folder: Where prepared pictures are cached.

    Raises:
        RunError: The folder is in use or holds a run of another recipe.
        DatasetError: The dataset cannot be understood.
    """
    with run.lock():
        _keep_recipe(run, recipe_text)
        keras.utils.set_random_seed(seed)
        prepared = prepare(recipe, data, run, seed=seed, cache_folder=cache_folder)
        state = load_state(run.checkpoint / "state.npz")
        if state is None:
            state = State(0, 0, -1.0, 0, (), {})
        else:
            run.say(f"resuming: stage {state.stage + 1}, after epoch {state.epoch}")
        for number in range(state.stage, len(recipe.stages)):
            state = _stage(recipe, number, prepared, run, state, weights=weights, seed=seed)
        _finish(recipe, prepared, run, seed=seed)


def _keep_recipe(run: Run, text: str) -> None:
    if run.recipe.exists() and run.recipe.read_text(encoding="utf-8") != text:
        raise RunError(
            f"{run.folder}: holds a run of another recipe; choose another --out, or remove it"
        )
    write_text(run.recipe, text)


def prepare(recipe: Recipe, data: Path, run: Run, *, seed: int, cache_folder: Path) -> Data:
    """Read the dataset, prepare its pictures and split them; a split that exists is kept."""
    dataset = datasets.load(data)
    paths = [Path(path) for path in dataset.table["path"]]
    side = recipe.cache_side_px
    # As wide as the pictures are for their height (4:3), so that a turned part stays inside.
    whole = Preprocessing(round(side * 4 / 3), side, resampling=recipe.input.resampling)
    pixels, good = cache.prepared(paths, whole, cache_folder, progress=_progress(run))
    skipped = dict(dataset.skipped)
    if not good.all():
        skipped["unreadable picture"] = int((~good).sum())
    for reason, count in skipped.items():
        run.say(f"skipped {count} rows: {reason}")
    table = dataset.table[good].reset_index(drop=True)
    if not good.all():
        pixels = cache.prepared([Path(p) for p in table["path"]], whole, cache_folder)[0]
    table = _split(table, pixels, run, seed)
    classes = table["label"].map({label: i for i, label in enumerate(dataset.labels)})
    return Data(
        dataset.name, table, dataset.labels, pixels, classes.to_numpy(np.int64), cache_folder
    )


def _progress(run: Run) -> cache.Progress:
    def show(done: int, of: int) -> None:
        if done % 2000 == 0 or done == of:
            run.say(f"prepared {done} of {of} pictures")

    return show


def _split(table: pd.DataFrame, pixels: np.ndarray, run: Run, seed: int) -> pd.DataFrame:
    paths = table["path"].astype(str)
    if run.split.exists():
        kept = run.table()
        if [Path(path).name for path in kept["path"]] != [Path(path).name for path in paths]:
            raise RunError(
                f"{run.split}: lists other pictures than the dataset; choose another --out"
            )
        if not kept["path"].equals(paths):  # the dataset lies elsewhere than it did
            write_text(run.split, kept.assign(path=paths).to_csv(index=False))
        return kept.assign(path=paths)
    hashes = np.array([datasets.perceptual_hash(picture) for picture in pixels])
    groups, twins = datasets.merge_twins(table["lesion"].tolist(), hashes)
    run.say(f"{len(set(groups))} groups of pictures; {len(twins)} look-alike pairs kept together")
    labels = table["label"].tolist()
    table = table.assign(group=groups, split=datasets.split(labels, groups, seed=seed))
    table["path"] = paths
    write_text(run.split, table.to_csv(index=False))
    counts = pd.crosstab(table["split"], table["label"])
    run.say(f"pictures by split and class:\n{counts.to_string()}")
    return table


def _build(
    recipe: Recipe, stage: Stage, classes: int, best: list[np.ndarray] | None
) -> keras.Model:
    """Make a stage's model with the best weights of the stage before it."""
    # A float stage may train at another size than the one that it is evaluated at.
    size = (recipe.input.height_px, recipe.input.width_px) if stage.quantize else (None, None)
    model = architectures.build(recipe.model, classes=classes, height_px=size[0], width_px=size[1])
    if best is not None:
        model.set_weights(best)
    if not stage.quantize:
        return model
    architectures.equalise_depthwise(model)
    return quantization_aware(model)


def quantization_aware(model: keras.Model) -> keras.Model:
    """Make every layer round its weights and activations to 8 bits in the forward pass.

    (Jacob et al. 2018, arXiv:1712.05877; tensorflow_model_optimization's default 8-bit scheme.)
    """
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras.quantize_model(model)


def _set_trainable(model: keras.Model, stage: Stage) -> None:
    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        if stage.train == "head" and inner.name not in architectures.HEAD:
            layer.trainable = False
        if stage.freeze_batch_norm and isinstance(inner, keras.layers.BatchNormalization):
            layer.trainable = False


def _stage(
    recipe: Recipe, number: int, data: Data, run: Run, state: State, *, weights: Path | None,
    seed: int,
) -> State:  # fmt: skip
    stage = recipe.stages[number]
    model = _build(recipe, stage, len(data.labels), _best_before(run, recipe, number))
    if number == 0 and not state.arrays and recipe.model.weights == "imagenet":
        _start_from_imagenet(model, data, weights, stage, seed)
    _set_trainable(model, stage)
    trainer = Trainer(recipe, stage, model, data.classes[data.rows("train")], len(data.labels))
    if state.arrays:
        trainer.restore(state.arrays)
    inputs = data.inputs("validation", recipe.input)
    truth = data.classes[data.rows("validation")]
    while state.epoch < stage.epochs and state.epoch - state.best_epoch < stage.patience:
        facts: dict[str, Any] = trainer.epoch(
            data, state.epoch, seed=(seed, number * 1000 + state.epoch), say=run.say
        )
        average = trainer.average()
        score = _balanced_accuracy(truth, logits(model, inputs, average).argmax(1))
        facts |= {
            "stage": stage.name,
            "epoch": state.epoch + 1,
            "validation_balanced_accuracy": score,
        }
        if score > state.best or stage.keep == "last":
            _save_best(run, number, average)
        if score > state.best:
            state = replace(state, best=score, best_epoch=state.epoch + 1)
        state = replace(
            state, epoch=state.epoch + 1, history=(*state.history, facts), arrays=trainer.arrays()
        )
        save_state(run.checkpoint / "state.npz", state)
        write_history(run.history, state.history)
        run.say(
            f"{stage.name} epoch {state.epoch}/{stage.epochs}: loss {facts['loss']:.3f}, "
            f"validation balanced accuracy {score:.3f} (best {state.best:.3f}, "
            f"epoch {state.best_epoch}), {facts['pictures_per_s']:.0f} pictures/s"
        )
    return State(number + 1, 0, -1.0, 0, state.history, {})


def _start_from_imagenet(
    model: keras.Model, data: Data, weights: Path | None, stage: Stage, seed: int
) -> None:
    if weights is not None and not weights.is_file():
        raise RecipeError(f"{weights}: no such file; expected ImageNet weights (.npz)")
    rows = np.random.default_rng(seed).permutation(data.rows("train"))[:STATISTICS_PICTURES]
    resized = tf.image.resize(data.pixels[np.sort(rows)], (stage.input_px, stage.input_px))
    architectures.load_imagenet(model, weights, pipeline.normalise(resized).numpy())


def _best_file(run: Run, number: int) -> Path:
    return run.checkpoint / f"best-{number}.npz"


def _save_best(run: Run, number: int, arrays: list[np.ndarray]) -> None:
    save_state(_best_file(run, number), State(number, 0, 0.0, 0, (), {"weights": arrays}))


def _load_best(run: Run, number: int) -> list[np.ndarray]:
    state = load_state(_best_file(run, number))
    if state is None:
        raise RunError(f"{_best_file(run, number)}: missing; start the run in a fresh folder")
    return state.arrays["weights"]


def _best_before(run: Run, recipe: Recipe, number: int) -> list[np.ndarray] | None:
    floats = [n for n in range(number) if not recipe.stages[n].quantize]
    if number and recipe.stages[number - 1].quantize:
        raise RecipeError(f"stage {recipe.stages[number].name}: only one quantized stage, the last")
    return _load_best(run, floats[-1]) if floats else None


def load_model(file: Path) -> keras.Model:
    """Load a run's Keras model, quantization-aware or not.

    Raises:
        RunError: The file is missing.
    """
    import tensorflow_model_optimization as tfmot

    if not file.is_file():
        raise RunError(f"{file}: missing; the training has not ended yet: run fit again")
    with tfmot.quantization.keras.quantize_scope():
        return keras.models.load_model(file, compile=False)


def logits(
    model: keras.Model, inputs: np.ndarray, weights: list[np.ndarray] | None = None
) -> np.ndarray:
    """Run a model over prepared pictures.

    Args:
        model: Ends in logits.
        inputs: (N, H, W, 3) uint8 RGB.
        weights: Used in place of the model's own, which are put back.

    Returns:
        (N, classes) float32.
    """
    own = None
    if weights is not None:
        own = model.get_weights()
        model.set_weights(weights)
    predict = tf.function(lambda x: model(pipeline.normalise(x), training=False))
    size = 32
    whole = np.concatenate(
        [predict(inputs[i : i + size]).numpy() for i in range(0, len(inputs), size)]
    )
    if own is not None:
        model.set_weights(own)
    return whole


def _balanced_accuracy(truth: np.ndarray, answers: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(truth, answers))


class Trainer:
    """One stage's model, optimizer and averaged weights."""

    def __init__(
        self, recipe: Recipe, stage: Stage, model: keras.Model, classes: np.ndarray, count: int
    ) -> None:
        self.recipe, self.stage, self.model = recipe, stage, model
        self.steps = len(classes) // recipe.batch_size
        if self.steps == 0:
            raise RecipeError(
                f"{len(classes)} training pictures make no batch of {recipe.batch_size}"
            )
        self.loss = losses.logit_adjusted(recipe.loss, np.bincount(classes, minlength=count))
        self.optimizer = keras.optimizers.AdamW(0.0, weight_decay=recipe.weight_decay)
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.optimizer.build(model.trainable_variables)
        self.averaged = [v for v in model.weights if v.dtype.is_floating]
        self.averages = [tf.Variable(v, trainable=False) for v in self.averaged]
        self.train_step = tf.function(self._train_step)

    def arrays(self) -> dict[str, list[np.ndarray]]:
        """Give all that a resumed stage needs."""
        variables = self.optimizer.variables
        own = list(variables() if callable(variables) else variables)
        return {
            "weights": self.model.get_weights(),
            "average": [v.numpy() for v in self.averages],
            "optimizer": [v.numpy() for v in own],
        }

    def restore(self, arrays: dict[str, list[np.ndarray]]) -> None:
        """Take up where ``arrays`` were given."""
        self.model.set_weights(arrays["weights"])
        variables = self.optimizer.variables
        own = list(variables() if callable(variables) else variables)
        for variable, value in zip(
            [*self.averages, *own], [*arrays["average"], *arrays["optimizer"]]
        ):
            variable.assign(value)

    def average(self) -> list[np.ndarray]:
        """Give the averaged weights, in the order of ``model.get_weights()``."""
        if not self.recipe.ema:
            return self.model.get_weights()
        mean = {id(v): a for v, a in zip(self.averaged, self.averages)}
        return [mean[id(v)].numpy() if id(v) in mean else v.numpy() for v in self.model.weights]

    def _train_step(self, pictures: tf.Tensor, labels: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            answers = self.model(pictures, training=True)
            loss = tf.reduce_mean(self.loss(labels, answers))
        variables = self.model.trainable_variables
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), self.recipe.clip_norm)
        self.optimizer.apply_gradients(zip(gradients, variables))
        for mean, value in zip(self.averages, self.averaged):
            mean.assign_add((value - mean) * (1.0 - decay))
        return loss

    def learning_rate(self, step: int) -> float:
        """Give the rate at a step of the stage: linear warm-up, then a half cosine to zero."""
        warm = self.stage.warmup_epochs * self.steps
        if step < warm:
            return self.stage.learning_rate * (step + 1) / (warm + 1)
        part = (step - warm) / max(1.0, self.stage.epochs * self.steps - warm)
        return self.stage.learning_rate * 0.5 * (1 + math.cos(math.pi * part))

    def epoch(
        self, data: Data, epoch: int, *, seed: tuple[int, int], say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Train for one pass over the training pictures.

        Returns:
            loss, learning_rate, pictures_per_s and seconds.
        """
        batches = pipeline.batches(
            data.pixels, data.classes, data.rows("train"), augment=self.recipe.augment,
            input_px=self.stage.input_px, batch_size=self.recipe.batch_size, seed=seed,
        )  # fmt: skip
        begin = reported = time.monotonic()
        total = rate = 0.0
        for step, (pictures, labels) in enumerate(batches):
            done = epoch * self.steps + step
            rate = self.learning_rate(done)
            self.optimizer.learning_rate.assign(rate)
            # The average of the first steps is over few: let it move as fast as they do.
            decay = min(self.recipe.ema, (1 + done) / (10 + done))
            total += float(self.train_step(pictures, labels, tf.constant(decay, tf.float32)))
            now = time.monotonic()
            if now - reported > REPORT_EVERY_S:
                reported = now
                say(self._report(epoch, step + 1, total, now - begin))
        seconds = time.monotonic() - begin
        speed = self.steps * self.recipe.batch_size / seconds
        return {
            "loss": total / self.steps, "learning_rate": rate,
            "pictures_per_s": speed, "seconds": seconds,
        }  # fmt: skip

    def _report(self, epoch: int, steps: int, total: float, seconds: float) -> str:
        left = (self.stage.epochs - epoch) * self.steps - steps
        return (
            f"{self.stage.name} epoch {epoch + 1}/{self.stage.epochs} step {steps}/{self.steps}: "
            f"loss {total / steps:.3f}, {steps * self.recipe.batch_size / seconds:.1f} pictures/s, "
            f"stage done in {left * seconds / steps / 60:.0f} min"
        )


def _finish(recipe: Recipe, data: Data, run: Run, *, seed: int) -> None:
    """Write the best models, the card and the metrics."""
    from train import card, evaluate

    last = len(recipe.stages) - 1
    floats = [n for n, stage in enumerate(recipe.stages) if not stage.quantize]
    for number, file in ((floats[-1], run.float_weights), (last, run.weights)):
        quantize = recipe.stages[number].quantize
        model = architectures.build(
            recipe.model, classes=len(data.labels),
            height_px=recipe.input.height_px, width_px=recipe.input.width_px,
        )  # fmt: skip
        model = quantization_aware(model) if quantize else model
        model.set_weights(_load_best(run, number))
        part = file.with_name(file.stem + ".part.h5")
        model.save(part, include_optimizer=False)
        part.replace(file)
    card.write(recipe, data, run, seed=seed)
    card.add_metrics(run, evaluate.evaluate(run, cache_folder=data.folder))
    run.say(f"done: {run.folder}")
