"""Draws an observation onto its frame, small enough to be shown several times a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import ImageDraw

from lesionedge import image as images
from lesionedge.render import ALERT, NOTE, PANEL, TEXT, font

if TYPE_CHECKING:
    from PIL import Image

    from lesionedge.live import Observation

WIDTH_PX = 960
LINE_PX = 30


def draw(observation: Observation, *, answer: bool = True) -> Image.Image:
    """Draw the frame, the part of it that was classified, and the answer below.

    Args:
        observation: From ``lesionedge.watch``.
        answer: False leaves the answer out, for what shows it in another way.

    Returns:
        An RGB picture, at most 960 pixels wide.

    Raises:
        ImageError: The frame is damaged.
    """
    from PIL import Image

    # About this size is enough: a JPEG is then decoded at a reduced scale.
    enough = images.Preprocessing(WIDTH_PX // 2, WIDTH_PX // 2)
    picture = observation.frame.picture(enough).image
    if picture.width > WIDTH_PX:
        picture = picture.resize((WIDTH_PX, round(picture.height * WIDTH_PX / picture.width)))
    lines = [*lines_of(observation), NOTE] if answer else []
    width, height = picture.size
    below = LINE_PX * len(lines) + 10 if lines else 0
    canvas = Image.new("RGB", (width, height + below), PANEL)
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = (
        round(share * side) for share, side in zip(observation.window, (width, height) * 2)
    )
    # White beside black shows on skin of any colour.
    pen.rectangle((left, top, right - 1, bottom - 1), outline=(0, 0, 0), width=5)
    pen.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255), width=2)
    for number, line in enumerate(lines):
        colour = ALERT if line.startswith("warning") else TEXT
        pen.text((10, height + 8 + LINE_PX * number), line, colour, font(18))
    return canvas


def lines_of(observation: Observation) -> list[str]:
    """Put an answer into a few lines of text."""
    answer = observation.prediction
    second = answer.top[1:2]
    likely = ", ".join(f"{c.label} {c.probability:.0%}" for c in second)
    head = f"{answer.label} {answer.probability:.0%}  {answer.name}"
    return [
        head + (f"   (then {likely})" if likely else ""),
        f"malignant {answer.malignant_probability:.0%}   {observation.age_ms:.0f} ms after capture",
        *(f"warning: {text}" for text in answer.warnings),
    ]
