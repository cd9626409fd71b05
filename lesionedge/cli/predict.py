"""``lesionedge predict``: classifies images and prints predictions."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from lesionedge import formats
from lesionedge.cli import fail, options, printable, say, warn
from lesionedge.cli.loading import load
from lesionedge.cli.output import FORMATS, OutputError, writer_of
from lesionedge.cli.result_file import (
    Record,
    Target,
    format_of,
    is_alike,
    opened,
    record_of,
)
from lesionedge.cli.signals import ended_by_signals
from lesionedge.cli.work import Drawings, Result, Settings, jobs_of, results
from lesionedge.notice import MALIGNANT_UNKNOWN
from lesionedge.sources import names
from lesionedge.sources.listing import PassedOver, Source, expand

if TYPE_CHECKING:
    from lesionedge.model_options import ModelOptions
    from lesionedge.prediction import Prediction

FEW = 5
"""If there are more images than this, progress is shown."""


@click.command(
    "predict",
    epilog=options.examples(
        "lesionedge predict photo.jpg",
        "lesionedge predict folder/ --recursive --jobs 4 -o results.csv",
    ),
)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(readable=False)
)
@click.option(
    "-k", "--top-k", type=click.IntRange(min=1), metavar="N",
    help="List only the N most probable classes.",
)  # fmt: skip
@click.option(
    "--threshold", type=options.FloatRange(0, 1), default=0.0, metavar="P",
    help="List only classes with at least this probability.",
)  # fmt: skip
@options.processes
@click.option("-r", "--recursive", is_flag=True, help="Search subfolders too.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default=None,
    help="json: one object per line. Default: by the suffix of -o (.csv, .jsonl, .json) or text.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(readable=False), metavar="FILE",
    help="Write the results to FILE, which appears when it is complete.",
)  # fmt: skip
@click.option(
    "--resume", is_flag=True,
    help="Continue FILE.part, which an interrupted run with -o FILE left.",
)  # fmt: skip
@click.option(
    "--annotate", type=click.Path(file_okay=False), metavar="DIR",
    help="Write each image to DIR with its prediction drawn on it.",
)  # fmt: skip
@options.abstain
@options.model_options()
@click.pass_context
def command(
    ctx: click.Context, /, paths: tuple[str, ...], recursive: bool, jobs: int, form: str | None,
    output: str | None, resume: bool, annotate: str | None, model_options: ModelOptions,
    **given: Any,
) -> None:  # fmt: skip
    """Classify images: files, folders, patterns, zip archives, http(s) addresses, or - for
    standard input.

    It prints calibrated probabilities. The exit status is 1 if an image failed.
    """  # noqa: D205
    form = format_of(form, output)
    settings = Settings(model_options, **given)
    passed_over = PassedOver()
    sources = list(expand(paths, recursive=recursive, passed_over=passed_over))
    _check_output(output, sources, resume)
    _warn_of_views(model_options)
    labels = _labels(model_options) if form == "csv" else ()
    profile = model_options.profile is not None
    with (
        ended_by_signals(),
        opened(output, form, resume=resume, labels=labels, profile=profile) as target,
    ):
        _check_done(target, sources, output)
        writes = functools.partial(
            writer_of, form, abstain=settings.abstain, labels=labels, profile=profile
        )
        if target.sample is not None:
            _check_alike(target.sample, settings, writes, form, output)
        drawings = (
            None if annotate is None else Drawings(annotate, (source.path for source in sources))
        )
        work = jobs_of(sources, drawings, skip=len(target.done))
        count = len(sources) - len(target.done)
        progress = _progress(count, shown=output in (None, "-"))
        predictions = results(work, settings, processes=jobs, count=count)
        writer = writes(target.file, header=not target.done)
        with closing(predictions):
            failed = _write(predictions, writer, progress, flush=target.file.flush)
    if len(passed_over):
        say(f"lesionedge: {printable(passed_over.line())}")
    failed += sum(was_error for _, was_error in target.done)
    if failed:
        _summarise(failed, len(sources))
        ctx.exit(1)


def _labels(model_options: ModelOptions) -> tuple[str, ...]:
    """Return the model's labels, for the names of columns."""
    return load(model_options).labels


def _warn_of_views(model_options: ModelOptions) -> None:
    if model_options.views > 1 and model_options.operating_point is not None:
        say(
            "lesionedge: operating points were chosen on single views. For the mean over "
            f"{model_options.views} views, sensitivity and specificity differ a little."
        )


def _check_done(target: Target, sources: list[Source], output: str | None) -> None:
    """Refuse to continue the results of other images."""
    for number, (path, _) in enumerate(target.done):
        expected = sources[number].path if number < len(sources) else "nothing more"
        if path != expected:
            raise click.UsageError(
                f"{output}.part holds the results of other images: {path} in place of {expected}. "
                "Name the same images in the same order, or remove it"
            )


def _check_alike(
    sample: Record, settings: Settings, writes: Callable[..., Any], form: str, output: str | None
) -> None:
    """Refuse to continue the results of another model or of other options.

    It classifies one of the images again, since a table does not say what made it.
    """
    job = next(jobs_of([Source(sample["path"])], None, streams=False))
    prediction = settings.run(settings.load(), job).prediction
    if prediction is None:
        return  # it is not there any more, or cannot be read twice
    line = io.StringIO(newline="")
    writes(line, header=False).success(job.path, prediction)
    if not is_alike(sample, record_of(line.getvalue(), form, list(sample))):
        raise OutputError(
            f"{output}.part: another model or other options made its prediction of {job.path}; "
            "repeat the options of that run, or remove it"
        )


def _summarise(failed: int, count: int) -> None:
    """Print the number of failures, because single errors may have scrolled out of sight."""
    if count > 1:
        say(f"lesionedge: {failed} of {count} images failed")


def _check_output(output: str | None, sources: list[Source], resume: bool) -> None:
    """Refuse a wrong output: a folder, or one of the images."""
    if output is None or output == "-":
        if resume:
            raise click.UsageError("--resume needs -o FILE")
        return
    if os.path.isdir(output) or output.endswith(os.sep):
        raise click.UsageError(f"-o {output}: is a folder; expected a file")
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        raise click.UsageError(f"-o {output}: there is no folder {folder}")
    if not os.path.isfile(output):
        return
    if formats.is_image_name(output) or any(_is_in(output, source.path) for source in sources):
        raise click.UsageError(f"-o {output}: is an image and would be overwritten")


def _is_in(output: str, path: str) -> bool:
    """Return whether a file is an image, or an archive that holds the image."""
    file = names.split(path)[1] if names.is_member(path) else path
    try:
        return os.path.samefile(output, file)
    except (OSError, ValueError):
        return False


def _progress(count: int, *, shown: bool) -> Any:
    """Return the progress of a long list; None if the results themselves are on the screen."""
    if count <= FEW or (shown and sys.stdout.isatty()):
        return None
    from lesionedge.cli.progress import Progress

    return Progress(count)


def _warn_if_unknown(prediction: Prediction, progress: Any) -> bool:
    """Warn that the malignant probability is unknown, which is true for all images or for none."""
    found = [notice for notice in prediction.warnings if notice.code == MALIGNANT_UNKNOWN]
    if found and progress is not None:
        progress.clear()
    for notice in found:
        warn(notice)
    return True


def _write(
    predictions: Iterator[Result], writer: Any, progress: Any, *, flush: Callable[[], None]
) -> int:
    """Write results as they arrive; return the number of images that failed."""
    failed, warned = 0, False
    for result in predictions:
        if result.prediction is not None:
            warned = warned or _warn_if_unknown(result.prediction, progress)
            writer.success(result.path, result.prediction)
        else:
            failed += 1
            if progress is not None:
                progress.clear()
            fail(result.error or "failed")
            writer.failure(result.path, result.error or "failed")
        flush()  # so that the reader of a pipe does not wait
        if progress is not None:
            progress.step()
    if progress is not None:
        progress.end()
    writer.close()
    return failed
