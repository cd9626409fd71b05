"""Converts a decoded video frame from PyAV to upright RGB.

It converts plane by plane and does not use FFmpeg's scaler, because most versions of PyAV let it
treat all video as BT.601.
"""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFilter

from lesionedge import image as images
from lesionedge.camera import yuv
from lesionedge.camera.frame import reduction
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SWAPPING = (
    Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270,
)  # fmt: skip
"""Turns that swap width and height."""

HD_WIDTH_PX, SD_HEIGHT_PX = 1280, 576
"""Video without colour tags counts as BT.709 from this width on, or above this height."""

_LEAST_OBLONG, _MOST_OBLONG = 0.01, 2.5  # a smaller difference is ignored; more is a broken tag

HDR = Notice("hdr", "high dynamic range: light brighter than white was cut off; record without HDR")
UNKNOWN_MATRIX = Notice(
    "video-colours", "the video's colour coding is unknown: its colours may be wrong"
)

# ITU-T H.273, table 4.
_MATRICES = {1: "709", 4: "FCC", 5: "601", 6: "601", 7: "240M", 9: "2020"}
_UNSPECIFIED = (0, 3, 2)  # 0 stands for RGB, which a frame of another format cannot be
_LIMITED, _FULL = 1, 2
_BT2020, _WIDE = 9, (9, 10, 11, 12)  # primaries: BT.2020, CIE XYZ, and the two of DCI P3
_TABLE_SIDE = 49
_HDR, _SRGB = (16, 18), 13  # transfer functions: PQ and HLG; sRGB


@dataclass(frozen=True)
class Tags:
    """A video's colour tags, as code points of ITU-T H.273."""

    matrix: int
    """MatrixCoefficients; 2 if the video does not specify them."""
    primaries: int
    """ColourPrimaries; 2 if the video does not specify them."""
    transfer: int
    """TransferCharacteristics; 2 if the video does not specify them."""
    full_range: bool
    """Whether luma goes from 0 to 255."""

    @classmethod
    def of(cls, frame: Any, context: Any) -> Tags:
        """Read the colour tags of a frame, or else of its stream.

        Args:
            frame: PyAV's.
            context: The codec context that decoded it.
        """

        def tag(name: str, unspecified: tuple[int, ...]) -> int:
            values = (int(getattr(owner, name, None) or 0) for owner in (frame, context))
            return next((value for value in values if value not in unspecified), unspecified[-1])

        color_range = tag("color_range", (0,))
        # FFmpeg's names of full-range formats; grey has full range unless its tag says otherwise.
        full_by_format = frame.format.name.startswith(("yuvj", "gray", "ya8", "ya16"))
        return cls(
            tag("colorspace", _UNSPECIFIED),
            tag("color_primaries", _UNSPECIFIED),
            tag("color_trc", _UNSPECIFIED),
            color_range == _FULL or (full_by_format and color_range != _LIMITED),
        )

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Warnings about these colours for people."""
        hdr = (HDR,) if self.transfer in _HDR else ()
        known = self.matrix in _MATRICES or self.matrix in _UNSPECIFIED
        return hdr if known else (*hdr, UNKNOWN_MATRIX)


@dataclass(frozen=True)
class Display:
    """How a player shows a video's frames."""

    turn: Image.Transpose | None = None
    """The turn that makes them upright; None: they are upright."""
    oblong: float = 1.0
    """How many times as wide as high a pixel is, before the turn."""

    @classmethod
    def of(cls, frame: Any, stream: Any) -> Display:
        """Read the turn of a frame and the shape of its stream's pixels.

        Args:
            frame: PyAV's.
            stream: The stream that it is from.
        """
        return cls(turn_of(frame), oblong_of(stream))

    def apply(self, image: Image.Image) -> Image.Image:
        """Return a frame as it is shown: with square pixels, upright."""
        if self.oblong != 1:
            width, height = image.size
            size = round(width * max(1, self.oblong)), round(height * max(1, 1 / self.oblong))
            image = image.resize(size, Image.Resampling.BICUBIC)
        return image if self.turn is None else image.transpose(self.turn)


def to_rgb(
    frame: Any, tags: Tags, display: Display, preprocessing: images.Preprocessing | None
) -> Image.Image:
    """Convert a frame, at a reduced scale if that is enough.

    Args:
        frame: PyAV's.
        tags: Its colour tags.
        display: How a player shows it.
        preprocessing: The model's preprocessing; None for full scale.
    """
    divisor = reduction((frame.width, frame.height), _before(display.turn, preprocessing))
    made = _from_rgb(frame, divisor) if _is_rgb(frame) else _from_yuv(frame, tags, divisor)
    return display.apply(made)


def shown_jpeg(
    data: bytes, display: Display, preprocessing: images.Preprocessing | None
) -> Image.Image:
    """Decode a JPEG of a video whose frames have to be turned or have oblong pixels.

    Args:
        data: The JPEG.
        display: How a player shows it.
        preprocessing: The model's preprocessing; None for full scale.

    Raises:
        ImageError: It is damaged.
    """
    return display.apply(images.decode(data, _before(display.turn, preprocessing)).image)


def blank_jpeg(size: tuple[int, int]) -> bytes:
    """Return a JPEG; decoding it shows how a video's JPEGs have to be turned.

    Args:
        size: (width, height) in px of the video; of another size, it would count as half a frame.
    """
    content = io.BytesIO()
    Image.new("L", size).save(content, "JPEG")
    return content.getvalue()


def _before(
    turn: Image.Transpose | None, preprocessing: images.Preprocessing | None
) -> images.Preprocessing | None:
    """Return the preprocessing for decoding an image that is turned afterwards."""
    if preprocessing is None or turn not in SWAPPING:
        return preprocessing
    width, height = preprocessing.height_px, preprocessing.width_px
    return replace(preprocessing, width_px=width, height_px=height)


def _is_rgb(frame: Any) -> bool:
    form = frame.format
    return bool(form.is_rgb or form.has_palette or form.name.startswith(("xyz", "mono")))


def _from_rgb(frame: Any, divisor: int) -> Image.Image:
    made = Image.fromarray(frame.to_ndarray(format="rgb24"))
    return made.reduce(divisor) if divisor > 1 else made


def _from_yuv(frame: Any, tags: Tags, divisor: int) -> Image.Image:
    if not _has_planes(frame.format):
        frame = frame.reformat(format=_planar(frame.format))
    rows = yuv.matrix(_matrix(tags, (frame.width, frame.height)), full_range=tags.full_range)
    made = yuv.to_rgb(_planes(frame, full_range=tags.full_range), rows, divisor)
    table = _to_srgb(tags.primaries, tags.transfer)
    return made if table is None else made.filter(table)


@functools.lru_cache(maxsize=4)
def _to_srgb(primaries: int, transfer: int) -> ImageFilter.Color3DLUT | None:
    """Return the table that converts a video's colours to sRGB.

    None for BT.709, which screens show without conversion, and for BT.601, whose primaries are
    nearly the same.
    """
    if transfer in _HDR:
        primaries = _BT2020 if primaries in _UNSPECIFIED else primaries
    elif primaries in _WIDE:
        transfer = _SRGB
    else:
        return None
    import numpy as np

    from lesionedge import rgb_space

    try:
        conversion = rgb_space.conversion(rgb_space.from_code_points(primaries, transfer))
    except rgb_space.ColourError:
        return None
    steps = np.linspace(0, 65535, _TABLE_SIDE).round().astype(np.uint16)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    converted = conversion.deep(np.stack([red, green, blue], -1).reshape(-1, 1, 3))
    return ImageFilter.Color3DLUT(_TABLE_SIDE, converted.astype(np.float32).reshape(-1) / 255)


def _has_planes(form: Any) -> bool:
    """Return whether each component has its own plane, in this machine's byte order."""
    places = [component.plane for component in form.components]
    return places == list(range(len(places))) and not (_is_wide(form) and form.is_big_endian)


def _planar(form: Any) -> str:
    """Return the planar format that holds the same samples."""
    chroma = form.chroma_width(8), form.chroma_height(8)
    name = {(4, 4): "yuv420p", (4, 8): "yuv422p", (2, 8): "yuv411p"}.get(chroma, "yuv444p")
    return f"{name}16le" if _is_wide(form) and name != "yuv411p" else name


def _is_wide(form: Any) -> bool:
    return bool(form.components[0].bits > 8)


def _plane_count(form: Any) -> int:
    """Return 3, or 1 for grey; a further plane is transparency."""
    return 3 if len(form.components) >= 3 else 1


def _planes(frame: Any, *, full_range: bool) -> yuv.Planes:
    share = (frame.format.chroma_width(8) / 8, frame.format.chroma_height(8) / 8)
    numbers = range(_plane_count(frame.format))
    luma, *chroma = (_plane(frame, number, full_range=full_range) for number in numbers)
    if not chroma:
        blank = Image.new("L", luma.size, 128)
        return yuv.Planes(luma, (blank, blank), (1.0, 1.0))
    return yuv.Planes(luma, (chroma[0], chroma[1]), share)


def _plane(frame: Any, number: int, *, full_range: bool) -> Image.Image:
    """Return a plane as mode L."""
    import numpy as np

    form, plane = frame.format, frame.planes[number]
    width, height = frame.width, frame.height
    if number:
        width, height = form.chroma_width(width), form.chroma_height(height)
    if not _is_wide(form):
        return Image.frombuffer("L", (width, height), plane, "raw", "L", plane.line_size, 1)
    rows = np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)[:height, :width]
    return Image.fromarray(_eight_bits(rows, form.components[number].bits, full_range=full_range))


def _eight_bits(values: NDArray[np.uint16], bits: int, *, full_range: bool) -> NDArray[np.uint8]:
    """Round to 8 bits: from 10 bits, 940 becomes 235 in limited range, 1023 becomes 255 in full."""
    import numpy as np

    if full_range:
        top = (1 << bits) - 1
        table = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)
        return np.asarray(table[np.minimum(values, top)])
    half = 1 << (bits - 9)
    rounded = np.minimum(values, (1 << bits) - 1 - half)
    rounded += half
    rounded >>= bits - 8
    return rounded.astype(np.uint8)


def _matrix(tags: Tags, size: tuple[int, int]) -> str:
    """Return the name of the matrix that a video uses, or probably uses."""
    found = _MATRICES.get(tags.matrix)
    if found is not None:
        return found
    if tags.primaries in (9, 10):
        return "2020"
    is_hd = size[0] >= HD_WIDTH_PX or size[1] > SD_HEIGHT_PX
    return "709" if is_hd else "601"


def oblong_of(stream: Any) -> float:
    """Return how many times as wide as high a stream's pixels are; 1 if it is unknown.

    Video of standard definition and of capture devices often has oblong pixels.
    """
    share = float(getattr(stream, "sample_aspect_ratio", None) or 1)
    is_oblong = abs(share - 1) >= _LEAST_OBLONG and 1 / _MOST_OBLONG <= share <= _MOST_OBLONG
    return share if is_oblong else 1.0


def turn_of(frame: Any) -> Image.Transpose | None:
    """Return the turn that makes a frame upright; None if it is upright.

    A display matrix shows the pixel at (x, y) at (a x + c y, b x + d y). Phones write quarter
    turns and mirrorings; any other matrix is rounded to the nearest of these.
    """
    for part in getattr(frame, "side_data", ()):
        if str(part.type).rsplit(".", maxsplit=1)[-1] == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack("=5i", bytes(part)[:20])
            return _turn(a, b, c, d)
    return None


def _turn(a: int, b: int, c: int, d: int) -> Image.Transpose | None:
    to = Image.Transpose
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return {
            (False, False): None,
            (True, False): to.FLIP_LEFT_RIGHT,
            (False, True): to.FLIP_TOP_BOTTOM,
            (True, True): to.ROTATE_180,
        }[a < 0, d < 0]
    return {
        (False, False): to.TRANSPOSE,
        (True, False): to.ROTATE_270,  # c: the columns become rows, from the right
        (False, True): to.ROTATE_90,
        (True, True): to.TRANSVERSE,
    }[c < 0, b < 0]
