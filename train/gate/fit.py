"""Trains the gate on its copies; an epoch is checkpointed, a killed run resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import lesionedge
from lesionedge.atomic import write_text
from lesionedge.card import (
    Calibration,
    Card,
    Gate,
    Input,
    Label,
    Output,
    Quantization,
    TrainingData,
)
from train.gate import prepared, sources
from train.gate.prepared import Images
from train.gate.recipe import GateRecipe
from train.models import architectures
from train.models.batch_norm import refresh_batch_norm
from train.models.inference import logits
from train.models.pixels import PIXEL_MEAN, PIXEL_STD, normalise
from train.models.weights import load_weights
from train.recipe import Model
from train.run import Run

REPORT_EVERY_S = 15.0
STATISTICS_BATCHES = 32
NAMES = {
    "dermoscopic": "Dermoscopic image of a lesion",
    "clinical": "Photograph of skin without a dermatoscope",
    "other": "Something else",
}


def fit(
    recipe: GateRecipe, data: Path, run: Run, *, weights: Path | None, seed: int, cache: Path
) -> None:
    """Train, or go on where a killed training of the same folder stopped.

    Args:
        recipe: What to train on what.
        data: Folder of the sources.
        run: The run folder; gets ``split.csv``, ``float.h5``, ``card.json`` and ``metrics.json``.
        weights: ImageNet weights (.npz); None downloads them.
        seed: Fixes the copies, the order and the random changes.
        cache: Where the copies are kept.
    """
    with run.lock():
        keras.utils.set_random_seed(seed)
        table = sources.table(data)
        write_text(run.split, table.to_csv(index=False))
        run.say(f"images:\n{table.groupby(['source', 'split']).size().unstack().to_string()}")
        copies = prepared.training(table, recipe, cache, seed, run.say)
        held = {
            split: prepared.held_out(table, split, recipe.input_px, cache, seed, run.say)
            for split in ("validation", "calibration", "test")
        }
        model = build(recipe, weights, copies)
        _train(recipe, model, copies, held["validation"], run, seed)
        refresh_batch_norm(model, _sample(recipe, copies, seed))
        model.save(run.float_weights, include_optimizer=False)
        _finish(recipe, model, held, table, run, seed)


def build(recipe: GateRecipe, weights: Path | None, copies: Images) -> keras.Model:
    """Put a small head on the lower blocks of an ImageNet MobileNetV2.

    Few photographs can be had, so what edges and textures are has to come from elsewhere.
    """
    side = recipe.input_px
    whole = architectures.build(Model("mobilenetv2"), classes=3, height_px=side, width_px=side)
    lower = keras.Model(whole.input, whole.get_layer(recipe.last_block).output)
    sample = next(prepared.batches(copies, side, 512, (0, 0)))[0]
    load_weights(lower, weights, normalise(sample).numpy())
    for layer in lower.layers:
        layer.trainable = False
        if layer.name == recipe.frozen_to:
            break
    layers = keras.layers
    x = layers.Conv2D(recipe.features, 1, use_bias=False, name="gate_features")(lower.output)
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name="gate_features_BN")(x)
    x = layers.ReLU(6.0, name="gate_relu")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(recipe.dropout, name="dropout")(x)
    return keras.Model(lower.input, layers.Dense(len(sources.LABELS), name="logits")(x))


def _train(
    recipe: GateRecipe, model: keras.Model, copies: Images, held: Images, run: Run, seed: int
) -> None:
    steps = len(copies.classes) // recipe.batch_size
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps * recipe.epochs, warmup_target=recipe.learning_rate, warmup_steps=100
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=recipe.weight_decay, use_ema=True, ema_momentum=0.995
    )
    optimizer.build(model.trainable_variables)
    done = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, done=done)
    manager = tf.train.CheckpointManager(checkpoint, str(run.checkpoint), max_to_keep=1)
    if manager.restore_or_initialize():
        run.say(f"resuming after epoch {int(done)}")
    step = tf.function(_stepper(recipe, model, optimizer), reduce_retracing=True)
    while int(done) < recipe.epochs:
        loss = _epoch(recipe, step, copies, int(done), steps, run, seed)
        done.assign_add(1)
        manager.save()
        right = logits(model, held.pixels).argmax(1) == held.classes
        run.say(
            f"epoch {int(done)}/{recipe.epochs}: loss {loss:.4f}, validation accuracy "
            f"{right.mean():.4f} ({_by_source(right, held.sources)})"
        )
    optimizer.finalize_variable_values(model.trainable_variables)


def _stepper(recipe: GateRecipe, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Any:
    entropy = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing
    )

    def step(batch: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            predictions = model(normalise(batch), training=True)
            loss = entropy(tf.one_hot(classes, len(sources.LABELS)), predictions)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return step


def _epoch(
    recipe: GateRecipe, step: Any, copies: Images, epoch: int, steps: int, run: Run, seed: int
) -> float:
    total, begin = 0.0, time.monotonic()
    reported = begin
    feed = tf.data.Dataset.from_generator(
        lambda: prepared.batches(copies, recipe.input_px, recipe.batch_size, (seed, epoch)),
        output_signature=(
            tf.TensorSpec((recipe.batch_size, recipe.input_px, recipe.input_px, 3), tf.float32),
            tf.TensorSpec((recipe.batch_size,), tf.int64),
        ),
    ).prefetch(4)
    for number, (batch, classes) in enumerate(feed, start=1):
        total += float(step(batch, classes))
        now = time.monotonic()
        if now - reported > REPORT_EVERY_S:
            reported = now
            speed = number * recipe.batch_size / (now - begin)
            left_s = ((recipe.epochs - epoch) * steps - number) * recipe.batch_size / speed
            run.say(
                f"epoch {epoch + 1} step {number}/{steps}: loss {total / number:.4f}, "
                f"{speed:.0f} images/s, done in {left_s / 60:.0f} min"
            )
    return total / steps


def _sample(recipe: GateRecipe, copies: Images, seed: int) -> Iterator[tf.Tensor]:
    feed = prepared.batches(copies, recipe.input_px, recipe.batch_size, (seed, 999))
    for _, (batch, _) in zip(range(STATISTICS_BATCHES), feed):
        yield normalise(batch)


def _by_source(right: np.ndarray, of: np.ndarray) -> str:
    return ", ".join(f"{name} {right[of == name].mean():.3f}" for name in sorted(set(of)))


def _finish(
    recipe: GateRecipe, model: keras.Model, held: dict[str, Images], table: Any, run: Run,
    seed: int,
) -> None:  # fmt: skip
    """Choose the threshold, measure and write the card."""
    chances = {split: _dermoscopic(model, found.pixels) for split, found in held.items()}
    genuine = np.concatenate([
        chances[split][held[split].classes == 0] for split in ("validation", "calibration")
    ])  # fmt: skip
    threshold = float(np.quantile(genuine, recipe.refused))
    metrics = {split: measured(chances[split], held[split], threshold) for split in chances}
    write_text(run.metrics, json.dumps({"threshold": threshold, **metrics}, indent=1) + "\n")
    run.say(json.dumps(metrics["test"], indent=1))
    run.write_card(_card(recipe, threshold, table, metrics, seed))
    run.say(f"done: {run.folder}")


def _dermoscopic(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    predictions = logits(model, pixels).astype(np.float64)
    chances = np.exp(predictions - predictions.max(1, keepdims=True))
    return chances[:, 0] / chances.sum(1)


def measured(chances: np.ndarray, held: Images, threshold: float) -> dict[str, Any]:
    """Return the share of each source that is refused at a threshold, and at 5 % of the genuine."""
    five = float(np.quantile(chances[held.classes == 0], 0.05))
    result: dict[str, Any] = {"threshold_at_5_percent": five}
    for name in sorted(set(held.sources)):
        own = chances[held.sources == name]
        result[str(name)] = {
            "pictures": len(own),
            "refused": float((own < threshold).mean()),
            "refused_at_5_percent": float((own < five).mean()),
        }
    return result


def _card(
    recipe: GateRecipe, threshold: float, table: Any, metrics: dict[str, Any], seed: int
) -> Card:
    side = recipe.input_px
    counts = table.groupby(["source", "split"]).size()
    return Card(
        name=recipe.name, version=lesionedge.__version__, description=recipe.description,
        architecture=f"mobilenetv2 to {recipe.last_block}",
        labels=tuple(Label(k, NAMES[k], malignant=False) for k in sources.LABELS),
        input=Input(
            side, side, mean=(PIXEL_MEAN,) * 3, std=(PIXEL_STD,) * 3
        ),
        output=Output("softmax"), quantization=Quantization("none"),
        calibration=Calibration("none", {"float": 1.0}),
        gate=Gate(threshold, recipe.refused),  # until calibrated
        data=TrainingData(
            "HAM10000, ISIC 2017, PAD-UFES-20, ImageNet photographs, generated images",
            "by lesion (HAM10000), by patient (PAD-UFES-20)", seed,
            {f"{a} {b}": int(n) for (a, b), n in counts.items()},
        ),
        metrics={"test": metrics["test"]},
        licence="CC BY-NC 4.0", attribution=ATTRIBUTION,
        intended_use="Tells whether an image is one that a dermoscopic classifier may speak about",
        limits=(
            "Trained on dermoscopic images of mostly light skin; unusual ones may be refused",
            "Knows few hundred photographs; one that looks like dermoscopy may pass",
        ),
    )  # fmt: skip


ATTRIBUTION = (
    "Trained on HAM10000 (Tschandl et al., Sci. Data 5, 180161, 2018, "
    "doi:10.1038/sdata.2018.161), CC BY-NC 4.0; ISIC 2017 (Codella et al., ISBI 2018), CC BY-NC; "
    "PAD-UFES-20 (Pacheco et al., Data in Brief 32, 2020, doi:10.1016/j.dib.2020.106221), "
    "CC BY 4.0; photographs of ImageNet (Russakovsky et al. 2015), for research; starting from "
    "MobileNetV2 weights of ImageNet (Google, Apache-2.0)"
)
