"""How many images of a folder say what their colours are, and what does that change?

    python benchmarks/research/colours.py FOLDER [FOLDER ...]

Prints a line for each folder: how many images it has, how many say what their colours are (by a
profile, a PNG chunk or an EXIF tag), how many are therefore converted to sRGB, and by how many
levels of 255, on average, the conversion changes a model's input of 224 px.
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
    """Print one line for each folder."""
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
    """Return whether a file says what its colours are, even if it says sRGB."""
    try:
        with Image.open(path) as image:
            return bool(colour.declared(image).statements)
    except OSError:
        return False


def changed(path: Path) -> float | None:
    """Return by how many levels the model's input changes; None if it is not converted."""
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
