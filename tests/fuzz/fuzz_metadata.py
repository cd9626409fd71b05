"""Fuzz ``lesionedge.metadata``: any bytes are a model's metadata or a ModelError.

python tests/fuzz/fuzz_metadata.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["lesionedge.metadata", "lesionedge.image"]):
    from lesionedge import metadata
    from lesionedge.errors import ModelError
    from lesionedge.image import Preprocessing

FILE = tempfile.NamedTemporaryFile(suffix=".tflite")  # noqa: SIM115 - open as long as the fuzzing


def one(content: bytes) -> None:
    """Read one input as a .tflite file, in every way that the package reads one."""
    os.ftruncate(FILE.fileno(), 0)
    os.pwrite(FILE.fileno(), content, 0)
    try:
        found = metadata.read(FILE.name)
        if found.card is not None and found.card.input is not None:
            Preprocessing.from_card(found.card.input)
    except ModelError:
        pass
    try:
        metadata.verify(FILE.name)
    except ModelError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
