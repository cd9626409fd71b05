"""``lesionedge info``: describes a model: its labels, training data, accuracy and limits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable
from lesionedge.titles import HEADLINES
from lesionedge.wording import RESEARCH_USE, is_own_name

if TYPE_CHECKING:
    from lesionedge.card import (
        Calibration,
        Card,
        File,
        Input,
        Measurement,
        OperatingPoint,
        TrainingData,
    )
    from lesionedge.model_options import ModelOptions

KINDS = {True: "malignant", False: "benign", None: "not known whether malignant"}
"""The text for whether a class is malignant."""


@click.command("info", epilog=options.examples("lesionedge info", "lesionedge info model.tflite"))
@click.argument("model", required=False, type=click.Path(readable=False))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="json: one object.",
)  # fmt: skip
@options.MODEL_OPTIONS["labels"]
@options.MODEL_OPTIONS["malignant"]
def command(
    model: str | None, form: str, labels: str | None, malignant: tuple[str, ...] | None
) -> None:
    """Describe MODEL (default: the embedded one): labels, training data, accuracy and limits."""
    from lesionedge.model_options import ModelOptions

    card, facts = describe(ModelOptions(model, labels=labels, malignant=malignant))
    if form == "json":
        import json

        click.echo(json.dumps({**card.to_dict(), **facts}))
        return
    for line in _text(card, facts):
        click.echo(printable(line))


def describe(model_options: ModelOptions) -> tuple[Card, dict[str, Any]]:
    """Return a model's card, and further facts about its file.

    Args:
        model_options: The model, and options about its labels.

    Raises:
        ModelError: It is missing, corrupt or not an image classifier, or has no such labels, or
            more or fewer.
    """
    from lesionedge import metadata
    from lesionedge.card import Card
    from lesionedge.description import (
        check_count,
        diagnoses_of,
        find_model,
        has_other_malignant,
        name_of,
    )
    from lesionedge.interpreter import Interpreter

    name = name_of(model_options)
    path = find_model(name)
    found = metadata.read(path)
    network = Interpreter(path)
    card = found.card or Card()
    diagnoses = diagnoses_of(path, model_options, found)
    if model_options.labels is not None:
        check_count(path, model_options, diagnoses, network.output.shape[-1])
    if has_other_malignant(path, model_options, found, diagnoses):
        card = replace(card, operating_points=())
    return card, {
        "model": name,
        "path": path,
        "size_bytes": os.path.getsize(path),
        "labels": [{"label": d.label, "name": d.name, "malignant": d.malignant} for d in diagnoses],
        "tensors": {
            "input": {"shape": list(network.input.shape), "dtype": network.input.dtype},
            "output": {"shape": list(network.output.shape), "dtype": network.output.dtype},
        },
        "normalization": {"mean": found.mean, "std": found.std} if found.mean else None,
        "runtime": {"name": network.backend.name, "version": network.backend.version},
        "description": card.description or found.description,
        "licence": card.licence or found.license,
    }


def _text(card: Card, facts: Mapping[str, Any]) -> list[str]:
    tensors = facts["tensors"]
    lines = [
        f"{os.path.basename(facts['model'])}: {facts.get('description') or 'no description inside'}"
    ]
    rows = {
        "file": f"{facts['path']} ({facts['size_bytes'] / 1e6:.2f} MB)",
        "input": _shape(tensors["input"]) + _crop(card.input),
        "output": _shape(tensors["output"]),
        "quantised": _method(card.file),
        "runtime": f"{facts['runtime']['name']} {facts['runtime']['version']}",
        "trained on": _data(card.data),
        "calibrated": _calibration(card.calibration),
        "licence": facts.get("licence"),
        "attribution": card.attribution,
        "intended use": card.intended_use,
    }
    lines += [f"  {title:<13} {value}" for title, value in rows.items() if value]
    lines += ["", "Labels"]
    for entry in facts["labels"]:
        label, name, kind = entry["label"], entry["name"], KINDS[entry["malignant"]]
        named = name if is_own_name(label, name) else f"{label:<8} {name}"
        lines.append(f"  {named} ({kind})")
    if any(entry["malignant"] is None for entry in facts["labels"]):
        lines.append("  name all malignant ones with --malignant mel,bcc, or in the model's card")
    if not facts["labels"]:
        lines.append("  none in the file: name them with --labels FILE")
    lines += _metrics(card.measurements)
    lines += _operating_points(card.operating_points)
    if card.limits:
        lines += ["", "Limits", *(f"  - {limit}" for limit in card.limits)]
    return [*lines, "", RESEARCH_USE]


def _shape(tensor: Mapping[str, Any]) -> str:
    return f"{' x '.join(map(str, tensor['shape']))} {tensor['dtype']}"


def _crop(section: Input | None) -> str:
    return "" if section is None else f", crop {section.crop}, {section.resampling}"


def _method(section: File | None) -> str | None:
    if section is None:
        return None
    methods = {
        "qat": "quantization-aware training",
        "bias-corrected": "bias correction",
        "post-training": "after training",
    }
    if section.method == "none":
        return f"no ({section.format})"
    return f"{section.format}, {methods.get(section.method, section.method)}"


def _data(section: TrainingData | None) -> str | None:
    if section is None:
        return None
    counts = ", ".join(f"{count} {split}" for split, count in section.images.items())
    own = f"{section.name} (images: {counts}; split {section.split})"
    return "; ".join([own, *(f"{count} images of {name}" for name, count in section.also.items())])


def _calibration(section: Calibration | None) -> str | None:
    if section is None:
        return None
    method = {
        "temperature": "one temperature for the probabilities",
        "temperature by class": "a temperature for each class",
    }.get(section.method or "", section.method)
    if section.images is None:
        return method
    return f"{method}, on {section.images} images that training did not use"


def _metrics(measurements: Sequence[Measurement]) -> list[str]:
    lines = []
    # If there are figures of both the float and the int8 model, show int8's, which runs here.
    for found in {one.split: one for one in sorted(measurements, key=lambda m: m.model)}.values():
        lines += [
            "",
            f"Measured on {found.images} images of {found.lesions} lesions "
            f"that training did not use ({found.split} split, {found.model}; "
            "in brackets: 95 % intervals)",
        ]
        lines += [
            f"  {title:<42} {figure.value:.3f}  [{figure.low:.3f}, {figure.high:.3f}]"
            for key, title in HEADLINES.items()
            if (figure := found.figures.get(key))
        ]
    return lines


def _operating_points(points: Sequence[OperatingPoint]) -> list[str]:
    rows = [
        f"  threshold {100 * point.threshold:6.3f} %: sensitivity {100 * point.sensitivity:.0f} %, "
        f"specificity {100 * point.measured_specificity:.0f} %"
        for point in points
    ]
    title = "Operating points of the malignant probability, chosen on the calibration images"
    return ["", title, *rows] if rows else []
