"""Plots a model's figures; lines can be told apart without colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lesionedge.atomic import whole_file
from lesionedge.evaluation import risk_coverage, thresholds, weighted
from lesionedge.evaluation.intervals import interval

SHADES = mpl.colormaps["cividis"]
# Okabe and Ito's palette, which the colour-blind can tell apart.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
STYLES = ("-", "--", "-.", ":")
DPI = 120
BINS = 15
LEAST_PROBABILITY = 1e-4
"""The lowest value on a logarithmic axis of probabilities."""
LEAST_RATE = 1e-4
"""The lowest value on the axis of learning rates, as a share of the highest rate."""


def save(figure: Figure, file: Path) -> None:
    """Write an image whole or not at all."""
    figure.dpi = DPI
    canvas: Any = FigureCanvasAgg(figure)
    with whole_file(file) as stream:
        canvas.print_png(stream)  # savefig makes the same image, but draws it twice


def training_curves(history: Path, file: Path) -> None:
    """Draw loss, accuracy and learning rate against the epoch."""
    rows = pd.read_csv(history)
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    panels = figure.subplots(1, 3)
    curves = {
        "loss": {"loss": "training"},
        "accuracy": {
            "accuracy": "training", "validation_accuracy": "validation",
            "validation_balanced_accuracy": "validation, balanced",
        },
        "learning rate": {"learning_rate": "at the epoch's end"},
    }  # fmt: skip
    epochs = np.arange(1, len(rows) + 1)
    for axes, (title, columns) in zip(panels, curves.items()):
        for number, (column, label) in enumerate(columns.items()):
            if column in rows:
                axes.plot(
                    epochs, rows[column], color=LINES[number], linestyle=STYLES[number],
                    marker="os^"[number], markersize=3.5, label=label,
                )  # fmt: skip
        axes.set(xlabel="epoch", xlim=(0.5, len(rows) + 0.5))
        axes.set_title(title, pad=26)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        _stages(axes, rows["stage"])
    panels[1].set(ylim=(0, 1))
    peak = rows["learning_rate"].max()
    if peak > 0:  # otherwise the tiny rates at a cosine's end would take up most of the axis
        panels[2].set(yscale="log", ylim=(peak * LEAST_RATE, peak * 1.5))
    save(figure, file)


def _stages(axes: Any, names: pd.Series) -> None:
    for number, start in enumerate(np.flatnonzero(names.ne(names.shift()))):
        axes.axvline(start + 0.5, color="0.5", linestyle=":", linewidth=1)
        axes.annotate(
            names[start], (start + 0.5, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 3 + 9 * (number % 2)), textcoords="offset points", fontsize=8, color="0.3",
        )  # fmt: skip


def confusion(counts: Sequence[Sequence[float]], labels: Sequence[str], file: Path) -> None:
    """Draw the counts, and each prediction's (column's) share of the true class (row)."""
    matrix = np.asarray(counts)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = max(3.6, 0.62 * len(labels) + 1.6)
    figure = Figure(figsize=(2 * side, side + 0.5), layout="constrained")
    texts = ((matrix, "{:.0f}", "images"), (share, "{:.0%}", "share of the true class"))
    for axes, (values, form, title) in zip(figure.subplots(1, 2), texts):
        axes.imshow(share, cmap=SHADES, vmin=0, vmax=1)
        for row, column in np.ndindex(*matrix.shape):
            axes.text(
                column, row, form.format(values[row, column]), ha="center", va="center",
                fontsize=9, color="black" if share[row, column] > 0.5 else "white",
            )  # fmt: skip
        ticks = range(len(labels))
        axes.set(xticks=ticks, yticks=ticks, yticklabels=labels)
        axes.set_xticklabels(labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set(xlabel="prediction", ylabel="truth", title=title)
    save(figure, file)


def roc(
    probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    areas: Mapping[str, Any], file: Path,
) -> None:  # fmt: skip
    """Draw each class against the rest, with its area."""
    figure, panels = _panels(truth, labels)
    for axes, c, label in panels:
        fpr, tpr = weighted.roc_curve(truth == c, probabilities[:, c])
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
        axes.plot(fpr, tpr, color=BLUE)
        axes.set(title=f"{label}\n{_span('AUROC', areas[label]['auroc'])}")
    figure.supxlabel("1 - specificity")
    figure.supylabel("sensitivity")
    save(figure, file)


def precision_recall(
    probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    areas: Mapping[str, Any], file: Path,
) -> None:  # fmt: skip
    """Draw each class against the rest, with its area and a dotted line for guessing."""
    figure, panels = _panels(truth, labels)
    for axes, c, label in panels:
        precision, recall = weighted.precision_recall_curve(truth == c, probabilities[:, c])
        axes.axhline((truth == c).mean(), color="0.6", linewidth=1, linestyle=":")
        axes.step(recall, precision, where="post", color=BLUE)
        axes.set(title=f"{label}\n{_span('AP', areas[label]['average_precision'])}")
    figure.supxlabel("recall (sensitivity)")
    figure.supylabel("precision (positive predictive value)")
    save(figure, file)


def _panels(
    truth: np.ndarray, labels: Sequence[str]
) -> tuple[Figure, Iterator[tuple[Any, int, str]]]:
    """Return a panel for each class that occurs; with two classes, only for the second."""
    shown = [c for c in range(len(labels)) if 0 < (truth == c).sum() < len(truth)]
    shown = shown[-1:] if len(labels) == 2 else shown
    columns = min(4, max(1, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = Figure(figsize=(max(4.5, 2.7 * columns), 2.7 * rows + 1), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
        axes.grid(alpha=0.3)
        axes.title.set_fontsize(9)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    return figure, ((axes, c, labels[c]) for axes, c in zip(grid, shown))


def _span(name: str, figure: Mapping[str, float]) -> str:
    return f"{name} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def reliability(
    probabilities: np.ndarray, predicted: np.ndarray, truth: np.ndarray, malignant: np.ndarray,
    draws: np.ndarray, file: Path,
) -> None:  # fmt: skip
    """Draw how often predictions are right against their probability, and the same for malignant.

    The bins' intervals are by lesion.
    """
    sure = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
    kinds = {"predicted class": (sure, predicted == truth, "share right")}
    if malignant.any() and not malignant.all():
        risk = np.minimum(probabilities[:, malignant].sum(1), 1)
        kinds["malignant"] = (risk, malignant[truth], "share malignant")
    figure = Figure(figsize=(4.6 * len(kinds), 5.4), layout="constrained")
    grid = figure.subplots(2, len(kinds), height_ratios=(4, 1), sharex=True, squeeze=False)
    for (axes, below), (name, (sure, true, ylabel)) in zip(grid.T, kinds.items()):
        bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure)
        share, mean = _bin_means(true, sure, bins)
        axes.bar(
            np.unique(bins) / BINS,
            share,
            width=1 / BINS,
            align="edge",
            color=SKY,
            edgecolor="white",
        )
        axes.vlines(mean, *_bin_intervals(true, bins, draws), color="black", linewidth=1)
        axes.plot(mean, share, "o", color="black", markersize=4)
        axes.plot([0, 1], [0, 1], "--", color="0.3", label="perfectly calibrated")
        axes.set(title=name, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left", fontsize=8)
        below.hist(sure, np.linspace(0, 1, BINS + 1), color="0.5")
        below.set(xlabel=f"probability: {name}", ylabel="images")
    save(figure, file)


def _bin_means(
    true: np.ndarray, sure: np.ndarray, bins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share that is true, and the mean probability, of each bin that is not empty."""
    counts = np.bincount(bins)
    here = counts > 0
    found = (np.bincount(bins, values)[here] / counts[here] for values in (true, sure))
    share, mean = found
    return share, mean


def _bin_intervals(true: np.ndarray, bins: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the ends of the interval of each bin that is not empty, (2, bins)."""
    members = bins[:, None] == np.unique(bins)
    found = interval(lambda weights: weighted.shares(true[:, None], members, weights), draws)
    return np.array([found["low"], found["high"]], float)


def sensitivity_specificity(
    risk: np.ndarray, positive: np.ndarray, points: Sequence[Mapping[str, Any]],
    draws: np.ndarray, file: Path,
) -> None:  # fmt: skip
    """Draw both against the threshold of the malignant probability, with 95 % bands."""
    edge = np.log10(LEAST_PROBABILITY / (1 - LEAST_PROBABILITY))
    grid = 1 / (1 + 10 ** -np.linspace(edge, -edge, 161))
    found = thresholds.curves(risk, positive, grid, draws)
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes = figure.subplots()
    for (name, (value, low, high)), colour, style in zip(found.items(), (BLUE, VERMILION), STYLES):
        axes.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(grid, value, style, color=colour, label=name)
    for level, point in enumerate(points):
        at = min(max(point["threshold"], LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
        axes.axvline(at, color="0.35", linestyle=":", linewidth=1)
        axes.annotate(
            f"{point['sensitivity']:.0%}", (at, 1), ha="center", fontsize=8,
            xycoords=("data", "axes fraction"), xytext=(0, 3 + 10 * level),
            textcoords="offset points",
        )  # fmt: skip
    axes.set_xscale("logit")
    ticks = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
    axes.set_xticks(ticks, [f"{tick:.4g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(
        xlim=(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY), ylim=(0, 1.01),
        xlabel="threshold of the malignant probability",
    )  # fmt: skip
    title = "malignant: sensitivity and specificity against the threshold"
    dotted = "dotted: operating points, named by their sensitivity on the calibration split"
    axes.set_title(f"{title}\n{dotted}" if points else title, fontsize=10, pad=36)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left")
    save(figure, file)


def coverage(
    scores: Mapping[str, np.ndarray], right: np.ndarray, found: Mapping[str, Any], file: Path
) -> None:
    """Draw the accuracy of the classified images against their share, for each score."""
    figure = Figure(figsize=(6.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, score) in enumerate(scores.items()):
        share, accuracy, _ = risk_coverage.curve(score, right)
        here = share >= 0.02  # a few images say nothing
        points = found[name]["points"]
        x = [point["coverage"] for point in points]
        axes.plot(
            share[here], accuracy[here], STYLES[number % 4], color=LINES[number % 6],
            label=f"{name}, {_span('AURC', found[name]['aurc'])}",
        )  # fmt: skip
        low, high = ([point["accuracy"][part] for point in points] for part in ("low", "high"))
        axes.fill_between(x, low, high, color=LINES[number % 6], alpha=0.2, linewidth=0)
    axes.axhline(right.mean(), color="0.5", linestyle=":", label="all images")
    axes.set(
        xlabel="share of images classified", ylabel="accuracy of these", xlim=(0, 1.01),
        title="withholding the least certain predictions",
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    save(figure, file)
