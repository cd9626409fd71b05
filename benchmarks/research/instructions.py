"""How many instructions does this package add to each image? An estimate for boards not at hand.

    python benchmarks/research/instructions.py [--json FILE]

Counts with valgrind's callgrind what an image of 600x450 px costs, written by hand
(``peer/by_hand.py``) and with ``Classifier.classify``, on one thread: the instructions of a process
that classifies 12 images less those of one that classifies 2, divided by 10. The difference
between the two is what this package adds. The time on a board is estimated as difference / (clock *
instructions per cycle). Instructions per cycle are a rough guess for interpreted code; each line
names it.

Needs valgrind (``apt install valgrind``). Valgrind has no AVX-512, so the network uses AVX2.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lesionedge import __version__
from lesionedge.benchmark import example_image
from lesionedge.classifier import find_model

FEW, MANY = 2, 12
BOARDS = {
    # name: clock in GHz, instructions per cycle (assumed)
    "Pi Zero 2 W (Cortex-A53)": (1.0, 0.5),
    "Pi 3B+ (Cortex-A53)": (1.4, 0.5),
    "Pi 4 (Cortex-A72)": (1.5, 1.0),
    "Pi 5 (Cortex-A76)": (2.4, 1.5),
}
PROGRAM = """
import importlib, os, sys
module, model, image, count = sys.argv[1:]
classify = importlib.import_module(module).load(model, 1)
for _ in range(int(count)):
    classify(image)
os._exit(0)
"""
PEERS = Path(__file__).parents[1] / "peer"


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        parser.error("valgrind is not installed: apt install valgrind")
    with tempfile.TemporaryDirectory() as temporary:
        image = Path(temporary) / "image.jpg"
        image.write_bytes(example_image())
        ways = {"by hand": "by_hand", "lesionedge": "with_lesionedge"}
        counts = {way: an_image(module, image) for way, module in ways.items()}
    added = counts["lesionedge"] - counts["by hand"]
    figures: dict[str, Any] = {
        "lesionedge": __version__, "date": time.strftime("%Y-%m-%d"),
        "instructions_per_image": counts, "added": added,
        "estimated_ms": {
            board: added / (clock_ghz * per_cycle * 1e6)
            for board, (clock_ghz, per_cycle) in BOARDS.items()
        },
    }  # fmt: skip
    report(figures)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def an_image(module: str, image: Path) -> float:
    """Count the instructions of one image."""
    few, many = (counted(module, image, count) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def counted(module: str, image: Path, count: int) -> int:
    """Count the instructions of a process that classifies so many images."""
    print(f"{module}, {count} images", file=sys.stderr)
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable,
         "-c", PROGRAM, module, find_model("mobilenetv2"), str(image), str(count)],
        capture_output=True, text=True, check=False, cwd=PEERS,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"valgrind failed:\n{done.stderr[-3000:]}")
    return int(found[1])


def report(figures: dict[str, Any]) -> None:
    """Print what was found."""
    for way, count in figures["instructions_per_image"].items():
        print(f"{way}: {count / 1e6:.2f} million instructions per image")
    print(f"added: {figures['added'] / 1e6:.2f} million. Estimates, at an assumed rate:")
    for board, (clock_ghz, per_cycle) in BOARDS.items():
        print(
            f"{board}, {clock_ghz} GHz, {per_cycle} instructions per cycle: "
            f"{figures['estimated_ms'][board]:.2f} ms"
        )


if __name__ == "__main__":
    main()
