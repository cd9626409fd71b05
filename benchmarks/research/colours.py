"""Counts the images of a folder that say what their colours are, and what that changes.

    python benchmarks/research/colours.py FOLDER [FOLDER ...]

For each folder: its images, how many of them have a profile, a PNG chunk or an EXIF tag that says
what their colours are, how many are converted to sRGB for that, and by how many levels of 255 the
conversion changes a model's input of 224 px in the mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lesionedge import colour, formats
from lesionedge import image as images
from lesionedge.errors import ImageError

SETTINGS = images.Preprocessing(224, 224)


def main() -> None:
    """Print one line a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    for folder in parser.parse_args().folders:
        paths = [path for path in folder.rglob("*") if formats.is_image_name(path.name)]
        says = sum(says_something(path) for path in paths)
        changes = [change for path in paths if (change := changed(path)) is not None]
        mean = f", by {np.mean(changes):.1f} levels" if changes else ""
        print(f"{folder}: {len(paths)} images, {says} say what their colours are, "
              f"{len(changes)} are converted{mean}")  # fmt: skip


def says_something(path: Path) -> bool:
    """Return whether a file has a statement on its colours, be it sRGB."""
    try:
        with Image.open(path) as image:
            return bool(colour.declared(image).statements)
    except OSError:
        return False


def changed(path: Path) -> float | None:
    """Return by how many levels the model's input changes; None: it does not."""
    try:
        decoded = images.decode(path, SETTINGS)
    except ImageError:
        return None
    if decoded.conversion is None:
        return None
    plain = images.fit(decoded.upright.convert("RGB"), SETTINGS, full_size=decoded.size)
    return float(np.abs(decoded.fit(SETTINGS).astype(int) - plain).mean())


if __name__ == "__main__":
    main()
