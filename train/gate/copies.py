"""Re-encoded copies: every source's pictures at random sizes, qualities, parts, lights and faults.

The collections differ in size, JPEG quality and framing: a gate that sees them as they are learns
the encoder. So every copy, whatever its label, goes through the same random chain.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lesionedge import image as images
from train.gate.drawings import crease

LEAST_PART = {"dermoscopic": 0.6, "clinical": 0.55, "other": 0.35}
"""Side of the smallest part that is cut out, as a share of the picture's."""

LEAST_PX = 100
SIZES_PX = (160, 640)
"""Shorter side of the encoded picture."""

_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def copied(
    picture: Image.Image, label: str, side_px: int, rng: np.random.Generator, *, plainly: bool
) -> np.ndarray:
    """Give one copy as the gate is shown it.

    Args:
        picture: RGB.
        label: Its class, which decides how small a part may be cut out.
        side_px: Side of the result.
        rng: Decides all.
        plainly: Only resize and encode: for measuring, where nothing else may be changed.

    Returns:
        (side_px, side_px, 3) uint8.
    """
    if not plainly:
        picture = part(picture, LEAST_PART[label], rng)
        picture = relit(picture, rng)
        if rng.random() < 0.2:
            picture = dark_corners(picture, rng)
        if rng.random() < 0.12:
            picture = clutter(picture, rng)
        if rng.random() < 0.3:
            share = rng.uniform(0, 0.009)
            picture = picture.filter(ImageFilter.GaussianBlur(share * min(picture.size)))
        if rng.random() < 0.3:
            picture = grainy(picture, rng.uniform(0, 9), rng)
    content = encoded(picture, rng)
    return images.model_input(content, images.Preprocessing(side_px, side_px))


def part(picture: Image.Image, least: float, rng: np.random.Generator) -> Image.Image:
    """Cut out a part of it, not necessarily of its shape, and stretch that a little."""
    across, down = picture.size
    floor = min(1.0, LEAST_PX / min(across, down))
    share = max(floor, rng.uniform(least, 1.0)) if rng.random() < 0.8 else 1.0
    wide, high = (max(16, round(side * share * rng.uniform(0.9, 1))) for side in (across, down))
    left, top = rng.integers(across - wide + 1), rng.integers(down - high + 1)
    picture = picture.crop((int(left), int(top), int(left) + wide, int(top) + high))
    stretch = math.exp(rng.normal(0, 0.08))
    return picture.resize((max(16, round(wide * stretch)), high), Image.Resampling.BICUBIC)


def relit(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change exposure, gamma and white balance."""
    values = np.asarray(picture, np.float32) / 255
    values = values ** math.exp(rng.normal(0, 0.15)) * math.exp(rng.normal(0, 0.1))
    values = values * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    return Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def dark_corners(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put the round black edge of a lens around it, sharp or soft."""
    across, down = picture.size
    middle = np.array((across, down)) * rng.uniform(0.45, 0.55, 2)
    radius = max(across, down) * rng.uniform(0.45, 0.68)
    mask = Image.new("L", picture.size, 0)
    box = (*(middle - radius), *(middle + radius))
    ImageDraw.Draw(mask).ellipse(tuple(float(v) for v in box), 255)
    mask = mask.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.06) * min(across, down)))
    dark = Image.new("RGB", picture.size, tuple(int(v) for v in rng.uniform(0, 30, 3)))
    return Image.composite(picture, dark, mask)


def clutter(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Draw a ruler, hairs or a coloured marker on it."""
    picture = picture.copy()
    pen = ImageDraw.Draw(picture)
    kind, side = rng.integers(3), min(picture.size)
    if kind == 0:
        y, gap = rng.uniform(0.7, 0.97) * picture.height, side * rng.uniform(0.02, 0.06)
        for n in range(int(picture.width / gap)):
            pen.line((n * gap, y, n * gap, y - gap * (2 if n % 5 == 0 else 1)), (30, 30, 30), 1)
        pen.line((0, y, picture.width, y), (30, 30, 30), 1)
    elif kind == 1:
        for _ in range(int(rng.integers(2, 25))):
            ink = tuple(int(v) for v in rng.uniform(10, 100, 3))
            crease(pen, rng, ink, max(1, round(side * rng.uniform(0.002, 0.01))))
    else:
        x, y = rng.uniform(0, 1, 2) * picture.size
        r = side * rng.uniform(0.1, 0.3)
        x = -r * 0.3 if rng.random() < 0.5 else picture.width + r * 0.3
        ink = tuple(int(v) for v in rng.uniform(0, 230, 3))
        pen.ellipse((float(x - r), float(y - r), float(x + r), float(y + r)), ink)
    return picture


def grainy(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Add sensor noise."""
    grains = rng.normal(128, strength, (picture.height, picture.width, 3))
    layer = Image.fromarray(np.clip(grains, 0, 255).astype(np.uint8))
    return ImageChops.add(picture, layer, 1, -128)


def ruined(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur it, or take or give it so much light, that nothing can be told of it any more."""
    kind = rng.integers(4)
    if kind <= 1:
        return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.06, 0.3) * min(picture.size)))
    values: np.ndarray = np.asarray(picture, np.float32)
    if kind == 2:
        values = values * rng.uniform(0, 0.1) + rng.normal(0, rng.uniform(0, 3), values.shape)
    else:
        values = 255 - (255 - values) * rng.uniform(0, 0.12)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """Encode it at a random size and quality."""
    low, high = (math.log(px) for px in SIZES_PX)
    # Mostly not far above what it has: a large size costs time and adds nothing.
    short = min(picture.size)
    wanted = min(math.exp(rng.uniform(low, high)), short * 1.6)
    scale = wanted / short
    wide, high = (max(16, round(side * scale)) for side in picture.size)
    picture = picture.resize((wide, high), _FILTERS[rng.integers(3)])
    file = io.BytesIO()
    kind = rng.random()
    if kind < 0.85:
        picture.save(
            file, "JPEG", quality=int(rng.integers(35, 98)), subsampling=int(rng.integers(0, 3))
        )
    elif kind < 0.93:
        picture.save(file, "WEBP", quality=int(rng.integers(40, 98)), method=0)
    else:
        picture.save(file, "PNG", compress_level=1)
    return file.getvalue()
