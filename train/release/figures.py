"""Write the measured figures into MODEL_CARD.md, README.md and accuracy.md, between marks.

python train/release/figures.py     # from train/release/*/metrics.json
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lesionedge import titles

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODELS = {
    "`mobilenetv2` (int8)": ("mobilenetv2", "mobilenetv2-int8.tflite"),
    "`mobilenetv2-float16`": ("mobilenetv2", "mobilenetv2-float16.tflite"),
    "`cnn` (int8)": ("cnn", "cnn-int8.tflite"),
}
SEVERAL = {"mobilenetv2": "mobilenetv2-taught"}
"""Where the last training was measured on one fold only: the run before it, which has several."""
METRICS = {
    **titles.HEADLINES,
    "malignant_auroc": "malignant AUROC (mel, bcc, akiec)",
    "ece": "expected calibration error, 15 bins",
}
FEWEST = 30
"""Pictures that a subgroup has at least to be listed."""
HEADLINES = ("balanced_accuracy", "melanoma_auroc", "malignant_auroc")


def main() -> None:
    """Rewrite the files."""
    figures, folds = {}, {}
    for title, (run, file) in MODELS.items():
        record = json.loads((HERE / run / "metrics.json").read_text())
        figures[title] = record["models"][file]
        several = json.loads((HERE / SEVERAL.get(run, run) / "metrics.json").read_text())
        folds[title] = several["folds"][file]
    card = ROOT / "lesionedge" / "models" / "MODEL_CARD.md"
    first = figures["`mobilenetv2` (int8)"]
    rewrite(
        card,
        [
            *overview(figures, METRICS),
            *spread(folds),
            *by_class(figures),
            *points(first),
            *subgroups(first),
        ],
    )
    page = ROOT / "docs" / "research" / "accuracy.md"
    rewrite(page, [*overview(figures, METRICS), pictures(figures), *spread(folds)])
    rewrite(ROOT / "README.md", [*overview(figures, HEADLINES), sizes()])


def overview(figures: dict[str, Any], names: Any) -> Iterator[str]:
    """Give a row a metric, a column a model."""
    yield f"| | {' | '.join(figures)} |"
    yield "|---|" + "---|" * len(figures)
    for name in names:
        yield f"| {METRICS[name]} | {' | '.join(span(m[name]) for m in figures.values())} |"


def pictures(figures: dict[str, Any]) -> str:
    """Give the row of how many pictures, of how many lesions."""
    counts = [f"{m['pictures']:,} of {m['lesions']:,} lesions" for m in figures.values()]
    return f"| pictures | {' | '.join(counts)} |"


def spread(folds: dict[str, Any]) -> Iterator[str]:
    """Give what each fold has, where there are several: another training differs as much."""
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
    """Give the row of the files' sizes."""
    paths = [ROOT / "lesionedge" / "models" / file for _, file in MODELS.values()]
    return f"| file | {' | '.join(f'{path.stat().st_size / 1e6:.2f} MB' for path in paths)} |"


def by_class(figures: dict[str, Any]) -> Iterator[str]:
    """Give a table a model, with a row a class."""
    for title, model in figures.items():
        yield from ("", f"### {title}", "")
        yield "| class | pictures | recall | precision | F1 | AUROC |"
        yield "|---|---|---|---|---|---|"
        for label, row in model["per_class"].items():
            cells = [span(row[name]) for name in ("recall", "precision", "f1", "auroc")]
            yield f"| {label} | {row['pictures']} | {' | '.join(cells)} |"


def points(model: dict[str, Any]) -> Iterator[str]:
    """Give a row an operating point: what was wanted, and what the twins show of it."""
    yield from ("", "### Operating points of `mobilenetv2` (int8): malignant or not", "")
    yield "| wanted sensitivity | threshold (mean) | sensitivity | specificity | called malignant |"
    yield "|---|---|---|---|---|"
    for point in model["operating_points"]:
        found = point["test"]
        cells = [span(found[name]) for name in ("sensitivity", "specificity", "found")]
        yield f"| {point['sensitivity']:.2f} | {point['threshold']:.4f} | {' | '.join(cells)} |"


def subgroups(model: dict[str, Any]) -> Iterator[str]:
    """Give a row a subgroup; sensitivity and specificity are at the first operating point."""
    yield from ("", "### Subgroups, `mobilenetv2` (int8)", "")
    yield "| | pictures (malignant) | balanced accuracy | malignant AUROC | sens. | spec. |"
    yield "|---|---|---|---|---|---|"
    names = ("balanced_accuracy", "malignant_auroc", "sensitivity", "specificity")
    for kind, groups in model["subgroups"].items():
        for value, row in groups.items():
            if row["pictures"] < FEWEST:
                continue
            counts = f"{row['pictures']} ({row['malignant']})"
            cells = " | ".join(span(row[name]) for name in names)
            yield f"| {kind.replace('_', ' ')}: {value} | {counts} | {cells} |"


def span(figure: dict[str, float | None]) -> str:
    """Give a value with its interval; a dash where these pictures leave it undefined."""
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
    path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
