"""Compare the results of two `lesionedge predict --format json` runs over the same images.

    python tests/compare_predictions.py HERE.json THERE.json --tolerance 0.05

Prints the largest difference of a probability; exits with 1 if it is above the tolerance or a
top label differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main() -> int:
    """Compare two files of predictions."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("files", nargs=2, type=Path)
    parser.add_argument("--tolerance", type=float, required=True)
    options = parser.parse_args()
    here, there = (_predictions(file) for file in options.files)
    if len(here) != len(there) or not here:
        print(f"{len(here)} predictions against {len(there)}")
        return 1
    differences, labels = [], 0
    for a, b in zip(here, there):
        labels += a["label"] != b["label"]
        theirs = {c["label"]: c["probability"] for c in b["top"]}
        differences += [abs(c["probability"] - theirs[c["label"]]) for c in a["top"]]
    print(
        f"{len(here)} images: largest difference {max(differences):.4f} "
        f"(allowed {options.tolerance}), {labels} top labels differ"
    )
    return int(max(differences) > options.tolerance or labels > 0)


def _predictions(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
