"""Does preparing training batches hold the training back?

    python benchmarks/research/input_pipeline.py [--recipe mobilenetv2] [--steps 30]

Times training steps on batches that come through the pipeline (random cuts, turns and colours)
and on one batch that is there already, in turns, and prints the ratio of the speeds. The images
are random numbers: only their size matters.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from train import recipe
from train.fit.batches import training_batches
from train.fit.trainer import Trainer
from train.models import architectures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of the training input pipeline.")
    parser.add_argument("--recipe", default="mobilenetv2")
    parser.add_argument("--steps", type=int, default=30, help="steps of each kind a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    loaded = recipe.load(options.recipe)
    stage = next(stage for stage in loaded.stages if stage.train == "all")
    model = architectures.build(loaded.model, classes=7, height_px=None, width_px=None)
    count = loaded.batch_size * options.steps * options.rounds * 2
    labels = np.arange(count) % 7
    trainer = Trainer(loaded, stage, model, labels, 7)
    side = loaded.cache_side_px
    pixels = np.random.default_rng(0).integers(0, 256, (512, side, side * 4 // 3, 3), np.uint8)
    stream = iter(endless(loaded, stage.input_px, pixels, labels))
    fixed = next(stream)
    decay = tf.constant(0.9)
    for _ in range(3):
        trainer.train_step(*next(stream), decay)
    ratios, speeds = [], []
    for _ in range(options.rounds):
        through = timed(trainer, (next(stream) for _ in range(options.steps)), decay)
        ready = timed(trainer, (fixed for _ in range(options.steps)), decay)
        ratios.append(ready / through)
        speeds.append(options.steps * loaded.batch_size / through)
    print(
        f"{Path(__file__).stem}, {options.recipe} at {stage.input_px} px: "
        f"{statistics.median(speeds):.1f} images/s through the pipeline, "
        f"{statistics.median(ratios):.1%} of the model's own speed "
        f"[{min(ratios):.1%}, {max(ratios):.1%}]"
    )


def endless(loaded: Any, side: int, pixels: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    """Batches of epoch after epoch."""
    for epoch in itertools.count():
        yield from training_batches(
            pixels, labels[: len(pixels)], np.arange(len(pixels)), augment=loaded.augment,
            input_px=side, batch_size=loaded.batch_size, seed=(1, epoch),
        )  # fmt: skip


def timed(trainer: Trainer, batches: Iterator[Any], decay: tf.Tensor) -> float:
    """Seconds that some training steps take."""
    begin = time.perf_counter()
    for images, labels in batches:
        float(trainer.train_step(images, labels, decay))
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
