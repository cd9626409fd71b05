"""How far images without labels are from what models know, and the files that say so."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lesionedge
from lesionedge.atomic import write_text
from lesionedge.datasets.predicted import Predicted
from lesionedge.drift import words
from lesionedge.drift.difference import Drift
from lesionedge.drift.statistics import Statistics
from lesionedge.evaluation import drift_plot, report
from lesionedge.evaluation.drawings import Drawing
from lesionedge.evaluation.whole import METRICS

TEMPLATE = "unlabelled.html.jinja"
KIND = "unlabelled"
"""What ``metrics.json`` calls this kind of truth."""
CAPTION = (
    "Share of images with at most each value: solid, these images; dashed, the reference. The "
    "further apart the lines, the more the images differ."
)


def statistics(found: Predicted) -> Statistics:
    """Return the statistics of a model's predictions."""
    checked = [number for number, verdict in enumerate(found.reliable) if verdict is not None]
    return Statistics.of_columns(
        confidence=found.confidence, malignant_probability=found.risks, colour=found.colours,
        checked=len(checked), refused=sum(found.reliable[number] is False for number in checked),
        warnings=Counter(code for number in checked for code in set(found.codes[number])),
    )  # fmt: skip


def write(
    folder: Path | None, record: Mapping[str, Any], drifts: Mapping[str, Drift]
) -> dict[str, Any]:
    """Write ``metrics.json``, ``plots/`` and ``report.html``.

    Args:
        folder: Where they go; None: nowhere, and nothing is drawn.
        record: What ``metrics.json`` says first.
        drifts: Name of a model -> how far the images are from its reference.

    Returns:
        What ``metrics.json`` holds.
    """
    results = {**record, "drift": {name: drift.to_dict() for name, drift in drifts.items()}}
    if folder is None:
        return results
    write_text(folder / METRICS, json.dumps(results, indent=1) + "\n")
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    drawings = {name: draw(name, drift, plots) for name, drift in drifts.items()}
    text = report.environment().get_template(TEMPLATE).render(
        record=record, drifts=drifts, drawings=drawings, words=words,
        version=lesionedge.__version__, date=time.strftime("%Y-%m-%d"),
    )  # fmt: skip
    report.save(folder, text)
    return results


def draw(name: str, drift: Drift, folder: Path) -> Drawing:
    """Draw a model's figures into ``drift-NAME.png``."""
    file = folder / f"drift-{name}.png"
    drift_plot.draw(drift, file)
    return Drawing(file, "These images and the reference", CAPTION)
