"""Writes ``report.html``: all results of ``evaluate`` in one file that opens without a network."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

import lesionedge
from lesionedge import titles
from lesionedge.atomic import write_text
from lesionedge.card import Card
from lesionedge.evaluation import drawings, plots
from lesionedge.evaluation.drawings import Drawing
from lesionedge.evaluation.measured import LabelledImages, MeasuredModel

TEMPLATE, REPORT = "report.html.jinja", "report.html"
VARIABLES = {key: title.capitalize() for key, title in titles.VARIABLES.items()}


def write(
    target: Path, card: Card, record: Mapping[str, Any],
    models: Sequence[MeasuredModel], images: LabelledImages, *, history: Path | None = None,
    with_images: bool = True,
) -> Path:  # fmt: skip
    """Draw every plot into ``plots/`` and write ``report.html``.

    Args:
        target: The folder that both go into.
        card: The models' card.
        record: The content of ``metrics.json``.
        models: The measured models, in order.
        images: The images that they were measured on.
        history: The training's ``history.csv``; it is drawn if it exists.
        with_images: Whether to show images.

    Returns:
        The report's file.
    """
    folder = target / "plots"
    folder.mkdir(exist_ok=True)
    training = None
    if history is not None and history.exists():
        training = folder / "training.png"
        plots.training_curves(history, training)
    found = {
        model.name: list(drawings.draw(model, images, card, folder, with_images=with_images))
        for model in models
    }
    text = environment().get_template(TEMPLATE).render(
        card=card, split=record["split"], models=record["models"], drawings=found,
        training=training, images=len(images.truth),
        lesions=len(np.unique(images.table["group"])), unit=images.unit, headlines=titles.HEADLINES,
        per_class=titles.PER_CLASS, subgroup=titles.SUBGROUP, variables=VARIABLES,
        version=lesionedge.__version__, date=time.strftime("%Y-%m-%d"),
        names=list(card.codes), with_images=with_images, remarks=record.get("warnings", ()),
        mapping=record.get("labels", ()), comparison=record.get("comparison", {}),
        left_out=_left_out(record), refused=record.get("refused_by_gate", 0),
    )  # fmt: skip
    return save(target, text)


def save(folder: Path, text: str) -> Path:
    """Write a report; names that are not UTF-8 get question marks.

    Args:
        folder: Where it goes.
        text: Its HTML.

    Returns:
        Its file.
    """
    file = folder / REPORT
    write_text(file, text.encode("utf-8", "replace").decode("utf-8"))
    return file


def _left_out(record: Mapping[str, Any]) -> dict[str, int]:
    """Return reason -> how many images, or rows of a table, are in no figure."""
    failed = record.get("failed", 0)
    no_class = sum(
        row["images"] for row in record.get("labels", ()) if row["target"].startswith("left out")
    )
    found = {
        "image that failed": failed, "image whose label is not counted": no_class,
        **record.get("left_out", {}),
    }  # fmt: skip
    return {reason: count for reason, count in found.items() if count}


def environment() -> jinja2.Environment:
    """Return what renders the templates beside this file."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"span": span, "embedded": embedded, "percent": percent}
    return found


def span(figure: Mapping[str, float] | None) -> str:
    """Return a value with its interval, as text."""
    if figure is None or figure["value"] is None:
        return "–"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def percent(value: float) -> str:
    """Return a share in percent, as text."""
    return f"{value:.1%}" if value >= 0.1 else f"{value:.2%}"


def embedded(drawing: Drawing | Path) -> str:
    """Return an image as a data URL; photographs as JPEG, a fifth of the PNG's size."""
    file = drawing if isinstance(drawing, Path) else drawing.file
    content, kind = file.read_bytes(), "png"
    with Image.open(io.BytesIO(content)) as image:
        if len(content) > 300_000:
            jpeg = io.BytesIO()
            image.convert("RGB").save(jpeg, "JPEG", quality=88)
            content, kind = jpeg.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
