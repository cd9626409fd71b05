"""Draws a prediction or a heat map onto an image."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from lesionedge import image as images
from lesionedge.atomic import whole_file
from lesionedge.errors import ImageError
from lesionedge.wording import CANNOT_TELL, heading, is_refused, percent, risk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.prediction import Prediction

PANEL = (16, 18, 24)
TEXT = (240, 240, 240)
BAR = (86, 180, 233)  # sky blue of Okabe and Ito's colour-blind-safe palette
ALERT = (230, 159, 0)  # their orange
LEAST_WIDTH_PX = 360
LARGEST_SIDE_PX = 4096
CIVIDIS = (
    (0, 34, 78), (26, 56, 111), (67, 78, 108), (97, 101, 111), (125, 124, 120), (156, 147, 120),
    (188, 173, 109), (222, 202, 88), (254, 232, 56),
)  # fmt: skip
"""Matplotlib's cividis at nine even steps."""

_LEAST_FALL = 0.001  # the brightest colour stands for a fall of at least this probability
NOTE = "research use, not a diagnosis"

WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Suffix of an image file -> the format to write."""


def annotate(
    source: images.ImageSource, prediction: Prediction, preprocessing: images.Preprocessing,
    *, abstain: bool = True,
) -> Image.Image:  # fmt: skip
    """Return an image with the model's part marked and the prediction below.

    Args:
        source: The image, as in ``Classifier.classify``.
        prediction: The image's prediction.
        preprocessing: The model's; a frame marks the part that the model sees.
        abstain: Draw no diagnosis if the gate refuses the image.

    Returns:
        A new RGB image without any metadata; small ones are enlarged to be legible.

    Raises:
        ImageError: The image cannot be read.
    """
    image = _legible(source)
    width, height = max(image.width, LEAST_WIDTH_PX), image.height
    unit = _unit(width)
    refused = is_refused(prediction, abstain=abstain)
    canvas, draw = _canvas(image, 2 if refused else len(prediction.top[:3]) + 2)
    _frame(draw, images.crop_box(image.size, preprocessing), max(2, unit // 8))
    if refused:
        _refusal(draw, prediction, width, height, unit)
    else:
        _panel(draw, prediction, width, height, unit)
    return canvas


def heat_map(
    source: images.ImageSource, heat: NDArray[np.float32], preprocessing: images.Preprocessing, *,
    prediction: Prediction, title: str, abstain: bool = True,
) -> Image.Image:  # fmt: skip
    """Draw a heat map over a grey copy of an image, with a legend below.

    The colours are cividis (Nunez, Anderton and Renslow 2018, doi:10.1371/journal.pone.0199239).
    They grow evenly from dark to light for people with any kind of colour vision.

    Args:
        source: The image that was explained.
        heat: (H, W) float32: how far the probability falls if this place is covered.
        preprocessing: The model's; it defines which part of the image ``heat`` covers.
        prediction: The image's prediction.
        title: The legend's title: the class that is explained.
        abstain: Draw no diagnosis if the gate refuses the image.

    Returns:
        A new RGB image without any metadata; small ones are enlarged to be legible.

    Raises:
        ImageError: The image cannot be read.
    """
    image = _legible(source)
    unit = _unit(max(image.width, LEAST_WIDTH_PX))
    # Grey, so that every colour means heat.
    refused = is_refused(prediction, abstain=abstain)
    canvas, draw = _canvas(image.convert("L").convert("RGB"), 4)
    box = images.crop_box(image.size, preprocessing)
    most = max(float(heat.max()), _LEAST_FALL)
    shades = (heat.clip(0, most) * (255 / most)).astype("uint8")
    size = (box[2] - box[0], box[3] - box[1])
    enlarged = Image.fromarray(shades).resize(size, Image.Resampling.BILINEAR)
    canvas.paste(Image.blend(canvas.crop(box), _coloured(enlarged), 0.5), box[:2])
    _frame(draw, box, max(2, unit // 8))
    verdict = CANNOT_TELL if refused else risk(prediction)
    texts = ("" if refused else title, verdict, f"{os.path.basename(prediction.model)}: {NOTE}")
    _legend(draw, canvas, texts, most, image.height, unit)
    return canvas


def _legend(
    draw: ImageDraw.ImageDraw, canvas: Image.Image, texts: tuple[str, str, str], most: float,
    top: int, unit: int,
) -> None:  # fmt: skip
    large, small = font(unit), font(max(11, round(unit * 0.75)))
    step, left, y = round(unit * 1.6), round(unit * 0.5), top + round(unit * 0.5)
    wide = canvas.width - unit
    title, verdict, note = texts
    for text, colour in ((verdict, ALERT), (title, TEXT)):
        draw.text((left, y), _shortened(draw, text, large, wide), colour, large)
        y += step
    ends = ("covered: no change", f"-{most * 100:.1f} points")
    start = left + round(draw.textlength(ends[0], small)) + unit // 2
    stop = canvas.width - left - round(draw.textlength(ends[1], small)) - unit // 2
    draw.text((left, y), ends[0], TEXT, small)
    draw.text((stop + unit // 2, y), ends[1], TEXT, small)
    bar = Image.linear_gradient("L").rotate(90).resize((max(1, stop - start), unit))
    canvas.paste(_coloured(bar), (start, y))
    draw.rectangle((start, y, max(start, stop - 1), y + unit - 1), outline=TEXT)
    draw.text((left, y + step), _shortened(draw, note, small, wide), TEXT, small)


def _coloured(shades: Image.Image) -> Image.Image:
    """Return shades, 0-255, as colours."""
    palette: list[int] = []
    for low, high in pairwise(CIVIDIS):
        for n in range(32):
            palette += [round(a + (b - a) * n / 31) for a, b in zip(low, high)]
    shades = shades.copy()
    shades.putpalette(palette)
    return shades.convert("RGB")


def _legible(source: images.ImageSource) -> Image.Image:
    """Read an image and scale it so that text beside it is legible."""
    image = images.decode(source).image
    scale = max(1.0, LEAST_WIDTH_PX / image.width)
    scale = min(scale, LARGEST_SIDE_PX / max(image.size))
    if scale == 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _unit(width: int) -> int:
    """Return the height of letters in px."""
    return max(14, round(width / 32))


def _canvas(image: Image.Image, lines: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an image with space for lines of text below."""
    width = max(image.width, LEAST_WIDTH_PX)
    panel = round(_unit(width) * (1.6 * lines + 0.6))
    canvas = Image.new("RGB", (width, image.height + panel), PANEL)
    canvas.paste(image, (0, 0))
    return canvas, ImageDraw.Draw(canvas)


def _frame(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], thick: int) -> None:
    left, top, right, bottom = box
    # A white line beside a black one is visible on skin of any colour.
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(0, 0, 0), width=thick * 2)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255), width=thick)


def _refusal(
    draw: ImageDraw.ImageDraw, prediction: Prediction, width: int, top: int, unit: int
) -> None:
    large, small = font(unit), font(max(11, round(unit * 0.75)))
    left, y = unit * 0.5, top + round(unit * 0.5)
    draw.text((left, y), _shortened(draw, CANNOT_TELL, large, width - unit), ALERT, large)
    draw.text(
        (left, y + round(unit * 1.6)), f"{os.path.basename(prediction.model)}: {NOTE}", TEXT, small
    )


def _panel(
    draw: ImageDraw.ImageDraw, prediction: Prediction, width: int, top: int, unit: int
) -> None:
    large, small = font(unit), font(max(11, round(unit * 0.75)))
    step = round(unit * 1.6)
    y = top + round(unit * 0.5)
    numbers = width - round(unit * 4)
    bars = round(width * 0.6)
    for candidate in prediction.top[:3]:
        named = heading(candidate.label, candidate.name)
        name = _shortened(draw, named, large, bars - unit)
        draw.text((unit * 0.5, y), name, TEXT, large)
        end = bars + round((numbers - unit - bars) * candidate.probability)
        draw.rectangle((bars, y + unit * 0.2, max(end, bars + 1), y + unit), fill=BAR)
        draw.text((numbers, y), percent(candidate.probability), TEXT, large)
        y += step
    line = _shortened(draw, risk(prediction), large, width - unit)
    draw.text((unit * 0.5, y), line, ALERT, large)
    draw.text((unit * 0.5, y + step), f"{os.path.basename(prediction.model)}: {NOTE}", TEXT, small)


def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font for drawn text, of this size if Pillow or the system has a scalable one."""
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


def save(image: Image.Image, path: str) -> None:
    """Write an image whole or not at all, without metadata. The suffix selects the format.

    Raises:
        ImageError: It cannot be written.
    """
    kind = WRITTEN.get(os.path.splitext(path)[1].lower(), "PNG")
    try:
        with whole_file(path) as file:
            image.save(file, kind, **({} if kind == "PNG" else {"quality": 92}))
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error})") from error
