"""``lesionedge info``: what a model is, was trained on and can do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from lesionedge.cli import options, printable
from lesionedge.titles import HEADLINES


@click.command("info")
@click.argument("model", required=False, type=click.Path(readable=False))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def command(model: str | None, form: str) -> None:
    """Show what MODEL (the embedded default when left out) is, was trained on and can do."""
    facts = describe(model)
    if form == "json":
        import json

        click.echo(json.dumps(facts))
        return
    for line in _text(facts):
        click.echo(printable(line))


def describe(model: str | None) -> dict[str, Any]:
    """Gather what a model file says and is.

    Args:
        model: Name of an embedded model or path of a .tflite file; None for the default.

    Raises:
        ModelError: It is missing, corrupt or not an image classifier.
    """
    from lesionedge import metadata
    from lesionedge.classifier import DEFAULT_MODEL, find_model
    from lesionedge.diagnosis import describe_all
    from lesionedge.interpreter import Interpreter

    name = model or DEFAULT_MODEL
    path = find_model(name)
    found = metadata.read(path)
    network = Interpreter(path)
    card = dict(found.card or {})
    labels = card.get("labels") or [
        {"label": d.label, "name": d.name, "malignant": d.malignant}
        for d in describe_all(found.labels or ())
    ]
    return {
        **card,
        "model": name,
        "path": path,
        "size_bytes": os.path.getsize(path),
        "labels": labels,
        "tensors": {
            "input": {"shape": list(network.input.shape), "dtype": network.input.dtype},
            "output": {"shape": list(network.output.shape), "dtype": network.output.dtype},
        },
        "normalization": {"mean": found.mean, "std": found.std} if found.mean else None,
        "runtime": {"name": network.backend.name, "version": network.backend.version},
        "description": card.get("description") or found.description,
        "licence": card.get("licence") or found.license,
    }


def _text(facts: Mapping[str, Any]) -> list[str]:
    tensors = facts["tensors"]
    lines = [f"{facts['model']}: {facts.get('description') or 'no description inside'}"]
    rows = {
        "file": f"{facts['path']} ({facts['size_bytes'] / 1e6:.2f} MB)",
        "input": _shape(tensors["input"]) + _crop(facts.get("input")),
        "output": _shape(tensors["output"]),
        "quantised": _method(facts.get("file")),
        "runtime": f"{facts['runtime']['name']} {facts['runtime']['version']}",
        "trained on": _data(facts.get("data")),
        "calibrated": _calibration(facts.get("calibration")),
        "licence": facts.get("licence"),
        "attribution": facts.get("attribution"),
        "intended use": facts.get("intended_use"),
    }
    lines += [f"  {title:<13} {value}" for title, value in rows.items() if value]
    lines += ["", "Labels"]
    for entry in facts["labels"]:
        kind = "malignant" if entry["malignant"] else "benign"
        lines.append(f"  {entry['label']:<8} {entry['name']} ({kind})")
    if not facts["labels"]:
        lines.append("  none inside: give them to predict with --labels FILE")
    lines += _metrics(facts.get("metrics"))
    lines += _operating_points(facts)
    if facts.get("limits"):
        lines += ["", "Limits", *(f"  - {limit}" for limit in facts["limits"])]
    return [*lines, "", options.RESEARCH_USE]


def _shape(tensor: Mapping[str, Any]) -> str:
    return f"{' x '.join(map(str, tensor['shape']))} {tensor['dtype']}"


def _crop(section: Mapping[str, Any] | None) -> str:
    return f", crop {section.get('crop')}, {section.get('resampling')}" if section else ""


def _method(section: Mapping[str, Any] | None) -> str | None:
    if not section:
        return None
    methods = {
        "qat": "quantization-aware training",
        "bias-corrected": "bias correction",
        "post-training": "after training",
        "none": "no",
    }
    method = section.get("method", "")
    return f"{section.get('format')}, {methods.get(method, method)}"


def _data(section: Mapping[str, Any] | None) -> str | None:
    if not section:
        return None
    counted = section.get("pictures", {})
    counts = ", ".join(f"{count} {split}" for split, count in counted.items())
    return f"{section.get('name')} ({counts}; split {section.get('split')})"


def _calibration(section: Mapping[str, Any] | None) -> str | None:
    if not section:
        return None
    return f"{section.get('method')}, on {section.get('pictures')} held-out pictures"


def _metrics(metrics: Mapping[str, Any] | None) -> list[str]:
    lines = []
    for split, models in (metrics or {}).items():
        kind = "int8" if "int8" in models else "float"
        figures = models.get(kind, {})
        lines += [
            "",
            f"Measured on {figures.get('pictures')} pictures of {figures.get('lesions')} lesions "
            f"never trained on ({split}, {kind}; 95 % interval by lesion)",
        ]
        for key, title in HEADLINES.items():
            if value := figures.get(key):
                lines.append(
                    f"  {title:<42} {value['value']:.3f}  [{value['low']:.3f}, {value['high']:.3f}]"
                )
    return lines


def _operating_points(facts: Mapping[str, Any]) -> list[str]:
    from lesionedge.operating import points

    found = points(facts, facts["model"])
    rows = [
        f"  {point.sensitivity:.0%} sensitivity from {point.threshold:8.3%} on, "
        f"specificity {point.measured_specificity:.0%}"
        for point in found
    ]
    title = "Operating points (malignant probability, chosen on the calibration split)"
    return ["", title, *rows] if rows else []
