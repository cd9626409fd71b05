"""The gate's recipe: what is trained on what, as TOML data."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lesionedge.errors import LesionEdgeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).parent / "recipe.toml"


class GateRecipeError(LesionEdgeError):
    """A gate's recipe is missing or malformed."""


@dataclass(frozen=True)
class Copies:
    """How many re-encoded copies each source's training pictures are shown as."""

    ham10000: int
    """Of each picture of HAM10000."""
    isic: int
    """Of each picture of ISIC 2017's training set, where it is at hand."""
    clinical: int
    """Of each clinical photograph."""
    not_skin: int
    """Of each ordinary photograph."""
    drawn: int
    """Generated pictures altogether."""
    ruined: int
    """Pictures of all kinds altogether that are blurred, darkened or lit beyond use."""


@dataclass(frozen=True)
class GateRecipe:
    """A whole training of the gate."""

    name: str
    """What the model is called."""
    description: str
    """One line for people."""
    frozen_to: str
    """The last layer that keeps its ImageNet weights as they are."""
    last_block: str
    """The MobileNetV2 layer, by Keras' name, that the gate's head is put on."""
    features: int
    """Channels of the head."""
    dropout: float
    """Share of the head's channels that is left out at random in training."""
    input_px: int
    """Side of its input."""
    cache_px: int
    """Side of the copies from which it is cut at random."""
    batch_size: int
    epochs: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    """Share of each target that is spread evenly over the classes."""
    refused: float
    """Share of genuine pictures that the threshold may refuse on the calibration split."""
    copies: Copies


def load(path: Path = FILE) -> GateRecipe:
    """Read a recipe.

    Raises:
        GateRecipeError: It cannot be read, or a setting is unknown or missing.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return GateRecipe(**{**data, "copies": Copies(**data.get("copies", {}))})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise GateRecipeError(f"{path}: cannot be used ({error})") from error
