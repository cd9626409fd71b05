"""Images that the embedded models have learnt from, found by their names or their looks."""

from __future__ import annotations

import base64
import functools
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesionedge.card import Card
from lesionedge.sources.names import base_name

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "models")
LOOKED_AT = 1000
"""So many images are looked at, at most."""
FILES = {
    "HAM10000": "ham10000-known",
    "bcn20000": "bcn20000-known",
    "isic2017": "isic2017-known",
}
"""Name of a collection, as a card has it -> its filter in ``lesionedge/models``: ``.json`` and
``.hashes``."""


@dataclass(frozen=True)
class Filter:
    """The names and perceptual hashes of a collection's images."""

    dataset: str
    """Its name."""
    first: int
    """The lowest number of an image's name ``ISIC_NNNNNNN``."""
    last: int
    """The highest."""
    hashes: NDArray[np.uint64]
    """(N,) ``perceptual_hash`` of each image, or of every few of them."""
    bits: int
    """Hashes that differ in no more bits are of the same image."""
    false_positives: float
    """Share of images of other collections that are taken for one of these."""
    named: NDArray[np.bool_] | None = None
    """(last - first + 1,) Which numbers there are; None: all."""

    def has_name(self, path: str) -> bool:
        """Return whether an image is called like one of them."""
        stem = os.path.splitext(base_name(path))[0]
        number = stem.removeprefix("ISIC_")
        if stem == number or not number.isdecimal():
            return False
        place = int(number) - self.first
        within = 0 <= place <= self.last - self.first
        return within and (self.named is None or bool(self.named[place]))

    def has_look(self, value: int) -> bool:
        """Return whether an image's hash is that of one of them."""
        different = np.bitwise_xor(self.hashes, np.uint64(value))
        return bool((_bits(different) <= self.bits).any())


def of_model(card: Card, path: str) -> list[Filter]:
    """Return the filters of the images that an embedded model has learnt from; of another, none.

    Args:
        card: The model's card.
        path: Its file.
    """
    names = (card.data.name, *card.data.also) if card.data else ()
    embedded = os.path.dirname(os.path.realpath(path)) == os.path.realpath(FOLDER)
    return [load(name) for name in names if embedded and name in FILES]


@functools.cache
def load(name: str) -> Filter:
    """Load the filter of a dataset."""
    path = os.path.join(FOLDER, FILES[name])
    with open(f"{path}.json", encoding="utf-8") as file:
        facts = json.load(file)
    named = None
    if "named" in facts:
        packed = np.frombuffer(base64.b64decode(facts["named"]), np.uint8)
        named = np.unpackbits(packed)[: facts["last"] - facts["first"] + 1].astype(bool)
    return Filter(
        name, facts["first"], facts["last"], np.fromfile(f"{path}.hashes", "<u8"), facts["bits"],
        facts["false_positives"], named,
    )  # fmt: skip


def remark(paths: Sequence[str], card: Card, model: str, *, looks: bool = True) -> str | None:
    """Say how many of some images a model has learnt from; None if it is none that shows.

    Args:
        paths: The images.
        card: The model's card.
        model: Its file.
        looks: Whether to look at images that have other names, too; at most ``LOOKED_AT``.
    """
    filters, said = of_model(card, model), []
    for found in filters:
        named = sum(found.has_name(path) for path in paths)
        if named:
            said.append(f"{named:,} of these {len(paths):,} images have names of {found.dataset}")
    if looks and filters:
        others = [path for path in paths if not any(f.has_name(path) for f in filters)]
        seen = _looked_at(others)
        for found in filters:
            alike = sum(found.has_look(value) for value in seen)
            # Fewer may be due to chance.
            if seen and alike / len(seen) > 3 * found.false_positives:
                said.append(
                    f"{alike:,} of {len(seen):,} others look like images of {found.dataset}"
                )
    if not said:
        return None
    return f"{'; '.join(said)}: the model has learnt from them, and its figures are too good"


def _looked_at(paths: Sequence[str]) -> list[int]:
    """Return the hashes of images, of a sample by chance where there are many."""
    chosen = np.random.default_rng(0).permutation(len(paths))[:LOOKED_AT]
    found = []
    for number in sorted(chosen):
        with suppress(OSError, ValueError, Image.DecompressionBombError):
            found.append(hash_of(paths[number]))
    return found


def hash_of(path: str) -> int:
    """Return the perceptual hash of an image file.

    Raises:
        OSError: It cannot be read.
    """
    with Image.open(path) as image:
        image.draft("RGB", (150, 150))  # a JPEG is decoded at a lower resolution
        return perceptual_hash(image)


def perceptual_hash(image: Image.Image) -> int:
    """Return 64 bits that stay when an image is resized or compressed again.

    The signs of the lowest frequencies of its luma at 32 px against their median (Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions").
    """
    from scipy.fft import dctn

    small = image.convert("L").resize((32, 32), Image.Resampling.BOX)
    lowest = dctn(np.asarray(small, np.float64), norm="ortho")[:8, :8].ravel()
    bits = lowest > np.median(lowest)
    return int(np.packbits(bits).view(">u8")[0])


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return how many bits are set; numpy 1 has no ``bitwise_count``."""
    table = np.array([bin(byte).count("1") for byte in range(256)], np.int64)
    counts: NDArray[np.int64] = table[values.view(np.uint8).reshape(-1, 8)].sum(1)
    return counts
