"""Plots the figures of images beside those of the model's reference."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lesionedge.drift.difference import Drift
from lesionedge.drift.statistics import VALUES, WARNINGS
from lesionedge.evaluation.plots import BLUE, VERMILION, save

HERE, THERE = "these images", "reference"


def draw(drift: Drift, file: Path) -> None:
    """Draw shares as points, and distributions as curves.

    Args:
        drift: The figures.
        file: The PNG.
    """
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    _shares(panels[0], drift)
    for axes, name in zip(panels[1:], VALUES):
        _curves(axes, name, drift)
    panels[1].legend(fontsize=8, loc="upper left")
    save(figure, file)


def _shares(axes: Any, drift: Drift) -> None:
    titles = {"refused": "refused", **WARNINGS}
    known = drift.reference.statistics.shares if drift.reference is not None else {}
    names = [name for name in titles if name in drift.statistics.shares]
    rows = np.arange(len(names))[::-1]
    here = [drift.statistics.shares[name] * 100 for name in names]
    axes.plot(here, rows, "o", color=BLUE, label=HERE)
    if known:
        there = [known.get(name, np.nan) * 100 for name in names]
        axes.plot(there, rows, "D", color=VERMILION, fillstyle="none", label=THERE)
    axes.set_yticks(rows, [titles[name] for name in names], fontsize=8)
    axes.set_xlim(left=-1)
    axes.set_xlabel("% of images")
    axes.set_title("gate and quality", fontsize=10)
    axes.grid(axis="x", alpha=0.3)


def _curves(axes: Any, name: str, drift: Drift) -> None:
    verdicts = {one.name: one.verdict for one in drift.differences}
    known = drift.reference.statistics.values if drift.reference is not None else {}
    percent = np.arange(101)
    for label, values, colour, style in (
        (HERE, drift.statistics.values, BLUE, "-"),
        (THERE, known, VERMILION, "--"),
    ):
        if name in values:
            axes.plot(values[name], percent, color=colour, linestyle=style, label=label)
    title = f"{VALUES[name]}{f': {verdicts[name]}' if name in verdicts else ''}"
    axes.set_title(textwrap.fill(title, 40), fontsize=10)
    axes.set_ylabel("% of images")
    axes.grid(alpha=0.3)
