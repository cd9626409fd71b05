"""The model card: a model's description, stored as ``lesionedge.json`` inside the .tflite.

``train`` writes it into the run folder, ``convert`` packs it into the model file, and the runtime
reads it. Unknown keys are kept and written again.

The sections are named tuples: defining one takes a quarter of a dataclass's time, and every start
of the command line defines them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

from lesionedge.errors import ModelError

T = TypeVar("T")
Extra = Mapping[str, Any]
_NONE: Mapping[str, Any] = {}
DECISION = "decision"
"""Name of the operating point by which a two-class model decides for its second class."""


class Label(NamedTuple):
    """One class, in output order."""

    label: str
    """The short code, such as ``mel``."""
    name: str | None = None
    """The name for people; None: the vocabulary's name for the code."""
    malignant: bool | None = None
    """Whether it is malignant; None: the vocabulary decides by the code."""
    extra: Extra = _NONE


class Input(NamedTuple):
    """How an image becomes the model's input."""

    width_px: int
    """Width of the model's input."""
    height_px: int
    """Height of the model's input."""
    crop: str = "centre"
    """As ``image.Preprocessing.crop``."""
    crop_fraction: float = 1.0
    """As ``image.Preprocessing.crop_fraction``."""
    resampling: str = "bilinear"
    """As ``image.Preprocessing.resampling``."""
    decode_margin: float | None = None
    """As ``image.Preprocessing.decode_margin``; None: 1.4."""
    mean: tuple[float, ...] = ()
    """What is subtracted from each channel's pixels, 0-255."""
    std: tuple[float, ...] = ()
    """What the difference is divided by."""
    extra: Extra = _NONE


class Output(NamedTuple):
    """How the network ends."""

    activation: str = "softmax"
    """``softmax`` or ``sigmoid``."""
    extra: Extra = _NONE


class Quantization(NamedTuple):
    """How the training prepared the network for 8 bits."""

    training: str = "none"
    """``qat``, ``bias-corrected`` or ``none``."""
    extra: Extra = _NONE


class TrainingData(NamedTuple):
    """What the model was trained on."""

    name: str = ""
    """The dataset."""
    split: str = ""
    """How it was split."""
    seed: int | None = None
    """The seed of the split."""
    images: Mapping[str, int] = _NONE
    """Split -> number of images."""
    trained_on: int | None = None
    """How many different images the training used."""
    also: Mapping[str, int] = _NONE
    """Other collection -> how many of its images were learnt from, too."""
    extra: Extra = _NONE


class Calibration(NamedTuple):
    """How logits become probabilities."""

    method: str = ""
    """``temperature``, ``temperature by class`` or ``none``."""
    temperature: Mapping[str, float] = _NONE
    """Model (``float``, ``int8``) -> what its logits are divided by."""
    class_temperature: Mapping[str, tuple[float, ...]] = _NONE
    """Model -> the same for each class, in output order."""
    split: str = ""
    """The images that it was fitted on."""
    images: int | None = None
    """How many images."""
    lesions: int | None = None
    """How many lesions they show."""
    extra: Extra = _NONE


class OperatingPoint(NamedTuple):
    """A threshold of the malignant probability, chosen for a sensitivity."""

    sensitivity: float
    """The sensitivity that it was chosen for, 0-1."""
    threshold: float
    """A malignant probability of at least this is above it."""
    measured_sensitivity: float
    """Share of malignant images above it, on the images that it was chosen on."""
    measured_specificity: float
    """Share of benign images below it, on those images."""
    extra: Extra = _NONE

    def above(self, malignant_probability: float) -> bool:
        """Return whether a probability reaches the threshold."""
        return malignant_probability >= self.threshold


class NamedPoint(NamedTuple):
    """A threshold of another probability, such as ``DECISION``."""

    name: str
    """What it decides."""
    threshold: float
    """It applies from this probability on."""
    extra: Extra = _NONE


class Gate(NamedTuple):
    """What makes a model a gate (``lesionedge.reliability``)."""

    threshold: float
    """The gate refuses an image if its first class is less probable than this."""
    refused_of_genuine: float | None = None
    """The share of genuine images that may be refused."""
    chosen_on: Mapping[str, float] = _NONE
    """Source of images -> the share of them that the threshold refuses."""
    extra: Extra = _NONE


class File(NamedTuple):
    """How the .tflite file was made."""

    format: str = ""
    """``int8``, ``float16`` or ``float32``."""
    method: str = ""
    """As ``Quantization.training``, or ``post-training``."""
    temperature: float | None = None
    """The temperature inside the graph."""
    converter: str = ""
    """Program and version."""
    extra: Extra = _NONE


class Figure(NamedTuple):
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float


class Measurement(NamedTuple):
    """The figures of one model on one split."""

    split: str
    """Name of the split."""
    model: str
    """``float`` or ``int8``."""
    images: int
    """How many images."""
    lesions: int
    """How many lesions they show."""
    figures: Mapping[str, Figure]
    """Name, such as ``balanced_accuracy`` -> value."""


@dataclass(frozen=True)
class Card:
    """A model card; missing values are empty."""

    format: int = 1
    """Version of this format."""
    name: str = ""
    """The recipe that made the model."""
    version: str = ""
    """Version of lesionedge that trained it."""
    description: str = ""
    """One line for people."""
    architecture: str = ""
    """The network."""
    labels: tuple[Label, ...] = ()
    """The classes, in output order."""
    input: Input | None = None
    """How an image becomes the model's input."""
    output: Output | None = None
    """How the network ends."""
    quantization: Quantization | None = None
    """How it was prepared for 8 bits."""
    data: TrainingData | None = None
    """What it was trained on."""
    modality: str | None = None
    """``dermoscopy``, or another kind of image."""
    licence: str = ""
    """The model's licence."""
    attribution: str = ""
    """Whose data and weights are in it."""
    intended_use: str = ""
    """What it is for."""
    limits: tuple[str, ...] = ()
    """What it cannot do."""
    calibration: Calibration | None = None
    """How its logits become probabilities."""
    gate: Gate | None = None
    """What makes it a gate."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds of the malignant probability."""
    named_points: tuple[NamedPoint, ...] = ()
    """Other thresholds."""
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Split -> model -> figures, as ``python -m train evaluate`` wrote them."""
    file: File | None = None
    """How the .tflite file was made; in such files only."""
    extra: Extra = field(default_factory=dict)
    """Keys that this version does not know."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The classes' codes, in output order."""
        return tuple(entry.label for entry in self.labels)

    @property
    def malignant(self) -> tuple[bool, ...]:
        """Whether each class is malignant, in output order.

        Raises:
            ModelError: The card does not say it for some class.
        """
        silent = [entry.label for entry in self.labels if entry.malignant is None]
        if silent:
            raise ModelError(
                f"the card does not say whether {', '.join(silent)} are malignant; expected "
                "true or false for each of its labels"
            )
        return tuple(bool(entry.malignant) for entry in self.labels)

    @property
    def decision_threshold(self) -> float | None:
        """The probability from which a two-class model decides for its second class."""
        return next((p.threshold for p in self.named_points if p.name == DECISION), None)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The figures that have an interval, of each model on each split."""
        return tuple(_measurements(self.metrics))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], name: str = "card") -> Card:
        """Read a card.

        Args:
            content: What its JSON holds.
            name: The file, for messages.

        Raises:
            ModelError: A value is missing, of the wrong type or out of range.
        """
        rest = dict(content)
        found = {}
        for key in [key for key in _CARD if key in rest]:
            value = rest.pop(key)
            try:
                found[key] = _CARD[key](value)
            except (TypeError, ValueError, OverflowError) as error:
                raise ModelError(f'{name}: "{key}" in its card is unusable: {error}') from None
        points, named = found.pop("operating_points", ((), ()))
        return cls(**found, operating_points=points, named_points=named, extra=rest)

    @classmethod
    def from_json(cls, text: str | bytes, name: str = "card") -> Card:
        """Read a card's text.

        Raises:
            ModelError: It is not JSON, or not a card.
        """
        import json

        try:
            # NaN and Infinity are not JSON, but Python writes them.
            content = json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{name}: its card is not JSON ({error})") from None
        if not isinstance(content, dict):
            raise ModelError(f"{name}: its card holds no JSON object")
        return cls.from_dict(content, name)

    def to_dict(self) -> dict[str, Any]:
        """Return the card as a JSON object, without empty values."""
        found: dict[str, Any] = _plain(self)
        if named := found.pop("named_points", None):
            found["operating_points"] = [*found.get("operating_points", ()), *named]
        return found

    def to_json(self) -> str:
        """Return its text."""
        import json

        return json.dumps(self.to_dict(), indent=2) + "\n"


def present(section: T | None, name: str) -> T:
    """Return a required section.

    Args:
        section: Such as ``card.input``.
        name: Such as ``input``, for the message.

    Raises:
        ModelError: The card does not have it.
    """
    if section is None:
        raise ModelError(f'the card has no "{name}"; expected one that python -m train wrote')
    return section


def _plain(value: Any) -> Any:
    """Return a card or a section as a JSON object, without empty values."""
    names = _names(value)
    if names:
        found = {name: _plain(getattr(value, name)) for name in names if name != "extra"}
        extra = getattr(value, "extra", {})
        return {key: one for key, one in found.items() if one not in (None, "", [], {})} | extra
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Card):
        return tuple(entry.name for entry in fields(value))
    names: tuple[str, ...] = getattr(value, "_fields", ())
    return names


def _measurements(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[Measurement]:
    for split, models in metrics.items():
        for model, found in models.items():
            if not isinstance(found, Mapping):
                continue
            images, lesions = found.get("images", 0), found.get("lesions")
            if isinstance(images, int) and isinstance(lesions, int):
                figures = {name: _figure(one) for name, one in found.items()}
                known = {name: figure for name, figure in figures.items() if figure is not None}
                yield Measurement(split, model, images, lesions, known)


def _figure(found: object) -> Figure | None:
    """Read a figure; None if it is not a figure, or not defined."""
    if not isinstance(found, Mapping):
        return None
    try:
        return Figure(*(_number(found.get(key)) for key in ("value", "low", "high")))
    except (TypeError, ValueError, OverflowError):
        return None


Reader = Callable[[Any], Any]
_EARLIER = {"pictures": "images"}
"""Key in cards that lesionedge 0.1.0 wrote -> its name today."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _format(value: Any) -> int:
    number = _whole(value)
    if number != Card.format:
        raise ValueError(f"it is {number}, and this version of lesionedge reads {Card.format}")
    return number


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError(f"{value!r} is not a whole number")
    return int(number)


def _share(value: Any) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError(f"{value!r} is not a number from 0 to 1")
    return number


def _threshold(value: Any) -> float:
    number = _number(value)  # above 1 where nothing reaches it
    if number < 0:
        raise ValueError(f"{value!r} is not a threshold, 0 or more")
    return number


def _yes_or_no(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true, false nor null")
    return value


def _or_null(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _many(read: Reader) -> Reader:
    def read_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{value!r} is not a list")
        return tuple(read(one) for one in value)

    return read_all


def _by_name(read: Reader) -> Reader:
    def read_all(value: Any) -> dict[str, Any]:
        return {str(key): read(one) for key, one in _object(value).items()}

    return read_all


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is not an object")
    return dict(value)


def _current(value: Any) -> dict[str, Any]:
    """Return an object with today's names of keys that earlier versions wrote."""
    return {_EARLIER.get(key, key): one for key, one in _object(value).items()}


def _models(value: Any) -> dict[str, Any]:
    """Read a split's figures by model."""
    return {
        model: _current(found) if isinstance(found, Mapping) else found
        for model, found in _object(value).items()
    }


def _section(kind: Any, **readers: Reader) -> Reader:
    """Return a reader of a section; ``readers`` read the known keys."""

    def read(value: Any) -> Any:
        rest = _current(value)
        found = {}
        for key in [key for key in readers if key in rest]:
            try:
                found[key] = readers[key](rest.pop(key))
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"{key}: {error}") from None
        missing = set(kind._fields) - set(kind._field_defaults) - set(found)
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))} is missing")
        return kind(**found, extra=rest)

    return read


_POINT = _section(
    OperatingPoint, sensitivity=_number, threshold=_threshold, measured_sensitivity=_number,
    measured_specificity=_number,
)  # fmt: skip
_NAMED_POINT = _section(NamedPoint, name=_text, threshold=_threshold)


def _points(value: Any) -> tuple[tuple[OperatingPoint, ...], tuple[NamedPoint, ...]]:
    """Separate thresholds of the malignant probability from other thresholds."""
    entries = _many(_object)(value)
    return (
        tuple(_POINT(entry) for entry in entries if "name" not in entry),
        tuple(_NAMED_POINT(entry) for entry in entries if "name" in entry),
    )


_CARD: Mapping[str, Reader] = {
    "format": _format,
    "name": _text,
    "version": _text,
    "description": _text,
    "architecture": _text,
    "labels": _many(_section(
        Label, label=_text, name=_or_null(_text), malignant=_yes_or_no
    )),
    "input": _section(
        Input, width_px=_whole, height_px=_whole, crop=_text, crop_fraction=_number,
        resampling=_text, decode_margin=_or_null(_number), mean=_many(_number),
        std=_many(_number),
    ),
    "output": _section(Output, activation=_text),
    "quantization": _section(Quantization, training=_text),
    "data": _section(
        TrainingData, name=_text, split=_text, seed=_or_null(_whole), images=_by_name(_whole),
        trained_on=_or_null(_whole), also=_by_name(_whole),
    ),
    "modality": _or_null(_text),
    "licence": _text,
    "attribution": _text,
    "intended_use": _text,
    "limits": _many(_text),
    "calibration": _section(
        Calibration, method=_text, temperature=_by_name(_number),
        class_temperature=_by_name(_many(_number)), split=_text, images=_or_null(_whole),
        lesions=_or_null(_whole),
    ),
    "gate": _section(
        Gate, threshold=_share, refused_of_genuine=_or_null(_number), chosen_on=_by_name(_number)
    ),
    "operating_points": _points,
    "metrics": _by_name(_models),
    "file": _section(
        File, format=_text, method=_text, temperature=_or_null(_number), converter=_text
    ),
}  # fmt: skip
