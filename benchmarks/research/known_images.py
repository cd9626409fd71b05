"""Write the filter of the images that the embedded models were trained on.

    python benchmarks/research/known_images.py HAM10000/images --others FOLDER... [--same FOLDER]

``lesionedge evaluate`` warns of such images. The filter, ``lesionedge/models/ham10000-known``,
holds numbers and hashes, no image. ``--others`` are images of other collections, to count false
positives. ``--same`` are the dataset's images at another size, to count how many are found again.
Prints both shares.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from lesionedge.evaluation import known

BITS = 3
"""Hashes that differ in no more bits than this count as the same image. So 97 % of images are found
again at another size, and at most 4 in 1,000 images of other collections are taken for one."""
DATASET = "HAM10000"


def main() -> None:
    """Write the two files, and print what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--others", type=Path, nargs="+", required=True)
    parser.add_argument("--same", type=Path)
    given = parser.parse_args()
    files = sorted(given.images.glob("*.jpg"))
    numbers = [int(file.stem.removeprefix("ISIC_")) for file in files]
    hashes = np.array([known.hash_of(str(file)) for file in files], "<u8")
    facts = {"dataset": DATASET, "images": len(files), "first": min(numbers), "last": max(numbers)}
    found = known.Filter(DATASET, facts["first"], facts["last"], hashes, BITS, 0.0)
    shares = {folder: share(found, folder) for folder in given.others}
    for folder, value in shares.items():
        print(f"{folder}: {value:.2%} taken for images of {DATASET}")
    if given.same:
        print(f"{given.same}: {share(found, given.same):.2%} found again")
    base = f"{known.FOLDER}/{known.FILES[DATASET]}"
    facts |= {"bits": BITS, "false_positives": round(max(shares.values()), 4)}
    Path(f"{base}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    hashes.tofile(f"{base}.hashes")


def share(found: known.Filter, folder: Path) -> float:
    """Return the share of a folder's images that look like one of the filter's."""
    files = sorted(folder.rglob("*.jpg"))
    return float(np.mean([found.has_look(known.hash_of(str(file))) for file in files]))


if __name__ == "__main__":
    main()
