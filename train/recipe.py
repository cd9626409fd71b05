"""A recipe: everything that makes one training differ from another, as TOML data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from lesionedge.diagnosis import describe
from lesionedge.image import Preprocessing
from train import settings
from train.settings import (
    STRICT,
    AtLeastOne,
    BelowOne,
    Count,
    NotNegative,
    Positive,
    RecipeError,
    Share,
    Text,
    section,
)

FOLDER = Path(__file__).parent / "recipes"
T = TypeVar("T")

MOST_EPOCHS = 1000
"""More than a stage has: the stage's number times this, and the epoch, are an epoch's own seed."""

PRETRAINED = ("mobilenetv2", "gate", "efficientnetb3")
"""Architectures for which there are ImageNet weights."""


@dataclass(frozen=True, config=STRICT)
class Input(Preprocessing):
    """The model's input, with types checked."""


@dataclass(frozen=True, config=STRICT)
class Model:
    """Which network."""

    architecture: Text
    """A function of ``train.models.architectures``."""
    dropout: BelowOne = 0.0
    """Share of features dropped before the first dense layer, 0-1."""
    weights: Literal["imagenet", "random"] = "random"
    """``imagenet`` (downloaded, or given by ``--weights``) or ``random``."""
    output: Literal["softmax", "sigmoid"] = "softmax"
    """``softmax``, an output a class; ``sigmoid``, one output, for two classes."""
    dense: tuple[AtLeastOne, ...] = ()
    """Units of dense layers (with ReLU) between the features and the output."""
    dense_dropout: BelowOne = 0.0
    """Share of features dropped after each of them, 0-1."""
    filters: tuple[AtLeastOne, ...] = ()
    """``stacked``: filters of each block; all but the last are pooled (see flatten)."""
    convolutions: Annotated[int, Field(ge=1, le=8)] = 1
    """``stacked``: how many convolutions a block has."""
    batch_norm: bool = False
    """``stacked``: batch normalisation after each convolution."""
    block_dropout: BelowOne = 0.0
    """``stacked``: share of features dropped after each block, 0-1."""
    flatten: bool = False
    """``stacked``: the last block is pooled too, and every position's features go on, not their
    average; ties the network to one size."""


@dataclass(frozen=True, config=STRICT)
class Loss:
    """What is minimised."""

    tau: NotNegative = 1.0
    """Logit adjustment by tau * log(class share) (Menon et al. 2021, arXiv:2007.07314); 0: none."""
    label_smoothing: BelowOne = 0.0
    """Share of each target that is spread evenly over all classes, 0-1."""


@dataclass(frozen=True, config=STRICT)
class Distil:
    """How much is learnt from other models (``fit --soft-labels``, ``fit --teacher``)."""

    share: Share = 0.0
    """Share of the loss that compares with the soft labels, 0-1; 0: there are none."""
    temperature: Positive = 1.0
    """Soft labels are the teachers' probabilities to the power of 1 / temperature, normalised."""
    crops: Count = 0
    """Crops of each training image, changed as ``[augment]`` says, that the teachers
    (``fit --teacher``) are asked about: an epoch is a pass over these crops, turned and mirrored;
    0: soft labels of whole images, changed anew every epoch."""


@dataclass(frozen=True, config=STRICT)
class Augment:
    """Ranges that every training image's random changes are drawn from."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation either way."""
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    """Side of the part that is cut out, as a share of the image's shorter side."""
    shift: NotNegative = 0.0
    """Largest shift of the centre either way, as a share of the part that is cut out."""
    flip: bool = False
    """Mirror left-right and up-down, each with probability one half."""
    quarter_turns: bool = False
    """Turn by none to three quarters, each as likely, before the rotation."""
    brightness: Share = 0.0
    """Largest change of brightness either way, as a share of the full range."""
    contrast: Share = 0.0
    """Largest change of contrast either way, as a share."""
    saturation: Share = 0.0
    """Largest change of saturation either way, as a share."""
    tint: Share = 0.0
    """Largest change of each channel's gain either way, as a share (cameras differ)."""
    blur: Share = 0.0
    """Share of the images that lose detail: shrunk, to ``detail`` at the least, and enlarged."""
    detail: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Smallest share of its side that an image is shrunk to."""
    sharpness: Share = 0.0
    """Largest change of sharpness either way, as a share of what an image has more detail than a
    3x3 average of it (decoders that reduce an image, and cameras, differ)."""
    noise: Share = 0.0
    """Largest standard deviation of the noise added to half of the images, as a share of the full
    range."""
    jpeg: Share = 0.0
    """Share of the images that go through JPEG, at a quality of 30 to 95."""
    erase: Share = 0.0
    """Largest side of the square that is covered in half of the images, as a share of theirs."""

    def undegraded(self) -> Augment:
        """Return the changes of shape and colour alone."""
        return replace(self, blur=0.0, sharpness=0.0, noise=0.0, jpeg=0.0, erase=0.0)


@dataclass(frozen=True, config=STRICT)
class Collection:
    """Another collection, which stages with ``others = true`` mix into their batches."""

    name: Text
    """What ``fit --also NAME=FOLDER`` calls it."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """Its share of each batch; the dataset's own images have what is left."""
    classes: Mapping[str, Annotated[tuple[Text, ...], Field(min_length=1)]] = field(
        default_factory=dict
    )
    """Its label -> the model's classes that an image so labelled may be of. Images of labels that
    are not named are left out, and classes that nothing is of are not learnt from it. Empty: its
    labels are understood by their names."""
    cache_side_px: AtLeastOne = 256
    """Shorter side of its cached images."""
    cache_aspect: Positive = 4 / 3
    """Width of its cached images for their height."""
    stretch: bool = False
    """Whether its images are stretched to that shape; else the centre is cut out."""
    augment: Augment | None = None
    """What is changed in other ways than ``[augment]`` says, which fills in what is left out."""
    attribution: str = ""
    """Whose images they are and under which terms, for the card."""


@dataclass(frozen=True, config=STRICT)
class Stage:
    """One phase of the training; the next one starts from its best weights."""

    name: Text
    """What it is called in the log."""
    epochs: Annotated[int, Field(ge=0, lt=MOST_EPOCHS)]
    """How many passes over the training images at most; 0 in a first stage: the weights that
    ``fit --weights`` gives are taken as they are."""
    learning_rate: NotNegative
    """Its highest."""
    input_px: AtLeastOne
    """Side of the images that this stage sees; the last stage's must be the model's."""
    train: Text = "all"
    """``all`` layers, only the ``head``, or from the layer of this name on."""
    quantize: bool = False
    """Quantization-aware: weights and activations are rounded to 8 bits as they will be."""
    freeze_batch_norm: bool = False
    """Batch normalisation uses its moving statistics, which stay as they are."""
    fold_batch_norm: bool = False
    """Batch normalisation is part of the convolutions while the stage trains, with its moving
    statistics: a step takes two thirds of the time, and its shift is trained as they are."""
    others: bool = False
    """Learns from the other collections (``[[others]]``), too; without any (``fit --also``) the
    stage is left out."""
    taught: Share = 0.0
    """Share of the loss that compares with what a teacher predicts of the very images that are
    shown; the rest compares with the labels, 0-1. A quantized stage's teacher is the float network
    that it rounds; that of a stage with ``others``, for the dataset's own images, is the network
    that the stage begins with."""
    final_learning_rate: NotNegative = 0.0
    """Where the cosine schedule ends."""
    warmup_epochs: NotNegative = 0.0
    """Over how many epochs the learning rate rises from 0."""
    watch: Literal["balanced_accuracy", "loss"] = "balanced_accuracy"
    """What is best: highest validation ``balanced_accuracy``, or least validation ``loss``."""
    keep: Literal["best", "last"] = "best"
    """``best`` by what is watched, or the ``last`` epoch's weights.

    Validation has a dozen images of the rarest classes: in a short stage that ends at a
    learning rate of zero, the best of a few epochs is luck and the last is the better choice.
    """
    patience: AtLeastOne = 1000
    """Epochs without a better validation score after which the stage ends."""
    schedule: Literal["cosine", "constant", "steps", "plateau"] = "cosine"
    """How the learning rate falls: ``cosine`` to ``final_learning_rate``; ``constant``; ``steps``:
    times ``cut`` with every epoch after the first ``cut_after``; ``plateau``: times ``cut`` after
    ``cut_after`` epochs without a better validation score."""
    cut: Annotated[float, Field(gt=0, le=1)] = 1.0
    """What the learning rate is multiplied by."""
    cut_after: Count = 0
    """Epochs before a cut."""
    mix: Share = 1.0
    """What is kept is the mean of this stage's last weights, with this share (0-1), and of its
    first ones (Wortsman et al. 2022, arXiv:2109.01903). A first stage needs ``fit --weights``."""
    augment: Augment | None = None
    """What this stage changes in other ways than the recipe's ``[augment]``, which fills in what is
    left out here; None: nothing."""


@dataclass(frozen=True, config=STRICT)
class DataSettings:
    """What the dataset's labels become, and what a card says of the data."""

    classes: Mapping[str, Annotated[tuple[Text, ...], Field(min_length=1)]] = field(
        default_factory=dict
    )
    """The model's class -> the dataset's labels that it stands for, in output order (with a
    sigmoid: negative, positive); images of labels that are not named are left out. Empty: the
    dataset's own labels."""
    names: Mapping[str, Text] = field(default_factory=dict)
    """Class -> what people read, for classes that lesionedge does not know."""
    malignant: tuple[Text, ...] | None = None
    """Classes that count as malignant, maybe none; None: those that lesionedge knows to be, where
    it knows all classes."""
    balance: bool = False
    """Small classes' images come several times an epoch, changed anew each time, until every
    class has as many as the largest."""
    attribution: str = ""
    """Whose images they are; the dataset's own where it tells."""
    limits: tuple[str, ...] = ()
    """What a model of them cannot know; what is known of the dataset where left out."""
    modality: str = ""
    """How images were taken (``dermoscopy``: the device then checks that they were); the
    dataset's own where it tells."""
    licence: str = ""
    """Under which terms a model of them may be used; the dataset's own where it tells."""


@dataclass(frozen=True, config=STRICT)
class Gate:
    """What the gate is trained on: re-encoded copies of every source's training images."""

    refused: BelowOne
    """Share of genuine images that the threshold may refuse on the calibration split."""
    ham10000: Count
    """Copies of each image of HAM10000."""
    isic: Count
    """Copies of each image of ISIC 2017's training set, where it is at hand."""
    clinical: Count
    """Copies of each clinical photograph."""
    not_skin: Count
    """Copies of each ordinary photograph."""
    drawn: Count
    """Generated images altogether."""
    ruined: Count
    """Images of all kinds altogether that are blurred, darkened or lit beyond use."""


@dataclass(frozen=True, config=STRICT)
class Shortened:
    """How a run departs from its recipe; ``fit`` writes it under the recipe that it keeps."""

    epochs: Count = 0
    """Epochs of each stage at most; 0: the recipe's."""
    images: Count = 0
    """Training images at most, chosen by chance with the classes' shares, and no more to validate
    on; 0: all."""
    weights: Literal["", "random"] = ""
    """``random``: where the recipe wants ImageNet weights; all layers are then trained."""
    as_given: bool = False
    """Whether the weights that ``fit --weights`` gives are taken as they are: no float stage is
    trained, but one that learns from other collections."""
    also: tuple[Text, ...] = ()
    """Names of the other collections that are given."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """A whole training."""

    name: Text
    """What the model is called."""
    description: str
    """One line for people."""
    input: Preprocessing
    """The model's input; the card's ``input`` section."""
    model: Model
    """The network."""
    stages: tuple[Stage, ...]
    """What is trained, one after the other."""
    loss: Loss = field(default_factory=Loss)
    """What a training minimises."""
    augment: Augment = field(default_factory=Augment)
    """Random changes to the training images."""
    distil: Distil = field(default_factory=Distil)
    """What is learnt from teachers."""
    others: tuple[Collection, ...] = ()
    """Other collections, for stages with ``others = true``."""
    data: DataSettings = field(default_factory=DataSettings)
    """The classes, and what is said of the dataset."""
    shortened: Shortened = field(default_factory=Shortened)
    """How a run departs from the recipe."""
    gate: Gate | None = None
    """Of the gate alone: its sources, in place of a dataset."""
    cache_side_px: AtLeastOne = 256
    """Shorter side of the cached training images, from which random parts are cut."""
    cache_aspect: Positive = 4 / 3
    """Width of the cached training images for their height; that of the dataset's images."""
    batch_size: AtLeastOne = 32
    """Images per step."""
    weight_decay: NotNegative = 0.0
    """AdamW's decoupled weight decay, on kernels only."""
    ema: BelowOne = 0.0
    """Decay a step of the weights' moving average, which is what is kept; 0: no average."""
    clip_norm: Positive = 1.0
    """Gradients are scaled down to this global norm."""
    source: str = ""
    """Where the settings come from."""

    @property
    def float_stages(self) -> tuple[Stage, ...]:
        """What ``fit`` trains."""
        return tuple(stage for stage in self.stages if not stage.quantize)

    @property
    def quantized(self) -> Stage:
        """What ``quantize`` does: the last stage, or only to round."""
        last = self.stages[-1]
        if last.quantize:
            return last
        return Stage("rounded", 0, 0.0, self.input.width_px, quantize=True, freeze_batch_norm=True)


def load(name_or_path: str) -> Recipe:
    """Read a recipe by its name or from a TOML file.

    Raises:
        RecipeError: There is none, or it has unknown, missing or malformed settings.
    """
    return loads(read(name_or_path), name_or_path)


def read(name_or_path: str) -> str:
    """Return a recipe's TOML, with what it includes.

    ``include = "FILE"``, a path from the recipe's folder, is for settings that recipes share: the
    recipe's own go over them.

    Raises:
        RecipeError: There is none, or it cannot be read.
    """
    path = _path(name_or_path)
    text = settings.text(path)
    data = settings.parse(text, str(path))
    if "include" not in data:
        return text
    import tomli_w

    own = {key: value for key, value in data.items() if key != "include"}
    include = data["include"]
    if not isinstance(include, str):
        raise RecipeError(f"{path}: include is {include!r}; expected the path of a TOML file")
    shared = settings.read(path.parent / include)
    return tomli_w.dumps(_over(shared, own))


def _over(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put a recipe's settings over those that it includes, table by table."""
    tables = {
        key: _over(shared[key], value)
        for key, value in own.items()
        if isinstance(value, Mapping) and isinstance(shared.get(key), Mapping)
    }
    return {**shared, **own, **tables}


def loads(text: str, name_or_path: str) -> Recipe:
    """Turn a recipe's TOML into a Recipe.

    Raises:
        RecipeError: It has unknown, missing or malformed settings.
    """
    path = str(_path(name_or_path))
    return parse(settings.parse(text, path), path)


def _path(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        return Path(name_or_path)
    known = {path.stem: path for path in _files()}
    if name_or_path not in known:
        raise RecipeError(
            f"{name_or_path}: no such recipe; known: {', '.join(known)}; or give a .toml"
        )
    return known[name_or_path]


def names() -> list[str]:
    """List the recipes that come with this repository."""
    return [path.stem for path in _files()]


def _files() -> list[Path]:
    """List them: the embedded models' first."""
    return sorted(FOLDER.glob("*/*.toml"))


def parse(data: dict[str, Any], path: str) -> Recipe:
    """Turn a recipe's TOML data into a Recipe.

    Raises:
        RecipeError: A setting is unknown, missing or malformed.
    """
    data = dict(data)
    augment = data.pop("augment", {})
    parts: dict[str, Any] = {
        "input": section(Input, data.pop("input", {}), f"{path}: [input]"),
        "model": section(Model, data.pop("model", {}), f"{path}: [model]"),
        "loss": section(Loss, data.pop("loss", {}), f"{path}: [loss]"),
        "augment": section(Augment, augment, f"{path}: [augment]"),
        "distil": section(Distil, data.pop("distil", {}), f"{path}: [distil]"),
        "data": section(DataSettings, data.pop("data", {}), f"{path}: [data]"),
        "shortened": section(Shortened, data.pop("shortened", {}), f"{path}: [shortened]"),
        "stages": _augmented(Stage, data.pop("stages", []), augment, path, "stages"),
        "others": _augmented(Collection, data.pop("others", []), augment, path, "others"),
    }
    if "gate" in data:
        parts["gate"] = section(Gate, data.pop("gate"), f"{path}: [gate]")
    whole = section(Recipe, {**data, **parts}, path)
    if not whole.stages:
        raise RecipeError(f"{path}: has no [[stages]]; expected at least one")
    _check_others(whole, path)
    recipe = _shorten(whole)
    _check(recipe, path)
    _check_used(whole, path)
    return recipe


def _augmented(
    kind: type[T], data: object, augment: Mapping[str, Any], path: str, name: str
) -> tuple[T, ...]:
    """Return stages or collections, whose own ``augment`` goes over the recipe's."""
    if not isinstance(data, list):
        raise RecipeError(f"{path}: {name} is {data!r}; expected [[{name}]], a table each")
    return tuple(
        _one_augmented(kind, each, augment, f"{path}: [[{name}]] {number}")
        for number, each in enumerate(data, start=1)
    )


def _one_augmented(kind: type[T], data: object, augment: Mapping[str, Any], where: str) -> T:
    if not isinstance(data, Mapping) or "augment" not in data:
        return section(kind, data, where)
    own, there = data["augment"], f"{where} augment"
    section(Augment, own, there)  # a table, of known names
    return section(kind, {**data, "augment": section(Augment, {**augment, **own}, there)}, where)


def _check_others(recipe: Recipe, path: str) -> None:
    names = [other.name for other in recipe.others]
    if len(set(names)) < len(names) or sum(other.share for other in recipe.others) >= 1:
        raise RecipeError(
            f"{path}: [[others]] has {', '.join(names)}; expected names that differ, and shares "
            "that leave some of a batch to the dataset's own images"
        )


def _check_used(recipe: Recipe, path: str) -> None:
    """Refuse other collections that no stage learns from, and a stage that has none."""
    learns = any(stage.others for stage in recipe.stages)
    if bool(recipe.others) != learns:
        there, lacks = "[[others]]", "a stage with others = true"
        if learns:
            there, lacks = lacks, there
        raise RecipeError(f"{path}: has {there}, but lacks {lacks}; expected both or neither")


def _shorten(recipe: Recipe) -> Recipe:
    """Return the recipe as it is run: with fewer epochs, some collections, or random weights."""
    short = recipe.shortened
    stages = recipe.stages
    if short.epochs:
        stages = tuple(replace(s, epochs=min(s.epochs, short.epochs)) for s in stages)
    strange = sorted(set(short.also) - {other.name for other in recipe.others})
    if strange:
        known = ", ".join(other.name for other in recipe.others) or "none"
        raise RecipeError(
            f"{recipe.name}: has no {', '.join(strange)} in [[others]]; it has {known}"
        )
    recipe = replace(recipe, others=tuple(o for o in recipe.others if o.name in short.also))
    stages = tuple(_as_given(stage, recipe) for stage in stages)
    if not short.weights:
        return replace(recipe, stages=stages)
    # Layers that start at random and are then frozen would stay at random.
    stages = tuple(
        replace(s, train="all", freeze_batch_norm=s.quantize, fold_batch_norm=False) for s in stages
    )
    return replace(recipe, stages=stages, model=replace(recipe.model, weights=short.weights))


def _as_given(stage: Stage, recipe: Recipe) -> Stage:
    """Leave out a stage for which something is lacking, or that is not wanted."""
    lacking = stage.others and not recipe.others
    unwanted = recipe.shortened.as_given and not stage.others and not stage.quantize
    return replace(stage, epochs=0, mix=1.0) if lacking or unwanted else stage


def _check(recipe: Recipe, path: str) -> None:
    """Refuse settings that would fail, or be passed over, in mid-training."""
    own = [recipe.augment, *(stage.augment for stage in recipe.stages)]
    for augment in [*own, *(other.augment for other in recipe.others)]:
        if augment is not None and augment.scale[0] > augment.scale[1]:
            raise RecipeError(f"{path}: scale is {list(augment.scale)}; expected the smaller first")
    for stage in recipe.stages:
        _check_stage(stage, path)
    _check_teaching(recipe, path)
    _check_classes(recipe, path)
    if recipe.model.weights == "imagenet" and recipe.model.architecture not in PRETRAINED:
        raise RecipeError(
            f"{path}: there are no ImageNet weights for {recipe.model.architecture}; expected "
            'weights = "random"'
        )
    if not recipe.float_stages or any(stage.quantize for stage in recipe.stages[:-1]):
        raise RecipeError(
            f"{path}: a stage with quantize = true comes once, last, after others; found "
            f"{', '.join(stage.name for stage in recipe.stages)}"
        )
    last = recipe.stages[-1]
    if last.input_px != recipe.input.width_px or recipe.input.width_px != recipe.input.height_px:
        raise RecipeError(
            f"{path}: the last stage trains at {last.input_px} px, the model's input is "
            f"{recipe.input.width_px}x{recipe.input.height_px} px; expected one size, square"
        )
    if recipe.model.flatten and any(s.input_px != last.input_px for s in recipe.stages):
        raise RecipeError(f"{path}: flatten ties the network to one size; stages have several")


def _check_classes(recipe: Recipe, path: str) -> None:
    """Refuse classes that cannot be told apart."""
    classes = recipe.data.classes
    if recipe.model.output == "sigmoid" and len(classes) not in (0, 2):
        raise RecipeError(
            f"{path}: a sigmoid is for two classes; [data.classes] has {len(classes)}"
        )
    if len(classes) == 1:
        raise RecipeError(f"{path}: [data.classes] has one class; expected two and more")
    times = Counter(old for olds in classes.values() for old in olds)
    twice = [old for old, count in times.items() if count > 1]
    if twice:
        raise RecipeError(
            f"{path}: [data.classes] has {', '.join(twice)} more than once; expected each of the "
            "dataset's labels in one class"
        )


def _check_stage(stage: Stage, path: str) -> None:
    if stage.epochs and not stage.learning_rate:
        raise RecipeError(
            f"{path}: stage {stage.name}: learning_rate is 0; expected more, or 0 epochs"
        )
    if stage.taught and not (stage.quantize or stage.others):
        raise RecipeError(
            f"{path}: stage {stage.name}: taught is {stage.taught:g}; expected 0 where a stage "
            "is neither quantized nor learns from others: it has no teacher ([distil] has some)"
        )
    if stage.schedule in ("steps", "plateau") and (
        stage.cut == 1 or (stage.schedule == "plateau" and not stage.cut_after)
    ):
        raise RecipeError(
            f"{path}: stage {stage.name}: schedule {stage.schedule} needs a cut below 1, and "
            "plateau a cut_after above 0; otherwise the learning rate stays as it is"
        )
    if stage.schedule not in ("steps", "plateau") and (stage.cut < 1 or stage.cut_after):
        raise RecipeError(
            f"{path}: stage {stage.name}: cut and cut_after are for the schedules steps and "
            f"plateau; its schedule is {stage.schedule}"
        )
    if stage.schedule != "cosine" and stage.final_learning_rate:
        raise RecipeError(
            f"{path}: stage {stage.name}: final_learning_rate is for the schedule cosine; its "
            f"schedule is {stage.schedule}"
        )
    whole = stage.train == "all" or stage.freeze_batch_norm or stage.fold_batch_norm
    if stage.quantize and (stage.others or stage.fold_batch_norm):
        raise RecipeError(
            f"{path}: stage {stage.name}: others and fold_batch_norm are for stages that are "
            "not quantized"
        )
    if stage.mix < 1 and (stage.quantize or not whole):
        raise RecipeError(
            f"{path}: stage {stage.name}: mix is {stage.mix:g}; expected 1 where "
            "a stage is quantized, or trains some layers only and their batch normalisation"
        )


def _check_teaching(recipe: Recipe, path: str) -> None:
    """Refuse what cannot be learnt from together."""
    if recipe.others and recipe.distil.share:
        raise RecipeError(
            f"{path}: has [distil] and [[others]]; there are no soft labels of other collections"
        )
    if recipe.distil.crops and not recipe.distil.share:
        raise RecipeError(
            f"{path}: [distil] has crops, but a share of 0: nothing is learnt of them"
        )


def check_classes(recipe: Recipe, labels: Sequence[str]) -> None:
    """Refuse a recipe that does not fit its classes, or leaves open which are malignant.

    Args:
        recipe: The recipe.
        labels: The model's classes: those of ``[data.classes]``, or the dataset's.

    Raises:
        RecipeError: It speaks of classes that are not there, or does not say which of classes that
            lesionedge does not know are malignant.
    """
    data = recipe.data
    strange = sorted({*(data.malignant or ()), *data.names} - set(labels))
    if strange:
        raise RecipeError(
            f"{recipe.name}: [data] speaks of {', '.join(strange)}; classes: {', '.join(labels)}"
        )
    known = {label: describe(label).malignant for label in labels}
    unknown = [label for label in labels if known[label] is None]
    if unknown and data.malignant is None:
        verb = "is" if len(unknown) == 1 else "are"
        # Both lists are complete, as the classes that a list leaves out count as benign.
        more, less = (
            json.dumps([label for label in labels if known[label] in kinds])
            for kinds in ((True, None), (True,))
        )
        raise RecipeError(
            f"{recipe.name}: it is not known whether {', '.join(unknown)} {verb} malignant; list "
            f"all malignant classes in [data]: malignant = {more} if so, malignant = {less} if not"
        )


def made_benign(recipe: Recipe, labels: Sequence[str]) -> list[str]:
    """Return the classes known to be malignant that ``[data] malignant`` makes benign."""
    listed = recipe.data.malignant
    if listed is None:
        return []
    return [label for label in labels if label not in listed and describe(label).malignant]


def shortened_text(text: str, short: Shortened) -> str:
    """Put what was given on the command line under a recipe's TOML.

    Args:
        text: The recipe.
        short: How the run departs from it.

    Raises:
        RecipeError: The recipe is a shortened one already.
    """
    given = [item for item in fields(short) if getattr(short, item.name)]
    if not given:
        return text
    if "shortened" in settings.parse(text, "the recipe"):
        raise RecipeError("the recipe has a [shortened] of its own; change it there")
    lines = [f"{item.name} = {json.dumps(getattr(short, item.name))}" for item in given]
    return "\n".join(
        [text.rstrip("\n"), "", "# Given on the command line.", "[shortened]", *lines, ""]
    )
