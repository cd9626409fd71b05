"""How much more accurate is a model that refuses images: by the gate, by low confidence?

    python benchmarks/research/risk_coverage.py DATA [--json FILE] [--plot FILE.png]

DATA holds ``ham10000`` and, for the second mix, ``clinical_photos`` and ``not_skin``. Only held-out
images are used; in place of an embedded model its twin is measured (``twins``). There are two
mixes: dermoscopic images alone; and one image in four that is not dermoscopic, for which every
prediction is wrong. Prints as JSON the accuracy of the images that are left, by their share.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import twins

import lesionedge
from lesionedge import reliability
from train.gate import scores, sources

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="the folder of the datasets")
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    table = sources.table(options.data)
    table = table[table["split"].eq("test") & table["source"].isin(KEPT)].reset_index(drop=True)
    table = table.assign(**predicted(options.model, table))
    lesions = table[table["source"] == "ham10000"]
    others = table[table["source"] != "ham10000"]
    mixed = pd.concat([lesions.sample(len(others) * 3, random_state=0), others])
    figures = {"dermoscopic": measured(lesions), "mixed": measured(mixed)}
    print(json.dumps({k: {n: v["at"] for n, v in f.items()} for k, f in figures.items()}, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        plot(figures, options.plot)


KEPT = ("ham10000", "clinical", "not_skin")


def predicted(model: str, table: pd.DataFrame) -> dict[str, Any]:
    """Return for each image the probability, whether the label is right, and the gate's score."""
    classifier = lesionedge.Classifier(twins.of(model), check=False)
    predictions = list(classifier.classify_many(table["path"]))
    truth = diagnoses(table)
    return {
        "confidence": [a.probability for a in predictions],  # type: ignore[union-attr]
        "right": [a.label == t for a, t in zip(predictions, truth)],  # type: ignore[union-attr]
        "gate": scores.dermoscopic(table["path"].tolist()),
    }


def diagnoses(table: pd.DataFrame) -> list[str]:
    """Return each image's true label; an empty one where it is not dermoscopic."""
    known = pd.read_csv(sources.SPLIT_FILE, dtype=str)
    labels = {Path(path).stem: label for path, label in zip(known["path"], known["label"])}
    return [labels.get(Path(path).stem, "") for path in table["path"]]


def measured(table: pd.DataFrame) -> dict[str, Any]:
    """Return the accuracy by the share of images that is left, for each way to refuse."""
    passed = table["gate"] >= reliability.Gate().threshold
    ways = {
        "confidence": table["confidence"], "gate": table["gate"],
        "gate, then confidence": table["confidence"] + passed,  # those that pass come first
    }  # fmt: skip
    right = table["right"].to_numpy(float)
    result = {}
    for name, score in ways.items():
        order = np.argsort(-score.to_numpy(), kind="stable")
        accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
        places = [max(0, round(share * len(order)) - 1) for share in COVERAGES]
        result[name] = {
            "at": {f"{share:.0%}": round(float(accuracy[p]), 4)
                   for share, p in zip(COVERAGES, places)},
            "accuracy": [round(float(a), 4) for a in accuracy],
        }  # fmt: skip
    result["gate at its threshold"] = {
        "at": {f"{passed.mean():.1%}": round(float(right[passed.to_numpy()].mean()), 4)},
        "accuracy": [],
    }
    return result


def plot(figures: dict[str, Any], path: str) -> None:
    """Draw a panel for each mix of images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    titles = {"dermoscopic": "dermoscopic images only", "mixed": "one in four not dermoscopic"}
    styles = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."))
    for panel, (mix, found) in zip(axes, figures.items()):
        for (name, way), (colour, line) in zip(found.items(), styles):
            accuracy = way["accuracy"]
            share = np.arange(1, len(accuracy) + 1) / len(accuracy)
            shown = share >= 0.05  # of fewer, accuracy is chance
            panel.plot(share[shown], np.array(accuracy)[shown], color=colour, ls=line, label=name)
        panel.set_title(titles[mix])
        panel.set_xlabel("share of images predicted")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy of these predictions")
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
