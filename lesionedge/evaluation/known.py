"""Images that the embedded models have learnt from, found by their names or their looks."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesionedge.card import Card
from lesionedge.sources.names import base_name

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "models")
FILES = {"HAM10000": "ham10000-known"}
"""Name of a dataset, as a card has it -> its filter in ``lesionedge/models``: ``.json`` and
``.hashes``."""


@dataclass(frozen=True)
class Filter:
    """The names and perceptual hashes of a dataset's images."""

    dataset: str
    """Its name."""
    first: int
    """The lowest number of an image's name ``ISIC_NNNNNNN``."""
    last: int
    """The highest."""
    hashes: NDArray[np.uint64]
    """(N,) ``perceptual_hash`` of each image."""
    bits: int
    """Hashes that differ in no more bits are of the same image."""
    false_positives: float
    """Share of images of other collections that are taken for one of these."""

    def has_name(self, path: str) -> bool:
        """Return whether an image is called like one of them."""
        stem = os.path.splitext(base_name(path))[0]
        number = stem.removeprefix("ISIC_")
        return stem != number and number.isdecimal() and self.first <= int(number) <= self.last

    def has_look(self, value: int) -> bool:
        """Return whether an image's hash is that of one of them."""
        different = np.bitwise_xor(self.hashes, np.uint64(value))
        return bool((_bits(different) <= self.bits).any())


def of_card(card: Card) -> Filter | None:
    """Return the filter of the data that a model was trained on; None: there is none."""
    name = card.data.name if card.data else ""
    return load(name) if name in FILES else None


@functools.cache
def load(name: str) -> Filter:
    """Load the filter of a dataset."""
    path = os.path.join(FOLDER, FILES[name])
    with open(f"{path}.json", encoding="utf-8") as file:
        facts = json.load(file)
    return Filter(
        name, facts["first"], facts["last"], np.fromfile(f"{path}.hashes", "<u8"), facts["bits"],
        facts["false_positives"],
    )  # fmt: skip


def count(
    paths: Sequence[str], found: Filter, opened: Callable[[str], Image.Image | None]
) -> tuple[int, int]:
    """Count the images that a model knows: by their names, and by their looks.

    Args:
        paths: The images.
        found: The filter.
        opened: Opens an image; None where it cannot be read.
    """
    by_name = [path for path in paths if found.has_name(path)]
    rest = (path for path in paths if not found.has_name(path))
    by_look = sum(found.has_look(value) for value in _hashes(rest, opened))
    return len(by_name), by_look


def _hashes(paths: Iterator[str], opened: Callable[[str], Image.Image | None]) -> Iterator[int]:
    for path in paths:
        image = opened(path)
        if image is not None:
            yield perceptual_hash(image)


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
