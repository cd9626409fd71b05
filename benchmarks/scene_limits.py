"""Where the limits of ``lesionedge.camera.scene`` lie among real pictures, whole and degraded.

    python benchmarks/scene_limits.py FOLDER-OF-PICTURES [--pictures 500]

For brightness and sharpness: percentiles over pictures as they are, and the share that each limit
flags when pictures are darkened, brightened or blurred on purpose.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from lesionedge.camera import scene


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=500)
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.jpg"))
    paths = paths[:: max(1, len(paths) // options.pictures)]
    changes = {
        "as they are": lambda picture: picture,
        **{
            f"brightness x {factor}": lambda picture, f=factor: ImageEnhance.Brightness(
                picture
            ).enhance(f)
            for factor in (0.2, 0.3, 0.4, 1.4, 1.8)
        },
        **{
            f"blurred by {share:.1%} of the side": lambda picture, s=share: picture.filter(
                ImageFilter.GaussianBlur(s * min(picture.size))
            )
            for share in (0.005, 0.01, 0.02, 0.03)
        },
    }
    print(f"{len(paths)} pictures")
    for name, change in changes.items():
        report(name, [measured(path, change) for path in paths])
    squares = [square(path) for path in paths]
    pairs = {"another picture": list(pairwise(squares))}
    for share in (0.01, 0.02, 0.05, 0.1):
        name = f"shifted by {share:.0%} of the side"
        pairs[name] = [shifted(picture, share) for picture in squares]
    for name, both in pairs.items():
        found = [scene.difference(scene.luma(a), scene.luma(b)) for a, b in both]
        print(f"{name:<28} difference {np.round(np.percentile(found, (0.5, 5, 50, 95, 99.5)), 1)}")


def square(path: Path) -> Image.Image:
    """Give a picture's centre square."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    return picture.crop(scene.window(picture.size, 1.0))


def shifted(picture: Image.Image, share: float) -> tuple[Image.Image, Image.Image]:
    """Cut two overlapping squares out of a picture."""
    side, by = picture.width, max(1, round(picture.width * share))
    rest = side - by
    return picture.crop((0, 0, rest, rest)), picture.crop((by, by, side, side))


def measured(path: Path, change) -> scene.Measures:  # type: ignore[no-untyped-def]
    """Measure a picture's centre square."""
    return scene.measure(scene.luma(change(square(path))))


def report(name: str, found: list[scene.Measures]) -> None:
    """Print percentiles and how many are flagged."""
    brightness = np.percentile([m.brightness for m in found], (0.5, 5, 50, 95, 99.5))
    sharpness = np.percentile([m.sharpness for m in found], (0.5, 5, 50, 95))
    flagged = [text for m in found for text in scene.warnings(m, 0.0)]
    shares = {text.split(":")[0]: flagged.count(text) / len(found) for text in sorted(set(flagged))}
    print(
        f"{name:<28} brightness {np.round(brightness, 0)} sharpness {np.round(sharpness, 1)} "
        + ", ".join(f"{text} {share:.1%}" for text, share in shares.items())
    )


if __name__ == "__main__":
    main()
