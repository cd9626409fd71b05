"""One image from a camera, decoded only when somebody looks at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, Union

from lesionedge import image as images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Content = Union[bytes, "Callable[[images.Preprocessing | None], Image.Image]"]
"""The bytes of a JPEG (or other image file), or what makes an RGB image, at a reduced scale
where that is enough for the preprocessing given."""


_PLAIN = (b"JFIF\0", b"JFXX\0", b"AVI1", b"Adobe", b"ICC_PROFILE\0")


class Shot(NamedTuple):
    """What a source gives for each frame."""

    content: Content | None
    """None: the frame was damaged on its way."""
    captured_s: float
    """``time.monotonic()`` when it was captured."""
    position_s: float | None = None
    """Its place in a file that plays at a speed of its own."""


class Source(Protocol):
    """An open camera, stream or file."""

    description: str
    """What it is and how it delivers."""
    live: bool
    """Frames that nobody takes are lost; False: the source waits."""

    def frames(self) -> Iterator[Shot | None]:
        """Yield frames as they come, and None now and then while none does.

        Raises:
            CameraError: The source is gone.
        """

    def close(self) -> None:
        """Let go of the device."""


@dataclass(frozen=True)
class Frame:
    """One image from a camera."""

    number: int
    """Counts from 1 all that the camera gave, also what nobody looked at."""
    timestamp: datetime
    """When it was captured, UTC."""
    captured_s: float
    """The same on ``time.monotonic()``, which no change of the clock moves."""
    content: Content
    """As it came."""
    before: tuple[Content, float] | None = None
    """Content and ``captured_s`` of the frame before it, to see motion by."""

    @property
    def jpeg(self) -> bytes | None:
        """The JPEG file as it came, where it came as one and holds nothing but the image."""
        content = self.content
        if not isinstance(content, bytes) or content[:2] != b"\xff\xd8" or _tells_more(content):
            return None
        return content

    @property
    def image(self) -> Image.Image:
        """The image, RGB, at full scale.

        Raises:
            ImageError: The frame is damaged.
        """
        decoded = self.decoded().image
        decoded.info = {}  # a comment, which Pillow would write out again
        return decoded

    def decoded(self, preprocessing: images.Preprocessing | None = None) -> images.DecodedImage:
        """Decode the frame.

        Args:
            preprocessing: Where given, the scale may be reduced to no less than
                ``image.DECODE_MARGIN`` times what these settings need.

        Raises:
            ImageError: The frame is damaged.
        """
        return decode(self.content, preprocessing)


def _tells_more(jpeg: bytes) -> bool:
    """Return whether a JPEG holds more than its image: place, time and device, or a comment.

    Of the segments before the coded image, only those of JFIF, of its colours (ICC, Adobe) and
    of a camera's stream (AVI1) do not (ITU-T T.81, B.1.1).
    """
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != b"\xda":
        mark, size = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if (0xE0 <= mark <= 0xEF or mark == 0xFE) and not jpeg.startswith(_PLAIN, at + 4):
            return True
        at += 2 + max(size, 2)
    return False


def decode(
    content: Content, preprocessing: images.Preprocessing | None = None
) -> images.DecodedImage:
    """Decode what a source gave.

    Args:
        content: As it came.
        preprocessing: As in ``Frame.decoded``.

    Raises:
        ImageError: It is damaged.
    """
    if isinstance(content, bytes):
        return images.decode(content, preprocessing)
    return images.decode(content(preprocessing))


def from_array(array: NDArray[np.uint8], preprocessing: images.Preprocessing | None) -> Image.Image:
    """Make an image of an (H, W, 3) uint8 RGB array; there is no scale to reduce."""
    from PIL import Image

    return Image.fromarray(array)


def reduction(size: tuple[int, int], preprocessing: images.Preprocessing | None) -> int:
    """Return the whole number by which an image's sides may be divided before it is prepared.

    Args:
        size: (width, height) in px.
        preprocessing: What it is prepared for; None for 1.
    """
    if preprocessing is None:
        return 1
    left, top, right, bottom = images.crop_box(size, preprocessing)
    spare = min((right - left) / preprocessing.width_px, (bottom - top) / preprocessing.height_px)
    return max(1, int(spare / images.DECODE_MARGIN))


def shown(address: str) -> str:
    """Return an address without the password in it."""
    return re.sub(r"(?<=://)[^/@]*@", "…@", address)
