"""``python -m train.gate``: fit, calibrate, evaluate."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Conversion wants Keras 2, which TensorFlow takes only when asked at its start.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click

from lesionedge.atomic import write_text
from lesionedge.errors import LesionEdgeError


@click.group()
def main() -> None:
    """Train and measure the gate: is an image one that the classifiers may speak about?"""


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
    from train.run import Run

    loaded = recipe.load(file or recipe.FILE)
    run = Run(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(run.recipe, (file or recipe.FILE).read_text(encoding="utf-8"))
    train(loaded, data, run, weights=weights, seed=seed,
          cache=cache or out.absolute().parent / "cache")  # fmt: skip


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--run", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
              required=True, help="The run that it was converted from.")  # fmt: skip
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder of the sources, as in training.",
)  # fmt: skip
def calibrate(file: Path, folder: Path, data: Path) -> None:
    """Choose the threshold of the converted FILE and write it into its run's card.

    Converted again, the file has it.
    """
    from dataclasses import replace

    from lesionedge.card import Gate
    from train.gate import recipe
    from train.gate.evaluate import threshold
    from train.run import Run

    run = Run(folder)
    card = run.read_card()
    refused = recipe.load(run.recipe).refused
    chosen, shares = threshold(data, file, refused)
    run.write_card(replace(card, gate=Gate(chosen, refused, shares)))
    click.echo(f"threshold {chosen:.4f}; refused: {shares}", err=True)


@main.command()
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder of the sources, as in training.",
)  # fmt: skip
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the figures there too.")  # fmt: skip
def evaluate(data: Path, output: Path | None) -> None:
    """Measure the gate that is in lesionedge/models on images that training never saw."""
    import json

    from train.gate.evaluate import evaluate as measure
    from train.gate.evaluate import report

    figures = measure(data, say=lambda text: click.echo(text, err=True))
    click.echo(report(figures))
    if output is not None:
        write_text(output, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except LesionEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
