"""Re-encoded copies: every source's images at random sizes, qualities, parts, lights and faults.

The collections differ in size, JPEG quality and framing: a gate that sees them as they are learns
the encoder. So every copy, whatever its label, goes through the same random chain.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lesionedge.image import Preprocessing, model_input
from train.gate.drawings import crease

LEAST_PART = {"dermoscopic": 0.6, "clinical": 0.55, "other": 0.35}
"""Side of the smallest part that is cut out, as a share of the image's."""

LEAST_PX = 100
SIZES_PX = (160, 640)
"""Shorter side of the encoded image."""

_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def copied(
    image: Image.Image, label: str, side_px: int, rng: np.random.Generator, *, plainly: bool
) -> np.ndarray:
    """Return one copy as the gate is shown it.

    Args:
        image: RGB.
        label: Its class, which decides how small a part may be cut out.
        side_px: Side of the result.
        rng: Decides all.
        plainly: Only resize and encode: for measuring, where nothing else may be changed.

    Returns:
        (side_px, side_px, 3) uint8.
    """
    if not plainly:
        image = part(image, LEAST_PART[label], rng)
        image = relit(image, rng)
        if rng.random() < 0.2:
            image = dark_corners(image, rng)
        if rng.random() < 0.12:
            image = clutter(image, rng)
        if rng.random() < 0.3:
            share = rng.uniform(0, 0.009)
            image = image.filter(ImageFilter.GaussianBlur(share * min(image.size)))
        if rng.random() < 0.3:
            image = grainy(image, rng.uniform(0, 9), rng)
    content = encoded(image, rng)
    return model_input(content, Preprocessing(side_px, side_px))


def part(image: Image.Image, least: float, rng: np.random.Generator) -> Image.Image:
    """Cut out a part of it, not necessarily of its shape, and stretch that a little."""
    across, down = image.size
    floor = min(1.0, LEAST_PX / min(across, down))
    share = max(floor, rng.uniform(least, 1.0)) if rng.random() < 0.8 else 1.0
    wide, high = (max(16, round(side * share * rng.uniform(0.9, 1))) for side in (across, down))
    left, top = rng.integers(across - wide + 1), rng.integers(down - high + 1)
    image = image.crop((int(left), int(top), int(left) + wide, int(top) + high))
    stretch = math.exp(rng.normal(0, 0.08))
    return image.resize((max(16, round(wide * stretch)), high), Image.Resampling.BICUBIC)


def relit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change exposure, gamma and white balance."""
    values = np.asarray(image, np.float32) / 255
    values = values ** math.exp(rng.normal(0, 0.15)) * math.exp(rng.normal(0, 0.1))
    values = values * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    return Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def dark_corners(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put the round black edge of a lens around it, sharp or soft."""
    across, down = image.size
    middle = np.array((across, down)) * rng.uniform(0.45, 0.55, 2)
    radius = max(across, down) * rng.uniform(0.45, 0.68)
    mask = Image.new("L", image.size, 0)
    box = (*(middle - radius), *(middle + radius))
    ImageDraw.Draw(mask).ellipse(tuple(float(v) for v in box), 255)
    mask = mask.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.06) * min(across, down)))
    dark = Image.new("RGB", image.size, tuple(int(v) for v in rng.uniform(0, 30, 3)))
    return Image.composite(image, dark, mask)


def clutter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Draw a ruler, hairs or a coloured marker on it."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    kind, side = rng.integers(3), min(image.size)
    if kind == 0:
        y, gap = rng.uniform(0.7, 0.97) * image.height, side * rng.uniform(0.02, 0.06)
        for n in range(int(image.width / gap)):
            pen.line((n * gap, y, n * gap, y - gap * (2 if n % 5 == 0 else 1)), (30, 30, 30), 1)
        pen.line((0, y, image.width, y), (30, 30, 30), 1)
    elif kind == 1:
        for _ in range(int(rng.integers(2, 25))):
            ink = tuple(int(v) for v in rng.uniform(10, 100, 3))
            crease(pen, rng, ink, max(1, round(side * rng.uniform(0.002, 0.01))))
    else:
        x, y = rng.uniform(0, 1, 2) * image.size
        r = side * rng.uniform(0.1, 0.3)
        x = -r * 0.3 if rng.random() < 0.5 else image.width + r * 0.3
        ink = tuple(int(v) for v in rng.uniform(0, 230, 3))
        pen.ellipse((float(x - r), float(y - r), float(x + r), float(y + r)), ink)
    return image


def grainy(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Add sensor noise."""
    grains = rng.normal(128, strength, (image.height, image.width, 3))
    layer = Image.fromarray(np.clip(grains, 0, 255).astype(np.uint8))
    return ImageChops.add(image, layer, 1, -128)


def ruined(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur, darken or overexpose an image until nothing can be recognised."""
    kind = rng.integers(4)
    if kind <= 1:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.06, 0.3) * min(image.size)))
    values: np.ndarray = np.asarray(image, np.float32)
    if kind == 2:
        values = values * rng.uniform(0, 0.1) + rng.normal(0, rng.uniform(0, 3), values.shape)
    else:
        values = 255 - (255 - values) * rng.uniform(0, 0.12)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Encode it at a random size and quality."""
    low, high = (math.log(px) for px in SIZES_PX)
    # Mostly not far above what it has: a large size costs time and adds nothing.
    short = min(image.size)
    wanted = min(math.exp(rng.uniform(low, high)), short * 1.6)
    scale = wanted / short
    wide, high = (max(16, round(side * scale)) for side in image.size)
    image = image.resize((wide, high), _FILTERS[rng.integers(3)])
    file = io.BytesIO()
    kind = rng.random()
    if kind < 0.85:
        image.save(
            file, "JPEG", quality=int(rng.integers(35, 98)), subsampling=int(rng.integers(0, 3))
        )
    elif kind < 0.93:
        image.save(file, "WEBP", quality=int(rng.integers(40, 98)), method=0)
    else:
        image.save(file, "PNG", compress_level=1)
    return file.getvalue()
