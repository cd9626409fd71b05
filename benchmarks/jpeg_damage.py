"""How many damaged JPEG files are found? Bytes are lost or overwritten at random places.

    python benchmarks/jpeg_damage.py [FOLDER] [--files 50] [--times 20] [--json FILE]

It damages the JPEG files of FOLDER (without FOLDER: drawn lesions with noise) and copies of them
that Pillow writes in other ways, at quality 90. "found" is the share of damaged files that are
refused. "seen" is the same share among files whose damage is visible: it changes the pixels for a
224 px model by more than 2 levels on average. The script also prints how many undamaged files are
refused, and how long the check takes.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lesionedge import ImageError, jpeg_scan
from lesionedge import image as images

MODEL = images.Preprocessing(224, 224)
VISIBLE = 2.0
KINDS: dict[str, dict[str, Any] | None] = {
    "unchanged": None,
    "baseline": {},
    "restart marks, a row each": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}
SEED = 0


def lost(count: int) -> Callable[[bytes, random.Random], bytes]:
    """Return a function that removes ``count`` bytes from the coded pixels."""

    def damage(data: bytes, chance: random.Random) -> bytes:
        at = place(data, count, chance)
        return data[:at] + data[at + count :]

    return damage


def overwritten(count: int) -> Callable[[bytes, random.Random], bytes]:
    """Return a function that sets ``count`` bytes of the coded pixels to 0."""

    def damage(data: bytes, chance: random.Random) -> bytes:
        at = place(data, count, chance)
        return data[:at] + bytes(count) + data[at + count :]

    return damage


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Flip one bit of the coded pixels."""
    at = place(data, 1, chance)
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


DAMAGES = {
    "1000 bytes lost": lost(1000), "188 bytes lost": lost(188), "20 bytes lost": lost(20),
    "512 bytes set to 0": overwritten(512), "1 bit flipped": flipped,
}  # fmt: skip


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", nargs="?", help="of JPEG files")
    parser.add_argument("--files", type=int, default=50, help="of the folder, evenly spread")
    parser.add_argument("--times", type=int, default=20, help="copies per file and damage")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    originals = list(itertools.islice(files(options.folder, options.files), options.files))
    if not originals:
        parser.error(f"{options.folder}: holds no .jpg files")
    rows = [row for kind in KINDS for row in measure(kind, originals, options.times)]
    figures = {"files": len(originals), "seed": SEED, "rows": rows, "cost": cost(originals)}
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{'file':26}{'damage':20}{'found':>8}{'seen':>8}{'damaged':>9}")
    for row in rows:
        seen = "-" if row["seen"] is None else f"{row['seen']:.1%}"
        print(f"{row['kind']:26}{row['damage']:20}{row['found']:8.1%}{seen:>8}{row['count']:9}")
    print(figures["cost"])
    return 0


def files(folder: str | None, count: int) -> Iterator[bytes]:
    """Read a folder's files, or draw images."""
    if folder is not None:
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() == ".jpg")
        yield from (path.read_bytes() for path in paths[:: max(1, len(paths) // count)])
        return
    example = Path(__file__).parents[1] / "examples" / "synthetic_lesion.py"
    draw = runpy.run_path(str(example))["draw"]
    for seed in range(count):
        noise = np.random.default_rng(seed).normal(0, 4, (450, 600, 3))
        pixels = np.asarray(draw(600, 450, seed=seed), np.float32) + noise
        yield encoded(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), {})


def encoded(image: Image.Image, settings: dict[str, Any]) -> bytes:
    """Return an image as a JPEG."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90, **settings)
    return content.getvalue()


def place(data: bytes, count: int, chance: random.Random) -> int:
    """Choose a position for ``count`` bytes in the coded pixels."""
    begin = data.index(b"\xff\xda")
    return chance.randrange(begin + 14, max(begin + 15, len(data) - 2 - count))


def pixels(data: bytes) -> np.ndarray | None:
    """Return the model's input; None if the file is refused."""
    try:
        return images.model_input(data, MODEL).astype(int)
    except ImageError:
        return None


def unchecked(data: bytes) -> np.ndarray:
    """Return the model's input as Pillow alone decodes it."""
    image = Image.open(io.BytesIO(data))
    full = image.size
    image.draft(None, images._least_size(full, MODEL, turned=False))
    return images.fit(image.convert("RGB"), MODEL, full_size=full).astype(int)


def measure(kind: str, originals: list[bytes], times: int) -> Iterator[dict[str, Any]]:
    """Damage files of one kind in every way; yield a row per way."""
    settings = KINDS[kind]
    whole = originals
    if settings is not None:
        whole = [encoded(Image.open(io.BytesIO(data)).convert("RGB"), settings)
                 for data in originals]  # fmt: skip
    sound = [pixels(data) for data in whole]
    yield row(kind, "none", [seen is None for seen in sound], [True] * len(sound))
    for name, damage in DAMAGES.items():
        chance = random.Random(SEED)
        found, visible = [], []
        for data, seen in zip(whole, sound):
            for _ in range(times if seen is not None else 0):
                hit = damage(data, chance)
                found.append(pixels(hit) is None)
                visible.append(is_visible(hit, seen))
        yield row(kind, name, found, visible)


def is_visible(data: bytes, whole: np.ndarray | None) -> bool:
    """Return whether damage changes the model's input, or makes it impossible to decode."""
    try:
        return bool(abs(unchecked(data) - whole).mean() > VISIBLE)
    except (OSError, SyntaxError, ValueError, IndexError):
        return True


def row(kind: str, damage: str, found: list[bool], visible: list[bool]) -> dict[str, Any]:
    """Return a table row of shares."""
    seen = [hit for hit, matters in zip(found, visible) if matters]
    return {
        "kind": kind, "damage": damage, "count": len(found), "found": sum(found) / len(found),
        "seen": sum(seen) / len(seen) if seen else None, "visible": sum(visible) / len(visible),
    }  # fmt: skip


def cost(originals: list[bytes]) -> str:
    """Time decoding with and without the check."""

    def opened(data: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(data))
        image.draft(None, images._least_size(image.size, MODEL, turned=False))
        return image

    def took_ms(data: bytes, load: Callable[[Any], object]) -> float:
        image = opened(data)
        begin = time.perf_counter()
        load(image)
        return (time.perf_counter() - begin) * 1000

    loads = (lambda image: image.load(), jpeg_scan.load)
    least = [
        # In turns, so that other work of the machine affects both.
        np.min([[took_ms(data, load) for load in loads] for _ in range(30)], axis=0)
        for data in originals
    ]
    plain, checked = np.median(least, axis=0)
    size = statistics.median(map(len, originals)) / 1000
    return f"decoding {plain:.3f} ms, check {checked - plain:.3f} ms (files of {size:.0f} kB)"


if __name__ == "__main__":
    sys.exit(main())
