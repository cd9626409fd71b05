"""What averaging over several views of a picture gains, and what it costs.

    python benchmarks/research/views.py HAM10000 [--models NAME ...] [--parts accuracy latency]
        [--json FILE] [--write]

For ``lesionedge.Classifier(views=N)``, on pictures that training never saw (of the embedded
models their twins are asked: ``twins``): balanced accuracy and
melanoma AUROC with 95 % intervals by lesion, how many pictures get another answer once they are
turned or mirrored, what becomes of the card's operating point, and milliseconds a picture.

The camera may be held any way. So both are also given as the mean over the eight ways that each
picture can be turned and mirrored, which chance moves less than that of one way; and what is
gained is the difference of these, on the same resamples of lesions.

Figures are kept in FILE; parts that are not measured now stay as they are there. With --write the
table in docs/research/accuracy.md is made of them. Accuracy takes minutes; latency, half a minute,
wants the machine to itself.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import twins

import lesionedge
from lesionedge import machine, tta
from lesionedge.benchmark import example_image
from lesionedge.diagnosis import malignant_of
from lesionedge.evaluation import weighted
from lesionedge.evaluation.intervals import interval, resamples

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "research" / "accuracy.md"
MODELS = ("mobilenetv2", "mobilenetv2-float16", "cnn")
VIEWS = (1, 2, 4, 8)
SENSITIVITY = 0.95  # of the operating point that is looked at
PROVED = 16  # pictures whose averages are held against Classifier(views=N)'s own
ROUNDS = 100
UNCOUNTED = 5
COLUMNS = (
    "model", "views", "balanced accuracy", "turned any way (gain)", "melanoma AUROC",
    "turned any way (gain)", "another label when turned",
    "sensitivity, specificity at the card's 95 % point", "ms a picture",
)  # fmt: skip


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description="Accuracy and latency of several views.")
    parser.add_argument("folder", type=Path, help="HAM10000")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--split", type=Path, default=twins.SPLIT,
                        help="which pictures are held out")  # fmt: skip
    parser.add_argument("--parts", nargs="+", choices=["accuracy", "latency"],
                        default=["accuracy", "latency"])  # fmt: skip
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument(
        "--write", action="store_true", help="the table of docs/research/accuracy.md"
    )
    options = parser.parse_args()
    figures = json.loads(options.json.read_text()) if options.json.is_file() else {}
    if "accuracy" in options.parts:
        found = {m: accuracy(m, options.folder, options.split) for m in options.models}
        figures["accuracy"] = {"date": time.strftime("%Y-%m-%d"), "models": found}
    if "latency" in options.parts:
        figures["latency"] = {
            "date": time.strftime("%Y-%m-%d"), "machine": this_machine(),
            "models": latency(options.models),
        }  # fmt: skip
    give(list(report(figures)), figures, options, "views")


def pictures(folder: Path, split: Path, part: str) -> pd.DataFrame:
    """Give a split's pictures of one part, with where their files are."""
    files = {path.stem: str(path) for path in folder.rglob("*.jpg")}
    rows = pd.read_csv(split)
    rows = rows[rows["split"] == part].reset_index(drop=True)
    rows["file"] = rows["path"].map(lambda path: files.get(Path(path).stem))
    if rows["file"].isna().any():
        raise SystemExit(f"{folder}: lacks {rows['file'].isna().sum()} of the split's pictures")
    return rows


def classes(classifier: lesionedge.Classifier, rows: pd.DataFrame) -> np.ndarray:
    """Give each picture's true class number, (N,)."""
    unknown = set(rows["label"]) - set(classifier.labels)
    if unknown:
        raise SystemExit(f"{classifier.model}: does not know {', '.join(sorted(unknown))}")
    return rows["label"].map(classifier.labels.index).to_numpy()


def composed() -> np.ndarray:
    """Give, (8, 8) int, which view of a picture view v of it turned as its view t is, at [v, t]."""
    mark = np.arange(4).reshape(2, 2, 1)
    known = [view.tobytes() for view in tta.views(mark, tta.MOST)]
    turned = [list(tta.views(t, tta.MOST)) for t in tta.views(mark, tta.MOST)]
    return np.array([[known.index(own[v].tobytes()) for own in turned] for v in range(len(known))])


COMPOSED = composed()


def asked(classifier: lesionedge.Classifier, files: Sequence[str]) -> np.ndarray:
    """Answer each picture as it is turned and mirrored: (N, 8, classes), one view each."""
    found = []
    for number, file in enumerate(files, start=1):
        pixels = classifier.model_input(file)
        found.append(classifier.probabilities_of_inputs(list(tta.views(pixels, tta.MOST)), views=1))
        if number % 500 == 0:
            print(f"{classifier.model}: {number} of {len(files)}", flush=True)
    return np.array(found, np.float64)


def averaged(found: np.ndarray, views: int) -> np.ndarray:
    """Average over views: from (N, 8, classes), by how the picture was turned, to the same."""
    return found[:, COMPOSED[:views]].mean(axis=1)


def prove(classifier: lesionedge.Classifier, files: Sequence[str], found: np.ndarray) -> None:
    """Check that the averages are those that ``Classifier(views=N)`` gives."""
    for views in VIEWS:
        own = lesionedge.Classifier(classifier.model, check=False, views=views)
        given = np.array([own.probabilities(file) for file in files])
        if not np.array_equal(given, averaged(found, views)[:, 0].astype(np.float32)):
            raise SystemExit(f"{classifier.model}: {views} views are not the expected mean")


def accuracy(model: str, folder: Path, split: Path) -> dict[str, Any]:
    """Measure one model on the test pictures of a split."""
    rows = pictures(folder, split, "test")
    classifier = lesionedge.Classifier(twins.of(model), check=False)
    truth = classes(classifier, rows)
    found = asked(classifier, rows["file"])
    prove(classifier, rows["file"][:PROVED], found[:PROVED])
    draws = resamples(rows["group"].to_numpy())
    melanoma = classifier.labels.index("mel")
    kinds = {
        "balanced_accuracy": lambda answers: turned_accuracy(answers, truth),
        "melanoma_auroc": lambda answers: turned_auroc(answers, truth, melanoma),
    }
    return {
        "pictures": len(rows), "lesions": int(rows["group"].nunique()),
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
    answers: np.ndarray, truth: np.ndarray, draws: np.ndarray, classifier: lesionedge.Classifier
) -> dict[str, Any]:
    """Give the figures of (N, 8, classes) probabilities, by how the picture was turned."""
    upright, named = answers[:, 0], answers.argmax(2)
    melanoma = classifier.labels.index("mel")
    right = named[:, 0] == truth
    return {
        "balanced_accuracy": interval(
            lambda w: weighted.balanced_accuracy(right, truth, w), draws
        ),
        "melanoma_auroc": interval(
            weighted.auroc(truth == melanoma, upright[:, melanoma]), draws
        ),
        "another_answer": float((named != named[:, :1]).any(1).mean()),
        "operating_point": operating_point(upright, truth, classifier),
    }  # fmt: skip


def turned_accuracy(answers: np.ndarray, truth: np.ndarray) -> Any:
    """Give the balanced accuracy's mean over the ways of turning, by the pictures' weights."""
    # It is linear in what is right: the mean over the ways is that of the mean over them.
    right = (answers.argmax(2) == truth[:, None]).mean(1)
    return lambda weights: weighted.balanced_accuracy(right, truth, weights)


def turned_auroc(answers: np.ndarray, truth: np.ndarray, label: int) -> Any:
    """Give a label's AUROC, the mean over the ways of turning, by the pictures' weights."""
    ways = range(answers.shape[1])
    areas = [weighted.auroc(truth == label, answers[:, way, label]) for way in ways]
    return lambda weights: float(np.mean([area(weights) for area in areas]))


def gained(figure: Any, single: Any, draws: np.ndarray) -> dict[str, Any]:
    """Give a figure, and what it gains over the one of single views."""
    value = figure(np.ones(draws.shape[1]))
    return {"value": value, "gain": interval(difference(figure, single), draws)}


def difference(figure: Any, other: Any) -> Any:
    """Subtract one figure from another on the same resample."""
    return lambda weights: figure(weights) - other(weights)


def operating_point(
    upright: np.ndarray, truth: np.ndarray, classifier: lesionedge.Classifier
) -> dict[str, float] | None:
    """Give what the card's threshold, chosen on single views, does to these averages."""
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
    """Time whole answers, one at a time, the models and views taking turns."""
    picture = example_image()
    loaded = {(m, n): lesionedge.Classifier(m, views=n) for m in models for n in VIEWS}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in loaded}
    for _ in range(UNCOUNTED + ROUNDS):
        for key, classifier in loaded.items():
            begin = time.perf_counter()
            classifier.classify(picture)
            times[key].append((time.perf_counter() - begin) * 1000)
    return {m: {str(n): statistics.median(times[m, n][UNCOUNTED:]) for n in VIEWS} for m in models}


def report(figures: dict[str, Any]) -> Iterator[str]:
    """Lay the figures out as Markdown."""
    found, timed = figures.get("accuracy", {}), figures.get("latency", {})
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for model, one in found.get("models", {}).items():
        for views, row in one["views"].items():
            took = timed.get("models", {}).get(model, {}).get(views)
            yield f"| {' | '.join([f'`{model}`', views, *cells(row), milliseconds(took)])} |"
    yield ""
    for model, one in found.get("models", {}).items():
        asked_of = f"{one['pictures']:,} images of {one['lesions']:,} lesions"
        yield f"`{model}`: {asked_of}, {found['date']}."
    if timed:
        yield f"Milliseconds: {timed['machine']}, {timed['date']}."


def cells(row: dict[str, Any]) -> Iterator[str]:
    """Give a row's figures of accuracy as text."""
    for kind in ("balanced_accuracy", "melanoma_auroc"):
        yield span(row[kind])
        turned = row["turned"][kind]
        yield f"{turned['value']:.3f}" + gain(turned["gain"])
    yield f"{100 * row['another_answer']:.1f} %"
    point = row["operating_point"]
    yield "none" if point is None else f"{point['sensitivity']:.3f}, {point['specificity']:.3f}"


def gain(figure: dict[str, float]) -> str:
    """Give what is gained as text; nothing where a set of views is compared with itself."""
    return "" if figure["low"] == figure["high"] == 0 else f" ({span(figure, '+.3f')})"


def milliseconds(took: float | None) -> str:
    """Give a time as text."""
    return "not measured" if took is None else f"{took:.1f}"


def span(figure: dict[str, float], form: str = ".3f") -> str:
    """Give a value with its interval."""
    return "{value:{f}} [{low:{f}}, {high:{f}}]".format(**figure, f=form)


def give(
    lines: Sequence[str], figures: dict[str, Any], options: argparse.Namespace, mark: str,
    page: Path = PAGE,
) -> None:  # fmt: skip
    """Print a table, and keep it and its figures where ``--write`` and ``--json`` ask for that."""
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


if __name__ == "__main__":
    main()
