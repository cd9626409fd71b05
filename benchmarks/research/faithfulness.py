"""Do heat maps of ``lesionedge.explain`` show what a prediction rests on?

    python benchmarks/research/faithfulness.py HAM10000 [--split FILE] [--images 300] [--json FILE]

The deletion test (Petsiuk et al. 2018, arXiv:1806.07421): the fifth of the model's input that a
heat map ranks highest is covered, and a random fifth in cells of the same size. For how many
held-out images does the first lower the top probability more than the second (the mean of
``DRAWS`` random draws)? There are three covers: the one that the heat map itself uses, the colour
of the image's border, and grey. Prints the shares with their intervals as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import twins
from PIL import Image
from studies import images

import lesionedge
from lesionedge.evaluation.intervals import share
from lesionedge.explanation import surroundings

SHARE = 0.2
DRAWS = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="HAM10000")
    parser.add_argument(
        "--split",
        type=Path,
        default=twins.SPLIT,
        help="which images are held out (release/split.csv)",
    )
    parser.add_argument("--part", default="test", help="which of its images (test)")
    parser.add_argument("--images", type=int, default=300, help="how many (300)")
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    classifier = lesionedge.Classifier(twins.of(options.model), check=False)
    paths = held_out(options.folder, options.split, options.part, options.images)
    rows, took_s = [], 0.0
    for number, path in enumerate(paths):
        begin = time.perf_counter()
        found = lesionedge.explain(path, model=classifier)
        took_s += time.perf_counter() - begin
        rows.append(falls(classifier, path, found, np.random.default_rng(number)))
    figures = summary(rows) | {
        "model": options.model, "part": options.part, "passes": found.passes,
        "seconds_per_image": took_s / len(paths),
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def held_out(folder: Path, split: Path, part: str, count: int) -> list[str]:
    """Return images of a part of the split, one for each lesion drawn."""
    files = images(folder, split, part).groupby("group")["file"].first()
    return files.sample(min(count, len(files)), random_state=0).tolist()


def falls(
    classifier: lesionedge.Classifier, path: str, found: lesionedge.Explanation,
    rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Return for each cover how much the probability falls, by the heat map and at random."""
    pixels = classifier.model_input(path)
    label = classifier.labels.index(found.label)
    count = round(SHARE * found.cells.size)
    best = np.argsort(-found.cells, axis=None, kind="stable")[:count]
    choices = [best, *(rng.permutation(found.cells.size)[:count] for _ in range(DRAWS))]
    result = {}
    for name, cover in COVERS.items():
        layer = cover(pixels)
        covered = [deleted(pixels, layer, chosen, found.cells.shape) for chosen in choices]
        scores = found.probability - classifier.probabilities_of_inputs(covered)[:, label]
        result[name] = (float(scores[0]), float(scores[1:].mean()))
    return result


def deleted(
    pixels: np.ndarray, layer: np.ndarray, chosen: np.ndarray, grid: tuple[int, ...]
) -> np.ndarray:
    """Return the input with cells of a grid covered."""
    mask = np.zeros(math.prod(grid), np.uint8)
    mask[chosen] = 1
    size = (pixels.shape[1], pixels.shape[0])
    large = Image.fromarray(mask.reshape(grid)).resize(size, Image.Resampling.NEAREST)
    return np.where(np.asarray(large)[..., None] == 1, layer, pixels)


def border(pixels: np.ndarray) -> np.ndarray:
    """Return the median colour of the image's border everywhere."""
    edge = pixels.shape[0] // 20
    ring = np.concatenate([
        pixels[:edge].reshape(-1, 3), pixels[-edge:].reshape(-1, 3),
        pixels[:, :edge].reshape(-1, 3), pixels[:, -edge:].reshape(-1, 3),
    ])  # fmt: skip
    return np.broadcast_to(np.median(ring, axis=0).astype(np.uint8), pixels.shape)


COVERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "surroundings": lambda pixels: np.asarray(surroundings(Image.fromarray(pixels))),
    "border": border,
    "grey": lambda pixels: np.full_like(pixels, 128),
}


def summary(rows: list[dict[str, tuple[float, float]]]) -> dict[str, object]:
    """Return the share of images where the heat map's fifth matters more, with its interval."""
    figures: dict[str, object] = {"images": len(rows)}
    for name in COVERS:
        pairs = np.array([row[name] for row in rows])
        wins = int((pairs[:, 0] > pairs[:, 1]).sum())
        low, high = share(wins, len(rows))
        figures[name] = {
            "share": wins / len(rows), "low": low, "high": high,
            "fall_by_heat_map": pairs[:, 0].mean(), "fall_at_random": pairs[:, 1].mean(),
        }  # fmt: skip
    return figures


if __name__ == "__main__":
    main()
