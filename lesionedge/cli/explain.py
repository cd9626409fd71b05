"""``lesionedge explain``: what an answer rests on, drawn onto its picture."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable
from lesionedge.cli.output import OutputError
from lesionedge.cli.sources import is_image_name

if TYPE_CHECKING:
    from lesionedge.model_options import ModelOptions


@click.command("explain")
@click.argument("path", metavar="IMAGE", type=click.Path(readable=False))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="OUT.png",
    help="Write the heat map there (.png or .jpg); .npy for the numbers.",
)  # fmt: skip
@click.option("--label", metavar="LABEL", help="Explain this class [default: the likeliest].")
@options.model_options(without=("views", "check"))
def command(path: str, output: str, label: str | None, model_options: ModelOptions) -> None:
    """Show which parts of IMAGE an answer rests on.

    Covers one part after the other and measures by how much the probability falls. - reads
    standard input.
    """
    from lesionedge.classifier import Classifier
    from lesionedge.explanation import explain

    source: str | bytes = sys.stdin.buffer.read() if path == "-" else path
    _spare_images(path, output)
    classifier = Classifier.of(model_options)
    if label is not None and label not in classifier.labels:
        known = ", ".join(map(printable, classifier.labels))
        raise click.UsageError(f"--label {printable(label)}: the model knows {known}")
    found = explain(source, model=classifier, label=label)
    if output.lower().endswith(".npy"):
        _save_numbers(found.heat, output)
    else:
        from lesionedge import render

        render.save(found.overlay(source), output)
    click.echo(f"{printable(path)}: {printable(found.label)} {found.probability:.1%}")
    click.echo(f"  falls by up to {found.heat.max() * 100:.1f} points where the picture is covered")
    click.echo(options.RESEARCH_USE)


def _spare_images(path: str, output: str) -> None:
    """Refuse to write over the picture itself, and names that say nothing of the format."""
    if not (output.lower().endswith(".npy") or is_image_name(output)):
        raise click.UsageError(f"-o {printable(output)}: expected a .png, .jpg or .npy file")
    if path != "-" and os.path.exists(output) and os.path.samefile(path, output):
        raise click.UsageError(f"-o {printable(output)}: is the picture itself")


def _save_numbers(heat: Any, output: str) -> None:
    import numpy as np

    from lesionedge.atomic import whole_file

    try:
        with whole_file(output) as file:
            np.save(file, heat)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
