"""What does averaging over several views of an image gain, and what does it cost?

    python benchmarks/research/views.py HAM10000 [--models NAME ...] [--parts accuracy latency]
        [--json FILE] [--write]

Prints a Markdown table with a row for each model and ``Classifier(views=N)``, on images that
training did not use (in place of an embedded model its twin is measured: ``twins``): balanced
accuracy and melanoma AUROC with 95 % intervals by lesion, the share of images whose label changes
if they are turned or mirrored, sensitivity and specificity at the card's operating point, and
milliseconds per image.

A camera may be held in any direction. So accuracy and AUROC are also the mean over the eight ways
to turn and mirror an image, which varies less by chance than that of one way. The gain is the
difference of these means, on the same resamples of lesions.

FILE keeps the figures (views.json beside this script); those of other parts and models stay, so
that the table has them, too. ``--write`` also puts the table into docs/research/accuracy.md.
Accuracy takes minutes. Latency takes half a minute and needs a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import twins
from studies import (
    classes,
    gain,
    gained,
    images,
    publish,
    span,
    turned_accuracy,
    turned_auroc,
)

import lesionedge
from lesionedge import machine, tta
from lesionedge.benchmark import example_image
from lesionedge.diagnosis import malignant_of
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import interval, resamples

MODELS = ("mobilenetv2", "mobilenetv2-float16", "cnn")
PARTS = ("accuracy", "latency")
VIEWS = (1, 2, 4, 8)
SENSITIVITY = 0.95  # of the operating point in the table
PROVED = 16  # images for which Classifier(views=N) itself is compared
ROUNDS = 100
UNCOUNTED = 5
COLUMNS = (
    "model", "views", "balanced accuracy", "turned any way (gain)", "melanoma AUROC",
    "turned any way (gain)", "another label when turned",
    "sensitivity, specificity at the card's 95 % point", "ms per image",
)  # fmt: skip


def main() -> None:
    """Measure, print, and write what the options say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="HAM10000")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--split", type=Path, default=twins.SPLIT,
                        help="which images are held out (release/split.csv)")  # fmt: skip
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/research/accuracy.md"
    )
    options = parser.parse_args()
    kept = json.loads(options.json.read_text()) if options.json.is_file() else {}
    figures: dict[str, Any] = {part: kept.get(part, {}) for part in PARTS}
    today = time.strftime("%Y-%m-%d")
    for model in options.models if "accuracy" in options.parts else ():
        found = accuracy(model, options.folder, options.split)
        figures["accuracy"][model] = {"date": today, **found}
    if "latency" in options.parts:
        for model, times in latency(options.models).items():
            here = {"date": today, "machine": this_machine(), "ms": times}
            figures["latency"][model] = here
    publish(list(report(figures)), figures, options, "views")


def composed() -> np.ndarray:
    """Return (8, 8) int: at [v, t], the view of an image that is view v of its view t."""
    mark = np.arange(4).reshape(2, 2, 1)
    known = [view.tobytes() for view in tta.views(mark, tta.MOST)]
    turned = [list(tta.views(t, tta.MOST)) for t in tta.views(mark, tta.MOST)]
    return np.array([[known.index(own[v].tobytes()) for own in turned] for v in range(len(known))])


COMPOSED = composed()


def predicted(classifier: lesionedge.Classifier, files: Sequence[str]) -> np.ndarray:
    """Return the probabilities of each image in its eight views, (N, 8, classes)."""
    found = []
    for number, file in enumerate(files, start=1):
        pixels = classifier.model_input(file)
        found.append(classifier.probabilities_of_inputs(list(tta.views(pixels, tta.MOST)), views=1))
        if number % 500 == 0:
            print(f"{classifier.model}: {number} of {len(files)}", flush=True)
    return np.array(found, np.float64)


def averaged(found: np.ndarray, views: int) -> np.ndarray:
    """Average over views: (N, 8, classes), by how the image is turned, before and after."""
    return found[:, COMPOSED[:views]].mean(axis=1)


def prove(classifier: lesionedge.Classifier, files: Sequence[str], found: np.ndarray) -> None:
    """Check that ``Classifier(views=N)`` returns these averages."""
    for views in VIEWS:
        own = lesionedge.Classifier(classifier.model, check=False, views=views)
        given = np.array([own.probabilities(file) for file in files])
        if not np.array_equal(given, averaged(found, views)[:, 0].astype(np.float32)):
            raise SystemExit(f"{classifier.model}: {views} views are not the expected mean")


def accuracy(model: str, folder: Path, split: Path) -> dict[str, Any]:
    """Measure one model on the test images of a split."""
    rows = images(folder, split, "test")
    classifier = lesionedge.Classifier(twins.of(model), check=False)
    truth = classes(classifier, rows)
    found = predicted(classifier, rows["file"])
    prove(classifier, rows["file"][:PROVED], found[:PROVED])
    draws = resamples(rows["group"].to_numpy())
    melanoma = classifier.labels.index("mel")
    kinds = {
        "balanced_accuracy": lambda predictions: turned_accuracy(predictions, truth),
        "melanoma_auroc": lambda predictions: turned_auroc(predictions, truth, melanoma),
    }
    return {
        "images": len(rows), "lesions": int(rows["group"].nunique()),
        "views": {
            str(views): {
                **figures_of(averaged(found, views), truth, draws, classifier),
                "turned": {
                    kind: gained(figure(averaged(found, views)), figure(found), draws)
                    for kind, figure in kinds.items()
                },
            }
            for views in VIEWS
        },
    }  # fmt: skip


def figures_of(
    predictions: np.ndarray, truth: np.ndarray, draws: np.ndarray, classifier: lesionedge.Classifier
) -> dict[str, Any]:
    """Return the figures of (N, 8, classes) probabilities, by how the image is turned."""
    upright, named = predictions[:, 0], predictions.argmax(2)
    melanoma = classifier.labels.index("mel")
    right = named[:, 0] == truth
    return {
        "balanced_accuracy": interval(
            lambda w: weighted.balanced_accuracy(right, truth, w), draws
        ),
        "melanoma_auroc": interval(
            weighted.auroc(truth == melanoma, upright[:, melanoma]), draws
        ),
        "another_label": float((named != named[:, :1]).any(1).mean()),
        "operating_point": operating_point(upright, truth, classifier),
    }  # fmt: skip


def operating_point(
    upright: np.ndarray, truth: np.ndarray, classifier: lesionedge.Classifier
) -> dict[str, float] | None:
    """Return sensitivity and specificity of these averages at the card's threshold."""
    points = [p for p in classifier.operating_points if abs(p.sensitivity - SENSITIVITY) < 1e-6]
    if not points:
        return None
    malignant = np.array(malignant_of(classifier.diagnoses, model=classifier.model))
    above = upright[:, malignant].sum(1) >= points[0].threshold
    is_malignant = malignant[truth]
    return {
        "sensitivity": float(above[is_malignant].mean()),
        "specificity": float(1 - above[~is_malignant].mean()),
    }


def this_machine() -> str:
    """Name the processor."""
    processor = machine.processor()
    return f"{processor.name}, {processor.hardware_threads} cores"


def latency(models: Sequence[str]) -> dict[str, Any]:
    """Time predictions one at a time, by turns of models and views."""
    image = example_image()
    loaded = {(m, n): lesionedge.Classifier(m, views=n) for m in models for n in VIEWS}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in loaded}
    for _ in range(UNCOUNTED + ROUNDS):
        for key, classifier in loaded.items():
            begin = time.perf_counter()
            classifier.classify(image)
            times[key].append((time.perf_counter() - begin) * 1000)
    return {m: {str(n): statistics.median(times[m, n][UNCOUNTED:]) for n in VIEWS} for m in models}


def report(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    found, timed = figures["accuracy"], figures["latency"]
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for model, one in found.items():
        for views, row in one["views"].items():
            took = timed.get(model, {}).get("ms", {}).get(views)
            yield f"| {' | '.join([f'`{model}`', views, *cells(row), milliseconds(took)])} |"
    yield ""
    for model, one in found.items():
        measured_on = f"{one['images']:,} images of {one['lesions']:,} lesions"
        yield f"`{model}`: {measured_on}, {one['date']}."
    places = {model: f"{one['machine']}, {one['date']}" for model, one in timed.items()}
    for place in dict.fromkeys(places.values()):
        of = ", ".join(f"`{model}`" for model in places if places[model] == place)
        yield f"Milliseconds{'' if len(set(places.values())) == 1 else f' of {of}'}: {place}."


def cells(row: dict[str, Any]) -> Iterator[str]:
    """Yield a row's figures of accuracy as text."""
    for kind in ("balanced_accuracy", "melanoma_auroc"):
        yield span(row[kind])
        turned = row["turned"][kind]
        yield f"{turned['value']:.3f}" + gain(turned["gain"])
    yield f"{100 * row['another_label']:.1f} %"
    point = row["operating_point"]
    yield "none" if point is None else f"{point['sensitivity']:.3f}, {point['specificity']:.3f}"


def milliseconds(took: float | None) -> str:
    """Return a time as text."""
    return "not measured" if took is None else f"{took:.1f}"


if __name__ == "__main__":
    main()
