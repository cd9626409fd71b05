"""Fuzz ``lesionedge.icc``: any bytes are a profile for images or a ColourError.

python tests/fuzz/fuzz_icc.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["lesionedge.icc", "lesionedge.rgb_space"]):
    import numpy as np
    from PIL import Image

    from lesionedge import icc
    from lesionedge.rgb_space import ColourError

IMAGES = {mode: Image.linear_gradient("L").convert(mode) for mode in ("RGB", "L", "CMYK")}
DEEP = np.linspace(0, 65535, 300).astype(np.uint16).reshape(10, 10, 3)


def one(content: bytes) -> None:
    """Convert an image of each mode with an input as its profile."""
    for mode, image in IMAGES.items():
        try:
            conversion = icc.conversion(content, mode)
        except ColourError as error:
            assert "\n" not in str(error)
            continue
        if conversion is not None:
            found = conversion.apply(image)
            assert (found.mode, found.size) == ("RGB", image.size)
    matrix = icc.deep(content)
    if matrix is not None:
        assert matrix.deep(DEEP).shape == DEEP.shape


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
