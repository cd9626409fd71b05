"""The images that others are compared with: a small file of statistics beside the model's.

It is no part of the .tflite file: site profiles belong to a model by the file's SHA-256, and a
reference that is made anew must not change that.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lesionedge.drift.statistics import PROBABILITIES, Statistics
from lesionedge.errors import ModelError

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier

FORMAT = 1
"""Version of the format."""
SUFFIX = ".reference.json"
"""What takes the place of a model file's ``.tflite``."""
_LARGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Reference:
    """Statistics of images that a model was measured on."""

    images: str
    """Which images they are."""
    sha256: str
    """Digest of the model's file, in hexadecimal."""
    statistics: Statistics
    """Of the model's predictions for them."""

    def to_json(self, **facts: Any) -> str:
        """Return its text.

        Args:
            facts: What else it says, for people.
        """
        content = {
            "format": FORMAT, "images": self.images, "sha256": self.sha256, **facts,
            "statistics": self.statistics.to_dict(),
        }  # fmt: skip
        return json.dumps(content) + "\n"

    def for_profile(self) -> Reference:
        """Return it without what a site profile changes: the probabilities."""
        values = {k: v for k, v in self.statistics.values.items() if k not in PROBABILITIES}
        return replace(self, statistics=replace(self.statistics, values=values))


def read(path: str) -> Reference:
    """Read a reference.

    Raises:
        ModelError: There is no such file, or it holds no reference.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: the reference cannot be read ({error.strerror})") from error
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}; expected {FORMAT}")
        found = Statistics.from_dict(content["statistics"])
        return Reference(str(content["images"]), str(content["sha256"]), found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: not a reference of statistics ({error})") from error


def of(classifier: Classifier) -> Reference | None:
    """Return a model's reference, as ``beside`` finds it.

    Raises:
        ModelError: The file beside it cannot be read.
    """
    from lesionedge.profile import digest

    path = classifier.path
    return beside(path, digest(path), profile=classifier.profile is not None)


def beside(path: str, sha256: str, *, profile: bool) -> Reference | None:
    """Return the reference beside a model's file; None: there is none of this model.

    Args:
        path: The model's file.
        sha256: Its digest, in hexadecimal.
        profile: Whether predictions go through a site profile; then the reference lacks the
            probabilities, which it changes.

    Raises:
        ModelError: The file beside it cannot be read.
    """
    file = path.removesuffix(".tflite") + SUFFIX
    if not os.path.exists(file):
        return None
    found = read(file)
    if found.sha256 != sha256:
        return None
    return found.for_profile() if profile else found
