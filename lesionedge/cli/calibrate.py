"""``lesionedge calibrate``: labelled images in, a site profile out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import fail, options, printable, say, warn
from lesionedge.cli.output import OutputError, check_place
from lesionedge.cli.signals import ended_by_signals
from lesionedge.wording import RESEARCH_USE, copies, counted, percent

if TYPE_CHECKING:
    import numpy as np

    from lesionedge.calibration.sample import Sample
    from lesionedge.classifier import Classifier
    from lesionedge.datasets.gather import Labelled
    from lesionedge.datasets.meaning import Understood
    from lesionedge.model_options import ModelOptions
    from lesionedge.profile import Owner, Profile


@click.command(
    "calibrate",
    epilog=options.examples(
        "lesionedge calibrate photos/ --truth labels.csv -o site.json",
        "lesionedge calibrate predictions.csv --truth labels.csv -o site.json",
    ),
)
@click.argument("source", metavar="SOURCE", type=click.Path(readable=False))
@click.option(
    "--truth", type=click.Path(), metavar="FILE",
    help="Table with the columns path (or id) and label, and lesion where known; or a dataset.",
)  # fmt: skip
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE",
    help="Write the profile to FILE, such as site.json.",
)  # fmt: skip
@click.option(
    "--of", default="malignant", show_default=True, metavar="LABEL",
    help="What the thresholds are to find: malignant, or one label such as mel.",
)  # fmt: skip
@click.option(
    "--prevalence", default="measured", show_default=True, metavar="MIX",
    help="How common the diagnoses are where the profile is used: measured (as in these images), "
    "card (as in the model's training data), or shares such as mel=0.02,bcc=0.05.",
)  # fmt: skip
@click.option("--name", metavar="NAME", help="Name of the profile in results [default: FILE's].")
@options.dataset_layout
@options.processes
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="json: the profile itself.",
)  # fmt: skip
@options.model_options(without=("profile", "operating_point", "check"))
@click.pass_context
def command(
    ctx: click.Context, /, source: str, truth: str | None, output: str, of: str, prevalence: str,
    name: str | None, layout: str | None, jobs: int, form: str, model_options: ModelOptions,
) -> None:  # fmt: skip
    """Adjust a model to your own labelled images.

    SOURCE is a folder of images (with --truth), a folder with a folder for each class, a dataset,
    or predictions.csv from evaluate or predict.

    It recalibrates the probabilities, chooses thresholds whose sensitivity is guaranteed, and
    writes both into a profile. Use the profile with --profile in all commands that predict. The
    exit status is 1 if an image failed.
    """
    from lesionedge import calibration  # noqa: F401  # says what is not installed
    from lesionedge.calibration import site
    from lesionedge.classifier import Classifier
    from lesionedge.diagnosis import malignant_of

    classifier = Classifier.of(model_options)
    malignant_of(classifier.diagnoses, model=classifier.model)
    owner = owner_of(classifier)
    site.check(owner, classifier.card, of=of, mix=prevalence)
    labelled, ready = _labelled(source, truth, layout, classifier, owner)
    understood = _understood(labelled, classifier)
    check_place(output)
    given = len(labelled.paths)
    _check_images(labelled, understood, classifier, owner, of)
    if ready is None:
        labelled, probabilities = _predict(labelled, jobs, model_options, classifier.labels)
    else:
        probabilities = ready
    sample, unit = sample_of(labelled, probabilities, understood, classifier)
    _warn_of_known(labelled, classifier, source)
    if labelled.copies:
        warn(copies(labelled.copies))
    for label, count in site.few(sample, owner).items():
        warn(f"{label}: {counted(count)}, which is too few to say much")
    profile = site.make(
        sample, owner, classifier.card, name=name or _stem(output), of=of, mix=prevalence,
        data={"counted_by": unit},
    )  # fmt: skip
    _write(profile, output)
    click.echo(profile.to_json() if form == "json" else _text(profile, output), nl=False)
    failed = 0 if ready is not None else given - len(probabilities)
    if failed:
        say(f"lesionedge: {failed} of {given} images failed")
        ctx.exit(1)


def _warn_of_known(labelled: Labelled, classifier: Classifier, source: str) -> None:
    """Say how many images the model has learnt from; ready predictions count by their names."""
    from lesionedge.evaluation import known

    looks = labelled.paths and not os.path.isfile(source)
    remark = known.remark(labelled.paths, classifier.card, classifier.path, looks=bool(looks))
    if remark is not None:
        warn(remark)


def _stem(output: str) -> str:
    return os.path.splitext(os.path.basename(output))[0] or "site"


def owner_of(classifier: Classifier) -> Owner:
    """Return the model that a profile of it belongs to."""
    from lesionedge.profile import Owner, digest

    return Owner(
        classifier.model, digest(classifier.path), classifier.labels,
        tuple(diagnosis.malignant for diagnosis in classifier.diagnoses), classifier.views,
        classifier.options.normalize,
    )  # fmt: skip


def _labelled(
    source: str, truth: str | None, layout: str | None, classifier: Classifier, owner: Owner
) -> tuple[Labelled, np.ndarray | None]:
    """Return labelled images, and the model file's probabilities if the source holds them."""
    from lesionedge.datasets import gather, predicted

    if predicted.is_predictions(source):
        if truth is None:
            raise click.UsageError(f"{source}: holds predictions; --truth FILE says what they show")
        found = predicted.read(source, classifier.labels, model=classifier.model, raw=True)
        _check_maker(source, owner)
        labelled = gather.named(found.paths, truth, layout=layout)
        rows = {path: number for number, path in enumerate(found.paths)}
        return labelled, found.probabilities[[rows[path] for path in labelled.paths]]
    labelled = gather.gather(source, truth_file=truth, layout=layout)
    return gather.counting_copies(labelled), None


def _check_maker(source: str, owner: Owner) -> None:
    """Refuse predictions that evaluate made with another model file, or used in another way."""
    import json

    from lesionedge.errors import ModelError

    try:
        with open(os.path.join(os.path.dirname(source), "predictions.json"), "rb") as file:
            found = json.load(file)[os.path.basename(source)]
            sha256 = str(found["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # of predict, which leaves no record
    if sha256 != owner.sha256:
        raise ModelError(
            f"{source}: made with another model file (SHA-256 {sha256[:12]}…) than "
            f"{owner.name}; name it with --model"
        )
    given = None if owner.normalize is None else list(owner.normalize)
    for key, wanted in (("views", owner.views), ("normalize", given)):
        if found.get(key, wanted) != wanted:
            raise ModelError(
                f"{source}: made with --{key} {found[key]}, not {wanted}; give the same options"
            )


def _predict(
    labelled: Labelled, jobs: int, model_options: ModelOptions, labels: Sequence[str]
) -> tuple[Labelled, np.ndarray]:
    from dataclasses import replace

    import numpy as np

    from lesionedge.cli.progress import Progress
    from lesionedge.datasets import DatasetError
    from lesionedge.prediction import by_class

    kept, rows = [], []
    progress = Progress(len(labelled.paths))
    unchecked = replace(model_options, check=False)
    with ended_by_signals(), closing(_results(labelled.paths, jobs, unchecked)) as results:
        for number, result in enumerate(results):
            if result.prediction is None:
                progress.clear()
                fail(result.error or "failed")
            else:
                kept.append(number)
                rows.append(by_class(result.prediction.top, labels))
            progress.step()
    progress.end()
    if not kept:
        raise DatasetError(f"{labelled.name}: all {len(labelled.paths)} images failed")
    table = labelled.table.iloc[kept].reset_index(drop=True)
    return replace(labelled, table=table), np.array(rows, float).reshape(len(kept), len(labels))


def _results(paths: Sequence[str], jobs: int, model_options: ModelOptions) -> Any:
    from lesionedge.cli.work import Settings, jobs_of, results
    from lesionedge.sources.listing import Source

    settings = Settings(model_options, abstain=False, top_k=None, threshold=0.0)
    work: Iterator[Any] = jobs_of([Source(path) for path in paths], None)
    return results(work, settings, processes=jobs, count=len(paths))


def _understood(labelled: Labelled, classifier: Classifier) -> Understood:
    from lesionedge.datasets import meaning

    found = meaning.understand(labelled.table["label"], classifier.diagnoses, name=labelled.name)
    if found.kind == meaning.MELANOMA:
        raise click.UsageError(
            f"{labelled.name}: says melanoma or not, and what is no melanoma may be malignant all "
            "the same; expected malignant and benign, or diagnoses"
        )
    tell_labels(found, labelled.skipped)
    return found


def _check_images(
    labelled: Labelled, understood: Understood, classifier: Classifier, owner: Owner, of: str
) -> None:
    """Refuse images of which no profile can be made, before they are classified."""
    import numpy as np

    from lesionedge.calibration import site

    nothing = np.zeros((len(labelled.paths), len(classifier.labels)))
    site.check_images(sample_of(labelled, nothing, understood, classifier)[0], owner, of=of)


def tell_labels(found: Understood, skipped: dict[str, int]) -> None:
    """Say on standard error which label went where, and what was left out."""
    for line in found.lines():
        say(printable(line))
    for reason, count in skipped.items():
        say(f"{count:6d}  left out: {printable(reason)}")


def sample_of(
    labelled: Labelled, probabilities: np.ndarray, understood: Understood, classifier: Classifier
) -> tuple[Sample, str]:
    """Put together what calibration takes; say what was counted as one."""
    import numpy as np

    from lesionedge.calibration.sample import UNKNOWN, Sample
    from lesionedge.datasets.meaning import CLASSES

    labels = labelled.table["label"].tolist()
    classes = dict.fromkeys(set(labels), UNKNOWN)
    if understood.kind == CLASSES:
        for label in classes:
            number = understood.number(label, classifier.labels)
            classes[label] = UNKNOWN if number is None else number
    kinds = {label: understood.malignant(label) for label in classes}
    sample = Sample(
        probabilities,
        np.array([classes[label] for label in labels], np.int64),
        np.array([UNKNOWN if kinds[x] is None else int(bool(kinds[x])) for x in labels], np.int64),
        labelled.groups("lesion", "patient").astype(np.int64),
    )
    said = (sample.classes != UNKNOWN) | (sample.malignant != UNKNOWN)
    return sample.rows(said), labelled.grouped_by("lesion", "patient")


def _write(profile: Profile, output: str) -> None:
    from lesionedge import atomic

    try:
        atomic.write_text(output, profile.to_json())
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error


def _text(profile: Profile, output: str) -> str:
    data, report = profile.data, profile.report
    unit = data["counted_by"]
    of = "" if unit == "image" else f" of {data['lesions']} {unit}s"
    lines = [
        f"{printable(output)}: {counted(data['images'])}{of}, "
        f"{data['malignant']} malignant and {data['benign']} benign",
        "",
        *_probability_lines(report),
        "",
        *_threshold_lines(profile),
        "",
        _advice(report),
        RESEARCH_USE,
    ]
    return "\n".join(lines) + "\n"


def _probability_lines(report: Any) -> Iterator[str]:
    if not report:
        yield "Before and after cannot be compared: fewer than two malignant or benign lesions."
        return
    loss, ece = report["log_loss"], report["malignant_ece"]
    yield f"On lesions that a profile was not made of ({report['folds']} parts in turn):"
    yield (
        f"  log loss            {loss['before']:.3f} -> {loss['after']:.3f}, "
        f"difference {loss['difference']:+.3f} [{loss['low']:+.3f}, {loss['high']:+.3f}]"
    )
    yield f"  calibration error   {ece['before']:.3f} -> {ece['after']:.3f} (malignant)"


def _threshold_lines(profile: Profile) -> Iterator[str]:
    from lesionedge.calibration import guarantee

    held_out = {p["sensitivity"]: p for p in profile.report.get("operating_points", ())}
    points = {point.sensitivity: point for point in profile.operating_points}
    for wanted in guarantee.SENSITIVITIES:
        point = points.get(wanted)
        if point is None:
            yield f"{_whole(wanted)} sensitivity: no threshold; {_missing(profile, wanted)}"
            continue
        what = (
            f"guaranteed with {_whole(guarantee.CONFIDENCE)} confidence"
            if point.extra["guaranteed"]
            else f"NOT guaranteed, the model card's; {_missing(profile, wanted)}"
        )
        yield f"{_whole(wanted)} sensitivity: {percent(point.threshold)}, {what}"
        if profile.report and wanted not in held_out:
            yield "  too few lesions to check it on held-out ones"
        yield from _held_out_line(held_out.get(wanted))


def _whole(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _held_out_line(found: Any) -> Iterator[str]:
    if not found:
        return
    before, after = found["before"], found["after"]
    for key in ("sensitivity", "specificity"):
        begin = "" if before is None else f"{percent(before[key])} -> "
        yield f"  {key:<12} {begin}{percent(after[key])} on held-out lesions"


def _missing(profile: Profile, wanted: float) -> str:
    from lesionedge.calibration import guarantee

    have = profile.data["positive_lesions"]
    need = guarantee.needed(wanted)
    ending = "" if need - have == 1 else "s"
    return f"{need - have} more {profile.data['of']} lesion{ending} needed ({have} of {need})"


def _advice(report: Any) -> str:
    if not report:
        return "Too few lesions to say whether the profile helps."
    loss = report["log_loss"]
    if loss["difference"] >= 0:
        return (
            "The probabilities are no better for it: do not use this profile for them; "
            "its guaranteed thresholds hold."
        )
    if loss["high"] >= 0:
        return "The probabilities may be better for it; the interval includes no gain."
    return "The probabilities are better for it."
