"""Calibrated skin-lesion classification on small computers, for research.

    import lesionedge
    prediction = lesionedge.classify("photo.jpg")
    print(prediction.label, prediction.probability)

Research use only: not a medical device, never advice.
"""

from __future__ import annotations

__version__ = "0.2.0"

TYPE_CHECKING = False  # in place of typing's: importing typing would take most of the time

# Loaded when first used, so that importing the package imports neither numpy nor Pillow.
_HOMES = {
    "Camera": "camera.capture",
    "CameraError": "errors",
    "Candidate": "prediction",
    "Classifier": "classifier",
    "Diagnosis": "diagnosis",
    "Explanation": "explanation",
    "ImageError": "errors",
    "LesionEdgeError": "errors",
    "MissingDependencyError": "errors",
    "ModelError": "errors",
    "Observation": "live",
    "Prediction": "prediction",
    "classify": "classifier",
    "explain": "explanation",
    "watch": "live",
}

if TYPE_CHECKING:
    from lesionedge.camera.capture import Camera
    from lesionedge.classifier import Classifier, classify
    from lesionedge.diagnosis import Diagnosis
    from lesionedge.errors import (
        CameraError,
        ImageError,
        LesionEdgeError,
        MissingDependencyError,
        ModelError,
    )
    from lesionedge.explanation import Explanation, explain
    from lesionedge.live import Observation, watch
    from lesionedge.prediction import Candidate, Prediction

__all__ = [
    "Camera",
    "CameraError",
    "Candidate",
    "Classifier",
    "Diagnosis",
    "Explanation",
    "ImageError",
    "LesionEdgeError",
    "MissingDependencyError",
    "ModelError",
    "Observation",
    "Prediction",
    "__version__",
    "classify",
    "explain",
    "watch",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "annotations"})
