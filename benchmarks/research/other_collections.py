"""Learning from other collections: many settings of the stage ``mixed``, measured alike.

    python benchmarks/research/other_collections.py run SETTINGS --data HAM10000 --bcn20000 BCN
        --isic2017 HALVES --out DIR
    python benchmarks/research/other_collections.py table DIR

Each line of SETTINGS is a training (``other_collections.jsonl``, beside this file). All begin with
the float ``mobilenetv2`` of fold 1, and train as the stage ``mixed`` of its recipe does except
where the settings say otherwise. They are measured on images that none of them learns from, each
with temperatures of its own:

- ``calibration``: HAM10000's calibration images, on which the temperatures are fitted;
- ``bcn20000``: one in eight lesions of BCN_20000, none of palms or soles;
- ``acral``: half of BCN_20000's lesions of palms and soles;
- ``isic2017``: the half of ISIC 2017 that is not learnt from.

HALVES is what ``release/halve.py`` writes. BCN holds ``labels.csv`` with the columns image_id, dx,
lesion_id and site, and a folder ``images``. ``DIR`` gets a file of predictions for each training;
what has one is passed over, so that the same command goes on where it was stopped. ``table``
prints the differences to the network that all begin with, or with ``--less`` to a training.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

# The recipe's network needs Keras 2, which TensorFlow takes only when asked at its start.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import pandas as pd
import tensorflow as tf
import tf_keras as keras
from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass
from studies import difference, span
from styles import restyled
from trainings import plain, read
from twins import ROOT, SPLIT

from lesionedge.atomic import whole_file, write_text
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import Weighted, interval, resamples
from lesionedge.image import Preprocessing, fit
from train import calibration, command_line
from train import recipe as recipes
from train.data import cache, folds
from train.data.prepare import Data, Source, prepare
from train.fit import others
from train.fit.batches import Lessons
from train.fit.network import STATISTICS_IMAGES
from train.fit.stages import set_trainable
from train.fit.trainer import Trainer
from train.models import architectures
from train.models.batch_norm import folded
from train.models.inference import logits
from train.models.pixels import normalise
from train.models.weights import load_weights
from train.recipe import Distil, Recipe, Shortened, Stage
from train.run import Run
from train.settings import STRICT, AtLeastOne, Count, Positive, Share

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
BASE = ROOT / "release" / "base" / "mobilenetv2-fold-1.npz"
START = "start"
"""What the network that all begin with is called."""
MEASURED = ("calibration", "bcn20000", "acral", "isic2017")
MEASURED_BY_CLASS = ("calibration", "bcn20000")
"""Those that have images of all classes, and their diagnoses."""
MIXES = (0.6, 1.0)
"""Shares of the new weights in the network that is measured; the recipe's, and all."""
RARE = ("akiec", "bcc", "df", "vasc")
"""Diagnoses of which BCN_20000 has more images than HAM10000, or as many."""
ACRAL = "acral palms or soles"
HELD_OUT = 8
"""One in so many lesions of BCN_20000 is measured."""
TAKEN = (341, 256)
"""Width and height, in px, to which ISIC 2017's squeezed images are stretched again."""


@dataclass(frozen=True, config=STRICT)
class Settings:
    """One training."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    """What it is called, and its file: letters, digits, ``_``, ``.`` and ``-``."""
    steps: AtLeastOne = 1000
    """How many batches."""
    learning_rate: Positive | None = None
    """Its highest; None: the recipe's."""
    train: str = ""
    """``all`` or the first layer that learns; empty: the recipe's."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """How much less each block learns than the one behind it."""
    bcn20000: Literal["all", "rare", "not-acral", "none"] = "all"
    """Which of BCN_20000's images are learnt from: ``rare`` diagnoses, none of palms and soles."""
    bcn20000_share: Share | None = None
    """Their share of a batch; None: the recipe's."""
    taught: Share | None = None
    """Share of the loss that compares with what the start predicts; None: the recipe's."""
    taught_others: bool = False
    """Whether the start is asked about other collections, too."""
    style: Literal["none", "colours", "fourier", "features"] = "none"
    """Which style images exchange (``styles.py``)."""
    seed: Count = 1
    """Fixes the order and the random changes."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """Images that nothing learns from."""

    pixels: np.ndarray
    """(N, 224, 224, 3) uint8 RGB."""
    truth: np.ndarray
    """(N,) int class numbers; in ISIC 2017 a melanoma's, or -1."""
    groups: np.ndarray
    """(N,) str: the lesion."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What is the same for all trainings."""

    recipe: Recipe
    data: Data
    run: Run
    """Where splits and messages go."""
    folders: Mapping[str, Path]
    """Of ISIC 2017, and of each choice of BCN_20000's images."""
    measured: Mapping[str, Measured]


@click.group()
def main() -> None:
    """Try settings of the stage that learns from other collections."""


@main.command()
@click.argument("configs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", required=True, type=FOLDER, help="HAM10000.")
@click.option("--bcn20000", required=True, type=FOLDER)
@click.option("--isic2017", required=True, type=FOLDER, help="What release/halve.py writes.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
def run(configs: Path, data: Path, bcn20000: Path, isic2017: Path, out: Path) -> None:
    """Do each training of CONFIGS, JSON lines, whose predictions are not in --out."""
    queue = read(Settings, configs, taken=(START, "truth"))
    for given in queue:
        kept = out / f"{given.name}.npz"
        if kept.exists() and load(kept)["settings"] != plain(given):
            raise SystemExit(
                f"error: {kept}: is of other settings; give the training of {configs} another name"
            )
    inputs = prepared(data, bcn20000, isic2017, out)
    if not (out / f"{START}.npz").exists():
        found = predicted(started(inputs), inputs)
        keep(out / f"{START}.npz", {0.0: found}, {"name": START})
    for given in queue:
        if not (out / f"{given.name}.npz").exists():
            keep(out / f"{given.name}.npz", trained(given, inputs), plain(given))


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--less", metavar="NAME", default=START, help="The training to compare with (start).")
def table(folder: Path, less: str) -> None:
    """Print a Markdown table of FOLDER's predictions."""
    if not (folder / f"{less}.npz").is_file():
        raise SystemExit(f"error: {folder}: has no {less}.npz")
    for line in report(folder, less):
        click.echo(line)


def prepared(data: Path, bcn20000: Path, isic2017: Path, out: Path) -> Inputs:
    """Read and prepare all images; fold 1 is divided as the embedded file's twin is."""
    run = Run(out / "fold-1")
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.split.exists():
        table = pd.read_csv(SPLIT, dtype={"label": str, "lesion": str, "path": str})
        write_text(run.split, folds.divide(table, 2, seed=1)["fold-1"].to_csv(index=False))
    given = recipes.read("mobilenetv2")
    also = Shortened(also=("bcn20000", "isic2017"))  # without them the recipe leaves them out
    recipe = recipes.loads(recipes.shortened_text(given, also), "mobilenetv2")
    own = prepare(recipe, Source(data), run, seed=1, cache_folder=out / "cache")
    bcn = divided(bcn20000, own.labels)
    folders = {"isic2017": isic2017}
    for name, chosen in learnt(bcn).items():
        folders[name] = out / f"bcn20000-{name}"
        folders[name].mkdir(exist_ok=True)
        rows = chosen.assign(split="train")[["path", "label", "split"]]
        write_text(folders[name] / "labels.csv", rows.to_csv(index=False))
    rows = own.rows("calibration")
    measured = {
        "calibration": Measured(
            own.inputs("calibration", recipe.input), own.classes[rows],
            own.table["group"].to_numpy()[rows].astype(str),
        ),
        **{name: of_bcn(bcn[bcn["part"] == name], own, recipe) for name in ("bcn20000", "acral")},
        "isic2017": of_isic(isic2017, own, recipe),
    }  # fmt: skip
    truth = {f"{name}:{what}": getattr(one, what)
             for name, one in measured.items() for what in ("truth", "groups")}  # fmt: skip
    with whole_file(out / "truth.npz") as stream:
        np.savez(stream, labels=np.array(own.labels), **truth)
    return Inputs(recipe, own, run, folders, measured)


def divided(folder: Path, labels: tuple[str, ...]) -> pd.DataFrame:
    """Return BCN_20000's images with columns path, label, lesion, acral and part.

    A lesion's part is fixed by its name: ``train``, ``bcn20000`` or ``acral``.
    """
    table = pd.read_csv(folder / "labels.csv").rename(columns={"dx": "label"})
    table = table[table["label"].isin(labels)].reset_index(drop=True)
    lesion = table["lesion_id"].fillna(table["image_id"]).astype(str)
    acral = table["site"].eq(ACRAL).groupby(lesion).transform("any")
    number = lesion.map(lambda name: zlib.crc32(name.encode()))
    held_out = np.where(acral, number % 2 == 0, number % HELD_OUT == 0)
    part = np.where(held_out, np.where(acral, "acral", "bcn20000"), "train")
    paths = [(folder / "images" / f"{name}.jpg").absolute() for name in table["image_id"]]
    return table[["label"]].assign(path=paths, lesion=lesion, acral=acral, part=part)


def learnt(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what ``Settings.bcn20000`` chooses, by its name."""
    rest = table[table["part"] == "train"]
    return {
        "all": rest, "rare": rest[rest["label"].isin(RARE)], "not-acral": rest[~rest["acral"]],
    }  # fmt: skip


def of_bcn(table: pd.DataFrame, own: Data, recipe: Recipe) -> Measured:
    """Prepare some of BCN_20000's images as the device would."""
    pixels, good = cache.prepared([*table["path"]], recipe.input, own.folder)
    truth = table["label"].map(own.labels.index).to_numpy()
    return Measured(pixels[good], truth[good], table["lesion"].to_numpy(str)[good])


def of_isic(folder: Path, own: Data, recipe: Recipe) -> Measured:
    """Prepare the half of ISIC 2017 to measure on, stretched as the images were taken."""
    table = pd.read_csv(folder / "labels.csv")
    table = table[table["split"] == "test"]
    stretched = Preprocessing(*TAKEN, crop="stretch", resampling="bicubic")
    paths = [Path(path) for path in table["path"]]
    pixels, good = cache.prepared(paths, stretched, own.folder)
    inputs = [fit(Image.fromarray(one), recipe.input) for one in pixels[good]]
    melanoma = table["label"].eq("malignant").to_numpy()[good]
    truth = np.where(melanoma, own.labels.index("mel"), -1)
    return Measured(np.stack(inputs), truth, np.array([path.stem for path in paths])[good])


def started(inputs: Inputs) -> keras.Model:
    """Return the network that all begin with, batch normalisation folded into convolutions."""
    data, recipe = inputs.data, inputs.recipe
    model = architectures.build(
        recipe.model, classes=len(data.labels), height_px=None, width_px=None
    )
    rows = np.random.default_rng(1).permutation(data.train_rows)[:STATISTICS_IMAGES]
    side = stage_of(recipe).input_px
    resized = tf.image.resize(data.pixels[np.sort(rows)], (side, side))
    load_weights(model, BASE, normalise(resized).numpy())
    return folded(model)


def stage_of(recipe: Recipe) -> Stage:
    """Return the recipe's stage that learns from other collections."""
    return next(stage for stage in recipe.stages if stage.others)


def trained(given: Settings, inputs: Inputs) -> dict[float, dict[str, np.ndarray]]:
    """Train, and return logits by mix and by what is measured."""
    keras.backend.clear_session()
    tf.keras.utils.set_random_seed(given.seed)
    own = stage_of(inputs.recipe)
    chosen = {name: value for name, value in (
        ("learning_rate", given.learning_rate), ("train", given.train or None),
        ("taught", given.taught)) if value is not None}  # fmt: skip
    # A stage of one epoch, which has as many steps as the settings say.
    stage = replace(own, epochs=1, warmup_epochs=min(0.1, 100 / given.steps), **chosen)
    model = started(inputs)
    start = model.get_weights()
    set_trainable(model, stage)
    trainer = trainer_of(given, stage, model, inputs)
    trainer.epoch(
        0, seed=(given.seed, 0), say=lambda text: click.echo(f"{given.name}: {text}", err=True)
    )
    after = trainer.average()
    found = {}
    for mix in MIXES:
        model.set_weights([(1 - mix) * a + mix * b for a, b in zip(start, after)])
        found[mix] = predicted(model, inputs)
    return found


def trainer_of(given: Settings, stage: Stage, model: keras.Model, inputs: Inputs) -> Trainer:
    """Return what trains the model."""
    recipe, data = inputs.recipe, inputs.data
    collections = tuple(
        one if one.name != "bcn20000" or given.bcn20000_share is None
        else replace(one, share=given.bcn20000_share)
        for one in recipe.others
        if one.name != "bcn20000" or given.bcn20000 != "none"
    )  # fmt: skip
    recipe = replace(recipe, others=collections, distil=Distil(share=stage.taught))
    folders = {**inputs.folders, "bcn20000": inputs.folders.get(given.bcn20000, Path())}
    mixed, meanings = others.prepare(recipe, data, folders, inputs.run)
    teacher = keras.models.clone_model(model) if stage.taught else None
    if teacher is not None:
        teacher.set_weights(model.get_weights())
    lessons = Lessons(
        data.pixels, data.classes, data.train_rows, teacher=teacher, others=mixed, meanings=meanings
    )
    wanted = given.steps * lessons.own(recipe.batch_size)
    rows = np.tile(data.train_rows, -(-wanted // len(data.train_rows)))[:wanted]
    trainer = Trainer(recipe, stage, restyled(model, given.style), replace(lessons, rows=rows))
    if given.taught_others:
        trainer.own = recipe.batch_size
    if given.layer_decay < 1:
        trainer.optimizer = LayerWise(given.layer_decay, weight_decay=recipe.weight_decay)
        trainer.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        trainer.optimizer.build(trainer.variables)
    return trainer


class LayerWise(keras.optimizers.AdamW):
    """AdamW under which each block of MobileNetV2 learns less than the one behind it."""

    def __init__(self, decay: float, **given: Any) -> None:
        super().__init__(0.0, **given)
        self.decay = decay

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Move a variable by its share of AdamW's step."""
        before = tf.identity(variable)
        super().update_step(gradient, variable)
        variable.assign(before + self.decay ** depth(variable.name) * (variable - before))


def depth(name: str) -> int:
    """Return how many blocks are behind a variable's."""
    first = name.split("/", maxsplit=1)[0]
    if first.startswith("block_"):
        return 17 - int(first.split("_")[1])
    return 17 if first.startswith(("Conv1", "expanded_conv")) else 0


def predicted(model: keras.Model, inputs: Inputs) -> dict[str, np.ndarray]:
    """Return (N, classes) logits of everything that is measured."""
    return {name: logits(model, one.pixels) for name, one in inputs.measured.items()}


def keep(
    file: Path, found: Mapping[float, Mapping[str, np.ndarray]], given: Mapping[str, Any]
) -> None:
    """Write a training's logits and settings."""
    arrays = {f"{mix}:{name}": one for mix, each in found.items() for name, one in each.items()}
    with whole_file(file) as stream:
        np.savez(stream, settings=np.array(json.dumps(given)), **arrays)


def load(file: Path) -> dict[str, Any]:
    """Read what ``keep`` has written: settings, and logits by ``MIX:NAME``."""
    with np.load(file) as kept:
        return {name: json.loads(str(kept[name])) if name == "settings" else kept[name]
                for name in kept.files}  # fmt: skip


def report(folder: Path, less: str) -> Iterator[str]:
    """Yield the lines of a Markdown table: one training's figures, and differences to them.

    Where it is no start, each is compared with it at the same share of the new weights.
    """
    with np.load(folder / "truth.npz") as kept:
        truth = dict(kept)
    files = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime)
    there = {file.stem: load(file) for file in files if file.stem != "truth"}
    draws = {name: resamples(truth[f"{name}:groups"]) for name in MEASURED}
    shares = [str(mix) for mix in MIXES]
    other = {mix: figures(there[less], "0.0" if less == START else mix, truth) for mix in shares}
    titles = list(other[shares[0]])
    yield f"| training | share of the new weights | {' | '.join(titles)} |"
    yield "|---|---|" + "---|" * len(titles)
    for mix in shares[:1] if less == START else shares:
        cells = [span(interval(other[mix][what], draws[what.split(":")[0]])) for what in titles]
        yield f"| {less} | {'' if less == START else mix} | {' | '.join(cells)} |"
    for name, kept in there.items():
        for mix in shares if name not in (START, less) else ():
            own = figures(kept, mix, truth)
            gaps = [difference(own[what], other[mix][what]) for what in titles]
            cells = [span(interval(gap, draws[what.split(":")[0]]), "+.3f")
                     for what, gap in zip(titles, gaps)]  # fmt: skip
            yield f"| {name} | {mix} | {' | '.join(cells)} |"


def figures(
    found: Mapping[str, np.ndarray], mix: str, truth: Mapping[str, np.ndarray]
) -> dict[str, Weighted]:
    """Return a network's figures, by what is measured and the figure's name."""
    melanoma = list(truth["labels"]).index("mel")
    fitted = calibration.fit(found[f"{mix}:calibration"], truth["calibration:truth"])
    result: dict[str, Weighted] = {}
    for name in MEASURED:
        probabilities = fitted.probabilities(found[f"{mix}:{name}"])
        true = truth[f"{name}:truth"]
        if name in MEASURED_BY_CLASS:
            right = probabilities.argmax(1) == true
            result[f"{name}: balanced accuracy"] = _balanced(right, true)
        result[f"{name}: melanoma AUROC"] = weighted.auroc(
            true == melanoma, probabilities[:, melanoma]
        )
    return result


def _balanced(right: np.ndarray, truth: np.ndarray) -> Weighted:
    return lambda weights: weighted.balanced_accuracy(right, truth, weights)


if __name__ == "__main__":
    command_line.run(main)
