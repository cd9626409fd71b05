"""Opens a path, bytes or a file as a PIL image, without decoding it."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from PIL import Image, UnidentifiedImageError

from lesionedge import formats
from lesionedge.errors import ImageError, MissingDecoderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ImageSource = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, Image.Image,
    "NDArray[np.uint8]",
]  # fmt: skip
"""A path, the bytes of a file, an open binary file, a PIL image or an (H, W, 3) uint8 RGB array."""

DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, LookupError, TypeError,
    ArithmeticError, AttributeError, RuntimeError, AssertionError, NameError, Warning,
    Image.DecompressionBombError,
)  # fmt: skip
"""What decoders raise on damaged files; Warning if the user turns warnings into errors."""

_DRAWINGS = ("EPS", "WMF")  # not pixels; Pillow runs other programs for them
# Formats of textures, games, telescopes and old programs; Pillow's results were not checked.
_UNCHECKED = (
    "BLP", "FITS", "FLI", "FTEX", "GBR", "IMT", "IPTC", "MCIDAS", "PCD", "PIXAR", "SPIDER",
    "XVTHUMB",
)  # fmt: skip
_limit_lock = threading.RLock()


def open_image(source: Any, name: str) -> Image.Image:
    """Open an image with the reader for its format.

    Args:
        source: What ``rewindable`` returns.
        name: The source's, for messages.

    Raises:
        ImageError: It is not an image, or its format is not supported.
    """
    content, kind = source, None
    try:
        kind = formats.recognise(_head(content))
        image = _opened(content, kind, name)
    except MissingDecoderError:
        raise
    except UnidentifiedImageError as error:
        by_name = formats.unreadable_kind(name)
        kind = kind or (by_name if by_name not in formats.EXTRAS else None)
        if kind is None and formats.suffix_of(name) in formats.DICOM_SUFFIXES:
            raise ImageError(
                f"{name}: not DICOM, or without its preamble (128 bytes and DICM); save it again "
                "as a DICOM file"
            ) from error
        raise ImageError(f"{name}: {_unidentified(kind, content)}") from error
    except PermissionError as error:
        raise ImageError(f"{name}: no permission to read it") from error
    except DECODE_ERRORS as error:
        raise ImageError(f"{name}: cannot be read as an image ({reason(error)})") from error
    if image.format in _DRAWINGS:
        with image:
            raise ImageError(f"{name}: is a drawing ({image.format}); expected a photograph")
    if image.format in _UNCHECKED:
        with image:
            raise ImageError(f"{name}: {image.format} files cannot be read: save it as PNG")
    if _is_camera_raw(image):
        with image:
            raise ImageError(f"{name}: {_unidentified('camera raw', None)}")
    return image


def reopened(content: Any) -> Image.Image:
    """Open an image again with Pillow; raise Pillow's errors."""
    with no_limit():
        return Image.open(content)


def _opened(content: Any, kind: str | None, name: str) -> Image.Image:
    """Open a file with the reader for its format."""
    if kind == "HEIC":
        from lesionedge import heic

        return heic.opened(content, name)
    if kind == "DICOM":
        from lesionedge import dicom

        return dicom.opened(content, name)
    return reopened(content)


def _head(content: Any) -> bytes:
    """Return a file's first bytes."""
    if not hasattr(content, "read"):
        with open(content, "rb") as file:
            return file.read(formats.HEAD_BYTES)
    content.seek(0)  # as Pillow does: a file that was just written is at its end
    head: bytes = content.read(formats.HEAD_BYTES)
    content.seek(0)
    return head


def _unidentified(kind: str | None, content: Any) -> str:
    if kind is None:
        from lesionedge import tiff

        if (unread := tiff.unread(content)) is not None:
            return unread
        return "not an image that can be read (JPEG, PNG, …)"
    advice = formats.advice(kind)
    return f"is a file of another kind ({kind})" + (
        f": {advice}" if advice else "; expected an image"
    )


def _is_camera_raw(image: Image.Image) -> bool:
    """Return whether a TIFF is a camera's raw file; Pillow would read its thumbnail."""
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return False
    # It has DNGVersion, or its first page is a reduced copy (NewSubfileType, SubIFDs).
    return 50706 in tags or (330 in tags and tags.get(254, 0) == 1)


def rewindable(source: Any, name: str) -> Any:
    """Return a source that can be opened more than once: a path or a seekable file.

    Args:
        source: Path, bytes or binary file.
        name: The source's, for messages.

    Raises:
        ImageError: The source is missing, empty or of another type.
    """
    try:
        return _rewindable(source, name)
    except PermissionError as error:
        raise ImageError(f"{name}: no permission to read it") from error
    except DECODE_ERRORS as error:
        raise ImageError(f"{name}: cannot be read as an image ({reason(error)})") from error


def _rewindable(source: Any, name: str) -> Any:
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
        raise ImageError(f"{kind} is not an image: pass a path, bytes, file, PIL image or array")
    _refuse_empty(len(source), name)
    return io.BytesIO(source)


@contextmanager
def no_limit() -> Iterator[None]:
    """Switch off Pillow's size limit (89 MP); ``MAX_PIXELS`` takes its place.

    The limit is the same for the whole process. It is off only briefly, for one thread at a time,
    and set again afterwards unless other code has set it meanwhile.
    """
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            if Image.MAX_IMAGE_PIXELS is None:
                Image.MAX_IMAGE_PIXELS = limit


def _is_pipe(path: str | os.PathLike[str], name: str) -> bool:
    """Check that a path may be an image; return whether it is a named pipe."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be opened ({reason(error)})") from error
    import stat

    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name}: is a folder; expected an image file")
    if stat.S_ISREG(status.st_mode):
        _refuse_empty(status.st_size, name)
    return stat.S_ISFIFO(status.st_mode)


def _refuse_empty(size_bytes: int, name: str) -> None:
    if size_bytes == 0:
        raise ImageError(f"{name}: is empty (0 bytes)")


def source_name(source: object) -> str:
    """Return an image source's name for messages: its path or its type."""
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"image of {len(source)} bytes"
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) else "image"


def reason(error: BaseException) -> str:
    """Return an error's text on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
