"""Fuzz ``lesionedge.image``: any bytes are an image or an ImageError.

python tests/fuzz/fuzz_image.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import sys

import atheris

READERS = (
    "image", "image_file", "encodings", "tiff", "jpeg2000", "deep", "pixels", "colour", "icc",
    "isobmff", "rgb_space",
)  # fmt: skip

with atheris.instrument_imports(include=[*(f"lesionedge.{name}" for name in READERS), "PIL"]):
    from PIL import Image

    from lesionedge import image as images
    from lesionedge.errors import ImageError

SETTINGS = images.Preprocessing(224, 224)
# Larger than any image of the corpus: the size must be checked before pixels are decoded.
images.MAX_PIXELS = 4_000_000
Image.init()


def one(content: bytes) -> None:
    """Read an input as an image."""
    try:
        pixels = images.model_input(content, SETTINGS)
    except ImageError:
        return
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == "uint8"


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", module="PIL")
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
