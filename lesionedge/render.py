"""Draws an answer onto a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from lesionedge import image as images
from lesionedge.atomic import whole_file
from lesionedge.errors import ImageError

if TYPE_CHECKING:
    from lesionedge.classifier import Prediction

PANEL = (16, 18, 24)
TEXT = (240, 240, 240)
BAR = (86, 180, 233)  # sky blue of Okabe and Ito's colour-blind-safe palette
ALERT = (230, 159, 0)  # their orange
LEAST_WIDTH_PX = 360
LARGEST_SIDE_PX = 4096
NOTE = "research use, not a diagnosis"


def annotate(
    source: images.ImageSource, prediction: Prediction, preprocessing: images.Preprocessing
) -> Image.Image:
    """Draw an answer below a picture, and on it the part that the model saw.

    Args:
        source: The picture, as ``Classifier.classify`` takes it.
        prediction: Its answer.
        preprocessing: The model's, for the frame.

    Returns:
        A new RGB picture without any metadata; small ones are enlarged to be legible.

    Raises:
        ImageError: The picture cannot be read.
    """
    picture = images.decode(source).image
    scale = max(1.0, LEAST_WIDTH_PX / picture.width)
    scale = min(scale, LARGEST_SIDE_PX / max(picture.size))
    if scale != 1.0:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    width, height = max(picture.width, LEAST_WIDTH_PX), picture.height
    unit = max(14, round(width / 32))
    rows = prediction.top[:3]
    panel = round(unit * (1.6 * (len(rows) + 2) + 0.6))
    canvas = Image.new("RGB", (width, height + panel), PANEL)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = images.crop_box(picture.size, preprocessing)
    thick = max(2, unit // 8)
    # White beside black shows on skin of any colour.
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(0, 0, 0), width=thick * 2)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255), width=thick)
    _panel(draw, prediction, width, height, unit)
    return canvas


def _panel(
    draw: ImageDraw.ImageDraw, prediction: Prediction, width: int, top: int, unit: int
) -> None:
    large, small = font(unit), font(max(11, round(unit * 0.75)))
    step = round(unit * 1.6)
    y = top + round(unit * 0.5)
    numbers = width - round(unit * 4)
    bars = round(width * 0.6)
    for candidate in prediction.top[:3]:
        name = _shortened(draw, f"{candidate.label}  {candidate.name}", large, bars - unit)
        draw.text((unit * 0.5, y), name, TEXT, large)
        end = bars + round((numbers - unit - bars) * candidate.probability)
        draw.rectangle((bars, y + unit * 0.2, max(end, bars + 1), y + unit), fill=BAR)
        draw.text((numbers, y), f"{candidate.probability:.1%}", TEXT, large)
        y += step
    risk = f"malignant {prediction.malignant_probability:.1%}"
    draw.text((unit * 0.5, y), risk, ALERT, large)
    draw.text((unit * 0.5, y + step), f"{prediction.model}: {NOTE}", TEXT, small)


def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Give a font for drawn text, of this size where Pillow or the system has one that scales."""
    try:
        return ImageFont.load_default(size=size_px)
    except TypeError:  # Pillow before 10.1 has one small font only; most systems have this one
        try:
            return ImageFont.truetype("DejaVuSans.ttf", size_px)
        except OSError:
            return ImageFont.load_default()


def _shortened(
    draw: ImageDraw.ImageDraw,
    text: str,
    face: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    if draw.textlength(text, face) <= width:
        return text
    while text and draw.textlength(text + "…", face) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def save(picture: Image.Image, path: str) -> None:
    """Write a picture whole or not at all, by its name's ending, without metadata.

    Raises:
        ImageError: It cannot be written.
    """
    kind = "JPEG" if path.lower().endswith((".jpg", ".jpeg")) else "PNG"
    try:
        with whole_file(path) as file:
            picture.save(file, kind, **({"quality": 92} if kind == "JPEG" else {}))
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error})") from error
