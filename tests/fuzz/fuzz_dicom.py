"""Fuzz ``lesionedge.dicom``: any bytes are a photograph or an ImageError.

python tests/fuzz/fuzz_dicom.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["lesionedge.dicom", "lesionedge.image", "pydicom"]):
    import pydicom  # noqa: F401

    from lesionedge import dicom
    from lesionedge import image as images
    from lesionedge.errors import ImageError

SETTINGS = images.Preprocessing(224, 224)
# Sizes must be checked before any pixels are decoded.
images.MAX_PIXELS = 4_000_000
dicom.MAX_INFLATED_BYTES = 4_000_000
SECRET = "Doe^Jane"


def one(content: bytes) -> None:
    """Read an input as a DICOM file."""
    if content[128:132] != b"DICM":
        content = bytes(128) + b"DICM" + content
    try:
        pixels = images.model_input(content, SETTINGS)
    except ImageError as error:
        assert SECRET not in str(error)
        assert "\n" not in str(error)
        return
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == "uint8"


if __name__ == "__main__":
    import logging
    import warnings

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
