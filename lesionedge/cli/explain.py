"""``lesionedge explain``: draws a heat map of the parts that a prediction depends on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import fail, options, printable, warn
from lesionedge.cli.loading import load
from lesionedge.cli.output import OutputError
from lesionedge.errors import ImageError, LesionEdgeError
from lesionedge.wording import CANNOT_TELL, RESEARCH_USE, is_own_name, is_refused, percent, risk

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.explanation import Explanation
    from lesionedge.model_options import ModelOptions

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".npy")
"""Suffixes that ``-o`` may have."""


@click.command(
    "explain",
    epilog=options.examples(
        "lesionedge explain photo.jpg -o heat.png",
        "lesionedge explain a.jpg b.jpg -o heat-maps/ --label mel",
    ),
)
@click.argument("paths", metavar="IMAGE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="OUT",
    help="Write the heat map to OUT: .png, .jpg or .webp, or .npy for the numbers. For several "
    "images OUT is a folder.",
)  # fmt: skip
@click.option(
    "--label", metavar="LABEL",
    help="Explain this class: its label or its name [default: the most probable].",
)  # fmt: skip
@click.option(
    "--abstain/--no-abstain", default=True, show_default=True,
    help="Show no diagnosis if an image is not dermoscopic.",
)  # fmt: skip
@options.model_options(without=("views", "check"))
@click.pass_context
def command(
    ctx: click.Context, /, paths: tuple[str, ...], output: str, label: str | None, abstain: bool,
    model_options: ModelOptions,
) -> None:  # fmt: skip
    """Draw a heat map of the parts of an IMAGE that its prediction depends on.

    It covers one part after the other and measures how far the probability falls. Use - for
    standard input.
    """
    targets = _targets(paths, output)
    classifier = load(model_options)
    if classifier.unknown_notice is not None:
        warn(classifier.unknown_notice)
    wanted = None if label is None else _label(label, classifier)
    failed = 0
    for path, target in zip(paths, targets):
        try:
            _explain(path, target, classifier, wanted, abstain=abstain)
        except OutputError:
            raise
        except LesionEdgeError as error:
            fail(str(error))
            failed += 1
    click.echo(RESEARCH_USE)
    if failed:
        ctx.exit(1)


def _targets(paths: tuple[str, ...], output: str) -> list[str]:
    """Return the path of each image's heat map; refuse a wrong output."""
    if len(paths) == 1 and not output.endswith(os.sep) and not os.path.isdir(output):
        _check_name(paths[0], output)
        return [output]
    if os.path.splitext(output)[1].lower() in ENDINGS and not os.path.isdir(output):
        raise click.UsageError(f"-o {printable(output)}: expected a folder for several images")
    from lesionedge.cli.work import Drawings

    drawings = Drawings(output, paths)
    return [drawings.name(path) for path in paths]


def _check_name(path: str, output: str) -> None:
    """Refuse to overwrite the image itself, and names without a known suffix."""
    if os.path.splitext(output)[1].lower() not in ENDINGS:
        expected = ", ".join(ENDINGS)
        raise click.UsageError(f"-o {printable(output)}: expected a name that ends in {expected}")
    both = path != "-" and os.path.exists(path) and os.path.exists(output)
    if both and os.path.samefile(path, output):
        raise click.UsageError(f"-o {printable(output)}: is the image itself")


def _label(typed: str, classifier: Classifier) -> str:
    """Return the model's label for the typed one: a label, or a name such as ``Melanoma``."""
    from lesionedge.diagnosis import same

    names = {known.name.casefold(): known.label for known in classifier.diagnoses}
    found = names.get(typed.strip().casefold()) or same(typed, classifier.labels)
    if found is not None:
        return found
    labels = ", ".join(map(printable, classifier.labels))
    raise click.UsageError(f"--label {printable(typed)}: the model has the labels {labels}")


def _explain(
    path: str, target: str, classifier: Classifier, label: str | None, *, abstain: bool
) -> None:
    from lesionedge.explanation import explain

    if path == "-" and sys.stdin is None:
        raise ImageError("-: standard input is closed")
    source: str | bytes = sys.stdin.buffer.read() if path == "-" else path
    found = explain(source, model=classifier, label=label)
    if target.lower().endswith(".npy"):
        _save_numbers(found.heat, target)
    else:
        from lesionedge import render

        render.save(found.overlay(source, abstain=abstain), target)
    for line in _lines(path, found, abstain=abstain):
        click.echo(line)


def _lines(path: str, found: Explanation, *, abstain: bool) -> list[str]:
    lines = [printable(path)]
    if is_refused(found.prediction, abstain=abstain):
        lines.append(f"  {CANNOT_TELL}")
    else:
        most = found.most * 100
        fall = f"lowers this by up to {most:.1f} points" if most > 0 else "does not lower this"
        name, label = printable(found.name), printable(found.label)
        named = name if is_own_name(label, name) else f"{name} ({label})"
        lines += [
            f"  {named} {percent(found.probability)}: covering a part of the image {fall}",
            f"  {risk(found.prediction)}",
        ]
    return [*lines, *(f"  warning: {printable(text)}" for text in found.prediction.remarks)]


def _save_numbers(heat: Any, output: str) -> None:
    import numpy as np

    from lesionedge.atomic import whole_file

    try:
        with whole_file(output) as file:
            np.save(file, heat)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
