"""How many instructions this package adds to each picture: an estimate for boards not at hand.

    python benchmarks/research/instructions.py [--json FILE]

Counts, with valgrind's callgrind, what a picture of 600x450 px costs by hand (``peer/by_hand.py``)
and through ``Classifier.classify``, on one thread: the instructions of a process that answers 12
pictures less those of one that answers 2, divided by 10. The difference between the two ways is
what this package adds. Time on a board is estimated as difference / (clock * instructions a
cycle); the latter is a rough guess for interpreted code, named beside each board.

Needs valgrind (``apt install valgrind``). Valgrind has no AVX-512: the network runs on AVX2 here.
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
    # name: clock in GHz, instructions a cycle (assumed)
    "Pi Zero 2 W (Cortex-A53)": (1.0, 0.5),
    "Pi 3B+ (Cortex-A53)": (1.4, 0.5),
    "Pi 4 (Cortex-A72)": (1.5, 1.0),
    "Pi 5 (Cortex-A76)": (2.4, 1.5),
}
PROGRAM = """
import importlib, os, sys
module, model, picture, count = sys.argv[1:]
classify = importlib.import_module(module).load(model, 1)
for _ in range(int(count)):
    classify(picture)
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
        picture = Path(temporary) / "picture.jpg"
        picture.write_bytes(example_image())
        ways = {"by hand": "by_hand", "lesionedge": "with_lesionedge"}
        counts = {way: a_picture(module, picture) for way, module in ways.items()}
    added = counts["lesionedge"] - counts["by hand"]
    figures: dict[str, Any] = {
        "lesionedge": __version__, "date": time.strftime("%Y-%m-%d"),
        "instructions_a_picture": counts, "added": added,
        "estimated_ms": {
            board: added / (clock_ghz * per_cycle * 1e6)
            for board, (clock_ghz, per_cycle) in BOARDS.items()
        },
    }  # fmt: skip
    report(figures)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def a_picture(module: str, picture: Path) -> float:
    """Count the instructions of one picture."""
    few, many = (counted(module, picture, count) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def counted(module: str, picture: Path, count: int) -> int:
    """Count the instructions of a process that answers so many pictures."""
    print(f"{module}, {count} pictures", file=sys.stderr)
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable,
         "-c", PROGRAM, module, find_model("mobilenetv2"), str(picture), str(count)],
        capture_output=True, text=True, check=False, cwd=PEERS,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"valgrind failed:\n{done.stderr[-3000:]}")
    return int(found[1])


def report(figures: dict[str, Any]) -> None:
    """Print what was found."""
    for way, count in figures["instructions_a_picture"].items():
        print(f"{way}: {count / 1e6:.2f} million instructions a picture")
    print(f"added: {figures['added'] / 1e6:.2f} million. Estimates, at an assumed rate:")
    for board, (clock_ghz, per_cycle) in BOARDS.items():
        print(
            f"{board}, {clock_ghz} GHz, {per_cycle} instructions a cycle: "
            f"{figures['estimated_ms'][board]:.2f} ms"
        )


if __name__ == "__main__":
    main()
