"""The gate's recipe: what is trained on what, as TOML data."""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass

from train import settings
from train.settings import (
    STRICT,
    AtLeastOne,
    Count,
    Dropped,
    NotNegative,
    Positive,
    Text,
    section,
)

FILE = Path(__file__).parent / "recipe.toml"


@dataclass(frozen=True, config=STRICT)
class Copies:
    """How many re-encoded copies each source's training images are shown as."""

    ham10000: Count
    """Of each image of HAM10000."""
    isic: Count
    """Of each image of ISIC 2017's training set, where it is at hand."""
    clinical: Count
    """Of each clinical photograph."""
    not_skin: Count
    """Of each ordinary photograph."""
    drawn: Count
    """Generated images altogether."""
    ruined: Count
    """Images of all kinds altogether that are blurred, darkened or lit beyond use."""


@dataclass(frozen=True, config=STRICT)
class GateRecipe:
    """A whole training of the gate."""

    name: Text
    """What the model is called."""
    description: Text
    """One line for people."""
    frozen_to: Text
    """The last layer that keeps its ImageNet weights as they are."""
    last_block: Text
    """The MobileNetV2 layer, by Keras' name, that the gate's head is put on."""
    features: AtLeastOne
    """Channels of the head."""
    dropout: Dropped
    """Share of the head's channels that is left out at random in training."""
    input_px: AtLeastOne
    """Side of its input."""
    cache_px: AtLeastOne
    """Side of the copies from which it is cut at random."""
    batch_size: AtLeastOne
    epochs: AtLeastOne
    learning_rate: Positive
    weight_decay: NotNegative
    label_smoothing: Dropped
    """Share of each target that is spread evenly over the classes."""
    refused: Dropped
    """Share of genuine images that the threshold may refuse on the calibration split."""
    copies: Copies


def load(path: Path = FILE) -> GateRecipe:
    """Read a recipe.

    Raises:
        RecipeError: It cannot be read, or a setting is unknown, missing or malformed.
    """
    data = settings.read(path)
    copies = section(Copies, data.get("copies", {}), f"{path}: [copies]")
    return section(GateRecipe, {**data, "copies": copies}, str(path))
