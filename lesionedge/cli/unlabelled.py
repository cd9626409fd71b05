"""How far images are from what models know, for ``lesionedge evaluate``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionedge.cli import printable, warn
from lesionedge.cli.predictions_folder import Done
from lesionedge.wording import RESEARCH_USE, counted

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.datasets.gather import Labelled
    from lesionedge.drift.difference import Drift


def drifts(
    done: Sequence[Done], loaded: Sequence[Classifier], names: Sequence[str]
) -> dict[str, Drift]:
    """Compare each model's predictions with its reference.

    Args:
        done: Each model's predictions.
        loaded: The models.
        names: What they are called.

    Raises:
        ModelError: A reference cannot be read.
    """
    from lesionedge.datasets import predicted
    from lesionedge.drift import difference, reference
    from lesionedge.evaluation import unlabelled

    found = {}
    for name, one, classifier in zip(names, done, loaded):
        read = predicted.read(one.path, classifier.labels, model=classifier.model)
        known = reference.of(classifier)
        found[name] = difference.compare(unlabelled.statistics(read), known)
    return found


def measure(
    found: Mapping[str, Drift], images: Labelled, done: Sequence[Done],
    loaded: Sequence[Classifier], folder: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Write the report of images without labels; return what ``metrics.json`` holds.

    Args:
        found: From ``drifts``.
        images: The images.
        done: Each model's predictions.
        loaded: The models.
        folder: Where the report goes; None: nowhere, and nothing is drawn.
    """
    from lesionedge.evaluation import known, unlabelled

    remarks = [known.remark(images.paths, one.card, one.path) for one in loaded]
    warnings = list(dict.fromkeys(filter(None, remarks)))
    for text in warnings:
        warn(text)
    record = {
        "dataset": images.name, "kind": unlabelled.KIND, "images": len(images.paths),
        "failed": done[0].failed, "warnings": warnings,
    }  # fmt: skip
    return unlabelled.write(None if folder is None else Path(folder), record, found)


def text(found: Mapping[str, Drift], images: Labelled, output: str | None) -> str:
    """Return what people read.

    Args:
        found: From ``drifts``.
        images: The images.
        output: The folder of the report; None: it is not kept.
    """
    from lesionedge.drift import words

    lines = []
    for name, drift in found.items():
        lines += [f"{printable(name)}: {counted(len(images.paths))} without labels"]
        lines += [printable(line) for line in words.lines(drift)]
        lines.append("")
    if output is not None:
        lines.append(f"{printable(os.path.join(output, 'report.html'))} shows all of it")
    return "\n".join([*lines, RESEARCH_USE]) + "\n"
