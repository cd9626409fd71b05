"""The folder of ``lesionedge evaluate``: each model's predictions, and what made them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lesionedge.cli import fail, warn
from lesionedge.cli.output import OutputError
from lesionedge.cli.result_file import opened
from lesionedge.wording import counted

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.model_options import ModelOptions

MADE_BY = "predictions.json"
"""File of a folder that says which model made its predictions."""
IMAGES = "images"
"""Its key for a digest of the images."""
MALIGNANT = "malignant"
"""Its key for which labels are malignant; older versions left it out."""


@dataclass(frozen=True)
class Done:
    """A model's predictions."""

    path: str
    """The csv."""
    failed: int
    """How many images failed."""


def predict(
    folder: str, name: str, paths: Sequence[str], model_options: ModelOptions,
    classifier: Classifier, *, jobs: int, kept: bool,
) -> Done:  # fmt: skip
    """Classify images into a csv, or go on with one; one that is complete is kept.

    Args:
        folder: Where it goes.
        name: The csv's, from ``files``.
        paths: The images.
        model_options: The model and its options.
        classifier: The model.
        jobs: How many processes share the images.
        kept: Whether the folder stays, so that the same command continues an interrupted run.

    Raises:
        OutputError: The folder holds predictions of another model, of other images, or of unknown
            origin, or cannot be written.
    """
    from lesionedge.cli.output import CsvWriter

    labels, path = classifier.labels, os.path.join(folder, name)
    images = _digest(paths)
    known = _record(folder, name, {**_maker(classifier, model_options), IMAGES: images})
    if os.path.exists(path):
        failed = _check_complete(path, paths)
        _refuse_changed(path, known, images)
        return Done(path, failed)
    resume = os.path.exists(path + ".part")
    advice = "the same command continues" if kept else None
    with opened(
        path, "csv", resume=resume, labels=labels, statistics=True, advice=advice
    ) as target:
        if [one for one, _ in target.done] != paths[: len(target.done)]:
            raise OutputError(f"{path}.part: is of other images; remove it, or name another DIR")
        if resume:
            _refuse_changed(f"{path}.part", known, images)
        writer = CsvWriter(target.file, labels=labels, header=not target.done, statistics=True)
        failed = sum(was_error for _, was_error in target.done)
        rest = paths[len(target.done) :]
        return Done(path, failed + _fill(rest, model_options, jobs, writer, target.file))


def _fill(
    paths: Sequence[str], model_options: ModelOptions, jobs: int, writer: Any, file: Any
) -> int:
    from lesionedge.cli.progress import Progress
    from lesionedge.cli.work import Settings, jobs_of, results
    from lesionedge.sources.listing import Source

    settings = Settings(model_options, abstain=False, top_k=None, threshold=0.0)
    work: Iterator[Any] = jobs_of((Source(path) for path in paths), None)
    progress, failed = Progress(len(paths)), 0
    with closing(results(work, settings, processes=jobs, count=len(paths))) as found:
        for result in found:
            if result.prediction is not None:
                writer.success(result.path, result.prediction)
            else:
                failed += 1
                progress.clear()
                fail(result.error or "failed")
                writer.failure(result.path, result.error or "failed")
            file.flush()
            progress.step()
    if paths:
        progress.end()
    return failed


def short(model: str) -> str:
    """Return a model's name without folder and suffix."""
    return os.path.basename(model).removesuffix(".tflite") or "model"


def files(loaded: Sequence[Classifier]) -> list[str]:
    """Return the names of models' files; the first is ``predictions.csv``, like names are numbered.

    Args:
        loaded: The models.
    """
    found = ["predictions.csv"]
    for one in loaded[1:]:
        name, number = f"predictions-{short(one.model)}.csv", 2
        while name.lower() in map(str.lower, found):
            name, number = f"predictions-{short(one.model)}-{number}.csv", number + 1
        found.append(name)
    return found


def _digest(paths: Sequence[str]) -> str:
    """Return a digest of the images' sizes, which shows most images that were replaced."""
    import hashlib

    found = hashlib.sha256()
    for path in paths:
        try:
            size = os.path.getsize(path)
        except (OSError, ValueError):  # it is in an archive or at an address, or not there
            size = -1
        found.update(f"{size}\n".encode())
    return found.hexdigest()


def _refuse_changed(path: str, known: str | None, images: str) -> None:
    """Refuse predictions of images that have been replaced since.

    Raises:
        OutputError: They have.
    """
    if known not in (None, images):  # runs of older versions left no digest
        raise OutputError(
            f"{path}: some images have changed since it was made (their sizes differ); remove it, "
            "or name another DIR"
        )


def _maker(classifier: Classifier, model_options: ModelOptions) -> dict[str, Any]:
    from lesionedge.profile import digest

    given = classifier.options.normalize
    return {
        "model": short(classifier.model), "sha256": digest(classifier.path),
        "labels": list(classifier.labels), "views": classifier.views,
        MALIGNANT: [one.malignant for one in classifier.diagnoses],
        "normalize": None if given is None else list(given), "check": model_options.check,
    }  # fmt: skip


def _record(folder: str, name: str, maker: dict[str, Any]) -> str | None:
    """Write down which model makes a file of which images; return the images of what is there.

    Raises:
        OutputError: Another model made what is there, or it is not known which did.
    """
    from lesionedge import atomic

    path, file = os.path.join(folder, name), os.path.join(folder, MADE_BY)
    try:
        with open(file, "rb") as text:
            found = json.load(text)
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except FileNotFoundError:
        found = {}
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: cannot be read ({error}); name another DIR") from error
    there = next(filter(os.path.exists, (path, f"{path}.part")), None)
    if there is not None:
        return _check_maker(there, found.get(name), maker)
    found[name] = maker
    try:
        atomic.write_text(file, json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror})") from error
    return None


def _check_maker(path: str, found: Any, maker: dict[str, Any]) -> str | None:
    """Refuse a file that another model made; return the digest of its images."""
    if not isinstance(found, dict):
        raise OutputError(
            f"{path}: {MADE_BY} beside it does not say which model made it; remove it, or name "
            "another DIR"
        )
    images: str | None = found.get(IMAGES)
    known = {MALIGNANT: maker[MALIGNANT], **found}
    if {**known, IMAGES: None} != {**maker, IMAGES: None}:
        raise OutputError(
            f"{path}: made by the model {found.get('model')}, or with other options; name another "
            "DIR"
        )
    return images


def _check_complete(path: str, paths: Sequence[str]) -> int:
    """Say which images failed in predictions that are there, and how many; refuse those of others.

    Raises:
        OutputError: They are of other images.
    """
    import csv

    from lesionedge.datasets import predicted

    with predicted.opened(path) as file:
        rows = [(row.get("path"), row.get("error")) for row in csv.DictReader(file)]
    if [found for found, _ in rows] != list(paths):
        raise OutputError(f"{path}: holds predictions of other images; name another DIR")
    errors = [error for _, error in rows if error]
    for error in errors:
        fail(error)
    if errors:
        warn(f"{path}: {counted(len(errors))} failed when it was made; remove it to try again")
    return len(errors)
