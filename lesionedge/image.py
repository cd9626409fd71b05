"""Preprocessing: any image -> (H, W, 3) uint8 RGB -> the model's input.

Training, evaluation, conversion and every front end call this module. A model is therefore
measured on exactly the pixels that it gets on the device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFile

from lesionedge import jpeg_scan, pixels
from lesionedge.card import Input, present
from lesionedge.errors import ImageError, ModelError
from lesionedge.image_file import (
    DECODE_ERRORS,
    no_limit,
    open_image,
    reason,
    reopened,
    rewindable,
    source_name,
)
from lesionedge.image_file import ImageSource as ImageSource  # noqa: PLC0414 (others import it)
from lesionedge.notice import Notice
from lesionedge.pixels import Pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.colour import Colours
    from lesionedge.icc import Conversion

MAX_PIXELS = 200_000_000
"""Images with more pixels than this are rejected before decoding."""

MIN_SIDE_PX = 16
"""Images with a shorter side than this are rejected: they show too little of a lesion."""

DECODE_MARGIN = 1.4
"""``Preprocessing.decode_margin`` of a model whose card has none."""

REDUCING_GAP = 2.0
"""Pillow first box-reduces very large images to this many times the model's size."""

ANIMATED = Notice("animated", "animated image: only its first frame was classified")

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_CROPS = ("centre", "stretch")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SHRINKING = ("JPEG", "MPO")  # formats that Image.draft can decode at a reduced scale
_RARE = ("JPEG2000", "PNG", "TGA", "TIFF")  # encodings.FORMATS
# Formats that describe their colours where Pillow does not look; colour.py does.
_TELLING = ("AVIF", "BMP", "DIB", "GIF", "JPEG2000", "PNG", "TIFF")
_COLOUR_TAGS = (
    "icc_profile", "exif", "gamma", "chromaticity", "srgb", "cicp", "nclx_profile",
)  # fmt: skip
_PILLOWS_LIMIT = 89_000_000  # just below Pillow's default limit


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded image becomes the model's input; the card's ``input`` section."""

    width_px: int
    """Width of the model's input."""
    height_px: int
    """Height of the model's input."""
    crop: str = "centre"
    """``centre``: the largest centred rectangle of the input's shape; ``stretch``: all of it."""
    crop_fraction: float = 1.0
    """The share of that rectangle's sides that is kept, above 0, up to 1."""
    resampling: str = "bilinear"
    """Pillow's (anti-aliasing) filter: nearest, box, bilinear, bicubic or lanczos."""
    decode_margin: float = DECODE_MARGIN
    """A JPEG may be decoded at a reduced scale, but at this many times the model's size or more;
    1 or more."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ModelError: A value is out of range.
        """
        if self.width_px < 1 or self.height_px < 1:
            raise ModelError(
                f"model input is {self.width_px}x{self.height_px} px; expected 1 px or more a side"
            )
        if self.crop not in _CROPS:
            raise ModelError(f"card: crop is {self.crop!r}; expected one of {', '.join(_CROPS)}")
        if not 0 < self.crop_fraction <= 1:
            raise ModelError(
                f"card: crop_fraction is {self.crop_fraction}; expected above 0, up to 1"
            )
        if self.resampling not in _RESAMPLING:
            expected = ", ".join(_RESAMPLING)
            raise ModelError(f"card: resampling is {self.resampling!r}; expected one of {expected}")
        if not 1 <= self.decode_margin < math.inf:
            raise ModelError(
                f"card: decode_margin is {self.decode_margin}; expected a number from 1 on"
            )

    @classmethod
    def from_card(cls, section: Input | None) -> Preprocessing:
        """Read the settings from a model card.

        Raises:
            ModelError: The card has no such section, or a value is out of range.
        """
        section = present(section, "input")
        margin = section.decode_margin
        return cls(
            section.width_px, section.height_px, section.crop, section.crop_fraction,
            section.resampling, DECODE_MARGIN if margin is None else margin,
        )  # fmt: skip


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image."""

    upright: Image.Image
    """The image upright, possibly at a reduced scale, in the colours of its file."""
    size: tuple[int, int]
    """(width, height) in px of the upright image at full scale."""
    warnings: tuple[Notice, ...] = ()
    """Warnings for people who read this image's prediction."""
    conversion: Conversion | None = None
    """Converts ``upright`` to sRGB; None: it is sRGB already."""

    @cached_property
    def image(self) -> Image.Image:
        """The image upright, in sRGB (mode RGB), possibly at a reduced scale."""
        return self.upright if self.conversion is None else self.conversion.apply(self.upright)

    def fit(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """Crop and resize the image to a model's input.

        Colours are converted last if that makes no visible difference: fewer pixels are left then.

        Args:
            preprocessing: Size, crop and resampling, from the model's card.

        Returns:
            (height_px, width_px, 3) uint8 RGB, 0-255.
        """
        if self.conversion is None or not self.conversion.is_smooth:
            return fit(self.image, preprocessing, full_size=self.size)
        import numpy as np

        part = _resized(self.upright, preprocessing, self.size)
        return np.asarray(self.conversion.apply(part))


def model_input(source: ImageSource, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read an image and return it as a model's input.

    Args:
        source: As in ``decode``.
        preprocessing: Size, crop and resampling, from the model's card.

    Returns:
        (height_px, width_px, 3) uint8 RGB, 0-255.

    Raises:
        ImageError: The image cannot be read.
    """
    return decode(source, preprocessing).fit(preprocessing)


def fit(
    image: Image.Image, preprocessing: Preprocessing, *, full_size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Crop and resize an upright sRGB image to the model's input.

    Args:
        image: Mode RGB, any size.
        preprocessing: Size, crop and resampling, from the model's card.
        full_size: (width, height) in px before decoding at a reduced scale, so that the same part
            is cropped; None: it was not reduced.

    Returns:
        (height_px, width_px, 3) uint8 RGB, 0-255.
    """
    import numpy as np

    return np.asarray(_resized(image, preprocessing, full_size or image.size))


def _resized(
    image: Image.Image, preprocessing: Preprocessing, full_size: tuple[int, int]
) -> Image.Image:
    size = (preprocessing.width_px, preprocessing.height_px)
    box: tuple[float, float, float, float] = crop_box(full_size, preprocessing)
    if full_size != image.size:
        across, down = image.width / full_size[0], image.height / full_size[1]
        box = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    if image.size == size and box == (0, 0, *size):
        return image
    resampling = _RESAMPLING[preprocessing.resampling]
    if preprocessing.resampling != "nearest" and _is_tall(image.size, box, size):
        left, top, right, bottom = box
        rows = image.resize((size[0], image.height), resampling, (left, 0, right, image.height))
        return rows.resize(size, resampling, (0, top, size[0], bottom))
    return image.resize(size, resampling, box=box, reducing_gap=REDUCING_GAP)


def _is_tall(
    image: tuple[int, int], box: tuple[float, float, float, float], size: tuple[int, int]
) -> bool:
    """Return whether Pillow 13 would resize the columns first; earlier ones rounded otherwise.

    Two calls, one for rows and one for columns, give the same pixels with every Pillow.
    """
    if (box[2] - box[0]) / size[0] >= 2 * REDUCING_GAP or (box[3] - box[1]) / size[1] >= (
        2 * REDUCING_GAP
    ):
        return False  # Pillow first reduces it to little more than the box
    return image[1] - size[1] > max(0, 2 * (image[0] - size[0]))


def crop_box(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Return the part of an image that the model sees.

    Args:
        size: (width, height) of the image in px.
        preprocessing: Shape and crop, from the model's card.

    Returns:
        (left, top, right, bottom) in px, whole numbers.
    """
    width, height = size
    if preprocessing.crop == "stretch":
        wide, high = float(width), float(height)
    else:
        scale = min(width / preprocessing.width_px, height / preprocessing.height_px)
        wide, high = preprocessing.width_px * scale, preprocessing.height_px * scale
    wide = max(1, round(wide * preprocessing.crop_fraction))
    high = max(1, round(high * preprocessing.crop_fraction))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def decode(source: ImageSource, preprocessing: Preprocessing | None = None) -> DecodedImage:
    """Read an image, turn it upright and convert its colours to sRGB.

    A PIL image that comes straight from ``Image.open`` is read like its file: EXIF's orientation
    is applied. For any other PIL image (copied, converted, cropped, turned, made from an array)
    the orientation is ignored: Pillow keeps the tag in ``info`` even after the pixels were
    turned. The colour profile in ``info`` is applied to both, since Pillow keeps it only while it
    is valid. PIL images are not changed, and are decoded at full scale.

    Args:
        source: Path, bytes, binary file, PIL image or (H, W, 3) uint8 RGB array (sRGB).
        preprocessing: If given, a JPEG may be decoded at a reduced scale, but at
            ``decode_margin`` times the size that these settings need or more.

    Raises:
        ImageError: Missing, unreadable, truncated, not an image, too small or too large.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source)
    if hasattr(source, "__array_interface__"):
        return _from_array(source)
    name = source_name(source)
    content = rewindable(source, name)
    with open_image(content, name) as image:
        return _decoded(image, name, preprocessing, lambda: reopened(content))


def size_of(source: ImageSource) -> tuple[int, int]:
    """Return an image file's size from its header, without decoding it or checking limits.

    Args:
        source: Path, bytes or binary file.

    Returns:
        (width, height) in px, as stored.

    Raises:
        ImageError: Missing, unreadable or not an image.
    """
    name = source_name(source)
    with open_image(rewindable(source, name), name) as image:
        return image.width, image.height


def _from_pil(image: Image.Image) -> DecodedImage:
    path = os.fsdecode(getattr(image, "filename", "") or "")
    file: Any = getattr(image, "fp", None)
    is_unread = isinstance(image, ImageFile.ImageFile) and bool(image.tile) and image.tell() == 0
    if not is_unread or file is None:
        return _decoded(image, path or "image", None)
    return _decoded(image, path or "image", None, lambda: reopened(path or file))


def _from_array(array: Any) -> DecodedImage:
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if str(dtype) != "uint8" or shape is None or len(shape) != 3 or shape[2] != 3:
        raise ImageError(f"array of shape {shape} and type {dtype}; expected (H, W, 3) uint8 RGB")
    size = (int(shape[1]), int(shape[0]))
    _check_size(size, "array")
    return DecodedImage(Image.fromarray(array), size)


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width}x{height} px is {width * height / 1e6:.0f} MP; "
            f"expected at most {MAX_PIXELS // 1_000_000} MP; scale it down"
        )
    if min(size) < MIN_SIDE_PX:
        raise ImageError(
            f"{name}: {width}x{height} px is too small; expected at least {MIN_SIDE_PX} px per side"
        )


def _decoded(
    image: Image.Image, name: str, preprocessing: Preprocessing | None,
    reopen: Callable[[], Image.Image] | None = None,
) -> DecodedImage:  # fmt: skip
    """Decode an open image; without ``reopen``, by Pillow alone."""
    size = image.size
    _check_size(size, name)
    try:
        warnings = _frames_warning(image)
        drafted = preprocessing is not None and image.format in _SHRINKING
        if preprocessing is not None and drafted:
            turned = _swaps(_UPRIGHT.get(_orientation(image)))
            image.draft(None, _least_size(size, preprocessing, turned=turned))
        found, turn = _loaded(image, reopen)
        size = size if drafted else found.image.size
        upright = found.image if turn is None else found.image.transpose(turn)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode {size[0]}x{size[1]} px") from error
    except DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short ({reason(error)})") from error
    size = size[::-1] if _swaps(turn) else size
    return DecodedImage(upright, size, (*warnings, *found.warnings), found.conversion)


def _loaded(
    image: Any, reopen: Callable[[], Image.Image] | None
) -> tuple[Pixels, Image.Transpose | None]:
    """Load an image; return its pixels and the turn that makes them upright."""
    huge = image.width * image.height > _PILLOWS_LIMIT
    if image.format == "PSD" or (image.format in _SHRINKING and not image.quantization):
        from lesionedge import encodings

        encodings.refuse(image)
    colours = _colours(image)  # before loading: some formats close their file then
    # The decoder of TIFF checks Pillow's limit again.
    with no_limit() if image.format == "TIFF" and huge else nullcontext():
        if reopen is not None and image.format in _RARE:
            from lesionedge import encodings
            from lesionedge.colour import Colours

            found, image = encodings.load(image, reopen, colours or Colours())
        else:
            jpeg_scan.load(image) if image.format in _SHRINKING else image.load()
            found = pixels.flattened(image, colours)
    if image.format == "DICOM":
        notices = getattr(image, "notices", ())
        found = found._replace(warnings=(*notices, *found.warnings))
    # Pillow turns TIFF itself, and older versions keep the tag.
    as_stored = isinstance(image, ImageFile.ImageFile) and image.format != "TIFF"
    return found, _UPRIGHT.get(_orientation(image)) if as_stored else None


def _colours(image: Image.Image) -> Colours | None:
    """Return what an image's file says about its colours; None: nothing."""
    info = image.info
    if image.format not in _TELLING and not any(tag in info for tag in _COLOUR_TAGS):
        return None
    from lesionedge import colour

    return colour.declared(image)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except DECODE_ERRORS:
        return 1  # the EXIF is damaged; the pixels may still be fine


def _swaps(turn: Image.Transpose | None) -> bool:
    return turn in (
        Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270,
    )  # fmt: skip


def _least_size(
    size: tuple[int, int], preprocessing: Preprocessing, *, turned: bool
) -> tuple[int, int]:
    """Return the smallest (width, height) in px, as stored, that a JPEG may be decoded at."""
    upright = size[::-1] if turned else size
    left, top, right, bottom = crop_box(upright, preprocessing)
    needed = max(preprocessing.width_px / (right - left), preprocessing.height_px / (bottom - top))
    scale = min(1.0, preprocessing.decode_margin * needed)
    return math.ceil(size[0] * scale), math.ceil(size[1] * scale)


def _frames_warning(image: Image.Image) -> tuple[Notice, ...]:
    if image.format == "HEIF" and getattr(image, "is_animated", False):
        return (Notice("pages", "file of several images: only its main one was classified"),)
    # The other images in a phone's photograph (MPO) are depth maps and previews.
    if image.format == "MPO" or not getattr(image, "is_animated", False) or image.tell() != 0:
        return ()
    if image.format == "TIFF":
        return (Notice("pages", "image of several pages: only its first was classified"),)
    return (ANIMATED,)
