"""Draws a benchmark: one bar per setting, with its stages and the total's 90th percentile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from lesionedge.render import font

if TYPE_CHECKING:
    from lesionedge.benchmark import Measurement

PAPER, INK, GRID = (255, 255, 255), (34, 34, 34), (221, 221, 221)
COLOURS = {"decode": (0, 114, 178), "preprocess": (86, 180, 233), "invoke": (230, 159, 0)}
"""Stages in Okabe and Ito's colour-blind-safe palette."""

WIDTH_PX, ROW_PX, LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 960, 44, 270, 150, 64, 56


def draw(measurements: Sequence[Measurement]) -> Image.Image:
    """Draw measurements.

    Args:
        measurements: At least one.

    Returns:
        An RGB image, 960 pixels wide.
    """
    height = TOP_PX + ROW_PX * len(measurements) + BOTTOM_PX
    canvas = Image.new("RGB", (WIDTH_PX, height), PAPER)
    pen = ImageDraw.Draw(canvas)
    longest = max(m.latency_ms["whole"].p90 for m in measurements)
    step = _round_step(longest / 5)
    per_ms = (WIDTH_PX - LEFT_PX - RIGHT_PX) / (step * math.ceil(longest / step))
    _legend(pen)
    _axis(pen, step, per_ms, longest, height - BOTTOM_PX)
    for number, m in enumerate(measurements):
        _bar(pen, m, TOP_PX + ROW_PX * number, per_ms)
    return canvas


def _round_step(least: float) -> float:
    """Return the next round number: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999)


def _legend(pen: ImageDraw.ImageDraw) -> None:
    x = float(LEFT_PX)
    for stage, colour in COLOURS.items():
        pen.rectangle((x, 22, x + 16, 38), fill=colour)
        pen.text((x + 24, 20), stage, INK, font(16))
        x += 24 + pen.textlength(stage, font(16)) + 28
    pen.line((x + 8, 20, x + 8, 40), INK, 2)
    pen.text((x + 20, 20), "90th percentile of the whole", INK, font(16))


def _axis(
    pen: ImageDraw.ImageDraw, step: float, per_ms: float, longest: float, bottom: int
) -> None:
    for number in range(math.ceil(longest / step) + 1):
        x = LEFT_PX + number * step * per_ms
        pen.line((x, TOP_PX - 8, x, bottom), GRID)
        pen.text((x, bottom + 8), f"{number * step:g}", INK, font(14), anchor="ma")
    pen.text((LEFT_PX, bottom + 30), "milliseconds an image (medians of the stages)", INK, font(14))


def _bar(pen: ImageDraw.ImageDraw, m: Measurement, y: int, per_ms: float) -> None:
    threads = f"{m.threads} thread{'s' if m.threads > 1 else ''}"
    pen.text((LEFT_PX - 12, y + 16), f"{_tail(m.model)}, {threads}", INK, font(16), anchor="rm")
    x = float(LEFT_PX)
    for stage, colour in COLOURS.items():
        end = x + m.latency_ms[stage].p50 * per_ms
        pen.rectangle((x, y, max(x, end - 1), y + 32), fill=colour)
        x = end
    whole = m.latency_ms["whole"]
    mark = LEFT_PX + whole.p90 * per_ms
    pen.line((mark, y - 3, mark, y + 35), INK, 2)
    pen.text((mark + 10, y + 16), f"{whole.p90:.2f} ms", INK, font(16), anchor="lm")


def _tail(name: str) -> str:
    return name if len(name) <= 20 else "…" + name[-19:]
