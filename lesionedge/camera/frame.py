"""One image from a camera, decoded only when needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, Union

from lesionedge import image as images
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Content = Union[bytes, "Callable[[images.Preprocessing | None], Image.Image]"]
"""The bytes of a JPEG (or other image file), or a function that returns an RGB image, at a reduced
scale if that is enough for the preprocessing."""


_PLAIN = (b"JFIF\0", b"JFXX\0", b"AVI1", b"Adobe", b"ICC_PROFILE\0")


class Shot(NamedTuple):
    """A frame as a source yields it."""

    content: Content | None
    """None: the frame arrived damaged."""
    captured_s: float
    """``time.monotonic()`` when it was captured."""
    position_s: float | None = None
    """Its position in a file that has its own speed."""
    warnings: tuple[Notice, ...] = ()
    """Warnings for people who read its prediction."""
    path: str | None = None
    """The image file; None for a frame of a camera, a stream or a video."""


class Source(Protocol):
    """An open camera, stream or file."""

    description: str
    """The source, and its format, size and rate."""
    live: bool
    """Whether frames that are not taken are lost; False: the source waits."""
    on_demand: bool
    """Whether to take the next frame only when a caller waits for it; this may change."""

    def frames(self) -> Iterator[Shot | None]:
        """Yield each frame when it arrives, and None from time to time while none arrives.

        Raises:
            CameraError: The source is gone.
        """

    def close(self) -> None:
        """Release the device."""


@dataclass(frozen=True)
class Frame:
    """One image from a camera."""

    number: int
    """Counts every frame of the camera from 1, also those that were not taken."""
    timestamp: datetime
    """When it was captured, UTC."""
    captured_s: float
    """The same in ``time.monotonic()``, which no change of the clock affects."""
    content: Content
    """The content as it arrived."""
    before: tuple[Content, float] | None = None
    """Content and ``captured_s`` of the frame before it, to detect motion."""
    warnings: tuple[Notice, ...] = ()
    """Warnings about the source for people who read its predictions."""
    path: str | None = None
    """The image file; None for a frame of a camera, a stream or a video."""

    @property
    def jpeg(self) -> bytes | None:
        """The JPEG file as it arrived; None if it is not a JPEG or holds more than the image."""
        content = self.content
        if not isinstance(content, bytes) or content[:2] != b"\xff\xd8" or _holds_more(content):
            return None
        return content

    @property
    def image(self) -> Image.Image:
        """The image, RGB, at full scale.

        Raises:
            ImageError: The frame is damaged.
        """
        decoded = self.decoded().image
        decoded.info = {}  # Pillow would write its comment into the next file
        return decoded

    def decoded(self, preprocessing: images.Preprocessing | None = None) -> images.DecodedImage:
        """Decode the frame.

        Args:
            preprocessing: If given, the scale may be reduced: of a JPEG to ``decode_margin`` times
                the size that these settings need or more, of other content (``reduction``) to
                ``image.DECODE_MARGIN`` times.

        Raises:
            ImageError: The frame is damaged.
        """
        found = decode(self.content, preprocessing)
        return replace(found, warnings=(*self.warnings, *found.warnings))


def _holds_more(jpeg: bytes) -> bool:
    """Return whether a JPEG holds more than its image: place, time and device, or a comment.

    Of the segments before the coded image, only those for JFIF, colours (ICC, Adobe) and a
    camera's stream (AVI1) belong to the image (ITU-T T.81, B.1.1).
    """
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] not in (b"", b"\xda"):
        if jpeg[at + 1] == 0xFF:  # before a marker
            at += 1
            continue
        mark, size = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if (0xE0 <= mark <= 0xEF or mark == 0xFE) and not jpeg.startswith(_PLAIN, at + 4):
            return True
        at += 2 + max(size, 2)
    return False


def decode(
    content: Content, preprocessing: images.Preprocessing | None = None
) -> images.DecodedImage:
    """Decode a source's content.

    Args:
        content: The content as it arrived.
        preprocessing: As in ``Frame.decoded``.

    Raises:
        ImageError: It is damaged.
    """
    if isinstance(content, bytes):
        return images.decode(content, preprocessing)
    return images.decode(content(preprocessing))


def from_array(array: NDArray[np.uint8], preprocessing: images.Preprocessing | None) -> Image.Image:
    """Make an image from an (H, W, 3) uint8 RGB array, always at full scale."""
    from PIL import Image

    return Image.fromarray(array)


def reduction(size: tuple[int, int], preprocessing: images.Preprocessing | None) -> int:
    """Return the whole number that an image's sides may be divided by before preprocessing.

    It is for frames that are not JPEGs. Their pixels are averaged in squares, which blurs more than
    a JPEG's reduced scale does; so ``image.DECODE_MARGIN`` is used, not the card's value.

    Args:
        size: (width, height) in px.
        preprocessing: The model's preprocessing; None returns 1.
    """
    if preprocessing is None:
        return 1
    left, top, right, bottom = images.crop_box(size, preprocessing)
    spare = min((right - left) / preprocessing.width_px, (bottom - top) / preprocessing.height_px)
    return max(1, int(spare / images.DECODE_MARGIN))


def counted(number: int) -> str:
    """Return a number of frames: ``1 frame``, ``2 frames``."""
    return f"{number} frame" if number == 1 else f"{number} frames"


def shown(address: str) -> str:
    """Return an address without the password in it."""
    # The last @ ends the password: many cameras' passwords hold one, too.
    return re.sub(r"(?<=://)[^/?#]*@", "…@", address)
