"""Write the filter of a collection that the embedded models were trained on.

    python benchmarks/research/known_images.py NAME SOURCE --others FOLDER... [--same FOLDER]
        [--every N]

``lesionedge evaluate`` warns of such images. The filter, in ``lesionedge/models``, holds numbers
and hashes, no image. SOURCE is a dataset; images of its published validation and test splits are
left out.
``--others`` are images of other collections, to count false positives. ``--same`` are the
dataset's images at another size, to count how many are found again. Prints both shares.
``--every`` keeps fewer hashes: enough to notice the collection, not each of its images.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path

import numpy as np

from lesionedge import datasets, formats
from lesionedge.evaluation import known

BITS = 3
"""Hashes that differ in no more bits than this count as the same image. So 97 % of images are found
again at another size, and at most 4 in 1,000 images of other collections are taken for one."""


def main() -> None:
    """Write the two files, and print what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("name", choices=list(known.FILES))
    parser.add_argument("source", type=Path)
    parser.add_argument("--others", type=Path, nargs="+", required=True)
    parser.add_argument("--same", type=Path)
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    table = datasets.load(given.source).table
    files = sorted(
        Path(path) for path in table[~table["given"].isin(["validation", "test"])]["path"]
    )
    numbers = np.array([int(file.stem.removeprefix("ISIC_")) for file in files])
    first, last = int(numbers.min()), int(numbers.max())
    hashes = np.array([known.hash_of(str(file)) for file in files[:: given.every]], "<u8")
    facts = {"dataset": given.name, "images": len(files), "first": first, "last": last}
    named = np.isin(np.arange(first, last + 1), numbers)
    if not named.all():
        facts["named"] = base64.b64encode(np.packbits(named)).decode()
    found = known.Filter(given.name, first, last, hashes, BITS, 0.0)
    shares = {folder: share(found, folder) for folder in given.others}
    for folder, value in shares.items():
        print(f"{folder}: {value:.2%} taken for images of {given.name}")
    if given.same:
        print(f"{given.same}: {share(found, given.same):.2%} found again")
    base = f"{known.FOLDER}/{known.FILES[given.name]}"
    facts |= {"bits": BITS, "false_positives": round(max(*shares.values(), 0.0001), 4)}
    Path(f"{base}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    hashes.tofile(f"{base}.hashes")


def share(found: known.Filter, folder: Path) -> float:
    """Return the share of a folder's images that look like one of the filter's.

    Raises:
        SystemExit: It has no images.
    """
    files = sorted(path for path in folder.rglob("*") if formats.is_image_name(path.name))
    if not files:
        raise SystemExit(f"{folder}: holds no images")
    return float(np.mean([found.has_look(known.hash_of(str(file))) for file in files]))


if __name__ == "__main__":
    main()
