"""Classifies a list of pictures, in this process or in several, in their order."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lesionedge.cli.output import OutputError
from lesionedge.cli.sources import Source
from lesionedge.errors import LesionEdgeError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.process import BaseProcess

    from lesionedge.classifier import Classifier, Prediction

MOST_AT_A_TIME = 8
"""Pictures that a worker process is given at a time, at most."""


@dataclass(frozen=True)
class Job:
    """One picture's work."""

    path: str
    """As given."""
    content: bytes | None = None
    """What came through standard input or a pipe, which cannot be read twice."""
    error: str | None = None
    """Why there is nothing to classify."""
    drawing: str | None = None
    """Where the picture with its answer drawn on it goes."""

    @property
    def image(self) -> str | bytes:
        """What to classify."""
        return self.path if self.content is None else self.content


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
    views: int
    check: bool
    abstain: bool
    verbose: bool
    top_k: int | None
    threshold: float

    def load(self) -> Classifier:
        """Load the model.

        Raises:
            ModelError: It cannot be used.
        """
        from lesionedge.classifier import Classifier

        return Classifier(
            self.model, threads=self.threads, labels=self.labels,
            normalize=self.normalize, check=self.check, verbose=self.verbose,
            views=self.views,
        )  # fmt: skip


class Drawings:
    """Names for drawings in a folder: never two alike, never one of the pictures themselves."""

    def __init__(self, folder: str, sources: Iterable[Source]) -> None:
        """Make the folder.

        Raises:
            OutputError: It cannot be made.
        """
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
        self._folder = folder
        self._images = {_identity(source.path) for source in sources} - {None}
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, path: str) -> str:
        """Name a drawing after its picture."""
        stem, suffix = os.path.splitext("stdin.png" if path == "-" else os.path.basename(path))
        if suffix.lower() not in (".jpg", ".jpeg", ".png"):
            suffix = ".png"
        first = (stem + suffix).lower()
        number = self._next.get(first, 1)
        while True:
            name = stem + (f"-{number}" if number > 1 else "") + suffix
            target = os.path.join(self._folder, name)
            number += 1
            # On FAT, as on many USB sticks, a.jpg and A.JPG are one file.
            if name.lower() not in self._taken and _identity(target) not in self._images:
                self._next[first] = number
                self._taken.add(name.lower())
                return target


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def jobs_of(sources: Iterable[Source], drawings: Drawings | None) -> Iterator[Job]:
    """Give each source's job, reading standard input and pipes when it is their turn."""
    for source in sources:
        job = Job(source.path, error=source.error)
        if job.error is None and (source.path == "-" or _is_pipe(source.path)):
            job = _read(job)
        if drawings is not None and job.error is None:
            job = replace(job, drawing=drawings.name(job.path))
        yield job


def _is_pipe(path: str) -> bool:
    import stat

    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _read(job: Job) -> Job:
    if job.path == "-" and sys.stdin is None:
        return replace(job, error="-: standard input is closed")
    try:
        if job.path == "-":
            return replace(job, content=sys.stdin.buffer.read())
        with open(job.path, "rb") as pipe:
            return replace(job, content=pipe.read())
    except OSError as error:
        return replace(job, error=f"{job.path}: cannot be read ({error.strerror})")


def results(
    work: Iterator[Job], settings: Settings, *, processes: int, count: int
) -> Generator[Result, None, None]:
    """Classify.

    Args:
        work: The pictures, taken a few ahead of the results.
        settings: How.
        processes: In how many processes.
        count: How many pictures there are.

    Returns:
        One result a picture, in their order; to be closed, also when it is left early.
    """
    if processes > 1 and count > 1:
        return _in_processes(work, settings, min(processes, count), count)
    return _in_this_process(work, settings, count)


def _in_this_process(
    work: Iterator[Job], settings: Settings, count: int
) -> Generator[Result, None, None]:
    classifier = settings.load()
    if count == 1:  # without threads, which take time to start
        yield from (_one(classifier, job, settings) for job in work)
        return
    pending: deque[Job] = deque()

    def images() -> Iterator[Any]:
        for job in work:
            pending.append(job)
            yield job.image if job.error is None else b""

    for prediction in classifier.classify_many(images(), errors="yield"):
        yield _finished(classifier, pending.popleft(), prediction, settings)


def _one(classifier: Classifier, job: Job, settings: Settings) -> Result:
    if job.error is not None:
        return Result(job.path, error=job.error)
    try:
        prediction: Prediction | LesionEdgeError = classifier.classify(job.image)
    except LesionEdgeError as error:
        prediction = error
    return _finished(classifier, job, prediction, settings)


def _finished(
    classifier: Classifier, job: Job, prediction: Prediction | LesionEdgeError, settings: Settings
) -> Result:
    if job.error is not None:
        return Result(job.path, error=job.error)
    if isinstance(prediction, LesionEdgeError):
        return Result(job.path, error=_named(job, prediction))
    if job.drawing is not None:
        from lesionedge import render

        try:
            drawing = render.annotate(
                job.image, prediction, classifier.preprocessing, abstain=settings.abstain
            )
            render.save(drawing, job.drawing)
        except LesionEdgeError as error:
            return Result(job.path, error=_named(job, error))
    top = tuple(c for c in prediction.top[: settings.top_k] if c.probability >= settings.threshold)
    return Result(job.path, replace(prediction, top=top))


def _named(job: Job, error: LesionEdgeError) -> str:
    """Name a pipe where the error could only say how many bytes it had."""
    return str(error) if job.content is None else f"{job.path}: {error}"


def _in_processes(
    work: Iterator[Job], settings: Settings, processes: int, count: int
) -> Generator[Result, None, None]:
    """Classify in worker processes, each with its own interpreter; order and memory are kept."""
    from concurrent.futures.process import BrokenProcessPool
    from itertools import islice

    from lesionedge.interpreter import default_threads

    settings.load()  # a model that cannot be used is told once, here, and not by every worker
    if settings.threads is None:
        settings = replace(settings, threads=max(1, default_threads() // processes))
    at_a_time = max(1, min(MOST_AT_A_TIME, count // (2 * processes)))
    ahead: deque[tuple[str, Future[list[Result]]]] = deque()
    workers: set[BaseProcess] = set()
    pool = _pool(processes, settings)
    try:
        while True:
            while len(ahead) < 4 * processes and (chunk := list(islice(work, at_a_time))):
                ahead.append((chunk[0].path, _submit(pool, chunk, workers)))
            if not ahead:
                return
            yield from ahead[0][1].result()
            ahead.popleft()
    except BrokenProcessPool as error:
        pool.shutdown(wait=True)
        first = ahead[0][0] if ahead else chunk[0].path
        raise LesionEdgeError(_obituary(workers, first)) from error
    except BaseException:
        for worker in workers:  # nobody waits for what they are doing
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(processes: int, settings: Settings) -> ProcessPoolExecutor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Not fork: the native library's threads would not survive it.
    context = multiprocessing.get_context("spawn")
    try:
        return ProcessPoolExecutor(
            processes, context, initializer=_start_worker, initargs=(settings,)
        )
    except OSError as error:
        raise LesionEdgeError(
            f"--jobs {processes}: processes cannot be started here ({error.strerror})"
        ) from error


def _submit(
    pool: ProcessPoolExecutor, chunk: list[Job], workers: set[BaseProcess]
) -> Future[list[Result]]:
    import multiprocessing

    # Ctrl-C reaches every process of the terminal, and the parent alone decides. A worker is
    # started with the signal held back, so that not even its first moments are interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        future = pool.submit(_work, chunk)
        workers.update(multiprocessing.active_children())
    except OSError as error:
        raise LesionEdgeError(
            f"a worker process cannot be started ({error.strerror}): run again with fewer --jobs"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return future


def _obituary(workers: Iterable[BaseProcess], path: str) -> str:
    """Say which signal ended a worker (the pool itself ends the others by SIGTERM)."""
    signals = {-(worker.exitcode or 0) for worker in workers}
    killers = sorted(number for number in signals if number > 0)
    others = [number for number in killers if number != signal.SIGTERM] or killers
    by = f" by {signal.Signals(others[0]).name}" if others else ""
    return (
        f"{path}: a worker process was killed{by}; this picture and those after it were not "
        "classified. If memory ran out, run again with fewer --jobs"
    )


_worker: list[Any] = []


def _start_worker(settings: Settings) -> None:
    import threading

    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.append(settings)


def _end_with_parent() -> None:
    """Leave no orphan when the parent is killed outright."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(chunk: list[Job]) -> list[Result]:
    settings = _worker[0]
    if len(_worker) == 1:  # here, not at the start, where an error could not be told
        _worker.append(settings.load())
    return [_one(_worker[1], job, settings) for job in chunk]
