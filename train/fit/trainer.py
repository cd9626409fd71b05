"""One stage's model, optimizer and averaged weights: an epoch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train.fit import losses
from train.fit.batches import Lessons, training_batches
from train.fit.schedule import learning_rate
from train.models.inference import both_classes
from train.recipe import Augment, Recipe, Stage
from train.settings import RecipeError

REPORT_EVERY_S = 15.0


class Trainer:
    """One stage's model, optimizer and averaged weights."""

    def __init__(
        self, recipe: Recipe, stage: Stage, model: keras.Model, lessons: Lessons, *,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.stage, self.model, self.lessons = recipe, stage, model, lessons
        self.strategy = strategy or tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        if recipe.batch_size % self.replicas:
            raise RecipeError(
                f"{recipe.name}: batches of {recipe.batch_size} images cannot be shared by "
                f"{self.replicas} replicas"
            )
        classes = lessons.classes[lessons.rows]
        own = lessons.own(recipe.batch_size)
        if own < 1:
            raise RecipeError(
                f"{recipe.name}: the [[others]] fill batches of {recipe.batch_size} images; "
                "expected larger batches"
            )
        self.steps = len(classes) // own
        if self.steps == 0:
            raise RecipeError(
                f"{len(classes)} training images make no batch of {recipe.batch_size}"
            )
        counts = np.bincount(classes, minlength=max(2, model.output_shape[-1]))
        self.meanings = lessons.meanings or losses.classes_alone(counts)
        self.loss = losses.distilled(recipe.loss, recipe.distil, self.meanings)
        self.teacher, self.own = lessons.teacher, own // self.replicas
        with self.strategy.scope():
            self.optimizer = keras.optimizers.AdamW(0.0, weight_decay=recipe.weight_decay)
            self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
            self.variables = _trainable(model)
            self.optimizer.build(self.variables)
            self.averaged = [v for v in model.weights if v.dtype.is_floating]
            self.averages = [
                # A replica's own, and the mean of them when it is read: as batch
                # normalisation's statistics are.
                tf.Variable(
                    v, trainable=False, synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.MEAN,
                )
                for v in self.averaged
            ]  # fmt: skip
        self.train_step = tf.function(self._train_step)

    def arrays(self) -> dict[str, list[np.ndarray]]:
        """Return all that a resumed stage needs."""
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
        """Return the averaged weights, in the order of ``model.get_weights()``."""
        if not self.recipe.ema:
            return self.model.get_weights()
        mean = {id(v): a for v, a in zip(self.averaged, self.averages)}
        return [mean[id(v)].numpy() if id(v) in mean else v.numpy() for v in self.model.weights]

    def _train_step(
        self, images: tf.Tensor, labels: tf.Tensor, soft: tf.Tensor, decay: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on one batch, of which each replica has its share."""
        shares = self.strategy.run(self._replica_step, (images, labels, soft, decay))
        return tuple(
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) for each in shares
        )

    def _replica_step(
        self, images: tf.Tensor, labels: tf.Tensor, soft: tf.Tensor, decay: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            predictions = self.model(images, training=True)
            loss = self.loss(labels, self._soft(images, soft), predictions)
            loss = tf.reduce_mean(loss) / self.replicas
        gradients = tape.gradient(loss, self.variables)
        if self.replicas > 1:  # the sum is what one replica would have, before it is clipped
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self.recipe.clip_norm)
        self.optimizer.apply_gradients(
            zip(gradients, self.variables), skip_gradients_aggregation=self.replicas > 1
        )
        for mean, value in zip(self.averages, self.averaged):
            mean.assign_add((value - mean) * (1.0 - decay))
        right = losses.named(self.meanings, labels, predictions)
        right = tf.reduce_mean(tf.cast(right, tf.float32)) / self.replicas
        return loss, right

    def _soft(self, images: tf.Tensor, soft: tf.Tensor) -> tf.Tensor:
        """Return the soft labels: as they are, or what the teacher predicts of what is shown.

        It is not asked about other collections.
        """
        if self.teacher is None:
            return soft
        return tf.nn.softmax(both_classes(self.teacher(images[: self.own], training=False)))

    def _batches(self, seed: tuple[int, int]) -> Iterable[Any]:
        """Return the batches of an epoch, divided among this worker's replicas."""
        augment = self.stage.augment or self.recipe.augment
        if self.recipe.distil.crops:  # they are changed already, and the predictions are to that
            augment = Augment(flip=True, quarter_turns=True)

        def shared(context: tf.distribute.InputContext) -> tf.data.Dataset:
            own = self.replicas // context.num_input_pipelines
            first = context.input_pipeline_id * own
            return training_batches(
                self.lessons, augment=augment, input_px=self.stage.input_px,
                batch_size=self.recipe.batch_size, seed=seed,
                shares=(self.replicas, range(first, first + own)),
            )  # fmt: skip

        return self.strategy.distribute_datasets_from_function(shared)

    def epoch(
        self, epoch: int, *, seed: tuple[int, int], say: Callable[[str], None],
        scores: Sequence[float] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Train for one pass over the training images.

        Args:
            epoch: How many epochs of the stage are done.
            seed: Two numbers that fix the order and every change.
            say: Tells how far it is.
            scores: Validation score of each epoch that is done.

        Returns:
            loss, accuracy (of the changed images, with dropout), learning_rate,
            images_per_s and seconds.
        """
        batches = self._batches(seed)
        begin = reported = time.monotonic()
        total = right = rate = 0.0
        for step, (images, labels, soft) in enumerate(batches):
            done = epoch * self.steps + step
            rate = learning_rate(self.stage, done, steps=self.steps, scores=scores)
            self.optimizer.learning_rate.assign(rate)
            # The average of the first steps is over few: let it move as fast as they do.
            decay = min(self.recipe.ema, (1 + done) / (10 + done))
            loss, share = self.train_step(images, labels, soft, tf.constant(decay, tf.float32))
            total, right = total + float(loss), right + float(share)
            now = time.monotonic()
            if now - reported > REPORT_EVERY_S:
                reported = now
                say(self._report(epoch, step + 1, total, now - begin))
        seconds = time.monotonic() - begin
        speed = self.steps * self.recipe.batch_size / seconds
        return {
            "loss": total / self.steps, "accuracy": right / self.steps, "learning_rate": rate,
            "images_per_s": speed, "seconds": seconds,
        }  # fmt: skip

    def _report(self, epoch: int, steps: int, total: float, seconds: float) -> str:
        left = (self.stage.epochs - epoch) * self.steps - steps
        return (
            f"{self.stage.name} epoch {epoch + 1}/{self.stage.epochs} step {steps}/{self.steps}: "
            f"loss {total / steps:.3f}, {steps * self.recipe.batch_size / seconds:.1f} images/s, "
            f"stage done in {left * seconds / steps / 60:.0f} min"
        )


def _trainable(model: keras.Model) -> list[tf.Variable]:
    """Return what is trained: not the variables of frozen layers.

    tensorflow_model_optimization's wrapper of a layer goes on listing the variables that could be
    trained when it was built.
    """
    frozen = {id(v) for layer in model.layers if not layer.trainable for v in layer.weights}
    return [v for v in model.trainable_variables if id(v) not in frozen]
