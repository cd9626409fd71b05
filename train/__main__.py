"""``python -m train``: recipes, prepare, folds, fit, quantize, evaluate, pool, label, weights."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lesionedge import datasets
from train import command_line, memory
from train.fit import distillation

if TYPE_CHECKING:
    from train.data.prepare import Source


@click.group()
def main() -> None:
    """Train a skin-lesion classifier: a dataset and a recipe become a run folder."""


@main.command()
def recipes() -> None:
    """List the recipes."""
    from train import recipe

    for name in recipe.names():
        click.echo(f"{name:24} {recipe.load(name).description}")


_data = click.option(
    "--data", type=click.Path(exists=True, path_type=Path), required=True,
    help="The dataset's folder, as published (for a plain csv: the folder or the file).",
)  # fmt: skip


_layout = click.option(
    "--layout", metavar="NAME", type=click.Choice(list(datasets.LAYOUTS)),
    help="How the folder is laid out (docs/reference/datasets.md) [default: found out].",
)  # fmt: skip
_drop_overlap = click.option(
    "--drop-overlap", "overlap", flag_value="drop",
    help="Leave out of train what is in the dataset's own test images too.",
)  # fmt: skip
_allow_overlap = click.option(
    "--allow-overlap", "overlap", flag_value="allow",
    help="Keep images that are in train and in test; test figures are then too good.",
)  # fmt: skip
_out = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="The run folder, such as runs/mobilenetv2.",
)  # fmt: skip
_seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=1,
    show_default=True,
    help="Makes a run repeatable.",
)
_cache = click.option(
    "--cache", "cache_folder", type=click.Path(file_okay=False, path_type=Path),
    help="Where prepared images are kept [default: cache beside the run folder].",
)  # fmt: skip


_elsewhere = click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The dataset's folder, where it lies elsewhere than split.csv says.",
)  # fmt: skip


def _source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what says where the images are and how they are taken: the command's ``source``."""

    @functools.wraps(command)
    def with_source(*, data: Path, layout: str | None, overlap: str | None, **others: Any) -> None:
        from train.data.prepare import Source

        command(source=Source(data, layout, overlap or "refuse"), **others)

    for option in (_allow_overlap, _drop_overlap, _layout, _data):
        with_source = option(with_source)
    return with_source


@main.command()
@click.argument("recipe_name", metavar="RECIPE")
@_source_options
@_out
@_seed
@_cache
@click.option(
    "--organize", type=click.Choice(["copy", "link"]),
    help="Also lay the images out in the run folder as organized_train|test/CLASS/.",
)  # fmt: skip
def prepare(
    recipe_name: str, source: Source, out: Path, seed: int, cache_folder: Path | None,
    organize: str | None,
) -> None:  # fmt: skip
    """Read the dataset, report what is skipped, split it and prepare its images."""
    from train import recipe
    from train.data import prepare as preparation
    from train.data.organize import organize as lay_out
    from train.run import Run

    run = Run(out)
    with run.lock():
        prepared = preparation.prepare(
            recipe.load(recipe_name), source, run, seed=seed,
            cache_folder=_cache_of(out, cache_folder),
        )  # fmt: skip
        if organize:
            for folder, count in lay_out(prepared.table, out, how=organize).items():
                run.say(f"{out / folder}: {count} images")
    click.echo(f"{run.split} written")


def _collections(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Return the folder of each collection that --also names."""
    found = {}
    for value in values:
        name, folder = value.split("=", 1) if "=" in value else (value, "")
        if not folder or not Path(folder).exists():
            raise click.BadParameter(f"{value!r}; expected NAME=FOLDER, a folder that is there")
        if name in found:
            raise click.BadParameter(f"{name} is given twice; expected one folder for each name")
        found[name] = Path(folder)
    return found


@main.command()
@click.argument("recipe_name", metavar="RECIPE")
@_source_options
@_out
@_seed
@_cache
@click.option(
    "--weights", type=click.Path(path_type=Path),
    help="ImageNet weights (a file); or a float16 .tflite of the same network, or an .npz from "
    "`weights`, to go on from; without it Keras downloads ImageNet's. 'random': do without.",
)  # fmt: skip
@click.option(
    "--as-given", is_flag=True,
    help="Take --weights as they are: train no float stage, but one that learns from other "
    "collections (--also).",
)  # fmt: skip
@click.option(
    "--also", metavar="NAME=FOLDER", multiple=True, callback=_collections,
    help="Another collection, of a recipe with [[others]], which names it. Several can be given.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), help="At most so many epochs a stage.")
@click.option(
    "--images",
    type=click.IntRange(min=1),
    help="Train on at most so many images; all are prepared.",
)
@click.option(
    "--soft-labels", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Teachers' predictions, from `label`, for a recipe with a [distil].",
)  # fmt: skip
@click.option(
    "--teacher", "teachers", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A .tflite file to be asked, for a recipe with [distil] crops; "
    "given twice it counts twice.",
)  # fmt: skip
@click.option(
    "--workers", "worker_count", type=click.IntRange(min=1), default=1, show_default=True,
    help="Processes on this machine that share each batch; on several machines set TF_CONFIG.",
)  # fmt: skip
def fit(
    recipe_name: str, source: Source, out: Path, seed: int, cache_folder: Path | None,
    weights: Path | None, as_given: bool, also: dict[str, Path], epochs: int | None,
    images: int | None, soft_labels: Path | None, teachers: tuple[Path, ...], worker_count: int,
) -> None:  # fmt: skip
    """Train as RECIPE says; the same command again resumes a training that was stopped.

    All GPUs of the machine are used. Several workers share the stages; one of them then calibrates
    alone.
    """
    from train.fit import workers
    from train.run import Run

    at_random = str(weights) == "random"
    if as_given and (weights is None or at_random):
        raise click.UsageError("--as-given needs --weights FILE")
    run = Run(out)
    if worker_count > 1 and not workers.is_member():
        workers.launch(sys.argv[1:], worker_count, checkpoint=run.state)
        return
    from train import recipe
    from train.fit.fit import Given
    from train.fit.fit import fit as train

    short = recipe.Shortened(epochs or 0, images or 0, "random" if at_random else "", as_given,
                             tuple(also))  # fmt: skip
    text = recipe.shortened_text(recipe.read(recipe_name), short)
    wanted = recipe.loads(text, recipe_name)
    given = Given(
        source, _cache_of(out, cache_folder), seed=seed, weights=None if at_random else weights,
        soft_labels=soft_labels, teachers=teachers, also=also,
    )  # fmt: skip
    if wanted.gate is not None:
        from train.gate.fit import fit as train_gate

        train_gate(wanted, text, run, given)
        return
    done = train(wanted, text, run, given)
    if not done and workers.is_chief():
        workers.go_on_alone()


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_elsewhere
@_layout
@_cache
def quantize(
    folder: Path, data: Path | None, layout: str | None, cache_folder: Path | None
) -> None:
    """Make the network in FOLDER, which `fit` has trained, ready for 8 bits.

    Where the recipe has a stage with `quantize = true`, it is trained that way; else it is rounded
    with bias correction. The same command again resumes what was stopped.
    """
    from train.quantize.quantize import quantize as make
    from train.run import Run

    make(
        Run(folder), data=data, layout=layout, cache_folder=_cache_of(folder, cache_folder)
    )  # fmt: skip


@main.command()
@click.argument(
    "models", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True
)
@_data
@_layout
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="The .npz to write.",
)  # fmt: skip
def label(models: tuple[Path, ...], data: Path, layout: str | None, out: Path) -> None:
    """Predict every image with MODELS (.tflite files), for another model to learn from.

    Images that cannot be read are skipped, as `fit` skips them.

    The predictions are means over eight turned and mirrored views of each image.
    """
    paths = [Path(path) for path in datasets.load(data, layout=layout).table["path"]]
    distillation.write(models, paths, out, say=lambda text: click.echo(text, err=True))
    click.echo(f"{out} written")


@main.command()
@click.argument(
    "models", metavar="MODEL…", nargs=-1, required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="The .npz to write.",
)  # fmt: skip
def weights(models: tuple[Path, ...], out: Path) -> None:
    """Take the weights out of MODEL, or the mean of several models' weights.

    MODEL is a float16 .tflite file, Keras' published MobileNetV2 without top (.h5), or an .npz that
    was written before. `fit --weights` takes all three. Several models must be of one network and
    have begun with the same weights: the mean of others is no network.
    """
    from train.models import folded

    folded.write(folded.mean(models), out)
    click.echo(f"{out} written")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_cache
@click.option(
    "--model", "files", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
    help="A .tflite file to measure too; those in the run folder are anyway.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
    help="A saved Keras model (.h5, .keras) to measure too, on the run's images and classes.",
)  # fmt: skip
@_elsewhere
@_layout
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path),
    help="Where results go [default: FOLDER].",
)  # fmt: skip
@click.option("--split", type=click.Choice(["train", "validation", "calibration", "test"]),
              default="test", show_default=True, help="Which images.")  # fmt: skip
def evaluate(
    folder: Path, cache_folder: Path | None, files: tuple[Path, ...], weights: tuple[Path, ...],
    data: Path | None, layout: str | None, out: Path | None, split: str,
) -> None:  # fmt: skip
    """Measure the run in FOLDER on held-out lesions.

    Writes metrics.json, plots/ and report.html, which holds all of it and opens offline. The test
    figures of the run's own models go into its card, too, unless results go elsewhere.
    """
    from train import card as cards
    from train.evaluate import measure as evaluation
    from train.run import Run

    found = evaluation.evaluate(
        Run(folder), cache_folder=_cache_of(out or folder, cache_folder), files=files,
        weights=weights, data=data, layout=layout, out=out, split=split,
    )  # fmt: skip
    own = {kind: figures for kind, figures in found.items() if kind in ("float", "int8")}
    if own and out is None and split == "test":
        cards.add_metrics(Run(folder), own)


@main.command()
@click.argument(
    "folders", metavar="RUN...", type=click.Path(exists=True, file_okay=False, path_type=Path),
    nargs=-1, required=True,
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Where metrics.json, plots/ and report.html go.",
)  # fmt: skip
@_cache
@_elsewhere
@_layout
@click.option(
    "--card", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN",
    help="Put the headline figures into the card of this run, of all images.",
)  # fmt: skip
def pool(
    folders: tuple[Path, ...], out: Path, cache_folder: Path | None, data: Path | None,
    layout: str | None, card: Path | None,
) -> None:  # fmt: skip
    """Measure a cross-validation: the models of each RUN on the lesions that it never saw.

    What lies in all of the folders is measured: Keras models, and .tflite files of one name.
    """
    from train import card as cards
    from train.evaluate import pool as pooling
    from train.run import Run

    found = pooling.pool(
        [Run(folder) for folder in folders], out, cache_folder=_cache_of(out, cache_folder),
        data=data, layout=layout,
    )  # fmt: skip
    if card:
        kinds = {kind: figures for kind, figures in found.items() if kind in ("float", "int8")}
        cards.add_metrics(Run(card), kinds, of_twins=True)


@main.command()
@click.argument("split", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", default=5, show_default=True, help="How many.")
@_seed
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Folder of the run folders: fold-1 and so on, and all.",
)  # fmt: skip
def folds(split: Path, count: int, seed: int, out: Path) -> None:
    """Divide SPLIT (a split.csv) by lesion for cross-validation.

    Each run folder gets its split.csv, which `fit --out` then keeps to.
    """
    from train.data import folds as division
    from train.run import Run, read_split

    for name, one in division.divide(read_split(split), count, seed=seed).items():
        run = Run(out / name)
        run.keep_split(one)
        click.echo(f"{run.split}: {one['split'].value_counts().to_dict()}")


def _cache_of(out: Path, given: Path | None) -> Path:
    return given or out.absolute().parent / "cache"


def _failure() -> int:
    from train.fit import workers

    return workers.failure()


if __name__ == "__main__":
    memory.keep()
    command_line.run(main, failure=_failure)
