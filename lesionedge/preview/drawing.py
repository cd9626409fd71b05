"""Draws an observation onto its frame, small enough for several frames per second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import ImageDraw

from lesionedge import image as images
from lesionedge.render import ALERT, NOTE, PANEL, TEXT, font
from lesionedge.wording import CANNOT_TELL, is_own_name, percent, risk

if TYPE_CHECKING:
    from PIL import Image

    from lesionedge.live import Observation

WIDTH_PX, LEAST_WIDTH_PX = 960, 640
LINE_PX = 30
LINES = 5
"""Space for this many lines, so that the image does not move when a warning appears."""

LEAST_S = 1 / 15
"""Time between two images: more images cost time and do not help to aim."""


def draw(observation: Observation, *, prediction: bool = True) -> Image.Image:
    """Return the frame with the classified part marked and the prediction below.

    Args:
        observation: From ``lesionedge.watch``.
        prediction: False leaves the prediction out, if it is shown elsewhere.

    Returns:
        An RGB image, 640 to 960 pixels wide.

    Raises:
        ImageError: The frame is damaged.
    """
    from PIL import Image

    # This size is enough, and lets a JPEG be decoded at a reduced scale.
    enough = images.Preprocessing(WIDTH_PX // 2, WIDTH_PX // 2)
    image = observation.frame.decoded(enough).image
    width = min(max(image.width, LEAST_WIDTH_PX), WIDTH_PX)
    if width != image.width:
        image = image.resize((width, round(image.height * width / image.width)))
    height = image.height
    lines = lines_of(observation) if prediction else []
    panel = LINE_PX * (max(len(lines), LINES) + 1) + 10 if prediction else 0
    canvas = Image.new("RGB", (width, height + panel), PANEL)
    canvas.paste(image, (0, 0))
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = (
        round(share * side) for share, side in zip(observation.window, (width, height) * 2)
    )
    # A white line beside a black one is visible on skin of any colour.
    pen.rectangle((left, top, right - 1, bottom - 1), outline=(0, 0, 0), width=5)
    pen.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255), width=2)
    face = font(18)
    for number, line in enumerate(lines):
        colour = ALERT if line.startswith("warning") else TEXT
        pen.text((10, height + 8 + LINE_PX * number), line, colour, face)
    if prediction:
        pen.text((10, canvas.height - LINE_PX - 2), NOTE, TEXT, face)
    return canvas


def lines_of(observation: Observation) -> list[str]:
    """Return a prediction as a few lines of text, without a diagnosis if that is withheld."""
    prediction = observation.prediction
    if observation.withheld:
        return [CANNOT_TELL, *(f"warning: {text}" for text in prediction.remarks)]
    second = prediction.top[1:2]
    likely = ", ".join(f"{c.label} {percent(c.probability)}" for c in second)
    head = f"{prediction.label} {percent(prediction.probability)}"
    if not is_own_name(prediction.label, prediction.name):
        head += f"  {prediction.name}"
    return [
        head + (f"   (then {likely})" if likely else ""),
        risk(prediction),
        f"{observation.age_ms:.0f} ms after capture",
        *(f"warning: {text}" for text in prediction.remarks),
    ]
