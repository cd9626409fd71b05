"""``lesionedge info``: what a model is, was trained on and can do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable
from lesionedge.titles import HEADLINES
from lesionedge.wording import RESEARCH_USE

if TYPE_CHECKING:
    from lesionedge.card import (
        Calibration,
        Card,
        File,
        Input,
        Label,
        Measurement,
        OperatingPoint,
        TrainingData,
    )
    from lesionedge.diagnosis import Diagnosis


@click.command("info", epilog=options.examples("lesionedge info", "lesionedge info model.tflite"))
@click.argument("model", required=False, type=click.Path(readable=False))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def command(model: str | None, form: str) -> None:
    """Show what MODEL (the embedded default when left out) is, was trained on and can do."""
    card, facts = describe(model)
    if form == "json":
        import json

        click.echo(json.dumps({**card.to_dict(), **facts}))
        return
    for line in _text(card, facts):
        click.echo(printable(line))


def describe(model: str | None) -> tuple[Card, dict[str, Any]]:
    """Gather what a model file says and is: its card, and what is known besides.

    Args:
        model: Name of an embedded model or path of a .tflite file; None for the default.

    Raises:
        ModelError: It is missing, corrupt or not an image classifier.
    """
    from lesionedge import metadata
    from lesionedge.card import Card
    from lesionedge.description import DEFAULT_MODEL, find_model
    from lesionedge.diagnosis import describe_all
    from lesionedge.interpreter import Interpreter

    name = model or DEFAULT_MODEL
    path = find_model(name)
    found = metadata.read(path)
    network = Interpreter(path)
    card = found.card or Card()
    known = describe_all(card.codes or found.labels or ())
    entries = {entry.label: entry for entry in card.labels}
    return card, {
        "model": name,
        "path": path,
        "size_bytes": os.path.getsize(path),
        "labels": [_label(diagnosis, entries.get(diagnosis.label)) for diagnosis in known],
        "tensors": {
            "input": {"shape": list(network.input.shape), "dtype": network.input.dtype},
            "output": {"shape": list(network.output.shape), "dtype": network.output.dtype},
        },
        "normalization": {"mean": found.mean, "std": found.std} if found.mean else None,
        "runtime": {"name": network.backend.name, "version": network.backend.version},
        "description": card.description or found.description,
        "licence": card.licence or found.license,
    }


def _label(known: Diagnosis, entry: Label | None) -> dict[str, Any]:
    """Say what a label means: what the card says, else what is known of it."""
    name = entry.name if entry else None
    malignant = entry.malignant if entry else None
    return {
        "label": known.label,
        "name": known.name if name is None else name,
        "malignant": known.malignant if malignant is None else malignant,
    }


def _text(card: Card, facts: Mapping[str, Any]) -> list[str]:
    tensors = facts["tensors"]
    lines = [f"{facts['model']}: {facts.get('description') or 'no description inside'}"]
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
        kind = "malignant" if entry["malignant"] else "benign"
        lines.append(f"  {entry['label']:<8} {entry['name']} ({kind})")
    if not facts["labels"]:
        lines.append("  none inside: give them to predict with --labels FILE")
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
        "none": "no",
    }
    return f"{section.format}, {methods.get(section.method, section.method)}"


def _data(section: TrainingData | None) -> str | None:
    if section is None:
        return None
    counts = ", ".join(f"{count} {split}" for split, count in section.pictures.items())
    return f"{section.name} ({counts}; split {section.split})"


def _calibration(section: Calibration | None) -> str | None:
    if section is None:
        return None
    if section.pictures is None:
        return section.method
    return f"{section.method}, on {section.pictures} held-out images"


def _metrics(measurements: Sequence[Measurement]) -> list[str]:
    lines = []
    # Of both models' figures those of the rounded one, which runs here.
    for found in {one.split: one for one in sorted(measurements, key=lambda m: m.model)}.values():
        lines += [
            "",
            f"Measured on {found.pictures} images of {found.lesions} lesions "
            f"never trained on ({found.split}, {found.model}; 95 % interval by lesion)",
        ]
        lines += [
            f"  {title:<42} {figure.value:.3f}  [{figure.low:.3f}, {figure.high:.3f}]"
            for key, title in HEADLINES.items()
            if (figure := found.figures.get(key))
        ]
    return lines


def _operating_points(points: Sequence[OperatingPoint]) -> list[str]:
    rows = [
        f"  {point.sensitivity:.0%} sensitivity from {point.threshold:8.3%} on, "
        f"specificity {point.measured_specificity:.0%}"
        for point in points
    ]
    title = "Operating points (malignant probability, chosen on the calibration split)"
    return ["", title, *rows] if rows else []
