"""Reads .npz files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np


def read(file: Path) -> dict[str, np.ndarray]:
    """Return all arrays of an .npz file, by name.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is no such file, or a damaged one.
    """
    try:
        with zipfile.ZipFile(file):  # numpy.load takes files of other kinds, too
            pass
        with np.load(file) as kept:
            return {name: kept[name] for name in kept.files}
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"no .npz file: {error}") from error
