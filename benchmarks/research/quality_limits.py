"""Where should the limits of ``lesionedge.quality`` lie? Measured on real and on spoilt images.

    python benchmarks/research/quality_limits.py FOLDER [--images 300] [--json FILE]

Spoils the folder's images in several ways. Prints for each way the share of images with each
warning and the median of each measure; then how much brightness differs between shifted parts of
one image, which the camera calls motion.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from lesionedge import image as images
from lesionedge import quality, reliability
from lesionedge.camera import scene

INPUT = images.Preprocessing(224, 224)
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="a folder of images (.jpg)")
    parser.add_argument("--images", type=int, default=300, help="how many (300)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // options.images)][: options.images]
    squares = [square(path) for path in paths]
    print(f"{len(paths)} images")
    figures = {name: report(name, squares, change) for name, change in changes().items()}
    motion(squares)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def square(path: Path) -> Image.Image:
    """Return an image's centre square."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    return image.crop(scene.window(image.size, 1.0))


def changes() -> dict[str, Change]:
    """Return every way to spoil an image, by name."""
    found: dict[str, Change] = {"as it is": lambda image, rng: image}
    for factor in (0.2, 0.3, 0.4, 1.4, 1.8):
        found[f"brightness x {factor}"] = _bound(brighter, factor)
    for share in (0.005, 0.01, 0.02, 0.03):
        found[f"blurred by {share:.1%} of the side"] = _bound(blurred, share)
    for share in (0.02, 0.05, 0.1):
        found[f"shining spots on {share:.0%}"] = _bound(shining, share)
    for scale in (0.5, 0.3, 0.2, 0.12):
        found[f"scaled to {scale:.0%} on skin"] = _bound(smaller, scale)
    for shift in (0.3, 0.4, 0.5):
        found[f"centre moved by {shift:.0%} of the side"] = _bound(moved, shift)
    for count in (10, 25, 50, 100):
        found[f"{count} hairs"] = _bound(hairy, count)
    return found


def _bound(change: Callable[..., Image.Image], strength: float) -> Change:
    return lambda image, rng: change(image, strength, rng)


def brighter(image: Image.Image, factor: float, _rng: np.random.Generator) -> Image.Image:
    """Multiply the brightness by a factor."""
    return ImageEnhance.Brightness(image).enhance(factor)


def blurred(image: Image.Image, share: float, _rng: np.random.Generator) -> Image.Image:
    """Blur by a Gaussian of this share of the side."""
    return image.filter(ImageFilter.GaussianBlur(share * image.width))


def shining(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """Draw white spots with soft edges on about this share of the image."""
    mask = Image.new("L", image.size)
    pen, spots = ImageDraw.Draw(mask), 6
    radius = image.width * (share / spots / np.pi) ** 0.5
    for x, y in rng.uniform(0.1, 0.9, (spots, 2)) * image.width:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    mask = mask.filter(ImageFilter.GaussianBlur(radius / 6))
    return Image.composite(Image.new("RGB", image.size, "white"), image, mask)


def smaller(image: Image.Image, scale: float, _rng: np.random.Generator) -> Image.Image:
    """Shrink the image and surround it with its border's colour."""
    values = np.asarray(image)
    ring = np.concatenate([values[:8].reshape(-1, 3), values[-8:].reshape(-1, 3)])
    colour = tuple(int(v) for v in np.median(ring, axis=0))
    side = round(image.width * scale)
    small = image.resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("L", small.size)
    ImageDraw.Draw(mask).ellipse((side * 0.06, side * 0.06, side * 0.94, side * 0.94), 255)
    mask = mask.filter(ImageFilter.GaussianBlur(side * 0.03))
    field = Image.new("RGB", image.size, colour)
    left = (image.width - side) // 2
    field.paste(small, (left, left), mask)
    grains = np.random.default_rng(0).normal(0, 3, (*field.size, 3))
    return Image.fromarray(np.clip(np.asarray(field) + grains, 0, 255).astype(np.uint8))


def moved(image: Image.Image, shift: float, _rng: np.random.Generator) -> Image.Image:
    """Cut out a part whose centre is off by this share of the part's side."""
    part = round(image.width * 0.6)
    left = min(image.width - part, round(image.width * 0.2 + part * shift))
    top = (image.width - part) // 2
    return image.crop((left, top, left + part, top + part))


def hairy(image: Image.Image, count: float, rng: np.random.Generator) -> Image.Image:
    """Draw dark hairs, each as long as a third of the side."""
    drawn = image.resize((image.width * 2, image.width * 2))
    pen, side = ImageDraw.Draw(drawn), drawn.width
    for _ in range(int(count)):
        start, way = rng.uniform(0, side, 2), rng.normal(0, side / 4, 2)
        bend, steps = rng.normal(0, side / 15, 2), np.linspace(0, 1, 8)[:, None]
        points = [(float(x), float(y)) for x, y in start + way * steps + bend * steps**2]
        ink = tuple(int(v) for v in rng.uniform(10, 70, 3))
        pen.line(points, ink, max(2, round(side * rng.uniform(0.005, 0.012))))
    return drawn.resize(image.size, Image.Resampling.BOX)


def report(name: str, squares: list[Image.Image], change: Change) -> dict[str, Any]:
    """Print, and return, the measures and warnings of images spoilt in one way."""
    rows, codes = [], []
    for number, image in enumerate(squares):
        spoilt = change(image, np.random.default_rng(number))
        pixels = reliability.thumbnail(images.fit(spoilt, INPUT))
        rows.append(measures(pixels))
        codes.append({notice.code for notice in quality.notices(pixels)})
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    shares = {
        code: sum(code in found for found in codes) / len(codes)
        for code in sorted(set().union(*codes))
    }
    middles = {key: float(np.median(values)) for key, values in table.items()}
    spread = {key: [float(v) for v in np.percentile(values, (1, 2, 5, 95, 98, 99))]
              for key, values in table.items()}  # fmt: skip
    print(f"{name:<34}" + ", ".join(f"{code} {share:.1%}" for code, share in shares.items()))
    print(" " * 6 + " ".join(f"{key} {value:.3g}" for key, value in middles.items()))
    return {"warned": shares, "median": middles, "percentiles_1_2_5_95_98_99": spread}


def measures(pixels: np.ndarray) -> dict[str, float]:
    """Return every measure of a thumbnail."""
    seen = quality.luma(Image.fromarray(pixels))
    light, lesion = quality.light(seen), quality.lesion(seen)
    return {
        "brightness": light.brightness, "sharpness": light.sharpness,
        "glare": quality.glare(pixels, light.brightness), "contrast": lesion.contrast,
        "area": lesion.area, "cut": lesion.cut, "hair": quality.hair(seen),
    }  # fmt: skip


def motion(squares: list[Image.Image]) -> None:
    """Print how much brightness differs between images, and between shifted parts of one."""
    pairs = {"another image": list(pairwise(squares))}
    for share in (0.01, 0.02, 0.05, 0.1):
        name = f"shifted by {share:.0%} of the side"
        pairs[name] = [shifted(image, share) for image in squares]
    for name, both in pairs.items():
        found = [scene.difference(scene.luma(a), scene.luma(b)) for a, b in both]
        print(f"{name:<28} difference {np.round(np.percentile(found, (0.5, 5, 50, 95, 99.5)), 1)}")


def shifted(image: Image.Image, share: float) -> tuple[Image.Image, Image.Image]:
    """Cut two overlapping squares out of an image."""
    side, by = image.width, max(1, round(image.width * share))
    rest = side - by
    return image.crop((0, 0, rest, rest)), image.crop((by, by, side, side))


if __name__ == "__main__":
    main()
