"""Draw a dataset of synthetic lesions to try training with: one class plain, one with a blue veil.

    python examples/synthetic_dataset.py mine

Writes mine/images.csv (path, label, lesion) and mine/images/; most lesions have two images.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image
from synthetic_lesion import draw

LABELS = ("plain", "veiled")


def main() -> None:
    """Write the images and their table."""
    parser = argparse.ArgumentParser(description="Draw a dataset to try training with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lesions", type=int, default=120)
    options = parser.parse_args()
    images = options.folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (options.folder / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "lesion"))
        for lesion in range(options.lesions):
            label = LABELS[lesion % 3 == 0]
            image = draw(200, 150, seed=lesion)
            if label == "veiled":
                image = veiled(image, seed=lesion)
            for number, view in enumerate((image, image.rotate(180))[: 1 + lesion % 4]):
                name = f"images/{lesion:03d}{'ab'[number]}.jpg"
                view.save(options.folder / name, quality=90)
                table.writerow((name, label, f"L{lesion:03d}"))
    print(f"{options.folder}: {len(list(images.iterdir()))} images of {options.lesions} lesions")


def veiled(image: Image.Image, *, seed: int) -> Image.Image:
    """Lay a blue-white haze over part of the lesion."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : image.height, 0 : image.width] / image.height
    distance = np.hypot(x - rng.uniform(0.5, 0.8), y - rng.uniform(0.35, 0.65))
    haze = 0.6 * np.exp(-((distance / 0.14) ** 2))[..., None]
    pixels = np.asarray(image) * (1 - haze) + np.array([130, 150, 205]) * haze
    return Image.fromarray(pixels.astype(np.uint8))


if __name__ == "__main__":
    main()
