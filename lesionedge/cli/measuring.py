"""What ``lesionedge evaluate`` measures of predictions, and what it warns of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionedge.cli import warn
from lesionedge.cli.predictions_folder import Done, short
from lesionedge.wording import copies, counted

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.datasets.gather import Labelled
    from lesionedge.datasets.meaning import Understood
    from lesionedge.datasets.predicted import Predicted
    from lesionedge.drift.difference import Drift
    from lesionedge.evaluation.entries import Entry
    from lesionedge.evaluation.measured import LabelledImages, MeasuredModel
    from lesionedge.profile import Profile

SPLIT = "images"
"""What ``metrics.json`` calls the images."""
FEW = 20
"""Fewer independent images of a class than this are too few for a verdict."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    entries: list[tuple[Entry, int]]
    """Each entry, and the number of its model."""
    understood: Understood
    """What the labels mean to the models."""


def plan(labelled: Labelled, loaded: Sequence[Classifier], profiles: Sequence[str]) -> Plan:
    """Find out what the labels mean to the models, and what is measured.

    Args:
        labelled: The images.
        loaded: The models.
        profiles: Files of site profiles, each for one of the models.

    Raises:
        DatasetError: The labels mean nothing to a model.
        ModelError: A profile is for another model.
    """
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
    called = names(loaded)
    pairs = zip(called, loaded)
    entries = [(Entry(name, one), number) for number, (name, one) in enumerate(pairs)]
    for path in profiles:
        entry, number = _with_profile(path, loaded, called)
        name = _free(entry.name, [one.name for one, _ in entries])
        entries.append((replace(entry, name=name), number))
    return Plan(entries, understood)


def names(loaded: Sequence[Classifier]) -> list[str]:
    """Return what models are called; two of one name are numbered."""
    found: list[str] = []
    for one in loaded:
        found.append(_free(short(one.model), found))
    return found


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name, with a number if its plots' files would be another's."""
    from lesionedge.evaluation.measured import file_name

    files = {file_name(one).lower() for one in taken}
    found, number = name, 2
    while file_name(found).lower() in files:
        found, number = f"{name} ({number})", number + 1
    return found


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


def measure(
    plan: Plan, labelled: Labelled, done: Sequence[Done], drifts: Mapping[str, Drift],
    folder: str | None, with_images: bool,
) -> dict[str, Any]:  # fmt: skip
    """Measure everything; write the report if it has a folder.

    Args:
        plan: What is measured.
        labelled: The images.
        done: Each model's predictions.
        drifts: Name of a model -> how far the images are from what it knows.
        folder: Where the report goes; None: nowhere, and nothing is drawn.
        with_images: Whether it shows images.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        DatasetError: Images of fewer than two classes are left.
    """
    from lesionedge.datasets import predicted
    from lesionedge.evaluation import entries, whole

    first = plan.entries[0][0].classifier
    card = entries.facts(first, plan.understood.kind, labelled.name)
    read = [
        predicted.read(one.path, plan.entries[number][0].classifier.labels, model="")
        for number, one in enumerate(done)
    ]
    images = _known_to_all(labelled, plan.understood, first, read)
    _refuse_one_class(images, card.codes, labelled.name)
    measured = list(_measured(plan, read, [str(path) for path in images.table["path"]]))
    record = _record(plan, labelled, images, read[0])
    record["warnings"] = _warnings(images, card.codes, labelled, plan, drifts)
    record["drift"] = {name: drift.to_dict() for name, drift in drifts.items()}
    record["comparison"] = _comparison(measured, images, card)
    if folder is None:
        results = {one.name: whole.figures(one, images, card, SPLIT) for one in measured}
    else:
        results = whole.write(
            Path(folder), card, record, images, measured, with_images=with_images,
            say=lambda _: None,
        )  # fmt: skip
    return {**record, "models": results}


def _known_to_all(
    labelled: Labelled, understood: Understood, first: Classifier, read: Sequence[Predicted]
) -> LabelledImages:
    """Return the images that have a class and every model's prediction."""
    import numpy as np

    from lesionedge.evaluation.measured import LabelledImages

    truth = _truth(labelled, understood, first)
    there = [set(one.paths) for one in read]
    kept = [
        number
        for number, path in enumerate(labelled.paths)
        if truth[number] >= 0 and all(path in paths for paths in there)
    ]
    table = labelled.table.iloc[kept].reset_index(drop=True)
    chosen = replace(labelled, table=table)
    return LabelledImages(
        table.assign(group=chosen.groups("patient", "lesion")),
        np.array([truth[number] for number in kept], np.int64),
        chosen.grouped_by("patient", "lesion"),
    )


def _truth(labelled: Labelled, understood: Understood, classifier: Classifier) -> list[int]:
    """Return each image's class number; -1 where it is left out."""
    numbers = {
        label: understood.number(label, classifier.labels) for label in set(labelled.table["label"])
    }
    found = (numbers[label] for label in labelled.table["label"])
    return [-1 if number is None else number for number in found]


def _refuse_one_class(images: LabelledImages, labels: Sequence[str], name: str) -> None:
    from lesionedge.datasets import DatasetError

    there = sorted({labels[number] for number in images.truth})
    if len(there) < 2:
        classes = " and ".join(there) or "no class"
        raise DatasetError(
            f"{name}: {counted(len(images.truth))} of {classes} are left; "
            "expected images of two classes or more"
        )


def _measured(plan: Plan, read: Sequence[Predicted], paths: Sequence[str]) -> Any:
    """Yield each entry's predictions for the images."""
    from lesionedge.evaluation import entries

    rows = [{path: row for row, path in enumerate(one.paths)} for one in read]
    for entry, number in plan.entries:
        chosen = [rows[number][path] for path in paths]
        raw, verdicts = read[number].probabilities[chosen], read[number].reliable
        reliable = [verdicts[row] for row in chosen]
        yield entries.measured(entry, plan.understood.kind, raw, reliable)


def _record(
    plan: Plan, labelled: Labelled, images: LabelledImages, first: Predicted
) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the images."""
    understood = plan.understood
    return {
        "split": SPLIT, "dataset": labelled.name, "kind": understood.kind,
        "grouped_by": images.unit,
        "labels": [
            {"label": one.label, "images": one.count, "target": understood.target(one)}
            for one in understood.meanings
        ],
        "left_out": labelled.skipped, "failed": first.failed,
        "refused_by_gate": sum(verdict is False for verdict in first.reliable),
    }  # fmt: skip


def _comparison(
    measured: Sequence[MeasuredModel], images: LabelledImages, card: Any
) -> dict[str, Any]:
    from lesionedge.evaluation import comparison

    return {
        f"{one.name} less {measured[0].name}": comparison.differences(
            one, measured[0], images, list(card.codes), list(card.malignant)
        )
        for one in measured[1:]
    }


def _warnings(
    images: LabelledImages, labels: Sequence[str], labelled: Labelled, plan: Plan,
    drifts: Mapping[str, Drift],
) -> list[str]:  # fmt: skip
    """Say what limits the figures, on standard error too."""
    import numpy as np

    from lesionedge.drift import words
    from lesionedge.evaluation import known

    models = {entry.classifier.path: entry.classifier for entry, _ in plan.entries}
    remarks = (known.remark(labelled.paths, one.card, path) for path, one in models.items())
    found = list(dict.fromkeys(filter(None, remarks)))
    if labelled.copies:
        found.append(copies(labelled.copies))
    counts = np.bincount(images.truth, minlength=len(labels)).tolist()
    found += [
        f"{entry.name}: its profile was made of as many images of each class; if they are these, "
        "the figures are too good: calibrate has measured it on held-out lesions"
        for entry, _ in plan.entries
        if entry.profile is not None and _made_of(entry.profile, dict(zip(labels, counts)))
    ]
    for number, label in enumerate(labels):
        units = images.table["group"][images.truth == number].nunique()
        if 0 < units < FEW:
            of = "" if units == counts[number] else f" of {units} {images.unit}{'s' * (units > 1)}"
            found.append(f"{label}: {counted(counts[number])}{of}, which is too few for a verdict")
    for name, drift in drifts.items():
        if drift.differing:
            found.append(f"{name}: {words.differing(drift)}")
    for text in found:
        warn(text)
    return found


def _made_of(profile: Profile, counts: Mapping[str, int]) -> bool:
    """Return whether a profile may have been made of images with these labels: as many of each."""
    data = profile.data
    by_kind = {kind: data.get(kind) for kind in counts}
    return counts in (data.get("by_label"), by_kind)
