"""Converts uncompressed video of USB cameras (YUYV 4:2:2) to RGB."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from lesionedge import image as images
from lesionedge.camera import yuv
from lesionedge.camera.frame import reduction


@dataclass(frozen=True)
class Layout:
    """The layout and colours of a YUYV frame."""

    width_px: int
    """Width of the image, even."""
    height_px: int
    """Its height."""
    row_bytes: int
    """Bytes from one row to the next."""
    matrix: str = "601"
    """The standard of its colours, one of ``yuv.SHARES``."""
    full_range: bool = False
    """Luma from 0 to 255; False: from 16 to 235, as from most cameras."""

    @property
    def size_bytes(self) -> int:
        """The least size of a whole frame."""
        return self.row_bytes * (self.height_px - 1) + 2 * self.width_px


def to_rgb(data: bytes, layout: Layout, preprocessing: images.Preprocessing | None) -> Image.Image:
    """Convert a frame, at a reduced scale if that is enough.

    Args:
        data: At least ``layout.size_bytes`` bytes.
        layout: The layout of these bytes.
        preprocessing: The model's preprocessing; None for full scale.
    """
    import numpy as np

    width, height = layout.width_px, layout.height_px
    rows = np.frombuffer(data, np.uint8, layout.size_bytes)
    # The last row may end where its image ends, without the padding of the others.
    shape, strides = (height, width // 2, 4), (layout.row_bytes, 4, 1)
    pairs = np.lib.stride_tricks.as_strided(rows, shape, strides, writeable=False)
    luma = Image.fromarray(np.ascontiguousarray(pairs[..., 0::2]).reshape(height, width))
    blue, red = (Image.fromarray(np.ascontiguousarray(pairs[..., c])) for c in (1, 3))
    rows_to_rgb = yuv.matrix(layout.matrix, full_range=layout.full_range)
    divisor = reduction((width, height), preprocessing)
    return yuv.to_rgb(yuv.Planes(luma, (blue, red), (0.5, 1.0)), rows_to_rgb, divisor)
