"""Divides ISIC 2017's training images: one half to learn from, the other to measure on.

    python release/halve.py ISIC2017-FOLDER OUT [--swap]

Writes ``OUT/labels.csv`` with the columns path, label and split, which ``fit --also`` and
``lesionedge evaluate`` read. An image's half is fixed by its name, so that it is the same wherever
the images lie. An image to measure on is left out if it looks like one to learn from, or if the
download says that it is of the same lesion or patient. ``--swap`` exchanges the halves, so that two
trainings together measure nearly all images.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import click
import numpy as np

from lesionedge import datasets
from lesionedge.atomic import write_text
from lesionedge.image import Preprocessing
from train.data import cache, splits

LOOKED_AT = Preprocessing(341, 256, crop="stretch", resampling="bilinear")
"""The size at which look-alikes are searched for."""


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--swap", is_flag=True, help="Learn from the half that is measured otherwise.")
def main(folder: Path, out: Path, swap: bool) -> None:
    """Divide the training images of FOLDER, ISIC 2017, and write OUT/labels.csv."""
    table = datasets.load(folder).table
    table = table[table["given"].fillna("train") == "train"].sort_values("path", ignore_index=True)
    paths = [Path(path) for path in table["path"]]
    learnt = np.array([zlib.crc32(f"h{path.stem}".encode()) % 2 == swap for path in paths])
    hashes = cache.derived(paths, LOOKED_AT, out / "cache", "phash", splits.perceptual_hash)
    known = splits.looks_like(hashes, hashes[learnt])
    for name in ("lesion", "patient"):
        known |= table[name].isin(table.loc[learnt, name].dropna()).to_numpy()
    alike = known & ~learnt
    table = table.assign(
        path=[path.absolute() for path in paths], split=np.where(learnt, "train", "test")
    )[~alike]
    write_text(out / "labels.csv", table[["path", "label", "split"]].to_csv(index=False))
    counts = table["split"].value_counts().to_dict()
    click.echo(f"{out / 'labels.csv'}: {counts}; too like those to learn from: {alike.sum()}")


if __name__ == "__main__":
    main()
