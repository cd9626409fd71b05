"""Fuzz ``lesionedge.heic``: any bytes are an image or an ImageError.

python tests/fuzz/fuzz_heic.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["lesionedge", "pillow_heif"]):
    import pillow_heif  # noqa: F401

    from lesionedge import image as images
    from lesionedge.errors import ImageError

SETTINGS = images.Preprocessing(224, 224)
images.MAX_PIXELS = 4_000_000
START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def one(content: bytes) -> None:
    """Read an input as a HEIC file."""
    if content[4:8] != b"ftyp":
        content = START + content
    try:
        pixels = images.model_input(content, SETTINGS)
    except ImageError as error:
        assert "\n" not in str(error)
        return
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == "uint8"


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", module="PIL")
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
