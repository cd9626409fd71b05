"""Draw a synthetic dermoscopic image: a mole that nobody has.

    python examples/synthetic_lesion.py examples/synthetic_lesion.jpg --seed 3

Only numpy and Pillow; the same seed draws the same image. It is for trying the programs out;
no real lesion looks quite like it, and what a model says of it means nothing.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def main() -> None:
    """Write one image."""
    parser = argparse.ArgumentParser(description="Draw a synthetic dermoscopic image.")
    parser.add_argument("output")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--size", default="600x450", metavar="WxH")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    draw(width, height, seed=options.seed).save(options.output, quality=90)


def draw(width: int, height: int, *, seed: int) -> Image.Image:
    """Draw skin, a lesion with an uneven border and pigment, and some hairs.

    Args:
        width: In px.
        height: In px.
        seed: Fixes everything.
    """
    rng = np.random.default_rng(seed)
    skin = np.array([224, 178, 158]) + rng.normal(0, 6, 3)
    brown = np.array([112, 66, 44]) + rng.normal(0, 8, 3)
    dark = brown * 0.5
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = (x - width / 2) / height, (y - height / 2) / height
    coarse, middle, fine = (noise(rng, width, height, cells) for cells in (4, 14, 60))
    radius = 0.26 + 0.05 * coarse + 0.02 * middle
    inside = 1 / (1 + np.exp((np.hypot(dx * 0.9, dy * 1.1) - radius) * 55))
    # A network of darker lines, as dermoscopy shows it, and darker islands.
    network = np.clip(1 - np.abs(noise(rng, width, height, 45)) * 3, 0, 1)
    pigment = np.clip(0.35 + 0.35 * coarse + 0.25 * middle + 0.35 * network, 0, 1)[..., None]
    lesion = brown * (1 - pigment * 0.8) + dark * pigment * 0.8
    texture = (4 * middle + 3 * fine)[..., None]
    rgb = (skin + texture) * (1 - inside[..., None]) + (lesion + texture) * inside[..., None]
    # Contact dermoscopy is brightest in the middle.
    rgb *= (1.04 - 0.35 * (dx**2 + dy**2))[..., None]
    image = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
    return hairs(image.filter(ImageFilter.GaussianBlur(0.8)), rng, count=6)


def noise(rng: np.random.Generator, width: int, height: int, cells: int) -> np.ndarray:
    """Return smooth noise, about -1 to 1: random numbers on a coarse grid, enlarged."""
    grid = rng.normal(0, 0.5, (cells, cells * width // height + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def hairs(image: Image.Image, rng: np.random.Generator, *, count: int) -> Image.Image:
    """Lay thin curved hairs over an image."""
    layer = image.copy()
    pen = ImageDraw.Draw(layer)
    for _ in range(count):
        start = rng.uniform(0, 1, 2) * image.size
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.7) * image.height
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        bend = (start + end) / 2 + rng.normal(0, 0.12 * length, 2)
        steps = np.linspace(0, 1, 40)[:, None]
        curve = (1 - steps) ** 2 * start + 2 * steps * (1 - steps) * bend + steps**2 * end
        pen.line([tuple(point) for point in curve], fill=(52, 36, 30), width=2)
    return Image.blend(image, layer.filter(ImageFilter.GaussianBlur(0.6)), 0.8)


if __name__ == "__main__":
    main()
