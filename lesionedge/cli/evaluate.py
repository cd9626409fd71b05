"""``lesionedge evaluate``: measures models on labelled images."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import fail, options, printable, warn
from lesionedge.cli.calibrate import tell_labels
from lesionedge.cli.output import OutputError
from lesionedge.cli.result_file import opened
from lesionedge.cli.signals import ended_by_signals
from lesionedge.wording import RESEARCH_USE, counted

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.datasets.gather import Labelled
    from lesionedge.datasets.meaning import Understood
    from lesionedge.evaluation.entries import Entry
    from lesionedge.model_options import ModelOptions

MADE_BY = "predictions.json"
"""File of a folder that says which model made its predictions."""
SPLIT = "images"
"""What ``metrics.json`` calls the images."""


@click.command(
    "evaluate",
    epilog=options.examples(
        "lesionedge evaluate photos/ --truth labels.csv -o measured/",
        "lesionedge evaluate photos/ --truth labels.csv -m mobilenetv2 -m cnn",
    ),
)
@click.argument("source", metavar="SOURCE", type=click.Path(readable=False))
@click.option(
    "--truth", type=click.Path(), metavar="FILE",
    help="Table with the columns path (or id) and label, and lesion, patient, sex, age, site, "
    "skin_type where known; or a dataset.",
)  # fmt: skip
@click.option(
    "-m", "--model", "models", multiple=True, metavar="MODEL",
    help="mobilenetv2 (default), mobilenetv2-float16, cnn, or a .tflite file; may be repeated.",
)  # fmt: skip
@click.option(
    "--profile", "profiles", multiple=True, type=click.Path(dir_okay=False), metavar="FILE",
    help="Also measure the model with this site profile; may be repeated.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(file_okay=False), metavar="DIR",
    help="Write report.html, metrics.json and predictions.csv to DIR. A run that ended early is "
    "continued.",
)  # fmt: skip
@click.option("--with-images", is_flag=True, help="Show images in the report.")
@click.option(
    "--submission", type=click.Path(dir_okay=False), metavar="FILE",
    help="Also write the first model's predictions in the ISIC challenge's format.",
)  # fmt: skip
@options.dataset_layout
@options.processes
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="json: what metrics.json holds.",
)  # fmt: skip
@options.model_options(without=("model", "profile", "operating_point"))
@click.pass_context
def command(
    ctx: click.Context, /, source: str, truth: str | None, models: tuple[str, ...],
    profiles: tuple[str, ...], output: str | None, with_images: bool, submission: str | None,
    layout: str | None, jobs: int, form: str, model_options: ModelOptions,
) -> None:  # fmt: skip
    """Measure models on labelled images of your own.

    SOURCE is a folder of images with --truth, class folders, or a dataset. Exits with 1 if an
    image failed.
    """
    from lesionedge import evaluation  # noqa: F401  # says what is not installed
    from lesionedge.datasets import gather

    labelled = gather.gather(source, truth_file=truth, layout=layout)
    gather.refuse_copies(labelled)
    chosen = [replace(model_options, model=name) for name in models or (None,)]
    with ExitStack() as stack:
        folder = output or stack.enter_context(tempfile.TemporaryDirectory())
        _make(folder)
        stack.enter_context(ended_by_signals())
        done = [
            _predict(folder, labelled, each, jobs, first=number == 0)
            for number, each in enumerate(chosen)
        ]
        loaded = _classifiers(chosen)
        plan = _plan(labelled, loaded, profiles)
        tell_labels(plan.understood, labelled.skipped)
        results = _measure(plan, labelled, done, folder, with_images)
        if submission is not None:
            _submit(submission, done[0].path, loaded[0])
    if form == "json":
        click.echo(json.dumps(results, indent=1))
    else:
        click.echo(_text(results, output), nl=False)
    failed = done[0].failed
    if failed:
        click.echo(f"lesionedge: {failed} of {len(labelled.paths)} images failed", err=True)
        ctx.exit(1)


@dataclass(frozen=True)
class Done:
    """A model's predictions."""

    path: str
    """The csv."""
    failed: int
    """How many images failed."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    entries: list[tuple[Entry, int]]
    """Each entry, and the number of its model."""
    understood: Understood
    """What the labels mean to the models."""


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error


def _predict(
    folder: str, labelled: Labelled, model_options: ModelOptions, jobs: int, *, first: bool
) -> Done:
    """Classify the images into a csv, or go on with one; one that is complete is kept."""
    from lesionedge.cli.output import CsvWriter

    paths = labelled.paths
    classifier = _load(model_options)
    labels, maker = classifier.labels, _maker(classifier)
    name = "predictions.csv" if first else f"predictions-{_short(classifier.model)}.csv"
    del classifier
    path = os.path.join(folder, name)
    _record(folder, name, maker)
    if os.path.exists(path):
        return Done(path, _check_complete(path, paths))
    resume = os.path.exists(path + ".part")
    with opened(path, "csv", resume=resume, labels=labels) as target:
        if [one for one, _ in target.done] != paths[: len(target.done)]:
            raise OutputError(f"{path}.part: is of other images; remove it, or name another DIR")
        writer = CsvWriter(target.file, labels=labels, header=not target.done)
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


def _load(model_options: ModelOptions) -> Classifier:
    from lesionedge.classifier import Classifier

    return Classifier.of(model_options)


def _short(model: str) -> str:
    return os.path.basename(model).removesuffix(".tflite") or "model"


def _maker(classifier: Classifier) -> dict[str, Any]:
    from lesionedge.profile import digest

    given = classifier.options.normalize
    return {
        "model": _short(classifier.model), "sha256": digest(classifier.path),
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


def _classifiers(chosen: Sequence[ModelOptions]) -> list[Classifier]:
    return [_load(replace(each, check=False)) for each in chosen]


def _plan(labelled: Labelled, loaded: Sequence[Classifier], profiles: Sequence[str]) -> Plan:
    """Find out what the labels mean to the models, and what is measured."""
    from lesionedge.datasets import meaning
    from lesionedge.evaluation.entries import Entry

    alike = all(one.diagnoses == loaded[0].diagnoses for one in loaded)
    understood = meaning.understand(
        labelled.table["label"], loaded[0].diagnoses, name=labelled.name,
        kind=None if alike else meaning.MALIGNANT,
    )  # fmt: skip
    if understood.kind == meaning.MALIGNANT:
        from lesionedge.diagnosis import malignant_of

        for one in loaded:
            malignant_of(one.diagnoses, model=one.model)
    names = _names(loaded)
    entries = [(Entry(name, one), number) for number, (name, one) in enumerate(zip(names, loaded))]
    for path in profiles:
        entries.append(_with_profile(path, loaded, names))
    return Plan(entries, understood)


def _names(loaded: Sequence[Classifier]) -> list[str]:
    names: list[str] = []
    for one in loaded:
        name, number = _short(one.model), 2
        while name in names:
            name, number = f"{_short(one.model)} ({number})", number + 1
        names.append(name)
    return names


def _with_profile(
    path: str, loaded: Sequence[Classifier], names: Sequence[str]
) -> tuple[Entry, int]:
    """Find the model that a profile is for."""
    from lesionedge import profile
    from lesionedge.cli.calibrate import owner_of
    from lesionedge.evaluation.entries import Entry

    found = profile.read(path)
    owners = [owner_of(one) for one in loaded]
    for number, owner in enumerate(owners):
        if owner.sha256 == found.owner.sha256:
            found.check_owner(owner)
            return Entry(f"{names[number]} with {found.name}", loaded[number], found), number
    found.check_owner(owners[0])
    raise AssertionError


def _measure(
    plan: Plan, labelled: Labelled, done: Sequence[Done], folder: str, with_images: bool
) -> dict[str, Any]:
    """Measure everything; write the report."""
    from pathlib import Path

    import numpy as np

    from lesionedge.datasets import predicted
    from lesionedge.evaluation import comparison, entries, whole
    from lesionedge.evaluation.measured import LabelledImages

    understood, kind = plan.understood, plan.understood.kind
    first = plan.entries[0][0].classifier
    card = entries.facts(first, kind, labelled.name)
    truth = _truth(labelled, understood, first)
    read = [
        predicted.read(one.path, plan.entries[number][0].classifier.labels, model="")
        for number, one in enumerate(done)
    ]
    rows = [{path: row for row, path in enumerate(one.paths)} for one in read]
    paths = labelled.paths
    kept = [
        i for i, path in enumerate(paths) if truth[i] >= 0 and all(path in each for each in rows)
    ]
    table = labelled.table.iloc[kept].reset_index(drop=True)
    groups = replace(labelled, table=table).groups("patient", "lesion")
    images = LabelledImages(table.assign(group=groups), np.array([truth[i] for i in kept]))
    _refuse_one_class(images, card.codes, labelled.name)
    measured = []
    for entry, number in plan.entries:
        chosen = [rows[number][paths[i]] for i in kept]
        raw, verdicts = read[number].probabilities[chosen], read[number].reliable
        measured.append(entries.measured(entry, kind, raw, [verdicts[row] for row in chosen]))
    differences = {
        f"{one.name} less {measured[0].name}": comparison.differences(
            one, measured[0], images, list(card.codes), list(card.malignant)
        )
        for one in measured[1:]
    }
    record = {
        "split": SPLIT, "dataset": labelled.name, "kind": kind,
        "grouped_by": labelled.grouped_by("patient", "lesion"),
        "labels": [
            {"label": one.label, "images": one.count, "target": understood.target(one)}
            for one in understood.meanings
        ],
        "left_out": labelled.skipped, "failed": read[0].failed,
        "refused_by_gate": sum(verdict is False for verdict in read[0].reliable),
        "warnings": _warnings(images, card.codes, paths, [one for one, _ in plan.entries]),
        "comparison": differences,
    }  # fmt: skip
    results = whole.write(
        Path(folder), card, record, images, measured, with_images=with_images, say=lambda _: None
    )
    return {**record, "models": results}


def _truth(labelled: Labelled, understood: Understood, classifier: Classifier) -> list[int]:
    """Return each image's class number; -1 where it is left out."""
    numbers = {
        label: understood.number(label, classifier.labels) for label in set(labelled.table["label"])
    }
    found = (numbers[label] for label in labelled.table["label"])
    return [-1 if number is None else number for number in found]


def _refuse_one_class(images: Any, labels: Sequence[str], name: str) -> None:
    from lesionedge.datasets import DatasetError

    there = sorted({labels[number] for number in images.truth})
    if len(there) < 2:
        classes = " and ".join(there) or "no class"
        raise DatasetError(
            f"{name}: {counted(len(images.truth))} of {classes} are left; "
            "expected images of two classes or more"
        )


def _warnings(
    images: Any, labels: Sequence[str], paths: Sequence[str], entries: Sequence[Entry]
) -> list[str]:
    """Say what limits the figures, on standard error too."""
    from lesionedge.evaluation import known

    models = {entry.classifier.path: entry.classifier for entry in entries}
    remarks = (known.remark(paths, one.card, path) for path, one in models.items())
    found = list(dict.fromkeys(filter(None, remarks)))
    for number, label in enumerate(labels):
        count = int((images.truth == number).sum())
        if 0 < count < FEW:
            found.append(f"{label}: {counted(count)}, which is too few for a verdict")
    for text in found:
        warn(text)
    return found


FEW = 20
"""Fewer images of a class than this are too few for a verdict."""


def _submit(path: str, predictions: str, classifier: Classifier) -> None:
    from lesionedge.datasets import predicted
    from lesionedge.evaluation import submission

    found = predicted.read(predictions, classifier.labels, model=classifier.model)
    try:
        submission.write(path, found.paths, found.probabilities, classifier.labels)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _text(results: dict[str, Any], output: str | None) -> str:
    from lesionedge.titles import HEADLINES

    lines = []
    for name, figures in results["models"].items():
        lines += [
            f"{printable(name)}: {counted(figures['pictures'])}, "
            f"{figures['lesions']} independent ones (by {results['grouped_by']})",
            *_rows(figures, HEADLINES),
            *_points(figures["operating_points"]),
            "",
        ]
    for name, figures in results["comparison"].items():
        lines += [f"{printable(name)}:", *_rows(figures, HEADLINES, sign="+"), ""]
    if results["refused_by_gate"]:
        lines += [f"the gate refuses {counted(results['refused_by_gate'])}", ""]
    if output is not None:
        lines.append(f"{printable(os.path.join(output, 'report.html'))} shows all of it")
    return "\n".join([*lines, "In brackets: 95 % intervals.", RESEARCH_USE]) + "\n"


def _rows(figures: dict[str, Any], titles: dict[str, str], *, sign: str = "") -> Iterator[str]:
    for key, title in titles.items():
        found = figures.get(key)
        if found and found["value"] is not None:
            numbers = [f"{found[part]:{sign}.3f}" for part in ("value", "low", "high")]
            yield f"  {title:<42} {numbers[0]} [{numbers[1]}, {numbers[2]}]"


def _points(points: Sequence[dict[str, Any]]) -> Iterator[str]:
    for point in points:
        found = point[SPLIT]
        wanted = f"{point['sensitivity']:.0%}".replace("%", " %")
        parts = [
            f"{key} {found[key]['value']:.3f} [{found[key]['low']:.3f}, {found[key]['high']:.3f}]"
            for key in ("sensitivity", "specificity")
            if found[key]["value"] is not None
        ]
        yield f"  threshold for {wanted}: {', '.join(parts)}"
