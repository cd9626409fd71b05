"""Which views should test-time augmentation average over, and how?

    python benchmarks/research/view_choice.py HAM10000 --model FILE [--json FILE] [--write]

Prints a Markdown table with a row for each set of views: balanced accuracy, melanoma AUROC and log
loss on the validation images. Each is the mean over the eight ways that an image can be turned and
mirrored; differences to one view have 95 % intervals by lesion. Crops (the middle, four corners)
are enlarged from the model's own input, because that needs no second decoding.

``--write`` also puts the table into docs/research/accuracy.md. Takes some minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import twins
from PIL import Image
from studies import classes, gain, gained, images, publish, turned_accuracy, turned_auroc
from views import COMPOSED

import lesionedge
from lesionedge import tta
from lesionedge.evaluation.intervals import resamples

CENTRES = (0.9, 0.8)
CORNER = 0.85
CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))
LEAST = 1e-6  # smaller probabilities count as this in logarithms
Predictions = np.ndarray
"""(N, 8, classes) probabilities, by how the image was turned."""


def main() -> None:
    """Measure, print, and write what the options say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="HAM10000")
    parser.add_argument(
        "--model", required=True,
        help="a model that was not trained on the validation images, as the embedded ones were",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/research/accuracy.md"
    )
    options = parser.parse_args()
    rows = images(options.folder, twins.SPLIT, "validation")
    classifier = lesionedge.Classifier(options.model, check=False)
    truth, melanoma = classes(classifier, rows), classifier.labels.index("mel")
    draws = resamples(rows["group"].to_numpy())
    given = predicted(classifier, list(rows["file"]))
    figures = {
        "model": Path(options.model).stem, "images": len(rows),
        "lesions": int(rows["group"].nunique()), "date": time.strftime("%Y-%m-%d"),
        "sets": measured(given, truth, melanoma, draws),
    }  # fmt: skip
    publish(list(report(figures)), figures, options, "view choice")


def predicted(classifier: lesionedge.Classifier, files: list[str]) -> dict[str, Predictions]:
    """Return each crop's probabilities, by how the image is turned."""
    found: dict[str, list[np.ndarray]] = {}
    for number, file in enumerate(files, start=1):
        turned = [np.ascontiguousarray(view) for view in
                  tta.views(classifier.model_input(file), tta.MOST)]  # fmt: skip
        for name, crop in CROPS.items():
            predictions = classifier.probabilities_of_inputs(
                [crop(pixels) for pixels in turned], views=1
            )
            found.setdefault(name, []).append(predictions)
        if number % 100 == 0:
            print(f"{number} of {len(files)}", flush=True)
    return {name: np.array(predictions, np.float64) for name, predictions in found.items()}


def enlarged(pixels: np.ndarray, share: float, across: float, down: float) -> np.ndarray:
    """Return a part of an image, enlarged to the image's size; positions are 0 to 1."""
    height, width = pixels.shape[:2]
    left, top = width * (1 - share) * across, height * (1 - share) * down
    box = left, top, left + width * share, top + height * share
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)


def cropped(share: float, across: float, down: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that enlarges this part of an image."""
    return lambda pixels: enlarged(pixels, share, across, down)


CROPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "whole": lambda pixels: pixels,
    **{f"{share:g}": cropped(share, 0.5, 0.5) for share in CENTRES},
    **{f"corner {x} {y}": cropped(CORNER, x, y) for x, y in CORNERS},
}


def sets(given: dict[str, Predictions]) -> Iterator[tuple[str, int, Predictions]]:
    """Yield each set of views: its name, how many runs it takes, and its predictions."""
    whole = given["whole"]
    yield "the image as it is", 1, whole
    for share in CENTRES:
        yield f"the middle, {share:g} of the side, alone", 1, given[f"{share:g}"]
    yield "**as it is, turned by half**", 2, mean(turned(whole, 2))
    names = {
        2: "mirrored left-right",
        3: "mirrored top-bottom",
        4: "transposed",
        6: "a quarter turn",
    }
    for view, name in names.items():
        yield f"as it is, {name}", 2, mean([whole, whole[:, COMPOSED[view]]])
    for share in CENTRES:
        yield f"as it is, the middle {share:g}", 2, mean([whole, given[f"{share:g}"]])
    yield "**the first four symmetries**", 4, mean(turned(whole, 4))
    yield "four quarter turns", 4, mean([whole[:, COMPOSED[view]] for view in (0, 1, 6, 7)])
    for share in CENTRES:
        both = [*turned(whole, 2), *turned(given[f"{share:g}"], 2)]
        yield (
            f"as it is and turned by half, of the whole and of the middle {share:g}",
            4,
            mean(both),
        )
    corners = [given[name] for name in given if name.startswith("corner")]
    yield f"as it is, four corners of {CORNER:g}", 5, mean([whole, *corners])
    yield "**the eight symmetries**", 8, mean(turned(whole, 8))
    yield "the same, logarithms averaged", 8, geometric(turned(whole, 8))
    for share in CENTRES:
        both = [*turned(whole, 4), *turned(given[f"{share:g}"], 4)]
        yield f"the first four, of the whole and of the middle {share:g}", 8, mean(both)


def turned(predictions: Predictions, views: int) -> list[Predictions]:
    """Return the predictions of the first views."""
    return [predictions[:, COMPOSED[view]] for view in range(views)]


def mean(predictions: list[Predictions]) -> Predictions:
    """Average probabilities."""
    return np.mean(predictions, axis=0)


def geometric(predictions: list[Predictions]) -> Predictions:
    """Average logits: logarithms of probabilities, which then sum to 1 again."""
    logarithms = np.mean([np.log(np.maximum(one, LEAST)) for one in predictions], axis=0)
    raised = np.exp(logarithms)
    return raised / raised.sum(-1, keepdims=True)


def measured(
    given: dict[str, Predictions], truth: np.ndarray, melanoma: int, draws: np.ndarray
) -> list[dict[str, Any]]:
    """Measure every set of views against one view."""
    accuracy = turned_accuracy(given["whole"], truth)
    auroc = turned_auroc(given["whole"], truth, melanoma)
    return [
        {
            "name": name, "runs": runs,
            "balanced_accuracy": gained(turned_accuracy(predictions, truth), accuracy, draws),
            "melanoma_auroc": gained(turned_auroc(predictions, truth, melanoma), auroc, draws),
            "log_loss": log_loss(predictions, truth),
        }
        for name, runs, predictions in sets(given)
    ]  # fmt: skip


def log_loss(predictions: Predictions, truth: np.ndarray) -> float:
    """Return the mean of -log of the true class's probability."""
    own = predictions[np.arange(len(truth)), :, truth]
    return float(-np.log(np.maximum(own, LEAST)).mean())


def report(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| averaged | runs | balanced accuracy (gain) | melanoma AUROC (gain) | log loss |"
    yield "|---|---|---|---|---|"
    for row in figures["sets"]:
        kinds = row["balanced_accuracy"], row["melanoma_auroc"]
        cells = [f"{kind['value']:.3f}" + gain(kind["gain"]) for kind in kinds]
        yield f"| {row['name']} | {row['runs']} | {' | '.join(cells)} | {row['log_loss']:.2f} |"
    yield ""
    measured_on = f"{figures['images']:,} validation images of {figures['lesions']:,} lesions"
    yield f"`{figures['model']}`: {measured_on}, {figures['date']}."


if __name__ == "__main__":
    main()
