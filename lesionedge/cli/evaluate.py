"""``lesionedge evaluate``: measures models on labelled images."""

from __future__ import annotations

import importlib
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lesionedge.cli import options, printable, say
from lesionedge.cli.output import OutputError, check_place, make_folder
from lesionedge.cli.signals import ended_by_signals

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.cli.measuring import Plan
    from lesionedge.datasets.gather import Labelled
    from lesionedge.model_options import ModelOptions


@click.command(
    "evaluate",
    epilog=options.examples(
        "lesionedge evaluate photos/ --truth labels.csv -o measured/",
        "lesionedge evaluate photos/ --truth labels.csv -m mobilenetv2 -m cnn",
        "lesionedge evaluate photos/",
    ),
)
@click.argument("source", metavar="SOURCE", type=click.Path(readable=False))
@click.option(
    "--truth", type=click.Path(), metavar="FILE",
    help="Table with the columns path (or id) and label, and lesion, patient, sex, age, site, "
    "skin_type where known; or a dataset that has the labels.",
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
    """Measure models on images of your own.

    SOURCE is a folder of images with --truth, a folder with a folder of images for each class, or
    a dataset. If nothing gives the labels, the command says how far the images are from those that
    the model knows. The exit status is 1 if an image failed.
    """
    from lesionedge import evaluation  # noqa: F401  # says what is not installed
    from lesionedge.cli import figures_text, measuring, predictions_folder, unlabelled

    images = _gathered(source, truth, layout)
    if profiles and not images.has_labels:
        raise click.UsageError("--profile: a profile is measured on labelled images; give --truth")
    if submission is not None:
        check_place(submission)
    chosen = [replace(model_options, model=name) for name in models or (None,)]
    loaded = _classifiers(chosen)
    plan = _plan(images, loaded, profiles) if images.has_labels else None
    with ExitStack() as stack:
        folder = output or stack.enter_context(tempfile.TemporaryDirectory())
        make_folder(folder)
        stack.enter_context(ended_by_signals())
        if plan is not None:
            _import_meanwhile("lesionedge.evaluation.whole")
        done = [
            predictions_folder.predict(
                folder, name, images.paths, each, one, jobs=jobs, kept=output is not None
            )
            for name, each, one in zip(predictions_folder.files(loaded), chosen, loaded)
        ]
        drifts = unlabelled.drifts(done, loaded, measuring.names(loaded))
        with _written(output):
            if plan is not None:
                results = measuring.measure(plan, images, done, drifts, output, with_images)
            else:
                results = unlabelled.measure(drifts, images, done, loaded, output)
        if submission is not None:
            _submit(submission, done[0].path, loaded[0])
    if form == "json":
        click.echo(json.dumps(results, indent=1))
    elif images.has_labels:
        click.echo(figures_text.text(results, output), nl=False)
    else:
        click.echo(unlabelled.text(drifts, images, output), nl=False)
    failed = done[0].failed
    if failed:
        say(f"lesionedge: {failed} of {len(images.paths)} images failed")
        ctx.exit(1)


@contextmanager
def _written(folder: str | None) -> Iterator[None]:
    """Say that the report cannot be written, such as onto a full disk."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if folder is None:
            raise
        raise OutputError(
            f"{folder}: the report cannot be written ({error.strerror}); the predictions are in "
            "it, and the same command goes on from them"
        ) from error


def _import_meanwhile(module: str) -> None:
    """Load what the figures need, a second's work, while other processes classify."""
    threading.Thread(target=importlib.import_module, args=(module,), daemon=True).start()


def _gathered(source: str, truth: str | None, layout: str | None) -> Labelled:
    """Find the images, and their labels if anything says them."""
    from lesionedge.datasets import UnknownLayoutError, gather

    try:
        labelled = gather.gather(source, truth_file=truth, layout=layout)
    except UnknownLayoutError as error:
        if truth is not None:
            raise
        images = gather.unlabelled(source)
        say(f"no labels: {printable(str(error))}")
        return images
    return gather.counting_copies(labelled)


def _plan(labelled: Labelled, loaded: Sequence[Classifier], profiles: Sequence[str]) -> Plan:
    """Find out what is measured, before hours of classification; say what the labels mean."""
    from lesionedge.cli import measuring
    from lesionedge.cli.calibrate import tell_labels

    plan = measuring.plan(labelled, loaded, profiles)
    tell_labels(plan.understood, labelled.skipped)
    return plan


def _classifiers(chosen: Sequence[ModelOptions]) -> list[Classifier]:
    from lesionedge.classifier import Classifier

    return [Classifier.of(replace(each, check=False)) for each in chosen]


def _submit(path: str, predictions: str, classifier: Classifier) -> None:
    from lesionedge.datasets import predicted
    from lesionedge.evaluation import submission

    found = predicted.read(predictions, classifier.labels, model=classifier.model)
    try:
        submission.write(path, found.paths, found.probabilities, classifier.labels)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
