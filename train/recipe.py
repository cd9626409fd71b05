"""A recipe: everything that makes one training differ from another, as TOML data."""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from lesionedge.errors import LesionEdgeError
from lesionedge.image import Preprocessing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "recipes"
T = TypeVar("T")


class RecipeError(LesionEdgeError):
    """A recipe is missing, malformed or names something that does not exist."""


@dataclass(frozen=True)
class Model:
    """Which network."""

    architecture: str
    """A function of ``train.architectures``."""
    dropout: float = 0.0
    """Share of features dropped before the last dense layer, 0-1."""
    weights: str = "random"
    """``imagenet`` (downloaded, or given by ``--weights``) or ``random``."""


@dataclass(frozen=True)
class Loss:
    """What is minimised."""

    tau: float = 1.0
    """Logit adjustment by tau * log(class share) (Menon et al. 2021, arXiv:2007.07314); 0: none."""
    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over all classes, 0-1."""


@dataclass(frozen=True)
class Augment:
    """Ranges that every training picture's random changes are drawn from."""

    rotation_deg: float = 0.0
    """Largest rotation either way."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Side of the part that is cut out, as a share of the picture's shorter side."""
    shift: float = 0.0
    """Largest shift of the centre either way, as a share of the part that is cut out."""
    flip: bool = False
    """Mirror left-right and up-down, each with probability one half."""
    brightness: float = 0.0
    """Largest change of brightness either way, as a share of the full range."""
    contrast: float = 0.0
    """Largest change of contrast either way, as a share."""
    saturation: float = 0.0
    """Largest change of saturation either way, as a share."""
    tint: float = 0.0
    """Largest change of each channel's gain either way, as a share (cameras differ)."""


@dataclass(frozen=True)
class Stage:
    """One phase of the training; the next one starts from its best weights."""

    name: str
    """What it is called in the log."""
    epochs: int
    """How many passes over the training pictures at most."""
    learning_rate: float
    """Peak of the cosine schedule."""
    input_px: int
    """Side of the pictures that this stage sees; the last stage's must be the model's."""
    train: str = "all"
    """``all`` layers, or only the ``head``."""
    quantize: bool = False
    """Quantization-aware: weights and activations are rounded to 8 bits as they will be."""
    freeze_batch_norm: bool = False
    """Batch normalisation uses its moving statistics, which stay as they are."""
    final_learning_rate: float = 0.0
    """Where the cosine schedule ends."""
    warmup_epochs: float = 0.0
    """Over how many epochs the learning rate rises from 0."""
    keep: str = "best"
    """``best`` by validation balanced accuracy, or the ``last`` epoch's weights.

    Validation has a dozen pictures of the rarest classes: in a short stage that ends at a
    learning rate of zero, the best of a few epochs is luck and the last is the better choice.
    """
    patience: int = 1000
    """Epochs without a better validation score after which the stage ends."""


@dataclass(frozen=True)
class Recipe:
    """A whole training."""

    name: str
    """What the model is called."""
    description: str
    """One line for people."""
    input: Preprocessing
    """The model's input; the card's ``input`` section."""
    model: Model
    stages: tuple[Stage, ...]
    loss: Loss = field(default_factory=Loss)
    augment: Augment = field(default_factory=Augment)
    cache_side_px: int = 256
    """Shorter side of the cached training pictures, from which random parts are cut."""
    batch_size: int = 32
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay, on kernels only."""
    ema: float = 0.0
    """Decay a step of the weights' moving average, which is what is kept; 0: no average."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    source: str = ""
    """Where the settings come from."""


def load(name_or_path: str) -> Recipe:
    """Read a recipe by its name or from a TOML file.

    Raises:
        RecipeError: There is none, or it has unknown, missing or malformed settings.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError:
        known = ", ".join(names())
        raise RecipeError(
            f"{name_or_path}: no such recipe; known: {known}; or give a .toml"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error


def names() -> list[str]:
    """List the recipes that come with this repository."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def parse(data: dict[str, Any], path: str) -> Recipe:
    """Turn a recipe's TOML data into a Recipe.

    Raises:
        RecipeError: A setting is unknown, missing or malformed.
    """
    data = dict(data)
    parts: dict[str, Any] = {
        "input": _section(Preprocessing, data.pop("input", {}), f"{path}: [input]"),
        "model": _section(Model, data.pop("model", {}), f"{path}: [model]"),
        "loss": _section(Loss, data.pop("loss", {}), f"{path}: [loss]"),
        "augment": _section(Augment, data.pop("augment", {}), f"{path}: [augment]"),
        "stages": tuple(
            _section(Stage, stage, f"{path}: [[stages]] {number}")
            for number, stage in enumerate(data.pop("stages", []), start=1)
        ),
    }
    recipe = _section(Recipe, {**data, **parts}, path)
    if not recipe.stages:
        raise RecipeError(f"{path}: has no [[stages]]; expected at least one")
    return recipe


def _section(kind: type[T], data: dict[str, Any], where: str) -> T:
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise RecipeError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    needed = [
        name
        for name, item in known.items()
        if item.default is MISSING and item.default_factory is MISSING and name not in data
    ]
    if needed:
        raise RecipeError(f"{where}: {', '.join(needed)} missing")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError, LesionEdgeError) as error:
        raise RecipeError(f"{where}: {error}") from error
