"""How do models compare on held-out images? Used to measure what each choice in training is worth.

    python benchmarks/research/ablations.py HAM10000 FIRST.tflite OTHER.tflite …
        [--split FILE] [--part test] [--json FILE] [--write]

NAME=FILE names a row. The embedded models were trained on nearly all of HAM10000, so compare their
twins (``twins``) on ``--part test``.

Prints a Markdown table with a row for each model:

- balanced accuracy and the AUROC of melanoma and of malignant, each the mean over four views of
  an image (as it is, turned by half, transposed, turned by a quarter);
- the share of predictions that change with the view;
- balanced accuracy of degraded images: with noise of 4 levels, then JPEG at quality 60.

Differences to the first row have 95 % intervals by lesion. ``--write`` also puts the table into
docs/research/experiments.md.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from studies import classes, gain, gained, images, publish, turned_accuracy, turned_auroc
from twins import ROOT, SPLIT

import lesionedge
from lesionedge import tta
from lesionedge.diagnosis import malignant_of
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import resamples

QUALITY = 60  # of the JPEG of degraded images
WAYS = (0, 1, 4, 6)  # views of lesionedge.tta
NOISE = 4.0  # standard deviation, of 255
PAGE = ROOT / "docs" / "research" / "experiments.md"
COLUMNS = (
    "model", "balanced accuracy", "melanoma AUROC", "malignant AUROC", "changed by turning",
    "balanced accuracy, degraded",
)  # fmt: skip


def main() -> None:
    """Measure, print, and write what the options say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="HAM10000")
    parser.add_argument("models", nargs="+", help="[NAME=]FILE.tflite, or an embedded model's name")
    parser.add_argument("--split", type=Path, default=SPLIT, help="(release/split.csv)")
    parser.add_argument("--part", default="validation", help="which of its images (validation)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/research/experiments.md"
    )
    options = parser.parse_args()
    rows = images(options.folder, options.split, options.part)
    prepared = Prepared(rows, options.models[0])
    variants = files(options.models, prepared)
    figures: dict[str, Any] = {
        "part": options.part, "images": len(rows), "lesions": int(rows["group"].nunique()),
        "date": time.strftime("%Y-%m-%d"), "rows": measured(variants, prepared),
    }  # fmt: skip
    publish(list(report(figures)), figures, options, "models", PAGE)


class Prepared:
    """The images as inputs of a model, and their classes."""

    def __init__(self, rows: pd.DataFrame, model: str) -> None:
        self.any = lesionedge.Classifier(model.rpartition("=")[2], check=False)
        self.rows = rows
        self.truth = classes(self.any, rows)
        self.draws = resamples(rows["group"].to_numpy())
        self.whole = np.stack([self.any.model_input(file) for file in rows["file"]])
        rng = np.random.default_rng(0)
        degraded = [self.any.model_input(degrade(file, rng)) for file in rows["file"]]
        self.degraded = np.stack(degraded)

    def turned(self) -> Iterator[np.ndarray]:
        """Yield all images in each view, (N, H, W, 3) uint8."""
        for way in WAYS:
            yield np.stack([list(tta.views(x, tta.MOST))[way] for x in self.whole])


def degrade(file: str, rng: np.random.Generator) -> bytes:
    """Add noise to an image, then encode it as JPEG."""
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB"), np.float32)
    noisy = np.clip(pixels + rng.normal(0, NOISE, pixels.shape), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


Variant = tuple[str, np.ndarray, np.ndarray]
"""Name, (N, views, classes) probabilities by view, (N, classes) of degraded images."""


def files(models: Sequence[str], prepared: Prepared) -> Iterator[Variant]:
    """Yield what each model predicts, computed by ``lesionedge``."""
    for given in models:
        name, _, file = given.rpartition("=")
        own = lesionedge.Classifier(file, check=False)
        if own.labels != prepared.any.labels:
            raise SystemExit(f"{file}: its labels are {', '.join(own.labels)}")
        if not np.array_equal(own.model_input(prepared.rows["file"][0]), prepared.whole[0]):
            raise SystemExit(f"{file}: its input is prepared in another way than the first model's")
        predictions = [own.probabilities_of_inputs(list(turned)) for turned in prepared.turned()]
        yield (
            name or f"`{Path(file).stem}`",
            np.stack(predictions, 1),
            own.probabilities_of_inputs([*prepared.degraded]),
        )


def measured(variants: Iterator[Variant], prepared: Prepared) -> list[dict[str, Any]]:
    """Measure each model against the first."""
    first: dict[str, Any] = {}
    rows = []
    malignant = np.array(malignant_of(prepared.any.diagnoses, model=prepared.any.model))
    for name, predictions, degraded in variants:
        of = figures_of(predictions, degraded, prepared.truth, prepared.any.labels, malignant)
        first = first or of
        row = {kind: gained(of[kind], first[kind], prepared.draws) for kind in of}
        named = predictions.argmax(2)
        changed = float((named[:, 1:] != named[:, :1]).mean())
        rows.append({"name": name, "changed": changed, **row})
        print(f"{name}: {row['balanced_accuracy']['value']:.3f}", flush=True)
    return rows


def figures_of(
    predictions: np.ndarray, degraded: np.ndarray, truth: np.ndarray, labels: Sequence[str],
    malignant: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """Return one model's figures, each a function of the images' weights."""
    right = degraded.argmax(1) == truth
    risk = predictions[:, :, malignant].sum(2)
    areas = [weighted.auroc(malignant[truth], risk[:, way]) for way in range(risk.shape[1])]
    return {
        "balanced_accuracy": turned_accuracy(predictions, truth),
        "melanoma_auroc": turned_auroc(predictions, truth, labels.index("mel")),
        "malignant_auroc": lambda w: np.mean([area(w) for area in areas], axis=0),
        "degraded": lambda w: weighted.balanced_accuracy(right, truth, w),
    }


def report(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for row in figures["rows"]:
        kinds = ("balanced_accuracy", "melanoma_auroc", "malignant_auroc", "degraded")
        cells = [f"{row[kind]['value']:.3f}" + gain(row[kind]["gain"]) for kind in kinds]
        cells.insert(3, f"{100 * row['changed']:.1f} %")
        yield f"| {row['name']} | {' | '.join(cells)} |"
    yield ""
    yield (
        f"{figures['images']:,} {figures['part']} images of {figures['lesions']:,} lesions, "
        f"{figures['date']}."
    )


if __name__ == "__main__":
    main()
