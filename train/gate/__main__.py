"""``python -m train.gate``: calibrate, evaluate. ``python -m train fit gate`` trains it."""

from __future__ import annotations

from pathlib import Path

import click

from lesionedge.atomic import write_text
from train.command_line import run


@click.group()
def main() -> None:
    """Set and measure the gate: is an image one that the classifiers may speak about?"""


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
    from train.gate.evaluate import threshold
    from train.run import Run, RunError

    run = Run(folder)
    card = run.read_card()
    settings = run.read_recipe().gate
    if settings is None:
        raise RunError(f"{folder}: the run of another recipe than the gate's; expected a [gate]")
    refused = settings.refused
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
    run(main)
