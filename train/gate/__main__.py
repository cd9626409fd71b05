"""``python -m train.gate``: fit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Conversion wants Keras 2, which TensorFlow takes only when asked at its start.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click

from lesionedge.errors import LesionEdgeError


@click.group()
def main() -> None:
    """Train and measure the gate: is a picture one that the classifiers may speak about?"""


@main.command()
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder with ham10000, clinical_photos, not_skin and, optionally, isic_binary.",
)  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option(
    "--recipe", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another recipe than train/gate/recipe.toml.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="ImageNet weights (.npz); without it Keras downloads them.",
)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Fixes all chance.")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path),
              help="Where the copies are kept [default: cache beside the run folder].")  # fmt: skip
def fit(data: Path, out: Path, file: Path | None, weights: Path | None, seed: int,
        cache: Path | None) -> None:  # fmt: skip
    """Train; the same command again resumes a training that was stopped."""
    from train.gate import recipe
    from train.gate.fit import fit as train
    from train.run import Run, write_text

    loaded = recipe.load(file or recipe.FILE)
    run = Run(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(run.recipe, (file or recipe.FILE).read_text(encoding="utf-8"))
    train(loaded, data, run, weights=weights, seed=seed,
          cache=cache or out.absolute().parent / "cache")  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except LesionEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
