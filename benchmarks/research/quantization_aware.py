"""Quantization-aware training with the float network as teacher: many settings, measured alike.

    python benchmarks/research/quantization_aware.py prepare --data HAM10000 --out DIR
    python benchmarks/research/quantization_aware.py run SETTINGS --out DIR
    python benchmarks/research/quantization_aware.py table DIR

The network is ``mobilenetv2`` of fold 1. Each line of SETTINGS is a training
(``quantization_aware.jsonl``, beside this file). All begin with the network that ships: rounded,
ranges measured, with bias correction. The teacher has seen each image decoded in full; the student
sees it in the variants of its settings and learns the teacher's logits, maybe its features and the
labels too. The result is converted to int8, and LiteRT measures it on fold 1's test images, decoded
in full and at a reduced scale, against the float network. ``DIR/results.jsonl`` gets a line a
training; what has one is passed over, so that the same command goes on where it was stopped.
``prepare`` takes 4 GB of disk.

``python -m train quantize`` trains what ships; it has its own loop (``train.fit``). The step here
is a small one of its own: it also learns features, trains a part of the variables, keeps ranges
and statistics fixed, and tries many settings in one process. The network, its rounding, the loss
of the labels, the schedule and the calibration are those of ``train``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

# Quantization-aware training needs Keras 2, which TensorFlow takes only when asked at its start.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import quantization_inputs
import tensorflow as tf
import tf_keras as keras
from pydantic import Field
from pydantic.dataclasses import dataclass
from quantization_inputs import MEASURED, SIDE, Inputs
from trainings import plain, read

from convert import export
from lesionedge.atomic import write_bytes
from lesionedge.diagnosis import describe
from lesionedge.evaluation.comparison import differences
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel
from lesionedge.evaluation.metrics import measure
from lesionedge.interpreter import Interpreter
from train import calibration, command_line
from train.fit.losses import classes_alone, logit_adjusted
from train.fit.schedule import learning_rate
from train.models.batch_norm import batch_norms
from train.models.pixels import normalise
from train.recipe import Loss, Stage
from train.settings import STRICT, AtLeastOne, BelowOne, Count, NotNegative

PARTS = {
    "all": ("kernel", "gamma", "beta", "bias"),
    "kernels": ("kernel",),
    "norms": ("gamma", "beta", "bias"),
    "shifts": ("beta", "bias"),
}
"""What may be trained: name -> how names of its variables end."""
MOMENTUM = 0.99
"""Batch normalisation's, where its statistics are free: a training is some hundred steps."""
FINAL_SHARE = 0.05
"""Share of the learning rate that the cosine ends at."""
SHOWN = ("balanced_accuracy", "melanoma_auroc", "ece")
"""Figures that are kept of ``measure``."""
PRINT_EVERY = 10
"""Steps after which progress is printed, and over how many steps the divergence is averaged."""
Variants = Annotated[tuple[Literal["stored", "full", "reduced"], ...], Field(min_length=1)]
"""Names of ``quantization_inputs.VARIANTS``."""


@dataclass(frozen=True, config=STRICT)
class Settings:
    """One training."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    """What it is called, and its file: letters, digits, ``_``, ``.`` and ``-``."""
    learning_rate: NotNegative = 3e-6
    """Its highest, of Adam."""
    steps: Count = 150
    """0: the start is measured as it is."""
    batch_size: AtLeastOne = 32
    warmup_steps: Count = 5
    """Over how many steps the learning rate rises."""
    train: Literal["all", "kernels", "norms", "shifts"] = "all"
    """Which variables; ``norms``: scales, shifts and the head's bias; ``shifts``: no scales."""
    feature_weight: NotNegative = 0.0
    """Weight of the features' squared error, as a share of their variance."""
    label_weight: NotNegative = 0.0
    """Weight of the labels' logit-adjusted cross-entropy; the divergence from the teacher has 1."""
    variants: Variants = ("full", "reduced")
    """How the images are decoded, in turn."""
    ema: BelowOne = 0.95
    """Decay a step of the weights' moving average, which is what is kept; 0: the last step's."""
    statistics: Literal["fixed", "free"] = "fixed"
    """What batch normalisation learns by: its moving statistics, or each batch's (``free``)."""
    seed: Count = 0
    """Fixes the order of the images."""


@click.group()
def main() -> None:
    """Train mobilenetv2 of fold 1 quantization-aware in many ways, and measure each."""


@main.command()
@click.option(
    "--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="HAM10000.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--images", type=click.IntRange(min=6), help="About how many images, for a try.")
def prepare(data: Path, out: Path, images: int | None) -> None:
    """Decode the images, ask the float network about them, and round it."""
    quantization_inputs.prepare(data, out, images=images)
    click.echo(f"{out}: ready to run", err=True)


@main.command()
@click.argument("configs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
def run(configs: Path, out: Path) -> None:
    """Do each training of CONFIGS, JSON lines, that --out has no result of."""
    queue = read(Settings, configs)
    inputs = quantization_inputs.of_folder(out)
    done = {row["settings"]["name"]: row["settings"] for row in results(out)}
    for given in queue:
        if given.name not in done:
            _append(out / "results.jsonl", measured(given, inputs))
        elif done[given.name] != plain(given):
            raise SystemExit(
                f"error: {out}: has a result of {given.name} with other settings; give the "
                f"training of {configs} another name"
            )


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def table(folder: Path) -> None:
    """Print a Markdown table of FOLDER's results."""
    for line in report(results(folder)):
        click.echo(line)


def results(folder: Path) -> list[dict[str, Any]]:
    """Read the results so far."""
    file = folder / "results.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [json.loads(line) for line in lines]


def _append(file: Path, row: dict[str, Any]) -> None:
    lines = file.read_bytes() if file.is_file() else b""
    write_bytes(file, lines + json.dumps(row).encode() + b"\n")


def measured(given: Settings, inputs: Inputs) -> dict[str, Any]:
    """Train, convert and measure; return the line of ``results.jsonl``."""
    keras.backend.clear_session()
    begin = time.monotonic()
    student = Student(given, inputs)
    divergence = student.learn()
    seconds = round(time.monotonic() - begin)
    file = inputs.folder / f"{given.name}.tflite"
    converter = tf.lite.TFLiteConverter.from_keras_model(student.finished())
    write_bytes(file, export.int8(converter))
    found = {name: predicted(file, inputs.measured(name)) for name in MEASURED}
    return {
        "settings": plain(given), "date": time.strftime("%Y-%m-%d"), "training_s": seconds,
        "images": len(inputs.table), "divergence": divergence,
        **figures(found, inputs.read("float.npz"), inputs),
    }  # fmt: skip


class Student:
    """The rounded network, its teacher's predictions, its optimizer and its averaged weights."""

    def __init__(self, given: Settings, inputs: Inputs) -> None:
        self.given, self.inputs = given, inputs
        self.teacher = inputs.read("teacher.npz")
        spread = self.teacher["features"].astype(np.float32).var(axis=0).mean()
        self.spread = tf.constant(spread, tf.float32)
        self.model = quantization_inputs.start(inputs)
        for norm in batch_norms(self.model):
            norm.momentum = MOMENTUM
            if given.statistics == "fixed":
                fix_statistics(norm)
        features = next(one for one in self.model.layers if one.name.endswith("features"))
        self.network = keras.Model(self.model.input, [self.model.output, features.output])
        counts = np.bincount(inputs.classes[inputs.rows("train")], minlength=len(inputs.labels))
        self.label_loss = logit_adjusted(Loss(), classes_alone(counts))
        parts = PARTS[given.train]
        self.variables = [v for v in self.model.trainable_variables if _name(v).endswith(parts)]
        self.optimizer = keras.optimizers.Adam(0.0)
        self.optimizer.build(self.variables)
        floats = [v for v in self.model.weights if v.dtype.is_floating]
        self.averages = [(v, tf.Variable(v, trainable=False)) for v in floats]
        self.ranges = [(v, v.numpy()) for v in floats if _is_range(v) and not _of_kernel(v)]
        self.step = tf.function(self._step)

    def learn(self) -> list[float]:
        """Train; return the mean divergence from the teacher of the first and the last steps."""
        given, seen = self.given, []
        for number, chosen in enumerate(self._order()):
            self.optimizer.learning_rate.assign(self._rate(number))
            # The average of the first steps is over few: let it move as fast as they do.
            decay = min(given.ema, (1 + number) / (10 + number)) if given.ema else 0.0
            seen.append(float(self.step(*self._lesson(number, chosen), tf.constant(decay))))
            if (number + 1) % PRINT_EVERY == 0 or number + 1 == given.steps:
                mean = np.mean(seen[-PRINT_EVERY:])
                click.echo(f"{given.name} {number + 1}/{given.steps}: {mean:.5f}", err=True)
        ends = (seen[:PRINT_EVERY], seen[-PRINT_EVERY:]) if seen else ()
        return [float(np.mean(each)) for each in ends]

    def _order(self) -> np.ndarray:
        """Return the teacher's rows of each step, (steps, batch_size) int."""
        rng, count = np.random.default_rng(self.given.seed), len(self.teacher["rows"])
        total = self.given.steps * self.given.batch_size
        passes = [rng.permutation(count) for _ in range(total // count + 1)]
        return np.concatenate(passes)[:total].reshape(self.given.steps, self.given.batch_size)

    def _rate(self, number: int) -> float:
        given = self.given
        stage = Stage(
            given.name, 1, given.learning_rate, SIDE,
            final_learning_rate=FINAL_SHARE * given.learning_rate,
            warmup_epochs=given.warmup_steps / given.steps,
        )  # fmt: skip
        return learning_rate(stage, number, steps=given.steps, scores=())

    def _lesson(self, number: int, chosen: np.ndarray) -> tuple[tf.Tensor, ...]:
        """Return a step's images, the teacher's logits and features, and the labels."""
        kinds, first = self.given.variants, number * len(chosen)
        variants = [kinds[(first + place) % len(kinds)] for place in range(len(chosen))]
        rows = self.teacher["rows"][chosen]
        return (
            tf.constant(self.inputs.batch(variants, rows, self.teacher["views"][chosen])),
            tf.constant(self.teacher["logits"][chosen]),
            tf.constant(self.teacher["features"][chosen].astype(np.float32)),
            tf.constant(self.inputs.classes[rows]),
        )

    def _step(
        self, images: tf.Tensor, logits: tf.Tensor, features: tf.Tensor, labels: tf.Tensor,
        decay: tf.Tensor,
    ) -> tf.Tensor:  # fmt: skip
        given = self.given
        with tf.GradientTape() as tape:
            found, own = self.network(normalise(images), training=True)
            divergence = tf.reduce_mean(
                keras.losses.kl_divergence(tf.nn.softmax(logits), tf.nn.softmax(found))
            )
            error = tf.reduce_mean(tf.square(own - features)) / self.spread
            hard = tf.reduce_mean(self.label_loss(labels, found))
            loss = divergence + given.feature_weight * error + given.label_weight * hard
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, self.variables), 1.0)
        self.optimizer.apply_gradients(zip(gradients, self.variables))
        for variable, value in self.ranges:
            variable.assign(value)
        for variable, mean in self.averages:
            mean.assign_add((variable - mean) * (1 - decay))
        return divergence

    def finished(self) -> keras.Model:
        """Return the network with its averaged weights, and kernels' ranges that are theirs."""
        for variable, mean in self.averages:
            variable.assign(mean)
        kept = [(v, v.numpy()) for v in self.model.weights if not _of_kernel(v)]
        self.model(tf.zeros((1, SIDE, SIDE, 3)), training=True)  # takes the kernels' extremes
        for variable, value in kept:
            variable.assign(value)
        return self.model


def fix_statistics(norm: keras.layers.BatchNormalization) -> None:
    """Make batch normalisation use its moving statistics in training; scale and shift still learn.

    With ``trainable = False`` they would not.
    """

    def call(inputs: tf.Tensor, training: object = None) -> tf.Tensor:
        return type(norm).call(norm, inputs, training=False)

    norm.call = call


def _name(variable: tf.Variable) -> str:
    return str(variable.name.split("/")[-1].split(":")[0])


def _is_range(variable: tf.Variable) -> bool:
    return _name(variable).endswith(("_min", "_max"))


def _of_kernel(variable: tf.Variable) -> bool:
    return _name(variable).endswith(("kernel_min", "kernel_max"))


def predicted(file: Path, images: np.ndarray) -> np.ndarray:
    """Return LiteRT's logits of (N, 224, 224, 3) uint8 images, (N, classes) float32."""
    interpreter = Interpreter(file)
    return np.stack([interpreter.run(pixels) for pixels in images])


def figures(
    found: dict[str, np.ndarray], floating: dict[str, np.ndarray], inputs: Inputs
) -> dict[str, Any]:
    """Compare an int8 network with the float one.

    Args:
        found: Name in ``MEASURED`` -> (N, classes) logits, of the int8 network.
        floating: The same of the float network.
        inputs: What both were asked about.

    Returns:
        ``full`` and ``reduced``: figures, and their differences to the float network that sees
        images decoded in full; ``reduced_less_full``: the int8 network's own differences;
        ``turned`` and ``float``: shares of the predictions that change.
    """
    own, teacher = calibrated(found, inputs), calibrated(floating, inputs)
    return {
        "full": against(own["full"], teacher["full"], inputs),
        "reduced": against(own["reduced"], teacher["full"], inputs),
        "reduced_less_full": less(own["reduced"], own["full"], inputs),
        "turned": changed(own["turned"], own["full"]),
        "float": {
            "turned": changed(teacher["turned"], teacher["full"]),
            "reduced": changed(teacher["reduced"], teacher["full"]),
        },
    }


def calibrated(logits: dict[str, np.ndarray], inputs: Inputs) -> dict[str, np.ndarray]:
    """Return (N, classes) probabilities by name, calibrated as a release is."""
    truth = inputs.classes[inputs.rows("calibration")]
    fitted = calibration.fit(logits["calibration"], truth)
    return {name: fitted.probabilities(values) for name, values in logits.items()}


def against(own: np.ndarray, teacher: np.ndarray, inputs: Inputs) -> dict[str, Any]:
    """Return figures of (N, classes) probabilities, and their differences to the teacher's."""
    rows = inputs.rows("test")
    groups = inputs.table["group"].to_numpy()[rows]
    found = measure(own, inputs.classes[rows], groups, inputs.labels, malignant(inputs))
    return {
        **{name: found[name] for name in SHOWN if name in found},
        "less_float": less(own, teacher, inputs),
    }


def less(one: np.ndarray, other: np.ndarray, inputs: Inputs) -> dict[str, Any]:
    """Return the paired differences of two predictions' figures, and how many labels differ."""
    rows = inputs.rows("test")
    images = LabelledImages(inputs.table.iloc[rows], inputs.classes[rows])
    first, second = (MeasuredModel("", each, each.argmax(1), {}) for each in (one, other))
    found = differences(first, second, images, inputs.labels, malignant(inputs))
    return {**{name: found[name] for name in SHOWN if name in found}, "other": changed(one, other)}


def malignant(inputs: Inputs) -> list[bool]:
    """Return which classes are malignant."""
    return [bool(describe(label).malignant) for label in inputs.labels]


def changed(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of images to which two predictions give another label."""
    return float((one.argmax(1) != other.argmax(1)).mean())


def report(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table; differences are to the float network, in full."""
    yield (
        "| training | divergence, first and last steps | balanced accuracy | other label | "
        "melanoma AUROC | calibration error | changed by turning | reduced: balanced accuracy | "
        "reduced: other label than in full |"
    )
    yield "|" + "---|" * 9
    for row in rows:
        ends = [f"{value:.4f}" for value in row["divergence"]]
        cells = [
            row["settings"]["name"], ", ".join(ends) or "-",
            cell(row["full"], "balanced_accuracy"), f"{row['full']['less_float']['other']:.1%}",
            cell(row["full"], "melanoma_auroc"), cell(row["full"], "ece"),
            f"{row['turned']:.1%} (float {row['float']['turned']:.1%})",
            cell(row["reduced"], "balanced_accuracy"),
            f"{row['reduced_less_full']['other']:.1%} (float {row['float']['reduced']:.1%})",
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def cell(found: dict[str, Any], name: str) -> str:
    """Return a figure and its difference to the float network with the paired interval."""
    if name not in found:
        return "-"
    own, gap = found[name]["value"], found["less_float"].get(name)
    if gap is None or None in gap.values():
        return f"{own:.3f}"
    return f"{own:.3f} ({gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}])"


if __name__ == "__main__":
    command_line.run(main)
