"""``lesionedge predict``: pictures in, answers out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import fail, options
from lesionedge.cli.output import WRITERS, OutputError, opened
from lesionedge.cli.sources import Source, expand
from lesionedge.errors import LesionEdgeError, ModelError

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier, Prediction

CHUNK = 8
"""Pictures that a worker process is given at a time."""

FEW = 5
"""More pictures than this show their progress."""


@dataclass(frozen=True)
class Job:
    """One picture's work."""

    path: str
    """As given."""
    content: bytes | None = None
    """What standard input held, for ``-``."""
    error: str | None = None
    """Why there is nothing to classify."""
    drawing: str | None = None
    """Where the picture with its answer drawn on it goes."""


@dataclass(frozen=True)
class Result:
    """One picture's answer, or its error."""

    path: str
    """As given."""
    prediction: Prediction | None = None
    """The answer."""
    error: str | None = None
    """Why there is none."""


@dataclass(frozen=True)
class Settings:
    """How pictures are classified; goes to worker processes."""

    model: str | None
    threads: int | None
    labels: str | None
    normalize: tuple[float, float] | None
    verbose: bool
    top_k: int | None
    threshold: float


@click.command("predict")
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(readable=False)
)
@options.model
@click.option(
    "-k", "--top-k", type=click.IntRange(min=1), help="List only the N likeliest classes."
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.0, metavar="P",
    help="List only classes of at least this probability.",
)  # fmt: skip
@options.threads
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
    "-o",
    "--output",
    type=click.Path(readable=False),
    metavar="FILE",
    help="Write there, whole or not at all.",
)
@click.option(
    "--annotate", type=click.Path(file_okay=False), metavar="DIR",
    help="Write each picture with its answer drawn on it.",
)  # fmt: skip
@options.labels
@options.normalize
@click.pass_context
def command(
    ctx: click.Context, /, paths: tuple[str, ...], recursive: bool, jobs: int, form: str,
    output: str | None, annotate: str | None, **given: Any,
) -> None:  # fmt: skip
    """Classify pictures: files, folders, patterns, or - for standard input.

    Prints calibrated probabilities; exits with 1 if some picture failed.
    """
    settings = Settings(verbose=bool((ctx.obj or {}).get("verbose")), **given)
    if output is not None and os.path.isdir(output):
        raise click.UsageError(f"-o {output}: is a folder; expected a file")
    sources = list(expand(paths, recursive=recursive))
    work = _jobs(sources, annotate)
    failed = 0
    with opened(output) as file:
        writer = WRITERS[form](file)
        progress = _Progress(len(sources)) if len(sources) > FEW else None
        for result in _results(work, settings, jobs, len(sources)):
            if result.prediction is not None:
                writer.answer(result.path, result.prediction)
            else:
                failed += 1
                _report(progress, result.error or "failed")
                writer.failure(result.path, result.error or "failed")
            if progress is not None:
                progress.step()
        if progress is not None:
            progress.end()
        writer.close()
        file.flush()
    if failed:
        ctx.exit(1)


def _report(progress: _Progress | None, error: str) -> None:
    if progress is not None:
        progress.clear()
    fail(error)


def _jobs(sources: Iterable[Source], folder: str | None) -> Iterator[Job]:
    if folder is not None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    taken: set[str] = set()
    for source in sources:
        content = sys.stdin.buffer.read() if source.path == "-" else None
        drawing = None
        if folder is not None and source.error is None:
            drawing = _drawing(source.path, folder, taken)
        yield Job(source.path, content, source.error, drawing)


def _drawing(path: str, folder: str, taken: set[str]) -> str:
    """Name a drawing after its picture; never two alike, never the picture itself."""
    stem, suffix = os.path.splitext("stdin.png" if path == "-" else os.path.basename(path))
    if suffix.lower() not in (".jpg", ".jpeg", ".png"):
        suffix = ".png"
    number = 1
    while True:
        name = stem + (f"-{number}" if number > 1 else "") + suffix
        target = os.path.join(folder, name)
        if name not in taken and not (path != "-" and _same_file(target, path)):
            taken.add(name)
            return target
        number += 1


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def _results(work: Iterator[Job], settings: Settings, jobs: int, count: int) -> Iterator[Result]:
    if jobs > 1 and count > 1:
        return _in_processes(work, settings, min(jobs, count))
    return _in_this_process(work, settings, count)


def _load(settings: Settings) -> Classifier:
    from lesionedge.classifier import Classifier

    return Classifier(
        settings.model, threads=settings.threads, labels=settings.labels,
        normalize=settings.normalize, verbose=settings.verbose,
    )  # fmt: skip


def _in_this_process(work: Iterator[Job], settings: Settings, count: int) -> Iterator[Result]:
    classifier = _load(settings)
    if count == 1:
        yield from (_one(classifier, job, settings) for job in work)
        return
    pending: list[Job] = []

    def pictures() -> Iterator[Any]:
        for job in work:
            pending.append(job)
            # A job without a picture fails as a picture that cannot be read.
            yield job.content if job.content is not None else job.path

    for answer in classifier.classify_many(pictures(), errors="yield"):
        yield _finished(classifier, pending.pop(0), answer, settings)


def _one(classifier: Classifier, job: Job, settings: Settings) -> Result:
    try:
        picture = job.content if job.content is not None else job.path
        answer: Prediction | LesionEdgeError = classifier.classify(picture)
    except LesionEdgeError as error:
        answer = error
    return _finished(classifier, job, answer, settings)


def _finished(
    classifier: Classifier, job: Job, answer: Prediction | LesionEdgeError, settings: Settings
) -> Result:
    if job.error is not None or isinstance(answer, LesionEdgeError):
        return Result(job.path, error=job.error or _named(job, answer))
    if job.drawing is not None:
        from lesionedge import render

        try:
            picture = job.content if job.content is not None else job.path
            render.save(render.annotate(picture, answer, classifier.preprocessing), job.drawing)
        except LesionEdgeError as error:
            return Result(job.path, error=str(error))
    top = tuple(c for c in answer.top[: settings.top_k] if c.probability >= settings.threshold)
    return Result(job.path, replace(answer, top=top))


def _named(job: Job, error: object) -> str:
    """Name standard input where the error could only say how many bytes it had."""
    return f"-: {error}" if job.path == "-" else str(error)


def _in_processes(work: Iterator[Job], settings: Settings, jobs: int) -> Iterator[Result]:
    """Classify in worker processes, each with its own interpreter; order and memory are kept."""
    import multiprocessing
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from itertools import islice

    from lesionedge.interpreter import default_threads

    _load(settings)  # a model that cannot be used is told once, here, and not by every worker
    if settings.threads is None:
        settings = replace(settings, threads=max(1, default_threads() // jobs))
    # Not fork: the native library's threads would not survive it.
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(settings,)
    )
    ahead: deque[Future[list[Result]]] = deque()
    try:
        while True:
            while len(ahead) < 4 * jobs and (chunk := list(islice(work, CHUNK))):
                ahead.append(pool.submit(_work, chunk))
            if not ahead:
                return
            yield from ahead.popleft().result()
    except BrokenProcessPool as error:
        raise ModelError(
            "a worker process was killed (out of memory?); the rest was not classified: "
            "run again with fewer --jobs"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: list[tuple[Classifier, Settings]] = []


def _start_worker(settings: Settings) -> None:
    import signal

    # Ctrl-C reaches every process of the terminal; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.append((_load(settings), settings))


def _work(chunk: list[Job]) -> list[Result]:
    classifier, settings = _worker[0]
    return [_one(classifier, job, settings) for job in chunk]


class _Progress:
    """How far a long list of pictures is: in place on a terminal, a line now and then elsewhere."""

    def __init__(self, count: int) -> None:
        self._count, self._done = count, 0
        self._begin = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self) -> None:
        """Count one picture."""
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._terminal else 10.0):
            self._shown = now
            self._show()

    def clear(self) -> None:
        """Make room for another line."""
        if self._terminal:
            click.echo("\r\x1b[K", err=True, nl=False)

    def end(self) -> None:
        """Show the whole."""
        self._show()
        if self._terminal:
            click.echo(err=True)

    def _show(self) -> None:
        speed = self._done / max(1e-9, time.monotonic() - self._begin)
        text = f"{self._done} of {self._count} pictures, {speed:.0f} a second"
        if self._terminal:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
        else:
            click.echo(text, err=True)
