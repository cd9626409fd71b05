"""How good are models on dermoscopic images of another collection?

    python benchmarks/research/external.py FOLDER [MODEL ...] [--aspect 1.333] [--views N]
        [--halves FILE] [--json FILE]

FOLDER is a download of the ISIC archive in which malignant means melanoma, such as the training and
validation images of ISIC 2017 (Codella et al. 2018, arXiv:1710.05006). Hospitals, cameras and
diagnoses differ from those of HAM10000; benign is a nevus or a keratosis. Images whose ``isic_id``
is in HAM10000 are left out, in whatever split they are. ``--aspect`` (width / height) restores
images that were squeezed into squares. ``--halves``, which ``release/halve.py`` writes, leaves out
the images that ``mobilenetv2`` has learnt from.

Prints a Markdown table with a row for each model: AUROC of the melanoma probability, the AUROC's
difference to the first model, sensitivity at 90 % specificity, each with a 95 % interval
(bootstrap; by patient where the download names patients), and for each operating point of the
model's card the sensitivity for melanomas and the specificity that it reaches here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import twins
from PIL import Image
from studies import gained, span

import lesionedge
from lesionedge.datasets import isic_archive
from lesionedge.diagnosis import malignant_of
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import interval, resamples
from lesionedge.image import decode

MODELS = ("mobilenetv2", "mobilenetv2-float16", "cnn")
SPECIFICITY = 0.9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="a download of the ISIC archive")
    parser.add_argument(
        "models", nargs="*", default=MODELS, help="[NAME=]FILE.tflite, or an embedded model's name"
    )
    parser.add_argument("--aspect", type=float, help="width / height of the images as taken")
    parser.add_argument("--views", type=int, default=1, help="views that are averaged (1)")
    parser.add_argument("--halves", type=Path, metavar="FILE", help="measure its test images only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    rows = others(options.folder, options.halves)
    known = rows["patient"].fillna(rows["lesion"])  # an image without either is a group of its own
    groups = known.where(known.notna(), [f"image {row}" for row in rows.index])
    draws = resamples(groups.astype(str).to_numpy())
    melanoma = rows["label"].eq("malignant").to_numpy()
    figures: dict[str, Any] = {
        "images": len(rows), "melanomas": int(melanoma.sum()), "views": options.views,
        "date": time.strftime("%Y-%m-%d"), "models": [],
    }  # fmt: skip
    first = None
    for given in options.models:
        name, _, model = given.rpartition("=")
        classifier = lesionedge.Classifier(model, check=False, views=options.views)
        if "mel" not in classifier.labels:
            parser.error(f"{model}: names no melanoma, only {', '.join(classifier.labels)}")
        predictions = predicted(classifier, rows["path"], options.aspect)
        score = predictions[:, classifier.labels.index("mel")]
        area = weighted.auroc(melanoma, score)
        first = first or area
        sensitivity = weighted.sensitivity_at(melanoma, score, specificity=SPECIFICITY)
        figures["models"].append({
            "name": name or model, "melanoma_auroc": interval(area, draws),
            "gain": gained(area, first, draws)["gain"],
            "sensitivity_at_90_specificity": interval(sensitivity, draws),
            "operating_points": operating_points(classifier, predictions, melanoma),
        })  # fmt: skip
        print(f"{name or model}: {area(np.ones((1, len(rows))))[0]:.3f}", flush=True)
    print("\n".join(report(figures)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def others(folder: Path, halves: Path | None) -> pd.DataFrame:
    """Return the images that are not in HAM10000, nor learnt from by ``halves``."""
    table = isic_archive.load(folder).table
    known = {Path(path).stem for path in pd.read_csv(twins.SPLIT)["path"]}
    own = ~table["path"].map(lambda path: Path(path).stem).isin(known)
    print(f"{len(table)} images; {int((~own).sum())} are in HAM10000 and left out")
    if halves is not None:
        parts = pd.read_csv(halves)
        unseen = {Path(path).stem for path in parts.loc[parts["split"] == "test", "path"]}
        own &= table["path"].map(lambda path: Path(path).stem).isin(unseen)
        print(f"{int(own.sum())} of the others are not learnt from")
    return table[own].reset_index(drop=True)


def predicted(
    classifier: lesionedge.Classifier, paths: pd.Series, aspect: float | None
) -> np.ndarray:
    """Return the (N, classes) probabilities of images, restored to ``aspect``."""

    def prepared(path: str) -> np.ndarray:
        if aspect is None:
            return classifier.model_input(path)
        image = decode(path).image
        size = (round(image.height * aspect), image.height)
        return classifier.model_input(image.resize(size, Image.Resampling.BICUBIC))

    return classifier.probabilities_of_inputs([prepared(path) for path in paths])


def operating_points(
    classifier: lesionedge.Classifier, predictions: np.ndarray, melanoma: np.ndarray
) -> list[dict[str, float]]:
    """Return the sensitivity and specificity that each threshold of the card reaches here."""
    malignant = np.array(malignant_of(classifier.diagnoses, model=classifier.model))
    risk = predictions[:, malignant].sum(1)
    return [
        {
            "chosen_for": point.sensitivity,
            "sensitivity": float((risk[melanoma] >= point.threshold).mean()),
            "specificity": float((risk[~melanoma] < point.threshold).mean()),
        }
        for point in classifier.operating_points
    ]


def report(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield (
        "| model | melanoma AUROC | difference | sensitivity at 90 % specificity | operating "
        "points: chosen for, sensitivity, specificity |"
    )
    yield "|---|---|---|---|---|"
    for number, model in enumerate(figures["models"]):
        at = "; ".join(
            "{chosen_for:g}: {sensitivity:.2f}, {specificity:.2f}".format(**point)
            for point in model["operating_points"]
        )
        cells = [
            f"`{model['name']}`", span(model["melanoma_auroc"]),
            span(model["gain"], "+.3f") if number else "",
            span(model["sensitivity_at_90_specificity"]), at,
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"{figures['images']:,} images, {figures['melanomas']} melanomas, {figures['date']}."


if __name__ == "__main__":
    main()
