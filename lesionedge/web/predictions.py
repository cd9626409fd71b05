"""The API's responses: their schemas, and the functions that fill them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from lesionedge.wording import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lesionedge.classifier import Classifier
    from lesionedge.prediction import Prediction

NOTE = RESEARCH_USE


class Likelihood(BaseModel):
    """One class and its probability, for clients of the first version."""

    label: str = Field(description="The name for people.", examples=["Melanoma"])
    prob: float = Field(description="Calibrated probability, 0-1.", examples=[0.85])
    code: str = Field(description="The short code.", examples=["mel"])
    malignant: bool | None = Field(
        description="Whether it counts towards malignant_probability; null if unknown."
    )


class Class(BaseModel):
    """One class and its probability, as in the results of all commands."""

    label: str = Field(description="The short code.", examples=["mel"])
    name: str = Field(description="The name for people.", examples=["Melanoma"])
    probability: float = Field(description="Calibrated, 0-1.", examples=[0.85])


class OperatingPoint(BaseModel):
    """The side of a threshold that the malignant probability is on."""

    sensitivity: float = Field(description="The sensitivity that the threshold was chosen for.")
    specificity: float = Field(description="The specificity that was measured then.")
    threshold: float = Field(description="The threshold of the malignant probability.")
    above: bool = Field(description="Whether malignant_probability reaches the threshold.")
    source: str = Field(description="Where the threshold comes from.")


class PredictionBody(BaseModel):
    """A model's prediction for one image."""

    path: str | None = Field(
        default=None, description="The client's name of the image; absent if it sent none."
    )
    predictions: list[Likelihood] = Field(description="All classes, the most probable first.")
    label: str = Field(description="Code of the most probable class.")
    name: str = Field(description="Its name.")
    probability: float = Field(description="Its calibrated probability, 0-1.")
    malignant_probability: float | None = Field(
        description="Sum over the malignant classes, 0-1; null if it is unknown which these are."
    )
    reliable: bool | None = Field(
        default=None, description="Whether the image is of a kind that the model may speak about."
    )
    top: list[Class] = Field(description="All classes, the most probable first.")
    warnings: list[str] = Field(description="Warnings about the image, for people.")
    warning_codes: list[str] = Field(description="A code for each warning, for programs.")
    operating_point: OperatingPoint | None = Field(
        default=None, description="The default operating point; null if the model has none."
    )
    model: str = Field(description="Name of the model.")
    profile: str | None = Field(
        default=None, description="Name of the site profile; absent where there is none."
    )
    timings_ms: dict[str, float] = Field(
        description="Milliseconds of wait, decode, preprocess and invoke."
    )


class FailureBody(BaseModel):
    """Why one of several images has no prediction."""

    path: str = Field(description="The client's name of the image.")
    error: str = Field(description="What was found, what was expected, what to do.")


class ResultsBody(BaseModel):
    """The results of several images, in order."""

    results: list[PredictionBody | FailureBody]


class LivePredictionBody(PredictionBody):
    """A frame of the device's own camera, and its prediction."""

    number: int = Field(description="Number of the prediction; send it as `after` for the next.")
    image: str = Field(
        description="The frame as a data URL (JPEG), with a box around the classified part."
    )
    timestamp: str = Field(description="When it was captured, UTC, ISO 8601.")
    age_ms: float = Field(description="From capture to prediction.")


class ModelFacts(BaseModel):
    """The model's description."""

    model: str
    labels: list[dict[str, Any]] = Field(description="label, name and malignant, in output order.")
    profile: str | None = Field(description="Name of the site profile, if there is one.")
    card: dict[str, Any] = Field(description="The card inside the file; empty if it has none.")
    card_text: str | None = Field(description="The embedded models' card for people, Markdown.")
    version: str = Field(description="The version of lesionedge.")
    runtime: str = Field(description="The library that runs the model.")
    camera: str | None = Field(description="The device's own camera; null if there is none.")
    explain: bool = Field(description="Whether POST /v1/explain returns a heat map.")
    note: str


class Health(BaseModel):
    """Whether the server classifies images now."""

    ready: bool
    model: str
    queue: int = Field(description="Requests that wait or run.")
    queue_limit: int


class Problem(BaseModel):
    """Why there is no result."""

    error: str = Field(description="What was found, what was expected, what to do.")


def prediction_of(
    classifier: Classifier, prediction: Prediction, *, path: str | None = None
) -> dict[str, Any]:
    """Return a prediction as a ``PredictionBody``.

    Args:
        classifier: The classifier that made it.
        prediction: The prediction.
        path: The client's name of the image; None leaves the key out.
    """
    malignant = {d.label: d.malignant for d in classifier.diagnoses}
    return {
        "predictions": [
            {
                "label": c.name, "prob": c.probability, "code": c.label,
                "malignant": malignant[c.label],
            }
            for c in prediction.top
        ],
        **prediction.to_dict(path),
        "model": _shown(prediction.model),
    }  # fmt: skip


def model_facts(classifier: Classifier, *, camera: str | None) -> dict[str, Any]:
    """Return the model's description as ``ModelFacts``."""
    from lesionedge import __version__

    backend = classifier.interpreter.backend
    return {
        "model": _shown(classifier.model),
        "labels": [
            {"label": d.label, "name": d.name, "malignant": d.malignant}
            for d in classifier.diagnoses
        ],
        "profile": None if classifier.profile is None else classifier.profile.name,
        # Another program's card may hold NaN, which browsers cannot read.
        "card": json.loads(json.dumps(classifier.card.to_dict()), parse_constant=lambda _: None),
        "card_text": _card_text(classifier.model),
        "version": __version__,
        "runtime": f"{backend.name} {backend.version}",
        "camera": camera,
        "explain": True,
        "note": NOTE,
    }


def dumps(content: Mapping[str, Any]) -> bytes:
    """Encode as JSON."""
    return json.dumps(content, allow_nan=False).encode()


def _shown(model: str) -> str:
    """Return a model's name without the folder of its file."""
    return model.replace("\\", "/").rpartition("/")[2]


def _card_text(model: str) -> str | None:
    from importlib.resources import files

    from lesionedge.description import EMBEDDED

    if model not in EMBEDDED:
        return None
    return (files("lesionedge") / "models" / "MODEL_CARD.md").read_text(encoding="utf-8")
