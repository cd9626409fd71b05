"""Where the limits of ``lesionedge.quality`` lie among real pictures, whole and spoilt on purpose.

    python benchmarks/research/quality_limits.py FOLDER-OF-PICTURES [--pictures 300] [--json FILE]

For every way to spoil a picture: the share that each warning is given for, the middle of each
measure, and what the camera calls motion between parts of one picture that are shifted.
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
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // options.pictures)]
    squares = [square(path) for path in paths]
    print(f"{len(paths)} pictures")
    figures = {name: report(name, squares, change) for name, change in changes().items()}
    motion(squares)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def square(path: Path) -> Image.Image:
    """Give a picture's centre square."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    return picture.crop(scene.window(picture.size, 1.0))


def changes() -> dict[str, Change]:
    """Name every way to spoil a picture."""
    found: dict[str, Change] = {"as it is": lambda picture, rng: picture}
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
    return lambda picture, rng: change(picture, strength, rng)


def brighter(picture: Image.Image, factor: float, _rng: np.random.Generator) -> Image.Image:
    """Multiply its light."""
    return ImageEnhance.Brightness(picture).enhance(factor)


def blurred(picture: Image.Image, share: float, _rng: np.random.Generator) -> Image.Image:
    """Blur it by a Gaussian of this share of the side."""
    return picture.filter(ImageFilter.GaussianBlur(share * picture.width))


def shining(picture: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """Put white spots with soft edges on about this share of it."""
    mask = Image.new("L", picture.size)
    pen, spots = ImageDraw.Draw(mask), 6
    radius = picture.width * (share / spots / np.pi) ** 0.5
    for x, y in rng.uniform(0.1, 0.9, (spots, 2)) * picture.width:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    mask = mask.filter(ImageFilter.GaussianBlur(radius / 6))
    return Image.composite(Image.new("RGB", picture.size, "white"), picture, mask)


def smaller(picture: Image.Image, scale: float, _rng: np.random.Generator) -> Image.Image:
    """Shrink it into a field of its border's colour."""
    values = np.asarray(picture)
    ring = np.concatenate([values[:8].reshape(-1, 3), values[-8:].reshape(-1, 3)])
    colour = tuple(int(v) for v in np.median(ring, axis=0))
    side = round(picture.width * scale)
    small = picture.resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("L", small.size)
    ImageDraw.Draw(mask).ellipse((side * 0.06, side * 0.06, side * 0.94, side * 0.94), 255)
    mask = mask.filter(ImageFilter.GaussianBlur(side * 0.03))
    field = Image.new("RGB", picture.size, colour)
    left = (picture.width - side) // 2
    field.paste(small, (left, left), mask)
    grains = np.random.default_rng(0).normal(0, 3, (*field.size, 3))
    return Image.fromarray(np.clip(np.asarray(field) + grains, 0, 255).astype(np.uint8))


def moved(picture: Image.Image, shift: float, _rng: np.random.Generator) -> Image.Image:
    """Cut out a part whose border is this share of the part's side off the centre."""
    part = round(picture.width * 0.6)
    left = min(picture.width - part, round(picture.width * 0.2 + part * shift))
    top = (picture.width - part) // 2
    return picture.crop((left, top, left + part, top + part))


def hairy(picture: Image.Image, count: float, rng: np.random.Generator) -> Image.Image:
    """Draw dark hairs, each as long as a third of the side."""
    drawn = picture.resize((picture.width * 2, picture.width * 2))
    pen, side = ImageDraw.Draw(drawn), drawn.width
    for _ in range(int(count)):
        start, way = rng.uniform(0, side, 2), rng.normal(0, side / 4, 2)
        bend, steps = rng.normal(0, side / 15, 2), np.linspace(0, 1, 8)[:, None]
        points = [(float(x), float(y)) for x, y in start + way * steps + bend * steps**2]
        ink = tuple(int(v) for v in rng.uniform(10, 70, 3))
        pen.line(points, ink, max(2, round(side * rng.uniform(0.005, 0.012))))
    return drawn.resize(picture.size, Image.Resampling.BOX)


def report(name: str, squares: list[Image.Image], change: Change) -> dict[str, Any]:
    """Print what is measured and warned of."""
    rows, codes = [], []
    for number, picture in enumerate(squares):
        spoilt = change(picture, np.random.default_rng(number))
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
    """Give every measure of a thumbnail."""
    seen = quality.luma(Image.fromarray(pixels))
    light, lesion = quality.light(seen), quality.lesion(seen)
    return {
        "brightness": light.brightness, "sharpness": light.sharpness,
        "glare": quality.glare(pixels, light.brightness), "contrast": lesion.contrast,
        "area": lesion.area, "cut": lesion.cut, "hair": quality.hair(seen),
    }  # fmt: skip


def motion(squares: list[Image.Image]) -> None:
    """Print how much brightness differs between pictures, and between shifted parts of one."""
    pairs = {"another picture": list(pairwise(squares))}
    for share in (0.01, 0.02, 0.05, 0.1):
        name = f"shifted by {share:.0%} of the side"
        pairs[name] = [shifted(picture, share) for picture in squares]
    for name, both in pairs.items():
        found = [scene.difference(scene.luma(a), scene.luma(b)) for a, b in both]
        print(f"{name:<28} difference {np.round(np.percentile(found, (0.5, 5, 50, 95, 99.5)), 1)}")


def shifted(picture: Image.Image, share: float) -> tuple[Image.Image, Image.Image]:
    """Cut two overlapping squares out of a picture."""
    side, by = picture.width, max(1, round(picture.width * share))
    rest = side - by
    return picture.crop((0, 0, rest, rest)), picture.crop((by, by, side, side))


if __name__ == "__main__":
    main()
