"""Fuzz ``lesionedge.metadata`` and ``graph``: any bytes are a model, or a ModelError.

python tests/fuzz/fuzz_metadata.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

MODULES = ["appended", "metadata", "graph", "flatbuffer", "labels", "outputs", "image"]
with atheris.instrument_imports(include=[f"lesionedge.{name}" for name in MODULES]):
    from lesionedge import graph, metadata, outputs
    from lesionedge.errors import ModelError
    from lesionedge.image import Preprocessing

FILE = tempfile.NamedTemporaryFile(suffix=".tflite")  # noqa: SIM115 - open as long as the fuzzing


def one(content: bytes) -> None:
    """Read an input as a .tflite file, in every way that the package can."""
    os.ftruncate(FILE.fileno(), 0)
    os.pwrite(FILE.fileno(), content, 0)
    try:
        found = metadata.read(FILE.name)
        if found.card is not None and found.card.input is not None:
            Preprocessing.from_card(found.card.input)
        outputs.read(FILE.name, 7, found)
    except ModelError:
        pass
    for read in (graph.check, graph.verify, graph.ending):
        try:
            read(FILE.name)
        except ModelError:
            pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
