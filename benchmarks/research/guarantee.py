"""Do the guaranteed thresholds of site profiles hold, and what do profiles gain?

    python benchmarks/research/guarantee.py predictions.csv --truth labels.csv -m MODEL -o FILE

Draws samples of n lesions from a collection, with replacement. Each sample makes thresholds and a
recalibration, as ``lesionedge calibrate`` does. The true sensitivity is that of the whole
collection, where each lesion counts as one. A lesion that is drawn twice counts as two, because the
draws are independent. Prints and writes JSON: for each n, how often the guarantee holds, the mean
sensitivity and specificity, and the log loss before and after.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lesionedge.calibration import guarantee, held_out
from lesionedge.calibration.fit import fit
from lesionedge.calibration.sample import Sample, one_a_lesion
from lesionedge.classifier import Classifier
from lesionedge.cli.calibrate import sample_of
from lesionedge.datasets import gather, meaning, predicted

SIZES = (50, 100, 200, 500, 1000)
SAMPLES = 200
FITS = 20
"""For how many samples the probabilities are recalibrated too, which takes longer."""


def main() -> None:
    """Measure, and write a JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("predictions", help="CSV of lesionedge predict")
    parser.add_argument("--truth", required=True, help="CSV of labels")
    parser.add_argument("-m", "--model", default="mobilenetv2")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    classifier = Classifier(given.model, check=False)
    found = predicted.read(given.predictions, classifier.labels, model=given.model, raw=True)
    labelled = gather.named(found.paths, given.truth)
    understood = meaning.understand(
        labelled.table["label"], classifier.diagnoses, name=labelled.name
    )
    rows = {path: number for number, path in enumerate(found.paths)}
    shares = found.probabilities[[rows[path] for path in labelled.paths]]
    sample, _ = sample_of(labelled, shares, understood, classifier)
    malignant = tuple(d.malignant for d in classifier.diagnoses)
    card = {p.sensitivity: p.threshold for p in classifier.card.operating_points}
    results = {
        "images": len(sample), "lesions": len(np.unique(sample.lesions)),
        "card": _card(sample, malignant, card),
        "sizes": {n: _size(sample, malignant, n) for n in SIZES},
    }  # fmt: skip
    given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def _card(sample: Sample, malignant: tuple[Any, ...], card: dict[float, float]) -> dict[str, Any]:
    """Measure the thresholds of the model's card on the whole collection."""
    mask = np.array(malignant, bool)
    risk = sample.probabilities[:, mask].sum(1)
    positive = sample.malignant == 1
    return {f"{s:g}": held_out.at(sample, positive, risk >= t) for s, t in card.items()}


def _size(sample: Sample, malignant: tuple[Any, ...], size: int) -> dict[str, Any]:
    same = fit(sample.rows(np.zeros(0, np.int64)), malignant)
    scores, positive = same.suspicion(sample.probabilities), sample.malignant == 1
    lesions = np.unique(sample.lesions)
    members = {lesion: np.flatnonzero(sample.lesions == lesion) for lesion in lesions}
    rng = np.random.default_rng(size)
    kept: dict[float, list[dict[str, float]]] = {s: [] for s in guarantee.SENSITIVITIES}
    losses = []
    for number in range(SAMPLES):
        drawn = rng.choice(lesions, size)
        rows = np.concatenate([members[lesion] for lesion in drawn])
        names = np.repeat(np.arange(size), [len(members[lesion]) for lesion in drawn])
        own = sample.rows(rows)
        own = Sample(own.probabilities, own.classes, own.malignant, names)
        found = np.flatnonzero(own.malignant == 1)
        chosen = found[one_a_lesion(own.lesions[found], seed=number)]
        for limit in guarantee.limits(scores[rows][chosen], {}):
            kept[limit.sensitivity].append(held_out.at(sample, positive, scores >= limit.value))
        if number < FITS:
            losses.append(_gain(sample, own, ~np.isin(sample.lesions, drawn), malignant))
    return {
        "thresholds": {f"{s:g}": _summary(s, found) for s, found in kept.items()},
        "log_loss": {
            "before": float(np.mean([one for one, _ in losses])),
            "after": float(np.mean([other for _, other in losses])),
            "worse_in": sum(other > one for one, other in losses), "of": len(losses),
        },
    }  # fmt: skip


def _gain(
    sample: Sample, own: Sample, rest: np.ndarray, malignant: tuple[Any, ...]
) -> tuple[float, float]:
    """Return the log loss before and after, on the lesions that were not drawn."""
    change = fit(own, malignant)
    others, mask = sample.rows(rest), np.array(malignant, bool)
    weights = others.weights
    values = [
        held_out.losses(others, shares, mask)
        for shares in (others.probabilities, change.apply(others.probabilities))
    ]
    before, after = ((one * weights).sum() / weights.sum() for one in values)
    return float(before), float(after)


def _summary(wanted: float, found: list[dict[str, float]]) -> dict[str, Any]:
    if not found:
        return {"guaranteed_in": 0, "of": SAMPLES}
    sensitivity = np.array([one["sensitivity"] for one in found])
    return {
        "guaranteed_in": len(found), "of": SAMPLES,
        "reached": float((sensitivity >= wanted - 1e-12).mean()),
        "sensitivity": float(sensitivity.mean()),
        "specificity": float(np.mean([one["specificity"] for one in found])),
    }  # fmt: skip


if __name__ == "__main__":
    main()
