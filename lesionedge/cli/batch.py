"""``lesionedge batch``: classifies an archive of images into a folder of Parquet files."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import fail, options, printable, say, warn
from lesionedge.cli.signals import ended_by_signals
from lesionedge.errors import LesionEdgeError
from lesionedge.wording import CANNOT_TELL, RESEARCH_USE, counted

if TYPE_CHECKING:
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output
    from lesionedge.batch.run import Engine
    from lesionedge.model_options import ModelOptions

MOST_REASONS = 10
"""How many kinds of errors the summary lists."""


@click.command(
    "batch",
    epilog=options.examples(
        "lesionedge batch archive/ -o results/",
        "lesionedge batch images.zip s3://bucket/folder -o results/ --jobs 4",
        "lesionedge batch -o results/ --show-failed",
    ),
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, type=click.Path(readable=False))
@click.option(
    "-o", "--output", "out", required=True, metavar="DIR", type=click.Path(file_okay=False),
    cls=options.Renamed, former=("--out",),
    help="Folder or URL for the Parquet files. An unfinished run is continued.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="local: processes on this machine; ray: a Ray cluster.",
)  # fmt: skip
@click.option(
    "--address", metavar="ADDRESS",
    help="The Ray cluster, such as HOST:6379 [default: RAY_ADDRESS, or a Ray on this machine].",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", cls=options.Renamed,
    former=("--workers",), help="Processes, one core each [default: as many as there are cores].",
)  # fmt: skip
@click.option(
    "--save-every", "save_every_s", type=options.FloatRange(min=0), default=30.0, show_default=True,
    metavar="S", help="Write the results every S seconds: a killed run loses only S seconds.",
)  # fmt: skip
@click.option(
    "--metrics", type=click.Path(dir_okay=False), metavar="FILE",
    help="Write to FILE, for Prometheus, how far the images are from those that the model knows.",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Try failed images again.")
@click.option("--show-failed", is_flag=True, help="Only list the images in DIR that failed.")
@options.model_options(without=("threads", "check"))
@click.pass_context
def command(
    ctx: click.Context, /, sources: tuple[str, ...], out: str, engine: str, address: str | None,
    jobs: int | None, save_every_s: float, metrics: str | None, retry_failed: bool,
    show_failed: bool, model_options: ModelOptions,
) -> None:  # fmt: skip
    """Classify many images into Parquet files.

    SOURCE is a folder (searched with its subfolders), a pattern, a file, a zip archive or a URL
    such as s3://bucket/folder.

    Run the same command again to continue: images that have a row in DIR are skipped. An image
    that fails becomes a row with an error. The exit status is 1 if an image failed.
    """
    _check(sources, engine, address, show_failed=show_failed)
    if show_failed and (retry_failed or metrics is not None):
        raise click.UsageError("--show-failed only lists: without --retry-failed and --metrics")
    if metrics is not None and os.path.realpath(out) == os.path.realpath(os.path.dirname(metrics)):
        raise click.UsageError(f"--metrics {printable(metrics)}: name a file outside {out}")
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output, failures

    if show_failed:
        for error in failures(out):
            click.echo(printable(error))
        return
    model = Model.of(model_options)
    if metrics is not None:
        from lesionedge.cli.output import check_place

        check_place(metrics)
    with ended_by_signals(), Output(out, model, save_every_s=save_every_s) as output:
        if model.unknown_notice is not None:
            warn(model.unknown_notice)
        listed = _listed(sources)
        if retry_failed:
            output.forget_failures(listed)
        todo = _todo(listed, output)
        if len(todo) > 0:
            with _engine(engine, address, jobs, verbose=model_options.verbose) as (
                predictions,
                width,
            ):
                _fill(output, todo, predictions, model, workers=width)
        output.save()
        failed = _summary(output, out)
        _tell_drift(output, model, metrics)
        click.echo(RESEARCH_USE)
    if failed:
        ctx.exit(1)


def _check(
    sources: tuple[str, ...], engine: str, address: str | None, *, show_failed: bool
) -> None:
    """Refuse arguments that make no sense together."""
    if bool(sources) == show_failed:
        raise click.UsageError(
            "--show-failed takes no SOURCE" if show_failed else "Missing argument 'SOURCE...'."
        )
    if "-" in sources:
        raise click.UsageError("SOURCE -: expected folders, patterns, files or URLs")
    if address is not None and engine != "ray":
        raise click.UsageError("--address needs --engine ray")


@contextmanager
def _engine(
    name: str, address: str | None, workers: int | None, *, verbose: bool
) -> Iterator[tuple[Engine, int]]:
    """Return the function that classifies, and its number of workers."""
    if name == "ray":
        from lesionedge.batch import cluster

        with cluster.connected(address, workers=workers, verbose=verbose):
            yield partial(cluster.predictions, workers=workers), workers or cluster.cores()
        return
    from lesionedge.batch import processes
    from lesionedge.cores import usable_cores

    count = workers or usable_cores()
    yield partial(processes.predictions, workers=count), count


def _listed(sources: tuple[str, ...]) -> Any:
    """Return the names of the sources' images (a ``pyarrow.ChunkedArray``).

    Raises:
        LesionEdgeError: A source is missing, or cannot be listed.
    """
    from lesionedge.batch import finding, run
    from lesionedge.sources.listing import PassedOver

    errors: dict[str, str] = {}
    passed_over = PassedOver()
    listed = run.names(finding.found(sources, errors, passed_over))
    if len(passed_over):
        say(f"lesionedge: {printable(passed_over.line())}")
    for error in list(errors.values())[1:]:
        fail(error)
    if errors:  # stop before hours of work, since it may be a typing error
        raise LesionEdgeError(next(iter(errors.values())))
    return listed


def _todo(listed: Any, output: Output) -> Any:
    """Return the names of the images that have no row yet."""
    from lesionedge.batch import run

    todo = run.without(listed, output.done())
    if len(todo) < len(listed):
        say(f"{len(listed) - len(todo)} of {counted(len(listed))} done before")
    return todo


def _fill(output: Output, todo: Any, predictions: Engine, model: Model, *, workers: int) -> None:
    """Classify images, and show the progress."""
    from lesionedge.batch import run
    from lesionedge.cli.progress import Progress

    progress = Progress(len(todo))
    begin = time.monotonic()
    try:
        run.classify(todo, output, predictions, model, workers=workers, step=progress.step)
    except (KeyboardInterrupt, SystemExit):
        progress.clear()
        say("stopped; the same command continues")
        raise
    progress.end()
    took = time.monotonic() - begin
    click.echo(f"{counted(len(todo))} in {took:.1f} s: {len(todo) / took:.3g} a second")


def _summary(output: Output, out: str) -> int:
    """Print a summary of the folder; return the number of images that failed."""
    labels, errors = output.count()
    failed, refused = sum(errors.values()), output.refused()
    click.echo(f"{printable(out)}: {counted(sum(labels.values()) + refused + failed)}")
    _table(labels)
    if refused:
        click.echo(f"{refused:9d}  {CANNOT_TELL}")
    if failed:
        click.echo(f"{failed} failed (--show-failed lists them):")
        _table(errors)
    return failed


def _tell_drift(output: Output, model: Model, metrics: str | None) -> None:
    """Say how far the images are from those that the model knows; write it as metrics."""
    from lesionedge.drift import difference, reference, words
    from lesionedge.drift.metrics import text

    known = reference.beside(model.path, model.sha256, profile=model.profile is not None)
    drift = difference.compare(output.statistics(), known)
    if drift.differing:
        click.echo(printable(words.summary(drift)))
    if metrics is not None:
        from lesionedge import atomic
        from lesionedge.cli.output import OutputError

        try:
            atomic.write_text(metrics, text(drift))
        except OSError as error:
            raise OutputError(f"{metrics}: cannot be written ({error.strerror})") from error


def _table(counts: Counter[str]) -> None:
    for text, count in counts.most_common(MOST_REASONS):
        click.echo(f"{count:9d}  {printable(text)}")
    others = len(counts) - MOST_REASONS
    if others > 0:
        rest = sum(counts.values()) - sum(count for _, count in counts.most_common(MOST_REASONS))
        click.echo(f"{rest:9d}  ({others} others)")
