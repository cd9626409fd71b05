"""``python -m train``: recipes, prepare, fit, evaluate."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Quantization-aware training needs Keras 2, which TensorFlow takes only when asked at its start.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click

from lesionedge.errors import LesionEdgeError


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
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="The dataset's folder, as published.",
)  # fmt: skip
_out = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="The run folder, such as runs/mobilenetv2.",
)  # fmt: skip
_seed = click.option("--seed", type=int, default=1, show_default=True, help="Fixes all chance.")
_cache = click.option(
    "--cache", "cache_folder", type=click.Path(file_okay=False, path_type=Path),
    help="Where prepared pictures are kept [default: cache beside the run folder].",
)  # fmt: skip


@main.command()
@click.argument("recipe_name", metavar="RECIPE")
@_data
@_out
@_seed
@_cache
def prepare(recipe_name: str, data: Path, out: Path, seed: int, cache_folder: Path | None) -> None:
    """Read the dataset, report what is skipped, split it and prepare its pictures."""
    from train import data as preparation
    from train import recipe
    from train.run import Run

    run = Run(out)
    with run.lock():
        preparation.prepare(
            recipe.load(recipe_name),
            data,
            run,
            seed=seed,
            cache_folder=_cache_of(out, cache_folder),
        )
    click.echo(f"{run.split} written")


@main.command()
@click.argument("recipe_name", metavar="RECIPE")
@_data
@_out
@_seed
@_cache
@click.option(
    "--weights", type=click.Path(dir_okay=False, path_type=Path),
    help="ImageNet weights (.npz); without it Keras downloads them.",
)  # fmt: skip
def fit(
    recipe_name: str,
    data: Path,
    out: Path,
    seed: int,
    cache_folder: Path | None,
    weights: Path | None,
) -> None:
    """Train as RECIPE says; the same command again resumes a training that was stopped."""
    from train import fit as fitting
    from train import recipe
    from train.run import Run

    loaded = recipe.load(recipe_name)
    path = (
        Path(recipe_name)
        if recipe_name.endswith(".toml")
        else recipe.FOLDER / f"{recipe_name}.toml"
    )
    fitting.fit(
        loaded, path.read_text(encoding="utf-8"), data, Run(out),
        weights=weights, seed=seed, cache_folder=_cache_of(out, cache_folder),
    )  # fmt: skip


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_cache
@click.option(
    "--model", "files", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
    help="A .tflite file to measure too; those in the run folder are anyway.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
    help="A saved Keras model (.h5, .keras) to measure too, on the run's pictures and classes.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The dataset's folder, where it lies elsewhere than split.csv says.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path),
    help="Where results go [default: FOLDER].",
)  # fmt: skip
@click.option("--split", type=click.Choice(["train", "validation", "calibration", "test"]),
              default="test", show_default=True, help="Which pictures.")  # fmt: skip
def evaluate(folder: Path, cache_folder: Path | None, out: Path | None, **given: Any) -> None:
    """Measure the run in FOLDER on held-out lesions.

    Writes metrics.json, plots/ and report.html, which holds all of it and opens offline.
    """
    from train import evaluate as evaluation
    from train.run import Run

    evaluation.evaluate(
        Run(folder), cache_folder=_cache_of(out or folder, cache_folder), out=out, **given
    )


def _cache_of(out: Path, given: Path | None) -> Path:
    return given or out.absolute().parent / "cache"


if __name__ == "__main__":
    try:
        main()
    except LesionEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
