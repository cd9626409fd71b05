"""Draws images with their predictions: a sample, the worst mistakes, missed malignant lesions."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lesionedge.evaluation.plots import BLUE, SKY, VERMILION, save
from lesionedge.image import Preprocessing, model_input
from lesionedge.sources.names import base_name
from lesionedge.sources.reading import content, is_elsewhere

COLUMNS = 4
SHOWN_PX = 240
"""Shorter side of the drawn part of an image, which is the part that the model sees."""
BARS = 3


def sample(truth: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Choose images at random, as equally from all classes as possible.

    Returns:
        (at most count,) row numbers, in the order of the classes.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    turns = np.zeros(len(truth), np.int64)  # how many images of the same class come before it
    for c in np.unique(truth):
        of_class = truth[order] == c
        turns[of_class] = np.arange(of_class.sum())
    chosen = order[np.lexsort((truth[order], turns))][:count]
    return chosen[np.argsort(truth[chosen], kind="stable")]


def worst(score: np.ndarray, wrong: np.ndarray, lesions: np.ndarray, count: int) -> np.ndarray:
    """Choose the mistakes with the highest scores, one per lesion.

    Args:
        score: (N,) How bad a mistake is.
        wrong: (N,) bool, which predictions are mistakes.
        lesions: (N,) int; images of one lesion share a number.
        count: How many at most.

    Returns:
        (at most count,) row numbers, the worst first.
    """
    order = np.argsort(-score, kind="stable")
    order = order[wrong[order]]
    _, first = np.unique(lesions[order], return_index=True)
    chosen: np.ndarray = order[np.sort(first)][:count]
    return chosen


def draw(
    rows: np.ndarray, images: Sequence[str], probabilities: np.ndarray, predicted: np.ndarray,
    truth: np.ndarray, labels: Sequence[str], preprocessing: Preprocessing, file: Path,
) -> None:  # fmt: skip
    """Draw images with their true class, their prediction and the highest probabilities.

    Args:
        rows: Which images.
        images: The N images' paths or names.
        probabilities: (N, classes).
        predicted: (N,) int, the predicted classes.
        truth: (N,) int class numbers.
        labels: Class codes in output order.
        preprocessing: The model's.
        file: The PNG to write.
    """
    columns = min(COLUMNS, max(1, len(rows)))
    lines = max(1, math.ceil(len(rows) / columns))
    figure = Figure(figsize=(2.9 * columns, 4.1 * lines), layout="constrained")
    grid = figure.subplots(2 * lines, columns, height_ratios=(3, 1) * lines, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    scale = SHOWN_PX / min(preprocessing.width_px, preprocessing.height_px)
    shown = replace(
        preprocessing, width_px=round(preprocessing.width_px * scale),
        height_px=round(preprocessing.height_px * scale),
    )  # fmt: skip
    for number, row in enumerate(rows):
        line, column = divmod(number, columns)
        above, below = grid[2 * line, column], grid[2 * line + 1, column]
        image = images[row]
        above.imshow(model_input(content(image) if is_elsewhere(image) else image, shown))
        _title(above, image, (truth[row], predicted[row]), probabilities[row], labels)
        _bars(below, truth[row], probabilities[row], labels)
    save(figure, file)


def _title(
    axes: Any, image: str, classes: tuple[int, int], scores: np.ndarray, labels: Sequence[str]
) -> None:
    true, best = classes
    right = best == true
    axes.set_title(
        f"{'right' if right else 'wrong'}: {labels[best]} {scores[best]:.1%}\n"
        f"truth: {labels[true]} {scores[true]:.1%}",
        fontsize=9, color=BLUE if right else VERMILION, fontweight="bold",
    )  # fmt: skip
    stem = os.path.splitext(base_name(image))[0].encode("utf-8", "replace").decode("utf-8")
    axes.text(0.5, -0.02, stem, transform=axes.transAxes, ha="center", va="top", fontsize=7)


def _bars(axes: Any, true: int, scores: np.ndarray, labels: Sequence[str]) -> None:
    best = np.argsort(-scores, kind="stable")[:BARS]
    axes.axis("on")
    places = range(len(best))
    axes.barh(places, scores[best], color=SKY, height=0.7)
    for place, c in zip(places, best):
        axes.text(scores[c] + 0.02, place, f"{scores[c]:.1%}", va="center", fontsize=8)
    names = [f"{labels[c]} *" if c == true else labels[c] for c in best]
    axes.set_yticks(places, names, fontsize=8)
    axes.set(xlim=(0, 1.25), ylim=(BARS - 0.4, -0.6), xticks=[])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
