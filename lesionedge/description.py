"""Reads labels, input and thresholds from a model file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from lesionedge import labels, metadata, normalisation, outputs
from lesionedge.card import Card, Label
from lesionedge.diagnosis import Diagnosis, describe, marked
from lesionedge.errors import ModelError
from lesionedge.image import Preprocessing
from lesionedge.interpreter import TensorInfo
from lesionedge.metadata import ModelMetadata
from lesionedge.model_options import ModelOptions
from lesionedge.outputs import Outputs

EMBEDDED = {
    "mobilenetv2": "mobilenetv2-int8.tflite",
    "mobilenetv2-float16": "mobilenetv2-float16.tflite",
    "cnn": "cnn-int8.tflite",
}
"""Name of an embedded model -> its file in ``lesionedge/models``."""

DEFAULT_MODEL = "mobilenetv2"


class Description(NamedTuple):
    """The facts about a model that a classifier needs."""

    card: Card
    """The model card; empty if the file has none. It has no operating points if
    ``other_malignant``."""
    other_malignant: bool
    """Whether the options name other classes as malignant than those that the card's operating
    points are for."""
    diagnoses: tuple[Diagnosis, ...]
    """What the classes mean, in output order."""
    preprocessing: Preprocessing
    """How an image becomes the model's input."""
    outputs: Outputs
    """How to read the network's outputs."""
    mean: tuple[float, ...]
    """What is subtracted from a pixel, 0-255: one value, or one per channel."""
    std: tuple[float, ...]
    """What the difference is divided by: one value, or one per channel."""
    decision: float | None
    """With two classes: the probability from which the second one is chosen. None: the more
    probable class is chosen."""


def name_of(options: ModelOptions) -> str:
    """Return a model's name or path as the user typed it."""
    return DEFAULT_MODEL if options.model is None else os.fsdecode(options.model)


def find_model(model: str) -> str:
    """Return the file of an embedded model, or the path itself.

    Raises:
        ModelError: There is no such model or file.
    """
    if model in EMBEDDED:
        path = os.path.join(os.path.dirname(__file__), "models", EMBEDDED[model])
        if not os.path.exists(path):
            raise ModelError(f"{path}: no such file; reinstall lesionedge to get {model}")
        return path
    if not os.path.exists(model):
        raise ModelError(
            f"{model}: no such model; expected a .tflite file or one of {', '.join(EMBEDDED)}"
        )
    return model


def read_card(model: str) -> Card:
    """Return a model's card; empty if it has none.

    Args:
        model: Name of an embedded model or path of a .tflite file.

    Raises:
        ModelError: There is no such model, or its card cannot be read.
    """
    return metadata.read(find_model(model)).card or Card()


def describe_model(
    path: str, options: ModelOptions, *, input_info: TensorInfo, output_info: TensorInfo
) -> Description:
    """Read a model file's description; guess nothing.

    Args:
        path: The .tflite file.
        options: Options that override the file.
        input_info: The network's input.
        output_info: The network's output.

    Raises:
        ModelError: Something is missing, contradicts the network or cannot be read.
    """
    found = metadata.read(path)
    card = found.card or Card()
    count = output_info.shape[-1]
    meaning = outputs.read(path, count, found)
    _demand(path, options, found, input_info, count)
    diagnoses = diagnoses_of(path, options, found)
    check_count(path, options, diagnoses, count)
    mean, std = _normalisation(path, options, found)
    other = has_other_malignant(path, options, found, diagnoses)
    return Description(
        card=replace(card, operating_points=()) if other else card, other_malignant=other,
        diagnoses=diagnoses, preprocessing=_preprocessing(path, card, input_info),
        outputs=meaning, mean=mean, std=std, decision=_decision(path, card, len(diagnoses)),
    )  # fmt: skip


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _demand(
    path: str, options: ModelOptions, found: ModelMetadata, input_info: TensorInfo, count: int
) -> None:
    """Check that labels and normalisation are known, from the options or the file."""
    wanted = []
    if options.labels is None and found.labels is None:
        wanted.append(
            f"its labels: give --labels FILE (one per line, for its {_counted(count, 'output')})"
        )
    if options.normalize is None and found.mean is None:
        fits = normalisation.fitting(input_info)
        wanted.append(
            "how pixels are normalised: give --normalize MEAN,STD "
            "(127.5,127.5 for a network that wants -1 to 1; 0,255 for 0 to 1"
            + (f"; {fits} fits its input)" if fits else ")")
        )
    if wanted:
        raise ModelError(f"{path}: does not say {'; nor '.join(wanted)}")


def diagnoses_of(path: str, options: ModelOptions, found: ModelMetadata) -> tuple[Diagnosis, ...]:
    """Return what a model's classes mean, in output order; empty if it has no labels.

    Args:
        path: The .tflite file.
        options: Options that override the file.
        found: The file's metadata.

    Raises:
        ModelError: The labels cannot be read, or one that is named as malignant is missing.
    """
    card = found.card or Card()
    entries = {entry.label: entry for entry in card.labels}
    spelled = _spelled(path, options.labels, found.labels or card.codes, card)
    known = tuple(_diagnosis(label, entries.get(label)) for label in spelled)
    return known if options.malignant is None else marked(known, options.malignant, model=path)


def has_other_malignant(
    path: str, options: ModelOptions, found: ModelMetadata, diagnoses: Sequence[Diagnosis]
) -> bool:
    """Return whether options name other classes as malignant than the file's operating points.

    A threshold of the malignant probability says nothing about a sum over other classes.

    Args:
        path: The .tflite file.
        options: Options that override the file.
        found: The file's metadata.
        diagnoses: What the classes mean with these options.
    """
    has_points = found.card is not None and found.card.operating_points
    if not has_points or (options.labels is None and options.malignant is None):
        return False
    own = diagnoses_of(path, replace(options, labels=None, malignant=None), found)
    return any(
        before.malignant not in (None, after.malignant) for before, after in zip(own, diagnoses)
    )


def _spelled(
    path: str, given: str | os.PathLike[str] | Sequence[str] | None, inside: tuple[str, ...],
    card: Card,
) -> tuple[str, ...]:  # fmt: skip
    if isinstance(given, (str, os.PathLike)):
        return labels.read(given)
    if given is not None:
        return labels.in_order(given, "the list of labels")
    # In this package's own files the card's labels are in output order, even if they look numbered.
    return inside if inside == card.codes else labels.in_order(inside, f"{path}: its metadata")


def check_count(
    path: str, options: ModelOptions, diagnoses: Sequence[Diagnosis], count: int
) -> None:
    """Check that there are as many labels as an output needs.

    Args:
        path: The .tflite file.
        options: Options that override the file.
        diagnoses: What the labels mean.
        count: How many numbers the output has.

    Raises:
        ModelError: There are more or fewer.
    """
    source, advice = "the list of labels", ""
    if options.labels is None:
        source, advice = "its metadata", "; give --labels FILE"
    elif isinstance(options.labels, (str, os.PathLike)):
        source = os.fsdecode(options.labels)
    classes = 2 if count == 1 else count
    if len(diagnoses) != classes:
        raise ModelError(
            f"{path}: {source} has {_counted(len(diagnoses), 'label')}; its output needs {classes}"
            f"{' (negative, positive)' if count == 1 else ''}{advice}"
        )


def _diagnosis(label: str, entry: Label | None) -> Diagnosis:
    """Return a label's meaning: from the card, else from the vocabulary."""
    known = describe(label)
    if entry is None:
        return known
    malignant = known.malignant if entry.malignant is None else entry.malignant
    return Diagnosis(label, entry.name or known.name, malignant, known.code)


def _preprocessing(path: str, card: Card, input_info: TensorInfo) -> Preprocessing:
    _, height, width, _ = input_info.shape
    if card.input is None:
        # Without a card, do as other programs do: squeeze the whole image into the input.
        return Preprocessing(width, height, crop="stretch")
    try:
        preprocessing = Preprocessing.from_card(card.input)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if (preprocessing.width_px, preprocessing.height_px) != (width, height):
        raise ModelError(
            f"{path}: its card says {preprocessing.width_px}x{preprocessing.height_px} px, "
            f"its input is {width}x{height} px"
        )
    return preprocessing


def _normalisation(
    path: str, options: ModelOptions, found: ModelMetadata
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if options.mean_and_std is not None:
        return options.mean_and_std
    mean, std = found.mean or (), found.std or ()
    for values in (mean, std):
        if len(values) not in (1, 3):
            raise ModelError(f"{path}: normalisation by {values}; expected 1 or 3 numbers")
    return mean, std


def _decision(path: str, card: Card, classes: int) -> float | None:
    threshold = card.decision_threshold
    if threshold is None or classes != 2:
        return None
    if not 0 <= threshold <= 1:
        raise ModelError(f"{path}: its card's threshold is {threshold}; expected 0 to 1")
    return threshold
