"""Do the guaranteed thresholds of site profiles hold, and what do profiles gain?

    python benchmarks/research/guarantee.py predictions.csv --truth labels.csv [-m MODEL]
        [--calibration FILE.csv] [--degraded NAME=FILE.csv …] [--json FILE]

predictions.csv is of ``lesionedge predict``. Five questions, each answered by samples of lesions:

- coverage: from a collection's lesions, samples of n are drawn with replacement; each makes
  thresholds. The true sensitivity is that of the whole collection, each lesion counting as one. A
  drawn lesion is a new one each time, because the draws are independent.
- gain: half of the lesions make a profile, the other half measures it beside the card's thresholds.
- probabilities: calibration error and log loss on the lesions that were not drawn.
- prevalence: the same where the images that the profile meets have another share of malignant ones.
- degraded: the same images, degraded on purpose, meet a profile of images that were not; or one of
  degraded ones.

--calibration: predictions for calibration images, of the same truth, by which thresholds are
chosen for a model whose card has none, as ``train`` chooses them.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lesionedge.calibration import guarantee, held_out, prevalence
from lesionedge.calibration.fit import fit
from lesionedge.calibration.sample import Sample
from lesionedge.classifier import Classifier
from lesionedge.cli.calibrate import sample_of
from lesionedge.datasets import gather, meaning, predicted
from lesionedge.profile import Recalibration
from train.calibration import operating_points

SIZES = (50, 100, 200, 500, 1000)
SAMPLES = 200
MANY = 5000
"""So many samples show what is chance in 200."""
FITS = 20
"""Samples for which the probabilities are recalibrated too, which takes longer."""
HALVES = 50
SHARES = (0.02, 0.5)
"""Shares of malignant lesions that a profile meets which was made of another share."""
BINS = 15


def main() -> None:
    """Measure, print and write a JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("predictions")
    parser.add_argument("--truth", required=True)
    parser.add_argument("-m", "--model", default="mobilenetv2")
    parser.add_argument("--calibration")
    parser.add_argument("--degraded", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    classifier = Classifier(given.model, check=False)
    malignant = tuple(bool(d.malignant) for d in classifier.diagnoses)
    sample, _ = read(given.predictions, given.truth, classifier)
    if given.calibration is None:
        card = {p.sensitivity: p.threshold for p in classifier.card.operating_points}
    else:
        card = card_of(read(given.calibration, given.truth, classifier)[0], malignant)
    results = {
        "date": time.strftime("%Y-%m-%d"), "machine": platform.machine(),
        "images": len(sample), "lesions": len(np.unique(sample.lesions)),
        "malignant_lesions": len(np.unique(sample.lesions[sample.malignant == 1])),
        "card": {f"{s:g}": at(sample, malignant, t) for s, t in card.items()},
        "coverage": {n: coverage(sample, malignant, n) for n in SIZES},
        "gain": gain(sample, malignant, card),
        "probabilities": {n: probabilities(sample, malignant, n) for n in SIZES},
        "prevalence": {f"{s:g}": shifted(sample, malignant, s) for s in SHARES},
        "degraded": {
            name: degraded(given.predictions, file, given.truth, classifier, malignant)
            for name, _, file in (one.partition("=") for one in given.degraded)
        },
    }  # fmt: skip
    print("\n".join(report(results)))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def read(predictions: str, truth: str, classifier: Classifier) -> tuple[Sample, list[str]]:
    """Return labelled predictions, and their images."""
    found = predicted.read(predictions, classifier.labels, model=classifier.model, raw=True)
    labelled = gather.named(found.paths, truth)
    understood = meaning.understand(
        labelled.table["label"], classifier.diagnoses, name=labelled.name
    )
    rows = {path: number for number, path in enumerate(found.paths)}
    shares = found.probabilities[[rows[path] for path in labelled.paths]]
    return sample_of(labelled, shares, understood, classifier)[0], labelled.paths


def card_of(sample: Sample, malignant: Sequence[bool]) -> dict[float, float]:
    """Choose thresholds on calibration images, as ``train`` does."""
    risk = sample.probabilities[:, np.array(malignant)].sum(1)
    points = operating_points(risk, sample.malignant == 1)
    return {point["sensitivity"]: point["threshold"] for point in points}


def at(sample: Sample, malignant: Sequence[bool], threshold: float) -> dict[str, float]:
    """Measure a threshold of the malignant probability."""
    risk = sample.probabilities[:, np.array(malignant)].sum(1)
    return held_out.at(sample, sample.malignant == 1, risk >= threshold)


class Drawing:
    """Draws lesions from a collection, and images from these."""

    def __init__(self, sample: Sample) -> None:
        """Sort the collection's images by lesion."""
        self.sample = sample
        self.order = np.argsort(sample.lesions, kind="stable")
        _, self.start, self.count = np.unique(
            sample.lesions[self.order], return_index=True, return_counts=True
        )
        self.positive = sample.malignant[self.order[self.start]] == 1

    def positives(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw lesions; return one image, a row, of each that is malignant."""
        drawn = rng.integers(len(self.start), size=size)
        drawn = drawn[self.positive[drawn]]
        return self.order[self.start[drawn] + rng.integers(self.count[drawn])]

    def images(self, size: int, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
        """Draw lesions; return all their images, and the numbers of the lesions drawn."""
        drawn = rng.integers(len(self.start), size=size)
        rows = np.concatenate([self.rows(lesion) for lesion in drawn])
        own = self.sample.rows(rows)
        names = np.repeat(np.arange(size), self.count[drawn])
        return Sample(own.probabilities, own.classes, own.malignant, names), drawn

    def rows(self, lesion: int) -> np.ndarray:
        """Return a lesion's images."""
        first = self.start[lesion]
        return self.order[first : first + self.count[lesion]]

    def others(self, drawn: np.ndarray) -> Sample:
        """Return the images of the lesions that were not drawn."""
        rest = np.setdiff1d(np.arange(len(self.start)), drawn)
        return self.sample.rows(np.concatenate([self.rows(lesion) for lesion in rest]))


def coverage(sample: Sample, malignant: Sequence[bool], size: int) -> dict[str, Any]:
    """Draw samples; count how often the guaranteed sensitivity is the whole collection's."""
    scores = unchanged(malignant).suspicion(sample.probabilities)
    drawing, rng = Drawing(sample), np.random.default_rng(size)
    found: dict[float, list[float]] = {wanted: [] for wanted in guarantee.SENSITIVITIES}
    for _ in range(MANY):
        drawn = scores[drawing.positives(size, rng)]
        for wanted, limits in found.items():
            limit = guarantee.threshold(drawn, wanted)
            limits.append(np.nan if limit is None else limit)
    return {
        f"{wanted:g}": _summary(sample, scores, wanted, np.array(limits))
        for wanted, limits in found.items()
    }


def _summary(sample: Sample, scores: np.ndarray, wanted: float, limits: np.ndarray) -> Any:
    sensitivity, specificity = (
        _reached(scores, limits, mask, sample.weights)
        for mask in (sample.malignant == 1, sample.malignant == 0)
    )
    given = np.isfinite(limits)
    if not given[:SAMPLES].any():
        return {"guaranteed_in": int(given[:SAMPLES].sum()), "of": SAMPLES}
    reached = sensitivity >= wanted - 1e-12
    return {
        "guaranteed_in": int(given[:SAMPLES].sum()), "of": SAMPLES,
        "reached": float(reached[:SAMPLES][given[:SAMPLES]].mean()),
        "reached_of_many": float(reached[given].mean()), "many": int(given.sum()),
        "sensitivity": float(sensitivity[given].mean()),
        "specificity": float(1 - specificity[given].mean()),
    }  # fmt: skip


def _reached(
    scores: np.ndarray, limits: np.ndarray, mask: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the share of lesions at or above each limit; NaN for a limit of NaN."""
    order = np.argsort(scores[mask])
    ranked, total = scores[mask][order], np.cumsum(weights[mask][order])
    below = np.concatenate([[0.0], total])[np.searchsorted(ranked, np.nan_to_num(limits))]
    return np.where(np.isfinite(limits), 1 - below / total[-1], np.nan)


def unchanged(malignant: Sequence[bool]) -> Recalibration:
    """Return the recalibration that changes nothing."""
    return Recalibration.none(malignant)


def gain(sample: Sample, malignant: Sequence[bool], card: dict[float, float]) -> dict[str, Any]:
    """Half of the lesions make thresholds, the other half measures them."""
    scores = unchanged(malignant).suspicion(sample.probabilities)
    risk = sample.probabilities[:, np.array(malignant)].sum(1)
    lesions = np.unique(sample.lesions)
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(HALVES):
        rng = np.random.default_rng(seed)
        one = np.isin(sample.lesions, rng.permutation(lesions)[: len(lesions) // 2])
        made, other = np.flatnonzero(one & (sample.malignant == 1)), sample.rows(~one)
        order = rng.permutation(made)
        _, first = np.unique(sample.lesions[order], return_index=True)
        for wanted in guarantee.SENSITIVITIES:
            limit = guarantee.threshold(scores[order[first]], wanted)
            if limit is None or wanted not in card:
                continue
            positive = other.malignant == 1
            rows.setdefault(f"{wanted:g}", []).append({
                "card": held_out.at(other, positive, risk[~one] >= card[wanted]),
                "profile": held_out.at(other, positive, scores[~one] >= limit),
            })  # fmt: skip
    return {wanted: {"halves": len(found), **_means(found)} for wanted, found in rows.items()}


def _means(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {key: float(np.mean([one[name][key] for one in found])) for key in found[0][name]}
        for name in found[0]
    }


def probabilities(sample: Sample, malignant: Sequence[bool], size: int) -> dict[str, Any]:
    """Recalibrate by samples; measure on the lesions that were not drawn."""
    drawing, rng = Drawing(sample), np.random.default_rng(size)
    found = []
    for _ in range(FITS):
        own, drawn = drawing.images(size, rng)
        rest = drawing.others(drawn)
        change = fit(own, malignant)
        found.append({
            "before": quality(rest, rest.probabilities, malignant),
            "after": quality(rest, change.apply(rest.probabilities), malignant),
        })  # fmt: skip
    worse = sum(one["after"]["log_loss"] > one["before"]["log_loss"] for one in found)
    return {"fits": FITS, "worse_in": worse, **_means(found)}


def quality(
    sample: Sample, shares: np.ndarray, malignant: Sequence[bool], weights: np.ndarray | None = None
) -> dict[str, float]:
    """Return log loss and calibration error, each lesion counting as one, or by other weights."""
    from lesionedge.evaluation.weighted import expected_calibration_error

    mask = np.array(malignant)
    weights = sample.weights if weights is None else weights
    loss = held_out.losses(sample, shares, mask)
    truth, risk = (sample.malignant == 1).astype(float), shares[:, mask].sum(1)
    error = expected_calibration_error(risk, truth, weights[None], bins=BINS)[0]
    return {
        "log_loss": float((loss * weights).sum() / weights.sum()),
        "malignant_ece": float(error),
    }


def shifted(sample: Sample, malignant: Sequence[bool], share: float) -> dict[str, Any]:
    """A profile of the collection's mix meets another share of malignant lesions.

    Three ways to use it: not at all, as it is, and with ``--prevalence malignant=SHARE``. What a
    threshold for 90 % reaches is left out if a sample holds too few malignant lesions for one.
    """
    drawing, rng = Drawing(sample), np.random.default_rng(0)
    scores = unchanged(malignant).suspicion
    found, reached = [], []
    for _ in range(FITS):
        own, drawn = drawing.images(500, rng)
        rest = drawing.others(drawn)
        weights = _with_share(rest, share)
        change = fit(own, malignant)
        told = _told(change, own, malignant, share)
        positives = np.flatnonzero(own.malignant == 1)
        _, first = np.unique(own.lesions[positives], return_index=True)
        limit = guarantee.threshold(scores(own.probabilities[positives[first]]), 0.9)
        if limit is not None:
            above = scores(rest.probabilities) >= limit
            reached.append({"at_90": _two(rest, above, weights)})
        found.append({
            "without": quality(rest, rest.probabilities, malignant, weights),
            "as_it_is": quality(rest, change.apply(rest.probabilities), malignant, weights),
            "told": quality(rest, told.apply(rest.probabilities), malignant, weights),
        })  # fmt: skip
    at_90 = _means(reached) if len(reached) == FITS else {}
    return {"fits": FITS, **_means(found), **at_90}


def _told(
    change: Recalibration, own: Sample, malignant: Sequence[bool], share: float
) -> Recalibration:
    shares = change.apply(own.probabilities)
    old = (shares * own.weights[:, None]).sum(0) / own.weights.sum()
    labels = [str(number) for number in range(len(malignant))]
    new = prevalence.given(f"malignant={share}", labels, old, malignant)
    return prevalence.shifted(change, old, new)


def _with_share(sample: Sample, share: float) -> np.ndarray:
    """Return weights under which malignant lesions have a share of all."""
    weights, positive = sample.weights.copy(), sample.malignant == 1
    weights[positive] *= share / weights[positive].sum()
    weights[~positive] *= (1 - share) / weights[~positive].sum()
    return weights


def _two(sample: Sample, found: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    positive = sample.malignant == 1
    return {
        "sensitivity": float((found * weights)[positive].sum() / weights[positive].sum()),
        "specificity": float((~found * weights)[~positive].sum() / weights[~positive].sum()),
    }


def degraded(
    plain: str, file: str, truth: str, classifier: Classifier, malignant: Sequence[bool]
) -> dict[str, Any]:
    """Degraded images meet a profile of half of the lesions, plain or degraded ones."""
    worse, names = read(file, truth, classifier)
    whole, all_names = read(plain, truth, classifier)
    rows = {Path(name).stem: row for row, name in enumerate(all_names)}
    same = whole.rows(np.array([rows[Path(name).stem] for name in names]))
    scores = [unchanged(malignant).suspicion(one.probabilities) for one in (same, worse)]
    positive, lesions = worse.malignant == 1, np.unique(worse.lesions)
    found: dict[str, list[dict[str, Any]]] = {"0.9": [], "0.95": []}
    for seed in range(HALVES):
        rng = np.random.default_rng(seed)
        one = np.isin(worse.lesions, rng.permutation(lesions)[: len(lesions) // 2])
        order = rng.permutation(np.flatnonzero(one & positive))
        _, first = np.unique(worse.lesions[order], return_index=True)
        other = worse.rows(~one)
        for wanted, kept in found.items():
            limits = [guarantee.threshold(score[order[first]], float(wanted)) for score in scores]
            if None not in limits:
                kept.append({
                    name: held_out.at(other, other.malignant == 1, scores[1][~one] >= limit)
                    for name, limit in zip(("of_plain", "of_degraded"), limits)
                })  # fmt: skip
    return {
        "images": len(worse), "malignant_lesions": len(np.unique(worse.lesions[positive])),
        "before": quality(same, same.probabilities, malignant),
        "after": quality(worse, worse.probabilities, malignant),
        **{wanted: {"halves": len(kept), **_means(kept)} for wanted, kept in found.items() if kept},
    }  # fmt: skip


def report(results: dict[str, Any]) -> Iterator[str]:
    """Lay the figures out as Markdown."""
    yield (
        f"{results['images']} images of {results['lesions']} lesions, "
        f"{results['malignant_lesions']} malignant ({results['date']}, {results['machine']})"
    )
    covered = ("wanted", "lesions", "threshold in", "reached", "of many", "sensitivity",
               "specificity")  # fmt: skip
    yield from _table(covered, _covered(results["coverage"]))
    yield from _table(
        ("wanted", "halves", "card: sensitivity, specificity", "profile: the same"),
        (
            (wanted, one["halves"], _pair(one["card"]), _pair(one["profile"]))
            for wanted, one in results["gain"].items()
        ),
    )
    yield from _table(
        ("lesions", "log loss", "ECE (malignant)", "log loss worse in"),
        (
            (size, _change(one, "log_loss"), _change(one, "malignant_ece"),
             f"{one['worse_in']} of {one['fits']}")
            for size, one in results["probabilities"].items()
        ),
    )  # fmt: skip
    yield from _table(
        ("malignant", "log loss: without, as it is, told", "ECE", "at 90 %"),
        (
            (share, _three(one, "log_loss"), _three(one, "malignant_ece"),
             _pair(one["at_90"]) if "at_90" in one else "too few")
            for share, one in results["prevalence"].items()
        ),
    )  # fmt: skip
    yield from _table(
        ("degraded", "images", "malignant lesions", "ECE", "wanted", "profile of plain images",
         "of degraded ones"),
        _degraded_rows(results["degraded"]),
    )  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _covered(sizes: dict[int, Any]) -> Iterator[Sequence[str]]:
    keys = ("reached", "reached_of_many", "sensitivity", "specificity")
    for wanted in guarantee.SENSITIVITIES:
        for size, found in sizes.items():
            one = found[f"{wanted:g}"]
            figures = [f"{one[key]:.3f}" if key in one else "" for key in keys]
            yield f"{wanted:.0%}", str(size), f"{one['guaranteed_in']} of {one['of']}", *figures


def _degraded_rows(found: dict[str, Any]) -> Iterator[Sequence[str]]:
    for name, one in found.items():
        for wanted in ("0.9", "0.95"):
            if wanted in one:
                pairs = [_pair(one[wanted][key]) for key in ("of_plain", "of_degraded")]
                yield (name, one["images"], one["malignant_lesions"],
                       _change(one, "malignant_ece"), wanted, *pairs)  # fmt: skip


def _three(one: dict[str, Any], key: str) -> str:
    return ", ".join(f"{one[name][key]:.3f}" for name in ("without", "as_it_is", "told"))


def _pair(one: dict[str, float]) -> str:
    return f"{one['sensitivity']:.3f}, {one['specificity']:.3f}"


def _change(one: dict[str, Any], key: str) -> str:
    return f"{one['before'][key]:.3f} -> {one['after'][key]:.3f}"


if __name__ == "__main__":
    main()
