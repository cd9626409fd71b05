"""What several studies share: held-out images, differences with intervals, tables on a page."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import twins

import lesionedge
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import interval

PAGE = twins.ROOT / "docs" / "research" / "accuracy.md"


def images(folder: Path, split: Path, part: str) -> pd.DataFrame:
    """Return the rows of one part of a split, with the files' paths.

    Raises:
        SystemExit: The split has no such part, or the folder lacks images of it.
    """
    files = {path.stem: str(path) for path in folder.rglob("*.jpg")}
    rows = pd.read_csv(split)
    rows = rows[rows["split"] == part].reset_index(drop=True)
    if rows.empty:
        raise SystemExit(f"{split}: has no {part} images")
    rows["file"] = rows["path"].map(lambda path: files.get(Path(path).stem))
    if rows["file"].isna().any():
        lost = rows["path"][rows["file"].isna()]
        raise SystemExit(
            f"{folder}: lacks {len(lost)} of the {len(rows)} {part} images of {split}, such as "
            f"{lost.iloc[0]}"
        )
    return rows


def classes(classifier: lesionedge.Classifier, rows: pd.DataFrame) -> np.ndarray:
    """Return each image's true class number, (N,)."""
    unknown = set(rows["label"]) - set(classifier.labels)
    if unknown:
        raise SystemExit(f"{classifier.model}: does not know {', '.join(sorted(unknown))}")
    return rows["label"].map(classifier.labels.index).to_numpy()


def turned_accuracy(predictions: np.ndarray, truth: np.ndarray) -> Any:
    """Return balanced accuracy, the mean over the ways to turn, as a function of weights."""
    # Balanced accuracy is linear in what is right, so the ways can be averaged first.
    right = (predictions.argmax(2) == truth[:, None]).mean(1)
    return lambda weights: weighted.balanced_accuracy(right, truth, weights)


def turned_auroc(predictions: np.ndarray, truth: np.ndarray, label: int) -> Any:
    """Return a label's AUROC, the mean over the ways to turn, as a function of weights."""
    ways = range(predictions.shape[1])
    areas = [weighted.auroc(truth == label, predictions[:, way, label]) for way in ways]
    return lambda weights: np.mean([area(weights) for area in areas], axis=0)


def gained(figure: Any, single: Any, draws: np.ndarray) -> dict[str, Any]:
    """Return a figure and its difference to that of single views."""
    value = float(figure(np.ones((1, draws.shape[1])))[0])
    return {"value": value, "gain": interval(difference(figure, single), draws)}


def difference(figure: Any, other: Any) -> Any:
    """Subtract one figure from another on the same resample."""
    return lambda weights: figure(weights) - other(weights)


def gain(figure: dict[str, float]) -> str:
    """Return a gain as text; nothing where a set of views is compared with itself."""
    return "" if figure["low"] == figure["high"] == 0 else f" ({span(figure, '+.3f')})"


def span(figure: dict[str, float], form: str = ".3f") -> str:
    """Return a value with its interval."""
    return "{value:{f}} [{low:{f}}, {high:{f}}]".format(**figure, f=form)


def publish(
    lines: Sequence[str], figures: dict[str, Any], options: argparse.Namespace, mark: str,
    page: Path = PAGE,
) -> None:  # fmt: skip
    """Print a table; write it and its figures where ``--write`` and ``--json`` say."""
    print("\n".join(lines))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.write:
        rewrite(mark, lines, page)


def rewrite(mark: str, lines: Sequence[str], page: Path) -> None:
    """Put lines between the page's marks of this name."""
    text = page.read_text(encoding="utf-8")
    marks = re.search(rf"(<!-- {mark}: [^\n]*-->\n).*?(<!-- end of {mark} -->)", text, re.DOTALL)
    if marks is None:
        raise SystemExit(f"{page}: expected a pair of marks '{mark}'")
    text = text[: marks.end(1)] + "\n".join(lines) + "\n" + text[marks.start(2) :]
    page.write_text(text, encoding="utf-8")
