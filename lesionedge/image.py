"""Any picture -> (H, W, 3) uint8 RGB -> the model's input: the one preprocessing.

Training, evaluation, conversion and every front end call this module, so that the pixels
which a model is measured on are, byte for byte, the pixels that it sees on the device.
"""

from __future__ import annotations

import math
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from PIL import Image, UnidentifiedImageError

from lesionedge import formats, jpeg_scan
from lesionedge.errors import ImageError, MissingDecoderError, ModelError
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ImageSource = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, Image.Image,
    "NDArray[np.uint8]",
]  # fmt: skip
"""A path, the bytes of a file, an open binary file, a PIL image or an (H, W, 3) uint8 RGB array."""

MAX_PIXELS = 200_000_000
"""Pictures with more pixels than this are refused before they are decoded."""

MIN_SIDE_PX = 16
"""Pictures with a side shorter than this hold no lesion that could be judged."""

DECODE_MARGIN = 1.4
"""A JPEG is decoded at a reduced scale that keeps at least this many times the model's size."""

REDUCING_GAP = 2.0
"""Very large pictures are first box-reduced to this many times the model's size (Pillow)."""

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
# What Pillow's decoders raise on broken files, Warning where the user made errors of warnings.
_DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, LookupError, TypeError,
    ArithmeticError, AttributeError, RuntimeError, AssertionError, NameError, Warning,
    Image.DecompressionBombError,
)  # fmt: skip
_DRAWINGS = ("EPS", "WMF")  # not pixels; Pillow has other programs run them
_SHRINKING = ("JPEG", "MPO")  # formats of which Image.draft knows the scale beforehand
_PILLOWS_LIMIT = 89_000_000  # its own, a little less; a user may set it to None or lower
_limit_lock = threading.Lock()


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded picture becomes the model's input; the card's ``input`` section."""

    width_px: int
    """Width of the model's input."""
    height_px: int
    """Height of the model's input."""
    crop: str = "centre"
    """``centre``: the largest centred rectangle of the input's shape; ``stretch``: all of it."""
    crop_fraction: float = 1.0
    """The share of that rectangle's sides that is kept, 0-1."""
    resampling: str = "bilinear"
    """Pillow's (anti-aliasing) filter: nearest, box, bilinear, bicubic or lanczos."""

    def __post_init__(self) -> None:
        """Refuse settings that no picture could be prepared by."""
        if self.width_px < 1 or self.height_px < 1:
            raise ModelError(
                f"model input of {self.width_px}x{self.height_px} px; expected 1 or more"
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

    @classmethod
    def from_card(cls, section: Mapping[str, Any]) -> Preprocessing:
        """Read the ``input`` section of a model card.

        Raises:
            ModelError: A value is missing, of the wrong type or out of range.
        """
        try:
            return cls(
                width_px=int(section["width_px"]),
                height_px=int(section["height_px"]),
                crop=str(section.get("crop", "centre")),
                crop_fraction=float(section.get("crop_fraction", 1.0)),
                resampling=str(section.get("resampling", "bilinear")),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ModelError(f"card: its input section is unusable ({error!r})") from error


@dataclass(frozen=True)
class DecodedImage:
    """A decoded picture."""

    image: Image.Image
    """Upright, mode RGB; possibly at a reduced scale."""
    size: tuple[int, int]
    """(width, height) in px of the upright picture at full scale."""
    warnings: tuple[Notice, ...] = ()
    """What the reader of an answer should know of this picture."""


def model_input(source: ImageSource, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read a picture and prepare it for a model.

    Args:
        source: Path, bytes, binary file, PIL image or (H, W, 3) uint8 RGB array.
        preprocessing: Size, crop and resampling, from the model's card.

    Returns:
        (height_px, width_px, 3) uint8 RGB, 0-255.

    Raises:
        ImageError: The picture cannot be read.
    """
    decoded = decode(source, preprocessing)
    return fit(decoded.image, preprocessing, full_size=decoded.size)


def fit(
    image: Image.Image, preprocessing: Preprocessing, *, full_size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Crop and resize an upright RGB picture to the model's input.

    Args:
        image: Mode RGB, any size.
        preprocessing: Size, crop and resampling, from the model's card.
        full_size: (width, height) in px that it had before it was decoded at a reduced scale,
            so that the same part of it is cropped; None for its own.

    Returns:
        (height_px, width_px, 3) uint8 RGB, 0-255.
    """
    import numpy as np

    size = (preprocessing.width_px, preprocessing.height_px)
    box: tuple[float, float, float, float] = crop_box(full_size or image.size, preprocessing)
    if full_size is not None and full_size != image.size:
        across, down = image.width / full_size[0], image.height / full_size[1]
        box = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    if image.size != size or box != (0, 0, *size):
        resampling = _RESAMPLING[preprocessing.resampling]
        image = image.resize(size, resampling, box=box, reducing_gap=REDUCING_GAP)
    return np.asarray(image)


def crop_box(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Give the part of a picture that the model sees.

    Args:
        size: (width, height) of the picture in px.
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
    """Read a picture as upright RGB.

    Args:
        source: Path, bytes, binary file, PIL image or (H, W, 3) uint8 RGB array.
        preprocessing: Where given, a JPEG may be decoded at a reduced scale, to no less
            than ``DECODE_MARGIN`` times what these settings need. Pictures given as PIL images
            or arrays are taken as they are, and left as they are.

    Raises:
        ImageError: Missing, unreadable, truncated, not a picture, too small or too large.
    """
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "picture"
        return _decoded(source, os.fsdecode(name), None)
    if hasattr(source, "__array_interface__"):
        return _from_array(source)
    name = source_name(source)
    with _open(source, name) as image:
        return _decoded(image, name, preprocessing)


def size_of(source: ImageSource) -> tuple[int, int]:
    """Read how large a picture file says it is; nothing is decoded, no limit is checked.

    Args:
        source: Path, bytes or binary file.

    Returns:
        (width, height) in px, as stored.

    Raises:
        ImageError: Missing, unreadable or not a picture.
    """
    with _open(source, source_name(source)) as image:
        return image.width, image.height


def source_name(source: object) -> str:
    """Name a picture's source for messages: its path, or what kind of thing it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"picture of {len(source)} bytes"
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) else "picture"


def _from_array(array: Any) -> DecodedImage:
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if str(dtype) != "uint8" or shape is None or len(shape) != 3 or shape[2] != 3:
        raise ImageError(f"array of shape {shape} and type {dtype}; expected (H, W, 3) uint8 RGB")
    size = (int(shape[1]), int(shape[0]))
    _check_size(size, "array")
    return DecodedImage(Image.fromarray(array), size)


def _open(source: Any, name: str) -> Image.Image:
    kind = None
    try:
        content = _content(source, name)
        kind = formats.recognise(_head(content))
        image = _opened(content, kind, name)
    except MissingDecoderError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_unidentified(kind)}") from error
    except PermissionError as error:
        raise ImageError(f"{name}: no permission to read it") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: cannot be read as a picture ({_reason(error)})") from error
    if image.format in _DRAWINGS:
        image.close()
        raise ImageError(f"{name}: is a drawing ({image.format}); expected a photograph")
    if _is_camera_raw(image):
        image.close()
        raise ImageError(f"{name}: {_unidentified('camera raw')}")
    return image


def _opened(content: Any, kind: str | None, name: str) -> Image.Image:
    """Open a file with what reads its format."""
    if kind == "HEIC":
        from lesionedge import heic

        return heic.opened(content, name)
    if kind == "DICOM":
        from lesionedge import dicom

        return dicom.opened(content, name)
    with _no_limit():
        return Image.open(content)


def _head(content: Any) -> bytes:
    """Return a file's first bytes."""
    if not hasattr(content, "read"):
        with open(content, "rb") as file:
            return file.read(formats.HEAD_BYTES)
    start = content.tell()
    head: bytes = content.read(formats.HEAD_BYTES)
    content.seek(start)
    return head


def _unidentified(kind: str | None) -> str:
    if kind is None:
        return "not a picture that can be read (JPEG, PNG, …)"
    advice = formats.advice(kind)
    return f"is a file of another kind ({kind})" + (
        f": {advice}" if advice else "; expected an image"
    )


def _is_camera_raw(image: Image.Image) -> bool:
    """Tell whether a TIFF is a camera's raw file, of which Pillow would read the thumbnail."""
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return False
    # DNGVersion; or a first page that is a reduced copy of another (NewSubfileType, SubIFDs).
    return 50706 in tags or (330 in tags and tags.get(254, 0) == 1)


def _content(source: Any, name: str) -> Any:
    """Give what Pillow can open: a path or a file that goes back and forth."""
    import io

    if isinstance(source, (str, os.PathLike)):
        if not _is_pipe(source, name):
            return source
        with open(source, "rb") as pipe:
            source = pipe.read()
    elif hasattr(source, "read"):
        if source.seekable():
            return source
        source = source.read()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        kind = type(source).__name__
        raise ImageError(f"{kind} is not a picture: give a path, bytes, file, PIL image or array")
    _refuse_empty(len(source), name)
    return io.BytesIO(source)


@contextmanager
def _no_limit() -> Iterator[None]:
    """Lift Pillow's own limit, which warns at 89 MP and refuses at 179 MP; ours stands in for it.

    The limit is the process's: it is lifted for moments only, by one thread at a time, and put
    back unless somebody else has set it meanwhile.
    """
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            if Image.MAX_IMAGE_PIXELS is None:
                Image.MAX_IMAGE_PIXELS = limit


def _is_pipe(path: str | os.PathLike[str], name: str) -> bool:
    """Check that a path can hold a picture, and tell whether it is a named pipe."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be opened ({_reason(error)})") from error
    import stat

    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name}: is a folder; expected a picture file")
    if stat.S_ISREG(status.st_mode):
        _refuse_empty(status.st_size, name)
    return stat.S_ISFIFO(status.st_mode)


def _refuse_empty(size_bytes: int, name: str) -> None:
    if size_bytes == 0:
        raise ImageError(f"{name}: is empty (0 bytes)")


def _is_huge(size: tuple[int, int]) -> bool:
    return size[0] * size[1] > _PILLOWS_LIMIT


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width}x{height} px is {width * height / 1e6:.0f} MP; "
            f"pictures over {MAX_PIXELS // 1_000_000} MP are refused: scale it down"
        )
    if min(size) < MIN_SIDE_PX:
        raise ImageError(
            f"{name}: {width}x{height} px is too small; expected at least {MIN_SIDE_PX} px a side"
        )


def _decoded(image: Image.Image, name: str, preprocessing: Preprocessing | None) -> DecodedImage:
    size = image.size
    _check_size(size, name)
    try:
        warnings = _frames_warning(image)
        drafted = preprocessing is not None and image.format in _SHRINKING
        if preprocessing is not None and drafted:
            turned = _swaps(_UPRIGHT.get(_orientation(image)))
            image.draft(None, _least_size(size, preprocessing, turned=turned))
        # The decoder of TIFF checks Pillow's limit again.
        with _no_limit() if image.format == "TIFF" and _is_huge(size) else nullcontext():
            jpeg_scan.load(image) if image.format in _SHRINKING else image.load()
        # Now and not before: decoders of TIFF turn the picture themselves and forget the tag.
        turn = _UPRIGHT.get(_orientation(image))
        size = size if drafted else image.size
        image = to_rgb(image)
        if turn is not None:
            image = image.transpose(turn)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode {size[0]}x{size[1]} px") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short ({_reason(error)})") from error
    return DecodedImage(image, size[::-1] if _swaps(turn) else size, warnings)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODE_ERRORS:
        return 1  # EXIF that cannot be read says nothing; the pixels may still be fine


def _swaps(turn: Image.Transpose | None) -> bool:
    return turn in (
        Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270,
    )  # fmt: skip


def _least_size(
    size: tuple[int, int], preprocessing: Preprocessing, *, turned: bool
) -> tuple[int, int]:
    """Give the smallest (width, height) in px, as stored, that a JPEG may be decoded at."""
    upright = size[::-1] if turned else size
    left, top, right, bottom = crop_box(upright, preprocessing)
    needed = max(preprocessing.width_px / (right - left), preprocessing.height_px / (bottom - top))
    scale = min(1.0, DECODE_MARGIN * needed)
    return math.ceil(size[0] * scale), math.ceil(size[1] * scale)


def _frames_warning(image: Image.Image) -> tuple[Notice, ...]:
    if image.format == "DICOM":
        return tuple(getattr(image, "notices", ()))
    if image.format == "HEIF" and getattr(image, "is_animated", False):
        return (Notice("pages", "file of several images: only its main one was classified"),)
    # The further pictures in a phone's photograph (MPO) are depth maps and previews.
    if image.format == "MPO" or not getattr(image, "is_animated", False) or image.tell() != 0:
        return ()
    if image.format == "TIFF":
        return (Notice("pages", "picture of several pages: only its first was classified"),)
    return (Notice("animated", "animated picture: only its first frame was classified"),)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB, with transparency laid over white and 16 bits scaled to 8.

    Raises:
        ImageError: Its pixels are floating-point numbers, of which the range is unknown.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ImageError("pixels are floating-point numbers; convert it to 8 or 16 bits a channel")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    import numpy as np

    values = np.clip(np.asarray(image), 0, 65535).astype(np.uint32)
    # 65535 / 255 = 257: white stays white.
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
