"""Folders of images: does memory stay constant, and how much faster are several processes?

    python benchmarks/folders.py [--images 10000] [--turns 5] [--json FILE]

Runs ``lesionedge predict FOLDER`` as users do, and measures:

- its peak memory for a folder of 100 images and for a folder of ``--images`` images;
- images per second for a folder of 3,000, start-up included: with one job of one thread, with
  ``--jobs 2`` (one thread each) and with the defaults, in turns.

The folders hold links to 50 drawn images of 600x450 px.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measured_process

from lesionedge import __version__, machine
from lesionedge.benchmark import example_image

DRAWN = 50
SMALL, TIMED = 100, 3000
WAYS = {
    "one job, one thread": ("--jobs", "1", "--threads", "1"),
    "two jobs": ("--jobs", "2"),
    "defaults": (),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=10_000, help="of the large folder (10,000)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.images <= SMALL:
        parser.error(f"--images must be over {SMALL}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = draw(folder / "drawn")
        figures = {
            "machine": machine.processor().name, "date": time.strftime("%Y-%m-%d"),
            "lesionedge": __version__,
            "peak_mb": {
                str(count): predict(link(drawn, folder / str(count), count))[1]
                for count in (SMALL, options.images)
            },
            "per_s": speeds(link(drawn, folder / "timed", TIMED), options.turns),
        }  # fmt: skip
    report(figures)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def draw(folder: Path) -> list[Path]:
    """Draw different images."""
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(DRAWN)]
    for number, path in enumerate(paths):
        path.write_bytes(example_image(seed=number))
    return paths


def link(drawn: list[Path], folder: Path, count: int) -> Path:
    """Make a folder of ``count`` links to the drawn images."""
    folder.mkdir()
    for number in range(count):
        os.link(drawn[number % len(drawn)], folder / f"{number:06d}.jpg")
    return folder


def predict(folder: Path, *settings: str) -> tuple[float, float]:
    """Run ``lesionedge predict`` on a folder; return its milliseconds and peak memory in MB."""
    program = str(Path(sys.executable).with_name("lesionedge"))
    out = folder.with_suffix(".jsonl")
    line = [program, "predict", str(folder), "--format", "json", "-o", str(out), *settings]
    measured = measured_process.run(line)
    with out.open() as predictions:
        count = sum(1 for _ in predictions)
    expected = len(os.listdir(folder))
    if count != expected:
        raise SystemExit(f"{out}: {count} predictions; expected {expected}")
    return measured


def speeds(folder: Path, turns: int) -> dict[str, list[float]]:
    """Return the images per second of every way, one figure per turn."""
    count = len(os.listdir(folder))
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(turns):
        print(f"turn {turn + 1} of {turns}", file=sys.stderr)
        for way, settings in WAYS.items():
            found[way].append(count / predict(folder, *settings)[0] * 1000)
    return found


def report(figures: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"{figures['machine']}, lesionedge {figures['lesionedge']}, {figures['date']}")
    (few, least), (many, most) = figures["peak_mb"].items()
    print(f"peak memory: {least:.1f} MB for {few} images, {most:.1f} MB for {many} "
          f"({most / least:.3f} times)")  # fmt: skip
    one = figures["per_s"]["one job, one thread"]
    for way, rates in figures["per_s"].items():
        gain = statistics.median(a / b for a, b in zip(rates, one))
        print(f"{way}: {statistics.median(rates):.0f} images/s ({gain:.2f} times)")


if __name__ == "__main__":
    main()
