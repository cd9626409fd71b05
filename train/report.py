"""``report.html``: all that ``evaluate`` found in one file that opens without a network."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

import lesionedge
from lesionedge.card import Card
from train import drawings, plots
from train.answers import Pictures
from train.drawings import Drawing, Model
from train.run import Run, write_text

TEMPLATE = "report.html.jinja"
HEADLINES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_auroc": "macro AUROC",
    "melanoma_auroc": "melanoma AUROC",
    "melanoma_sensitivity_at_90_specificity": "melanoma sensitivity at 90 % specificity",
    "malignant_auroc": "malignant AUROC",
    "ece": "expected calibration error",
}
PER_CLASS = {
    "recall": "recall", "precision": "precision", "f1": "F1", "auroc": "AUROC",
    "average_precision": "average precision",
}  # fmt: skip
SUBGROUP = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy",
    "malignant_auroc": "malignant AUROC", "sensitivity": "sensitivity",
    "specificity": "specificity",
}  # fmt: skip
VARIABLES = {
    "sex": "Sex", "age_band": "Age (years)", "site": "Body site",
    "confirmation": "Diagnosis confirmed by",
}  # fmt: skip


def write(
    target: Path, run: Run, facts: Card, record: Mapping[str, Any],
    models: list[Model], asked: Pictures,
) -> None:  # fmt: skip
    """Draw every picture into ``plots/`` and write ``report.html``.

    Args:
        target: The folder that both go into.
        run: Whose history is drawn, where it has one.
        facts: Its card.
        record: What ``metrics.json`` holds.
        models: What was measured, in order.
        asked: The pictures that they answered.
    """
    folder = target / "plots"
    folder.mkdir(exist_ok=True)
    training = None
    if run.history.exists():
        training = folder / "training.png"
        plots.training_curves(run.history, training)
    found = {model.name: list(drawings.draw(model, asked, facts, folder)) for model in models}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"span": span, "embedded": embedded, "percent": percent}
    text = environment.get_template(TEMPLATE).render(
        card=facts, split=record["split"], models=record["models"], drawings=found,
        training=training, pictures=len(asked.truth),
        lesions=len(np.unique(asked.table["group"])), headlines=HEADLINES, per_class=PER_CLASS,
        subgroup=SUBGROUP, variables=VARIABLES, version=lesionedge.__version__,
        date=time.strftime("%Y-%m-%d"), names=list(facts.codes),
    )  # fmt: skip
    write_text(Run(target).report, text)


def span(figure: Mapping[str, float] | None) -> str:
    """Give a value with its interval."""
    if figure is None or figure["value"] is None:
        return "–"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def percent(value: float) -> str:
    """Give a share as people read it."""
    return f"{value:.1%}" if value >= 0.1 else f"{value:.2%}"


def embedded(drawing: Drawing | Path) -> str:
    """Give a picture as a data URL; photographs as JPEG, which is a fifth of the size."""
    file = drawing if isinstance(drawing, Path) else drawing.file
    content, kind = file.read_bytes(), "png"
    with Image.open(io.BytesIO(content)) as picture:
        if len(content) > 300_000:
            jpeg = io.BytesIO()
            picture.convert("RGB").save(jpeg, "JPEG", quality=88)
            content, kind = jpeg.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
