"""Generated images that show no lesion: plain, noise, gradients, text, shapes, bare skin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lesionedge.render import font

SIDE_PX = 288
WORDS = ["the", "and", "patient", "of", "2026", "date", "name", "note", "page", "12 mm", "ABC"]
Drawing = Callable[[np.random.Generator], Image.Image]


def draw(rng: np.random.Generator) -> Image.Image:
    """Draw one of them.

    Args:
        rng: Decides which, and all about it.

    Returns:
        (SIDE_PX, SIDE_PX) RGB.
    """
    return KINDS[rng.integers(len(KINDS))](rng)


def plain(rng: np.random.Generator) -> Image.Image:
    """One colour, with a little sensor noise or none."""
    canvas = np.full((SIDE_PX, SIDE_PX, 3), colour(rng), np.float32)
    return _image(canvas + rng.normal(0, rng.uniform(0, 4), canvas.shape))


def noise(rng: np.random.Generator) -> Image.Image:
    """Grains of any size, grey or coloured."""
    cells = int(rng.integers(4, SIDE_PX))
    channels = int(rng.choice((1, 3)))
    grains = rng.normal(0, rng.uniform(5, 70), (cells, cells, channels))
    return _image(colour(rng) + _enlarged(grains))


def gradient(rng: np.random.Generator) -> Image.Image:
    """From one colour to another, straight or round."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    turn = rng.uniform(0, 2 * np.pi)
    way = x * np.cos(turn) + y * np.sin(turn)
    if rng.random() < 0.4:
        way = np.hypot(x - rng.uniform(0, 1), y - rng.uniform(0, 1))
    way = (way - way.min()) / np.ptp(way)
    if rng.random() < 0.3:
        way = (np.sin(way * rng.uniform(5, 80)) + 1) / 2
    return _image(colour(rng) + (colour(rng) - colour(rng)) * way[..., None])


def text(rng: np.random.Generator) -> Image.Image:
    """A page, a screen or a label."""
    dark_on_light = rng.random() < 0.7
    paper = rng.uniform(200, 255, 3) if dark_on_light else colour(rng)
    ink = rng.uniform(0, 90, 3) if dark_on_light else 255 - paper
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), _tuple(paper))
    pen = ImageDraw.Draw(image)
    size = int(rng.integers(9, 60))
    for top in range(int(rng.integers(0, 20)), SIDE_PX, round(size * rng.uniform(1.1, 2))):
        words = " ".join(rng.choice(WORDS, int(rng.integers(1, 12))))
        pen.text((float(rng.integers(-20, 40)), top), words, _tuple(ink), font(size))
    return image.rotate(rng.normal(0, 8), Image.Resampling.BILINEAR, fillcolor=_tuple(paper))


def shapes(rng: np.random.Generator) -> Image.Image:
    """Discs, boxes and lines, as coins, buttons and screens are."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), _tuple(colour(rng)))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 14))):
        left, top = rng.uniform(-40, SIDE_PX, 2)
        wide, high = rng.uniform(5, SIDE_PX * 0.7, 2)
        box = (left, top, left + wide, top + high)
        kind, fill = rng.integers(3), _tuple(rng.uniform(0, 255, 3))
        if kind == 0:
            pen.ellipse((left, top, left + wide, top + wide), fill)
        elif kind == 1:
            pen.rectangle(box, fill)
        else:
            pen.line(box, fill, int(rng.integers(1, 12)))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))


def bare_skin(rng: np.random.Generator) -> Image.Image:
    """Skin without a lesion: uneven tone, creases, pores, some hairs and a shadow."""
    canvas = skin_tone(rng) + np.zeros((SIDE_PX, SIDE_PX, 3))
    for cells, strength in ((3, 9), (8, 5), (30, 4), (120, 4)):
        grains = rng.normal(0, rng.uniform(0, strength), (cells, cells, 1))
        canvas += _enlarged(grains) * rng.uniform(0.7, 1.3, 3)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    turn = rng.uniform(0, 2 * np.pi)
    canvas += ((x * np.cos(turn) + y * np.sin(turn)) * rng.uniform(0, 60))[..., None]
    image = _image(canvas)
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 60)) if rng.random() < 0.6 else 0):
        crease(pen, rng, _tuple(np.clip(skin_tone(rng) * rng.uniform(0.5, 0.9), 0, 255)), 1)
    for _ in range(int(rng.integers(0, 25)) if rng.random() < 0.4 else 0):
        crease(pen, rng, _tuple(rng.uniform(10, 90, 3)), int(rng.integers(1, 3)))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))


def crease(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, ink: tuple[int, ...], width: int
) -> None:
    """Draw a bent line, as hairs and creases are."""
    side = pen.im.size[0]
    start, way = rng.uniform(0, side, 2), rng.normal(0, side / 6, 2)
    bend = rng.normal(0, side / 20, 2)
    steps = np.linspace(0, 1, 6)[:, None]
    points = start + way * steps + bend * steps**2
    pen.line([_point(p) for p in points], ink, width)


def skin_tone(rng: np.random.Generator) -> np.ndarray:
    """Return a colour that skin has, light to dark, under some light."""
    light, dark = np.array((246.0, 214.0, 196.0)), np.array((86.0, 54.0, 40.0))
    pink = np.array((228.0, 150.0, 160.0))
    tone = light + (dark - light) * rng.beta(1.2, 2.5)
    tone = tone + (pink - tone) * rng.uniform(0, 0.7)
    mixed: np.ndarray = np.clip(tone * rng.uniform(0.85, 1.1, 3), 0, 255)
    return mixed


def colour(rng: np.random.Generator) -> np.ndarray:
    """Return any colour; skin's often, which are the hard ones."""
    return skin_tone(rng) if rng.random() < 0.4 else rng.uniform(0, 255, 3)


KINDS: tuple[Drawing, ...] = (plain, noise, gradient, text, shapes, bare_skin, bare_skin)


def _enlarged(grains: np.ndarray) -> np.ndarray:
    layers = [
        Image.fromarray(grains[..., c].astype(np.float32)).resize(
            (SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC
        )
        for c in range(grains.shape[2])
    ]
    return np.stack([np.asarray(layer) for layer in layers], axis=-1)


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _tuple(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _point(p: np.ndarray) -> tuple[float, float]:
    return float(p[0]), float(p[1])
