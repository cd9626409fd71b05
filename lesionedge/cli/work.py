"""Classifies a list of images in order, in this process or in several."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lesionedge.cli.loading import load
from lesionedge.cli.output import make_folder
from lesionedge.errors import LesionEdgeError
from lesionedge.sources import names
from lesionedge.sources.listing import Source
from lesionedge.sources.reading import DeferredImage, is_elsewhere

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.model_options import ModelOptions
    from lesionedge.prediction import Prediction


class Job(NamedTuple):
    """An image to classify."""

    path: str
    """Its path, as the user named it."""
    content: bytes | DeferredImage | None = None
    """The content from standard input or a pipe, which cannot be read twice; or an image in an
    archive or at an address. None: the file at ``path``."""
    error: str | None = None
    """The reason why there is nothing to classify."""
    drawing: str | None = None
    """The file for the image with its prediction drawn on it."""

    @property
    def image(self) -> Any:
        """The image's source, for ``Classifier.classify``."""
        return self.path if self.content is None else self.content


class Result(NamedTuple):
    """One image's prediction, or its error."""

    path: str
    """Its path, as the user named it."""
    prediction: Prediction | None = None
    """The prediction."""
    error: str | None = None
    """The reason why there is none."""


class Settings(NamedTuple):
    """Settings of the classification, also for worker processes (``parallel.Task``)."""

    model_options: ModelOptions
    """The model and its options."""
    abstain: bool
    """Whether drawings show no diagnosis if the gate refuses the image."""
    top_k: int | None
    """How many classes are listed; None for all."""
    threshold: float
    """Classes below this probability are not listed."""

    def load(self) -> Classifier:
        """Load the model.

        Raises:
            ModelError: It cannot be used.
        """
        return load(self.model_options)

    def run(self, loaded: Classifier, job: Job) -> Result:
        """Classify one image."""
        if job.error is not None:
            return Result(job.path, error=job.error)
        try:
            prediction: Prediction | LesionEdgeError = loaded.classify(job.image)
        except LesionEdgeError as error:
            prediction = error
        return self.finished(loaded, job, prediction)

    def name(self, job: Job) -> str:
        """Name a job for messages."""
        return job.path

    def finished(
        self, classifier: Classifier, job: Job, prediction: Prediction | LesionEdgeError
    ) -> Result:
        """Return a job's result; make its drawing if it has one."""
        if job.error is not None:
            return Result(job.path, error=job.error)
        if isinstance(prediction, LesionEdgeError):
            return Result(job.path, error=_named(job, prediction))
        if job.drawing is not None:
            from lesionedge import render

            try:
                drawing = render.annotate(
                    job.image, prediction, classifier.preprocessing, abstain=self.abstain
                )
                render.save(drawing, job.drawing)
            except LesionEdgeError as error:
                return Result(job.path, error=_named(job, error))
        top = tuple(c for c in prediction.top[: self.top_k] if c.probability >= self.threshold)
        return Result(job.path, replace(prediction, top=top))


class Drawings:
    """Names drawings in a folder; no two are alike, and none overwrites one of the images."""

    def __init__(self, folder: str, images: Iterable[str]) -> None:
        """Make the folder.

        Args:
            folder: The folder for the drawings.
            images: Paths of the images, which no drawing may overwrite.

        Raises:
            OutputError: It cannot be made.
        """
        make_folder(folder)
        self._folder = folder
        self._images = {_identity(image) for image in images} - {None}
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, path: str) -> str:
        """Return the path of an image's drawing, which is named after the image."""
        found = names.base_name(path).replace("\0", "_") or "image"
        stem, suffix = os.path.splitext("stdin.png" if path == "-" else found)
        if suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
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


def jobs_of(
    sources: Iterable[Source], drawings: Drawings | None, *, skip: int = 0, streams: bool = True
) -> Iterator[Job]:
    """Yield each source's job; read standard input and pipes when it is their turn.

    Args:
        sources: The images.
        drawings: Names the drawings; None for no drawings.
        skip: How many images are done already; they keep the names of their drawings.
        streams: Whether standard input and pipes may be read.
    """
    for number, source in enumerate(sources):
        job = Job(source.path, error=source.error)
        if number < skip:
            if drawings is not None and job.error is None:
                drawings.name(job.path)
            continue
        if job.error is None and (source.path == "-" or _is_pipe(source.path)):
            job = _read(job) if streams else job._replace(error=f"{job.path}: is a stream")
        elif job.error is None and is_elsewhere(source.path):
            job = job._replace(content=DeferredImage(source.path))
        if drawings is not None and job.error is None:
            job = job._replace(drawing=drawings.name(job.path))
        yield job


def _is_pipe(path: str) -> bool:
    import stat

    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _read(job: Job) -> Job:
    if job.path == "-" and sys.stdin is None:
        return job._replace(error="-: standard input is closed")
    try:
        if job.path == "-":
            return job._replace(content=sys.stdin.buffer.read())
        with open(job.path, "rb") as pipe:
            return job._replace(content=pipe.read())
    except OSError as error:
        return job._replace(error=f"{job.path}: cannot be read ({error.strerror})")


def results(
    work: Iterator[Job], settings: Settings, *, processes: int, count: int
) -> Generator[Result, None, None]:
    """Classify images.

    Args:
        work: The images; a few are taken ahead of the results.
        settings: The settings.
        processes: How many processes share the images.
        count: How many images there are.

    Returns:
        One result per image, in order. Close the generator if you stop early.
    """
    if processes > 1 and count > 1:
        return _in_processes(work, settings, min(processes, count), count)
    return _in_this_process(work, settings, count)


def _in_this_process(
    work: Iterator[Job], settings: Settings, count: int
) -> Generator[Result, None, None]:
    classifier = settings.load()
    if count == 1:  # without threads, which take time to start
        yield from (settings.run(classifier, job) for job in work)
        return
    pending: deque[Job] = deque()

    def images() -> Iterator[Any]:
        for job in work:
            pending.append(job)
            yield job.image if job.error is None else b""

    for prediction in classifier.classify_many(images(), errors="yield"):
        yield settings.finished(classifier, pending.popleft(), prediction)


def _named(job: Job, error: LesionEdgeError) -> str:
    """Return an error with the pipe's name, since the error itself only has its size in bytes."""
    return f"{job.path}: {error}" if isinstance(job.content, bytes) else str(error)


def _in_processes(
    work: Iterator[Job], settings: Settings, processes: int, count: int
) -> Generator[Result, None, None]:
    from lesionedge.cores import default_threads
    from lesionedge.parallel import in_processes

    settings.load()  # an unusable model is reported once, not by every worker
    if settings.model_options.threads is None:
        each = replace(settings.model_options, threads=max(1, default_threads() // processes))
        settings = settings._replace(model_options=each)
    return in_processes(work, settings, processes=processes, count=count)
