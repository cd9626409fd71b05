"""The folder of ``lesionedge evaluate``: each model's predictions, and what made them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lesionedge.cli import fail
from lesionedge.cli.output import OutputError
from lesionedge.cli.result_file import opened

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.model_options import ModelOptions

MADE_BY = "predictions.json"
"""File of a folder that says which model made its predictions."""


@dataclass(frozen=True)
class Done:
    """A model's predictions."""

    path: str
    """The csv."""
    failed: int
    """How many images failed."""


def predict(
    folder: str, paths: Sequence[str], model_options: ModelOptions, jobs: int, *, first: bool,
    kept: bool,
) -> Done:  # fmt: skip
    """Classify images into a csv, or go on with one; one that is complete is kept.

    Args:
        folder: Where it goes.
        paths: The images.
        model_options: The model and its options.
        jobs: How many processes share the images.
        first: Whether the model is the first; the csv of another is named after it.
        kept: Whether the folder stays, so that the same command continues an interrupted run.

    Raises:
        OutputError: The folder holds another model's predictions, or other images', or cannot be
            written.
    """
    from lesionedge.classifier import Classifier
    from lesionedge.cli.output import CsvWriter

    classifier = Classifier.of(model_options)
    labels, maker = classifier.labels, _maker(classifier)
    name = "predictions.csv" if first else f"predictions-{short(classifier.model)}.csv"
    del classifier
    path = os.path.join(folder, name)
    _record(folder, name, maker)
    if os.path.exists(path):
        return Done(path, _check_complete(path, paths))
    resume = os.path.exists(path + ".part")
    advice = "the same command continues" if kept else None
    with opened(
        path, "csv", resume=resume, labels=labels, statistics=True, advice=advice
    ) as target:
        if [one for one, _ in target.done] != paths[: len(target.done)]:
            raise OutputError(f"{path}.part: is of other images; remove it, or name another DIR")
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


def _maker(classifier: Classifier) -> dict[str, Any]:
    from lesionedge.profile import digest

    given = classifier.options.normalize
    return {
        "model": short(classifier.model), "sha256": digest(classifier.path),
        "labels": list(classifier.labels), "views": classifier.views,
        "normalize": None if given is None else list(given), "check": classifier.options.check,
    }  # fmt: skip


def _record(folder: str, name: str, maker: dict[str, Any]) -> None:
    """Write down which model makes a file; refuse one that another model made.

    Raises:
        OutputError: Another did.
    """
    from lesionedge import atomic

    file = os.path.join(folder, MADE_BY)
    try:
        with open(file, "rb") as text:
            found = json.load(text)
    except FileNotFoundError:
        found = {}
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: cannot be read ({error}); name another DIR") from error
    if found.setdefault(name, maker) != maker:
        raise OutputError(
            f"{os.path.join(folder, name)}: made by the model {found[name].get('model')}, or with "
            "other options; name another DIR"
        )
    try:
        atomic.write_text(file, json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror})") from error


def _check_complete(path: str, paths: Sequence[str]) -> int:
    """Return how many images failed in predictions that are there; refuse those of others."""
    import csv

    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = [(row["path"], bool(row["error"])) for row in csv.DictReader(file)]
    if [found for found, _ in rows] != list(paths):
        raise OutputError(f"{path}: holds predictions of other images; name another DIR")
    return sum(failed for _, failed in rows)
