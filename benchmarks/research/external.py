"""How models do on dermoscopic pictures of another collection, which no network has learnt from.

    python benchmarks/research/external.py FOLDER [MODEL ...] [--aspect 1.333]
        [--views N] [--json FILE]

FOLDER is a download of the ISIC archive in which malignant means melanoma, such as the training and
validation pictures of ISIC 2017 (Codella et al. 2018, arXiv:1710.05006): hospitals, cameras and
diagnoses are others than HAM10000's, and benign is a nevus or a keratosis. A picture whose
``isic_id`` is one of HAM10000's is left out, whatever split it is of. --aspect (width for height)
undoes what squeezed the pictures into squares.

Given are the area under the ROC curve of the model's melanoma probability and the sensitivity at
90 % specificity, with 95 % intervals (bootstrap; by patient where the download names them), the
area's difference to the first model's on the same pictures, and what the operating points of the
model's card come to here: sensitivity, of melanomas alone, and specificity.
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
from views import gained, span

import lesionedge
from lesionedge.datasets import isic_archive
from lesionedge.diagnosis import malignant_of
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import interval, resamples

MODELS = ("mobilenetv2", "mobilenetv2-float16", "cnn")
SPECIFICITY = 0.9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Another collection's melanomas.")
    parser.add_argument("folder", type=Path, help="as the ISIC archive lays it out")
    parser.add_argument(
        "models", nargs="*", default=MODELS, help="[NAME=]FILE.tflite or an embedded one's name"
    )
    parser.add_argument("--aspect", type=float, help="width for height that the pictures had")
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = pictures(options.folder)
    known = rows["patient"].fillna(rows["lesion"])  # pictures of neither are their own
    groups = known.where(known.notna(), [f"picture {row}" for row in rows.index])
    draws = resamples(groups.astype(str).to_numpy())
    melanoma = rows["label"].eq("malignant").to_numpy()
    figures: dict[str, Any] = {
        "pictures": len(rows), "melanomas": int(melanoma.sum()), "views": options.views,
        "date": time.strftime("%Y-%m-%d"), "models": [],
    }  # fmt: skip
    first = None
    for given in options.models:
        name, _, model = given.rpartition("=")
        classifier = lesionedge.Classifier(model, check=False, views=options.views)
        if "mel" not in classifier.labels:
            parser.error(f"{model}: names no melanoma, only {', '.join(classifier.labels)}")
        answers = asked(classifier, rows["path"], options.aspect)
        score = answers[:, classifier.labels.index("mel")]
        area = weighted.auroc(melanoma, score)
        first = first or area
        sensitivity = weighted.sensitivity_at(melanoma, score, specificity=SPECIFICITY)
        figures["models"].append({
            "name": name or model, "melanoma_auroc": interval(area, draws),
            "gain": gained(area, first, draws)["gain"],
            "sensitivity_at_90_specificity": interval(sensitivity, draws),
            "operating_points": operating_points(classifier, answers, melanoma),
        })  # fmt: skip
        print(f"{name or model}: {area(np.ones(len(rows))):.3f}", flush=True)
    print("\n".join(report(figures)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def pictures(folder: Path) -> pd.DataFrame:
    """Give the pictures that are none of HAM10000's."""
    table = isic_archive.load(folder).table
    known = {Path(path).stem for path in pd.read_csv(twins.SPLIT)["path"]}
    own = ~table["path"].map(lambda path: Path(path).stem).isin(known)
    print(f"{len(table)} pictures, {int((~own).sum())} of them HAM10000's and left out")
    return table[own].reset_index(drop=True)


def asked(classifier: lesionedge.Classifier, paths: pd.Series, aspect: float | None) -> np.ndarray:
    """Give the (N, classes) probabilities of pictures at the aspect that they had."""

    def prepared(path: str) -> np.ndarray:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        if aspect:
            size = (round(picture.height * aspect), picture.height)
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        return classifier.model_input(picture)

    return classifier.probabilities_of_inputs([prepared(path) for path in paths])


def operating_points(
    classifier: lesionedge.Classifier, answers: np.ndarray, melanoma: np.ndarray
) -> list[dict[str, float]]:
    """Give what becomes of the sensitivities that the card's thresholds were chosen for."""
    malignant = np.array(malignant_of(classifier.diagnoses, model=classifier.model))
    risk = answers[:, malignant].sum(1)
    return [
        {
            "chosen_for": point.sensitivity,
            "sensitivity": float((risk[melanoma] >= point.threshold).mean()),
            "specificity": float((risk[~melanoma] < point.threshold).mean()),
        }
        for point in classifier.operating_points
    ]


def report(figures: dict[str, Any]) -> Iterator[str]:
    """Lay the figures out as Markdown."""
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
    yield f"{figures['pictures']:,} pictures, {figures['melanomas']} melanomas, {figures['date']}."


if __name__ == "__main__":
    main()
