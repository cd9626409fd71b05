"""Pictures of a run's figures: legible, and told apart without colour where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

COLOURS = mpl.colormaps["cividis"]
# Okabe and Ito's palette, made to be told apart by the colour-blind.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")


def training_curves(history: Path, file: Path) -> None:
    """Draw loss, validation balanced accuracy and learning rate against the epoch."""
    rows = pd.read_csv(history)
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    epochs = np.arange(1, len(rows) + 1)
    for axes, column, title in zip(
        panels,
        ("loss", "validation_balanced_accuracy", "learning_rate"),
        ("training loss", "validation balanced accuracy", "learning rate"),
    ):
        axes.plot(epochs, rows[column], color=LINES[0], marker=".")
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        for start in np.flatnonzero(rows["stage"].ne(rows["stage"].shift())):
            axes.axvline(start + 0.5, color="0.6", linestyle=":")
            axes.annotate(
                rows["stage"][start], (start + 0.6, 0.02), xycoords=("data", "axes fraction"),
                fontsize=7, color="0.4",
            )  # fmt: skip
    figure.savefig(file, dpi=150)


def confusion(counts: Sequence[Sequence[float]], labels: Sequence[str], file: Path) -> None:
    """Draw counts and the share of each true class (row) by answer (column)."""
    matrix = np.asarray(counts)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap=COLOURS, vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        axes.text(
            column, row, f"{matrix[row, column]:.0f}\n{share[row, column]:.0%}", ha="center",
            va="center", fontsize=8, color="black" if share[row, column] > 0.55 else "white",
        )  # fmt: skip
    ticks = range(len(labels))
    axes.set(xticks=ticks, yticks=ticks, xticklabels=labels, yticklabels=labels)
    axes.set(xlabel="answer", ylabel="truth", title="pictures, and share of the true class")
    figure.savefig(file, dpi=150)


def roc(probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str], file: Path) -> None:
    """Draw each class against the rest, with its area."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    for c, label in enumerate(labels):
        positive = truth == c
        if not positive.any() or positive.all():
            continue
        fpr, tpr, _ = roc_curve(positive, probabilities[:, c])
        area = roc_auc_score(positive, probabilities[:, c])
        colour, style = LINES[c % len(LINES)], STYLES[c % len(STYLES)]
        axes.plot(fpr, tpr, label=f"{label} {area:.3f}", color=colour, linestyle=style)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC, class against the rest")
    axes.legend(title="AUROC", loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=150)


def reliability(
    probabilities: np.ndarray, truth: np.ndarray, file: Path, *, bins: int = 15
) -> None:
    """Draw how often the top answer is right against how sure it is."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    edges = np.linspace(0, 1, bins + 1)
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    for number in np.unique(numbers):
        here = numbers == number
        axes.bar(
            edges[number], right[here].mean(), width=1 / bins, align="edge", color=LINES[0],
            edgecolor="white",
        )  # fmt: skip
        axes.plot(confidence[here].mean(), right[here].mean(), "o", color="black", markersize=3)
    axes.plot([0, 1], [0, 1], "--", color="0.4")
    axes.set(
        ylabel="share that is right",
        title="reliability of the top answer",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    below.hist(confidence, edges, color="0.5")
    below.set(xlabel="probability of the top answer", ylabel="pictures")
    figure.savefig(file, dpi=150)
