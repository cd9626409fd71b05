"""HEIC and HEIF files, as iPhones and many cameras write them; needs ``lesionedge[heic]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lesionedge.errors import MissingDecoderError

if TYPE_CHECKING:
    from PIL import Image


def opened(content: Any, name: str) -> Image.Image:
    """Open a file's primary image; ``load`` decodes its pixels.

    The container's own rotation and mirroring (``irot``, ``imir``) are applied when it is decoded.
    Only they count: the standard says to ignore EXIF's orientation, so it is 1 here. Pixels of
    more than 8 bits become 8 bits.

    Args:
        content: Path or binary file.
        name: The file's name, for messages.

    Returns:
        An image of the format ``HEIF``; its ``size`` is that of the upright image. ``info`` may
        have ``icc_profile``, or else ``cicp``: the code points (ITU-T H.273) of colour primaries,
        transfer function and matrix, and 1 for the full range, 4 bytes as in PNG.

    Raises:
        MissingDecoderError: The library is not installed.
        SyntaxError: It is not HEIC, or is damaged.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise MissingDecoderError(
            f"{name}: is a HEIC image; to read it: pip install 'lesionedge[heic]' ({error})"
        ) from error
    image: Image.Image = HeifImageFile(content)
    nclx = image.info.pop("nclx_profile", None)
    if nclx is not None and "icc_profile" not in image.info:
        # libheif has applied matrix and range: the result is full-range RGB, matrix 0.
        image.info["cicp"] = bytes(
            (nclx["color_primaries"] & 255, nclx["transfer_characteristics"] & 255, 0, 1)
        )
    return image
