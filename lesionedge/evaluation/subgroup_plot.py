"""Plots accuracy and malignant AUROC by sex, age band, body site and confirmation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lesionedge import titles
from lesionedge.evaluation.plots import BLUE, VERMILION, save

COLUMNS = ("accuracy", "balanced_accuracy", "malignant_auroc")
FEW = 20
"""Groups with fewer lesions are drawn hollow: their intervals are not trustworthy."""


def draw(found: Mapping[str, Any], overall: Mapping[str, Any], file: Path) -> None:
    """Draw every group's figures with their intervals, and dotted lines for all images.

    Args:
        found: ``subgroups`` of ``metrics.json``, not empty.
        overall: The model's headline figures.
        file: The PNG to write.
    """
    columns = {
        key: titles.SUBGROUP[key] for key in COLUMNS
        if any(key in group for groups in found.values() for group in groups.values())
    }  # fmt: skip
    heights = [len(groups) for groups in found.values()]
    figure = Figure(
        figsize=(3.0 * len(columns) + 3, 0.27 * sum(heights) + 0.5 * len(heights) + 1),
        layout="constrained",
    )
    panels = figure.subplots(
        len(found),
        len(columns),
        sharex="col",
        squeeze=False,
        height_ratios=[h + 0.5 for h in heights],
    )
    for row, (variable, groups) in enumerate(found.items()):
        for column, key in enumerate(columns):
            _panel(panels[row, column], groups, key, overall.get(key), names=column == 0)
        panels[row, 0].set_title(
            titles.VARIABLES[variable], loc="left", fontsize=10, fontweight="bold"
        )
    for axes, title in zip(panels[-1], columns.values()):
        axes.set_xlabel(title)
    save(figure, file)


def _panel(
    axes: Any, groups: Mapping[str, Any], key: str, overall: Mapping[str, float] | None, *,
    names: bool,
) -> None:  # fmt: skip
    shown = [(y, group) for y, group in enumerate(groups.values()) if _known(group, key)]
    rows = np.array([y for y, _ in shown])
    value, low, high = (
        np.array([group[key][part] for _, group in shown]) for part in ("value", "low", "high")
    )
    colours = ["white" if group["lesions"] < FEW else BLUE for _, group in shown]
    axes.hlines(rows, low, high, color=BLUE, linewidth=1.6)
    axes.scatter(value, rows, s=30, facecolors=colours, edgecolors=BLUE, zorder=3)
    if overall is not None:
        axes.axvline(overall["value"], color=VERMILION, linestyle=":")
    texts = [f"{name}  ({g['images']}; {g['malignant']})" for name, g in groups.items()]
    axes.set(yticks=range(len(groups)), ylim=(len(groups) - 0.4, -0.6), xlim=(-0.04, 1.04))
    axes.set_yticklabels(texts if names else [], fontsize=8)
    axes.grid(alpha=0.3, axis="x")


def _known(group: Mapping[str, Any], key: str) -> bool:
    return bool(group.get(key)) and group[key]["value"] is not None
