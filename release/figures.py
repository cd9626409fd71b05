"""Write the embedded models' figures into MODEL_CARD.md, README.md and accuracy.md, between marks.

python release/figures.py

Figures and thresholds come from the cards inside the .tflite files, where ``python -m convert
figures`` and ``operating-points`` put them; the tables by class and by group from metrics.json.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lesionedge import titles
from lesionedge.atomic import write_text
from lesionedge.card import Card
from lesionedge.classifier import DEFAULT_SENSITIVITY
from lesionedge.metadata import read

HERE = Path(__file__).parent
FIGURES = HERE / "figures"
ROOT = HERE.parent
MODELS = {
    "`mobilenetv2` (int8)": ("mobilenetv2", "mobilenetv2-int8.tflite"),
    "`mobilenetv2-float16`": ("mobilenetv2", "mobilenetv2-float16.tflite"),
    "`cnn` (int8)": ("cnn", "cnn-int8.tflite"),
}
SEVERAL = {"mobilenetv2": "mobilenetv2-folds"}
"""Where the model was measured on one fold only: the figures of the training before it, which was
measured on three."""
METRICS = {
    **titles.HEADLINES,
    "malignant_auroc": "malignant AUROC (mel, bcc, akiec)",
    "ece": "expected calibration error, 15 bins",
}
FEWEST = 30
"""Subgroups with fewer images are not listed."""
HEADLINES = ("balanced_accuracy", "melanoma_auroc", "malignant_auroc")


def main() -> None:
    """Rewrite the files."""
    cards, measured, folds = {}, {}, {}
    for title, (run, file) in MODELS.items():
        cards[title] = card_of(file)
        measured[title] = record(run)["models"][file]
        folds[title] = record(SEVERAL.get(run, run))["folds"][file]
    figures = {title: figures_of(card) for title, card in cards.items()}
    first = next(iter(MODELS))
    rewrite(
        ROOT / "lesionedge" / "models" / "MODEL_CARD.md",
        [
            *overview(figures, METRICS),
            *spread(folds),
            *by_class(measured),
            *points(cards[first], measured[first]),
            *subgroups(measured[first]),
        ],
    )
    page = ROOT / "docs" / "research" / "accuracy.md"
    rewrite(page, [*overview(figures, METRICS), images(figures), *spread(folds)])
    rewrite(ROOT / "README.md", [*overview(figures, HEADLINES), sizes()])


def record(name: str) -> dict[str, Any]:
    """Return a run's figures."""
    found: dict[str, Any] = json.loads((FIGURES / f"{name}.json").read_text())
    return found


def card_of(file: str) -> Card:
    """Return an embedded file's card."""
    card = read(ROOT / "lesionedge" / "models" / file).card
    if card is None or card.file is None:
        raise SystemExit(f"{file}: has no card")
    return card


def figures_of(card: Card) -> Mapping[str, Any]:
    """Return the figures of a file's twin, which its card has."""
    found: Mapping[str, Any] = card.metrics["test"][card.file.format]  # type: ignore[union-attr]
    return found


def overview(figures: Mapping[str, Any], names: Any) -> Iterator[str]:
    """Yield one row per metric, with one column per model."""
    yield f"| | {' | '.join(figures)} |"
    yield "|---|" + "---|" * len(figures)
    for name in names:
        yield f"| {METRICS[name]} | {' | '.join(span(m[name]) for m in figures.values())} |"


def images(figures: Mapping[str, Any]) -> str:
    """Return the row of how many images, of how many lesions."""
    counts = [f"{m['images']:,} of {m['lesions']:,} lesions" for m in figures.values()]
    return f"| images | {' | '.join(counts)} |"


def spread(folds: dict[str, Any]) -> Iterator[str]:
    """Yield what each fold has, where there are several: another training differs as much."""
    yield ""
    for title, found in folds.items():
        for name in HEADLINES:
            values = found[name]
            if len(values) > 1:
                each = ", ".join(f"{value:.3f}" for value in values)
                yield (
                    f"- {title} before the second training, {METRICS[name]} of each fold: {each}; "
                    f"mean {statistics.mean(values):.3f}, standard deviation "
                    f"{statistics.stdev(values):.3f}."
                )


def sizes() -> str:
    """Return the row of the files' sizes."""
    paths = [ROOT / "lesionedge" / "models" / file for _, file in MODELS.values()]
    return f"| file | {' | '.join(f'{path.stat().st_size / 1e6:.2f} MB' for path in paths)} |"


def by_class(figures: dict[str, Any]) -> Iterator[str]:
    """Yield one table per model, with one row per class."""
    for title, model in figures.items():
        yield from ("", f"### {title}", "")
        yield "| class | images | recall | precision | F1 | AUROC |"
        yield "|---|---|---|---|---|---|"
        for label, row in model["per_class"].items():
            cells = [span(row[name]) for name in ("recall", "precision", "f1", "auroc")]
            yield f"| {label} | {row['images']} | {' | '.join(cells)} |"


def points(card: Card, twin: dict[str, Any]) -> Iterator[str]:
    """Yield one row per operating point: its threshold in the file, and what its twin shows."""
    yield from ("", "### Operating points of `mobilenetv2` (int8): malignant or not", "")
    yield (
        "| for a sensitivity of | threshold in the file | twin: sensitivity | specificity | "
        "above it |"
    )
    yield "|---|---|---|---|---|"
    wanted = [point.sensitivity for point in card.operating_points]
    if wanted != (there := [point["sensitivity"] for point in twin["operating_points"]]):
        raise SystemExit(f"the card has points for {wanted}, the twin for {there}")
    for own, point in zip(card.operating_points, twin["operating_points"]):
        found = point["test"]
        cells = [span(found[name]) for name in ("sensitivity", "specificity", "found")]
        yield f"| {own.sensitivity:.2f} | {own.threshold:.4f} | {' | '.join(cells)} |"
    yield ""
    yield (
        "The file and the twin have thresholds of their own, each chosen on the calibration images "
        "by its own predictions."
    )


def subgroups(model: dict[str, Any]) -> Iterator[str]:
    """Yield one row per subgroup; sensitivity and specificity are at the first operating point."""
    chosen_for = model["operating_points"][0]["sensitivity"]
    yield from ("", "### Subgroups, `mobilenetv2` (int8)", "")
    yield (
        f"Sensitivity and specificity are those of the operating point for {chosen_for:.2f} (the "
        f"default is {DEFAULT_SENSITIVITY:.2f}). Groups of fewer than {FEWEST} images are left out."
    )
    yield ""
    heads = (
        "images (malignant)",
        "balanced accuracy",
        "malignant AUROC",
        "sensitivity",
        "specificity",
    )
    yield f"| | {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|"
    names = ("balanced_accuracy", "malignant_auroc", "sensitivity", "specificity")
    for kind, groups in model["subgroups"].items():
        for value, row in groups.items():
            if row["images"] < FEWEST:
                continue
            counts = f"{row['images']} ({row['malignant']})"
            cells = " | ".join(span(row[name]) for name in names)
            yield f"| {kind.replace('_', ' ')}: {value} | {counts} | {cells} |"


def span(figure: dict[str, float | None]) -> str:
    """Return a value with its interval; a dash where these images leave it undefined."""
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def rewrite(path: Path, lines: list[str]) -> None:
    """Put lines between a file's marks."""
    text = path.read_text(encoding="utf-8")
    marks = r"(<!-- figures: [^\n]*-->\n).*?(<!-- end of figures -->)"
    new, count = re.subn(
        marks, lambda m: m[1] + "\n".join(lines) + "\n" + m[2], text, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{path}: expected one pair of marks, found {count}")
    write_text(path, new)


if __name__ == "__main__":
    main()
