"""Heat maps for the page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lesionedge.explanation import explain

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier

LARGEST_SIDE_PX = 1280


def heat_map(classifier: Classifier, content: bytes) -> bytes:
    """Return the heat map of an image file, as a PNG.

    Args:
        classifier: The loaded model.
        content: The image file.

    Raises:
        ImageError: The image cannot be read.
    """
    drawn = explain(content, model=classifier).overlay(content)
    drawn.thumbnail((LARGEST_SIDE_PX, LARGEST_SIDE_PX))
    png = io.BytesIO()
    drawn.save(png, "PNG")
    return png.getvalue()
