"""``lesionedge batch``: an archive in, a folder of Parquet files out."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable
from lesionedge.cli.signals import ended_by_signals
from lesionedge.errors import LesionEdgeError
from lesionedge.wording import RESEARCH_USE

if TYPE_CHECKING:
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output
    from lesionedge.batch.run import Engine
    from lesionedge.model_options import ModelOptions

MOST_REASONS = 10
"""Kinds of errors that the summary lists."""

_SHOW = (
    "import pyarrow.parquet as p; "
    'print(*filter(None, p.read_table({}, columns=["error"])["error"].to_pylist()), sep="\\n")'
)
_SHOW_BY_FSSPEC = (
    "import fsspec, pyarrow.parquet as p; files, folder = fsspec.url_to_fs({}); "
    'print(*filter(None, p.read_table(folder, filesystem=files, columns=["error"])["error"]'
    '.to_pylist()), sep="\\n")'
)


@click.command("batch")
@click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(readable=False)
)
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(file_okay=False),
    help="Where the Parquet files go, also a URL; an earlier run is continued.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="local: processes of this machine; ray: a Ray cluster.",
)  # fmt: skip
@click.option(
    "--address", metavar="ADDRESS",
    help="The Ray cluster, such as HOST:6379 [default: RAY_ADDRESS, else a Ray of this machine].",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="Models at work, each on a core [default: as many as there are cores].",
)  # fmt: skip
@click.option(
    "--save-every", "save_every_s", type=click.FloatRange(min=0), default=30.0, show_default=True,
    metavar="S", help="Write what was answered every S seconds: a kill costs no more.",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Try pictures again that failed before.")
@options.model_options(without=("threads", "check"))
@click.pass_context
def command(
    ctx: click.Context, /, sources: tuple[str, ...], out: str, engine: str, address: str | None,
    workers: int | None, save_every_s: float, retry_failed: bool, model_options: ModelOptions,
) -> None:  # fmt: skip
    """Classify the images of SOURCEs: folders (to their depth), patterns, files, zip archives, or
    URLs such as s3://bucket/folder.

    Run again, it continues: pictures that have a row in DIR are not answered again. A picture that
    fails becomes a row with an error; exits with 1 if there is any.
    """  # noqa: D205
    if "-" in sources:
        raise click.UsageError("SOURCE -: expected folders, patterns, files or URLs")
    if address is not None and engine != "ray":
        raise click.UsageError("--address needs --engine ray")
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output

    travelling = Model.of(model_options)
    with ended_by_signals(), Output(out, travelling, save_every_s=save_every_s) as output:
        if retry_failed:
            output.forget_failures()
        todo = _todo(output, sources, travelling)
        if len(todo) > 0:
            with _engine(engine, address, workers, verbose=model_options.verbose) as (
                predictions,
                width,
            ):
                _fill(output, todo, predictions, travelling, workers=width)
        output.save()
        failed = _summary(output, out)
    if failed:
        ctx.exit(1)


@contextmanager
def _engine(
    name: str, address: str | None, workers: int | None, *, verbose: bool
) -> Iterator[tuple[Engine, int]]:
    """Give what answers, and how many workers it has."""
    if name == "ray":
        from lesionedge.batch import cluster

        with cluster.connected(address, workers=workers, verbose=verbose):
            yield partial(cluster.predictions, workers=workers), workers or cluster.cores()
        return
    from lesionedge.batch import processes
    from lesionedge.machine import usable_cores

    count = workers or usable_cores()
    yield partial(processes.predictions, workers=count), count


def _todo(output: Output, sources: tuple[str, ...], model: Model) -> Any:
    """Name the pictures that have no row yet; what cannot be listed becomes a row here."""
    from lesionedge.batch import finding, rows, run
    from lesionedge.sources.listing import PassedOver

    errors: dict[str, str] = {}
    passed_over = PassedOver()
    listed = run.names(finding.found(sources, errors, passed_over))
    if len(passed_over):
        click.echo(f"lesionedge: {printable(passed_over.line())}", err=True)
    if len(listed) == 0 and errors:
        raise LesionEdgeError(next(iter(errors.values())))
    done = output.done()
    unlisted = run.without(run.names(errors), done).to_pylist()
    if unlisted:
        output.add(rows.failed({name: errors[name] for name in unlisted}, model))
    todo = run.without(listed, done)
    if len(todo) < len(listed):
        click.echo(f"{len(listed) - len(todo)} of {len(listed)} pictures are done", err=True)
    return todo


def _fill(output: Output, todo: Any, predictions: Engine, model: Model, *, workers: int) -> None:
    """Answer pictures, and say how far it is."""
    from lesionedge.batch import run
    from lesionedge.cli.progress import Progress

    progress = Progress(len(todo))
    begin = time.monotonic()
    try:
        run.classify(todo, output, predictions, model, workers=workers, step=progress.step)
    except (KeyboardInterrupt, SystemExit):
        progress.clear()
        click.echo("stopped; the same command continues", err=True)
        raise
    progress.end()
    took = time.monotonic() - begin
    click.echo(f"{len(todo)} pictures in {took:.1f} s: {len(todo) / took:.3g} a second")


def _summary(output: Output, out: str) -> int:
    """Print what the folder holds; give the number of pictures that failed."""
    from lesionedge.batch.reading import by_arrow

    labels, errors = output.count()
    failed = sum(errors.values())
    click.echo(f"{printable(out)}: {sum(labels.values()) + failed} pictures")
    _table(labels)
    if failed:
        click.echo(f"{failed} failed:")
        _table(errors)
        code = (_SHOW if by_arrow(output.name) else _SHOW_BY_FSSPEC).format(json.dumps(output.name))
        click.echo(f"to see them: python -c {shlex.quote(code)}")
    click.echo(RESEARCH_USE)
    return failed


def _table(counts: Counter[str]) -> None:
    for text, count in counts.most_common(MOST_REASONS):
        click.echo(f"{count:9d}  {printable(text)}")
    others = len(counts) - MOST_REASONS
    if others > 0:
        rest = sum(counts.values()) - sum(count for _, count in counts.most_common(MOST_REASONS))
        click.echo(f"{rest:9d}  ({others} others)")
