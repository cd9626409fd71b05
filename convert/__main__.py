"""``python -m convert``: export, verify, fix-batch, figures, operating-points."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lesionedge.errors import LesionEdgeError

NAMES = {"float": "float", "int8": "rounded"}


@click.group()
def main() -> None:
    """Turn a training run into .tflite files, and prove that they agree with it."""


_run = click.Path(exists=True, file_okay=False, path_type=Path)


@main.command()
@click.argument("run", type=_run)
@click.option(
    "--format", "file_format", type=click.Choice(["int8", "float16", "float32"]), default="int8",
    show_default=True,
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
def export(run: Path, file_format: str, output: Path) -> None:
    """Convert the model of the training run in RUN."""
    from convert import export as exporting
    from train.run import Run

    card = exporting.export(Run(run), file_format, output)
    method = card.file.method if card.file else ""
    click.echo(
        f"{output}: {file_format} ({method}), {output.stat().st_size / 1e6:.2f} MB", err=True
    )
    if method == "post-training":
        click.echo(
            f"{run} holds no network made for 8 bits, so TensorFlow rounded the float network; one "
            f"that `python -m train quantize {run}` makes loses less",
            err=True,
        )


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--run", type=_run, required=True, help="The run folder that the file came from.")
@click.option("--split", default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Compare on at most so many images.")
def verify(file: Path, run: Path, split: str, limit: int | None) -> None:
    """Compare FILE with its run's Keras model; exit with 1 when it lost too much."""
    from convert import verify as verifying
    from train.run import Run

    found = verifying.verify(file, Run(run), split=split, limit=limit)
    for kind, one in found.items():
        value, low, high = one.change
        click.echo(
            f"{file.name} against the {NAMES[kind]} model, {one.images} images ({split})\n"
            f"  same top label       {one.top1_agreement:.2%}\n"
            f"  probabilities differ by {one.largest_difference:.4f} at most, "
            f"{one.mean_difference:.4f} in the mean\n"
            f"  balanced accuracy    Keras {one.keras_balanced_accuracy:.4f}, "
            f"file {one.tflite_balanced_accuracy:.4f}\n"
            f"  change               {value:+.4f} [{low:+.4f}, {high:+.4f}], "
            f"allowed {-one.allowed_loss:+.3f}"
        )
    if not all(one.passed for one in found.values()):
        click.echo(f"error: {file} lost more than its format may", err=True)
        sys.exit(1)


@main.command("fix-batch")
@click.argument(
    "files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True
)
def fix_batch(files: tuple[Path, ...]) -> None:
    """Give FILES that an earlier export wrote a fixed batch of one, as export does now.

    Predictions stay as they are. LiteRT.js, among others, refuses an open batch.
    """
    from convert import batch

    for file in files:
        changed = batch.fix(file)
        click.echo(f"{file}: {'the batch is fixed now' if changed else 'was so already'}", err=True)


def _measured_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument FILE and the option --metrics to a command."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    metrics = click.option(
        "--metrics", type=path, required=True,
        help="The metrics.json of an evaluation that measured a file of FILE's name.",
    )  # fmt: skip
    decorated: Callable[..., Any] = click.argument("file", type=path)(metrics(command))
    return decorated


@main.command()
@_measured_file
def figures(file: Path, metrics: Path) -> None:
    """Put the figures measured on a file of FILE's name into FILE's card.

    Only the card changes; the network's bytes stay as they are.
    """
    from convert import card

    card.set_figures(file, metrics)
    click.echo(f"{file.name}: its card has the figures of {metrics}", err=True)


@main.command("operating-points")
@_measured_file
def operating_points(file: Path, metrics: Path) -> None:
    """Put the operating points measured on FILE itself into its card.

    Only the card changes; the network's bytes stay as they are.
    """
    from convert import card

    for point in card.set_operating_points(file, metrics):
        click.echo(
            f"{file.name}: sensitivity {point.sensitivity:g} from {point.threshold:.5f} on, "
            f"specificity {point.measured_specificity:.3f} (calibration split)",
            err=True,
        )


if __name__ == "__main__":
    try:
        main()
    except (LesionEdgeError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
