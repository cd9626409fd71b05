"""Does anything leak? It classifies many images of different kinds, some of them broken.

    python benchmarks/soak.py [--predictions 100000] [--json FILE]

One process classifies small and large JPEGs, PNGs with alpha, CMYK, 16-bit grey, truncated and
empty files and text, as paths, bytes and arrays, in turns. It prints its memory (VmRSS), open file
descriptors and threads from time to time. It exits with 1 if memory has grown by over 2 MB since
the thousandth prediction, if one of the others has grown, or if other images fail than the broken
ones.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import lesionedge
from lesionedge import machine
from lesionedge.benchmark import example_image

SETTLED = 1000
"""Predictions after which memory may not grow."""
MOST_GROWTH_BYTES = 2_000_000
ROWS = 20
"""How often memory is looked at, about."""
BROKEN = ("cut.jpg", "empty.jpg", "text.jpg", "missing.jpg")
"""Sources that cannot be classified, whenever it is tried."""


def main() -> int:
    """Predict, watch, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("-m", "--model")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.predictions <= SETTLED:
        parser.error(f"--predictions must be over {SETTLED}")
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(make_images(Path(folder)), options.predictions, options.model)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    return report(figures)


def make_images(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return name -> a function that returns the image source anew."""
    jpeg, photo = example_image(), example_image(1920, 1080)
    with Image.open(io.BytesIO(jpeg)) as opened:
        rgb = opened.convert("RGB")
    (folder / "lesion.jpg").write_bytes(jpeg)
    (folder / "photo.jpg").write_bytes(photo)
    alpha = rgb.convert("RGBA").resize((300, 225))
    alpha.putalpha(200)
    alpha.save(folder / "alpha.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    deep = np.asarray(rgb.convert("L"), np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image")
    pixels = np.asarray(rgb)
    by_path: dict[str, Callable[[], Any]] = {
        path.name: lambda path=path: str(path) for path in sorted(folder.iterdir())
    }
    return by_path | {
        "missing.jpg": lambda: str(folder / "missing.jpg"),
        "bytes": lambda: jpeg,
        "file": lambda: io.BytesIO(jpeg),
        "array": lambda: pixels,
        "PIL": lambda: rgb,
    }


def soak(sources: dict[str, Callable[[], Any]], count: int, model: str | None) -> dict[str, Any]:
    """Classify ``count`` images and record what might leak."""
    classifier = lesionedge.Classifier(model)
    names, rows = list(sources), []
    failed, expected = dict.fromkeys(names, 0), 0
    begin = time.monotonic()
    for number in range(1, count + 1):
        name = names[number % len(names)]
        expected += name in BROKEN
        try:
            classifier.classify(sources[name]())
        except lesionedge.LesionEdgeError:
            failed[name] += 1
        if is_looked_at(number, count):
            rows.append({"predictions": number, "seconds": time.monotonic() - begin, **held()})
            print(rows[-1], file=sys.stderr)
    wrong = {name: times for name, times in failed.items() if times and name not in BROKEN}
    if wrong or sum(failed.values()) != expected:
        raise SystemExit(f"{failed} could not be classified; expected all {expected} broken ones")
    return {
        "machine": machine.processor().name, "date": time.strftime("%Y-%m-%d"),
        "lesionedge": lesionedge.__version__, "model": classifier.model,
        "failed": {name: times for name, times in failed.items() if times}, "rows": rows,
    }  # fmt: skip


def is_looked_at(number: int, count: int) -> bool:
    """Return whether memory is looked at after so many predictions of ``count``."""
    return number in (SETTLED, count) or number % (count // ROWS) == 0


def held() -> dict[str, int]:
    """Return how much memory, and how many descriptors and threads, this process has now."""
    return {
        "rss_bytes": machine.memory_bytes("VmRSS") or 0,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": threading.active_count(),
    }


def report(figures: dict[str, Any]) -> int:
    """Print the growth and say whether it is too much."""
    rows = figures["rows"]
    first = next(row for row in rows if row["predictions"] >= SETTLED)
    growth = {key: rows[-1][key] - first[key] for key in held()}
    last = rows[-1]
    print(f"{last['predictions']} predictions in {last['seconds']:.0f} s, {figures['model']}")
    print(f"on {figures['machine']}, {figures['date']}; errors: {figures['failed']}")
    print(
        f"memory after {first['predictions']}: {first['rss_bytes'] / 1e6:.2f} MB, then "
        f"{growth['rss_bytes'] / 1e6:+.2f} MB; descriptors {growth['descriptors']:+d}, "
        f"threads {growth['threads']:+d}"
    )
    leaks = growth["rss_bytes"] > MOST_GROWTH_BYTES or any(
        growth[key] > 0 for key in growth if key != "rss_bytes"
    )
    print("leaks" if leaks else "no leak")
    return int(leaks)


if __name__ == "__main__":
    sys.exit(main())
