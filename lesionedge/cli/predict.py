"""``lesionedge predict``: pictures in, answers out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import fail, options, warn
from lesionedge.cli.output import WRITERS, opened
from lesionedge.cli.signals import ended_by_signals
from lesionedge.cli.sources import Source, expand, is_image_name
from lesionedge.cli.work import Drawings, Result, Settings, jobs_of, results
from lesionedge.notice import MALIGNANT_UNKNOWN

if TYPE_CHECKING:
    from lesionedge.card import OperatingPoint
    from lesionedge.model_options import ModelOptions
    from lesionedge.prediction import Prediction

FEW = 5
"""More pictures than this show their progress."""


@click.command("predict")
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(readable=False)
)
@click.option(
    "-k", "--top-k", type=click.IntRange(min=1), help="List only the N likeliest classes."
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.0, metavar="P",
    help="List only classes of at least this probability.",
)  # fmt: skip
@click.option(
    "--operating-point", type=click.FloatRange(0, 1, min_open=True), metavar="S",
    help="Say on which side of the card's threshold for this sensitivity (0.9, 0.95, 0.98) the "
    "malignant probability falls.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True,
    help="Processes that share the pictures.",
)  # fmt: skip
@click.option("-r", "--recursive", is_flag=True, help="Look into folders' folders too.")
@click.option(
    "--format", "form", type=click.Choice(list(WRITERS)), default="text", show_default=True,
    help="json: one object a line.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(readable=False), metavar="FILE",
    help="Write there, whole or not at all.",
)  # fmt: skip
@click.option(
    "--annotate", type=click.Path(file_okay=False), metavar="DIR",
    help="Write each picture with its answer drawn on it.",
)  # fmt: skip
@click.option(
    "--abstain", is_flag=True,
    help="Show no diagnosis of a picture that is not a dermoscopic one (JSON and CSV always do).",
)  # fmt: skip
@options.model_options()
@click.pass_context
def command(
    ctx: click.Context, /, paths: tuple[str, ...], recursive: bool, jobs: int, form: str,
    output: str | None, annotate: str | None, operating_point: float | None,
    model_options: ModelOptions, **given: Any,
) -> None:  # fmt: skip
    """Classify pictures: files, folders, patterns, or - for standard input.

    Prints calibrated probabilities; exits with 1 if some picture failed.
    """
    settings = Settings(model_options, **given)
    point = _point(operating_point, model_options)
    sources = list(expand(paths, recursive=recursive))
    _spare_images(output, sources)
    with ended_by_signals(), opened(output) as file:
        drawings = None if annotate is None else Drawings(annotate, sources)
        work = jobs_of(sources, drawings)
        progress = _progress(len(sources), shown=output in (None, "-"))
        predictions = results(work, settings, processes=jobs, count=len(sources))
        writer = WRITERS[form](file, point, abstain=settings.abstain)
        with closing(predictions):
            failed = _write(predictions, writer, progress, flush=file.flush)
    if failed:
        ctx.exit(1)


def _point(sensitivity: float | None, model_options: ModelOptions) -> OperatingPoint | None:
    if sensitivity is None:
        return None
    from lesionedge.description import name_of, read_card
    from lesionedge.operating import find

    if model_options.views > 1:
        click.echo(
            "lesionedge: operating points were chosen on single views: of the mean over "
            f"{model_options.views} views, sensitivity and specificity differ a little",
            err=True,
        )
    model = name_of(model_options)
    return find(sensitivity, points=read_card(model).operating_points, model=model)


def _spare_images(output: str | None, sources: list[Source]) -> None:
    """Refuse to write results over a picture, as ``-o *.jpg`` would."""
    if output is None or output == "-":
        return
    if os.path.isdir(output):
        raise click.UsageError(f"-o {output}: is a folder; expected a file")
    if not os.path.isfile(output):
        return
    if is_image_name(output) or any(_same_file(output, source.path) for source in sources):
        raise click.UsageError(f"-o {output}: is a picture, and would be overwritten")


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except (OSError, ValueError):
        return False


def _progress(count: int, *, shown: bool) -> Any:
    """Give the progress of a long list, unless the answers themselves pass by on the terminal."""
    if count <= FEW or (shown and sys.stdout.isatty()):
        return None
    from lesionedge.cli.progress import Progress

    return Progress(count)


def _tell_unknown(prediction: Prediction, progress: Any) -> bool:
    """Say that the malignant probability is unknown, which is so for all images or for none."""
    found = [notice for notice in prediction.warnings if notice.code == MALIGNANT_UNKNOWN]
    if found and progress is not None:
        progress.clear()
    for notice in found:
        warn(notice)
    return True


def _write(
    predictions: Iterator[Result], writer: Any, progress: Any, *, flush: Callable[[], None]
) -> int:
    """Write answers as they come; give the number of pictures that failed."""
    failed, told = 0, False
    for result in predictions:
        if result.prediction is not None:
            told = told or _tell_unknown(result.prediction, progress)
            writer.success(result.path, result.prediction)
        else:
            failed += 1
            if progress is not None:
                progress.clear()
            fail(result.error or "failed")
            writer.failure(result.path, result.error or "failed")
        flush()  # who reads a pipe need not wait
        if progress is not None:
            progress.step()
    if progress is not None:
        progress.end()
    writer.close()
    return failed
