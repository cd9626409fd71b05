"""The rows of the output: one a picture, an answer or an error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lesionedge import __version__
from lesionedge.batch.libraries import need
from lesionedge.batch.model import Model
from lesionedge.batch.reading import contents, local_path
from lesionedge.errors import LesionEdgeError

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.prediction import Prediction

ABOUT = b"lesionedge"
"""Key of the schema's metadata under which the settings of the run are, as JSON."""


def schema(model: Model) -> Any:
    """Give the columns (a ``pyarrow.Schema``).

    ``probabilities`` is a struct with a field a label; ``reliable`` is null where the model has no
    gate; where ``error`` is not null, everything but ``path``, ``warnings`` (empty) and ``model``
    is null. ``model`` is the SHA-256 of the model's file.
    """
    pa = need("pyarrow")
    scores = pa.struct([pa.field(label, pa.float64()) for label in _distinct(model.labels)])
    columns = {
        "path": pa.string(), "label": pa.string(), "probability": pa.float64(),
        "probabilities": scores, "malignant_probability": pa.float64(), "reliable": pa.bool_(),
        "warnings": pa.list_(pa.string()), "error": pa.string(), "model": pa.string(),
    }  # fmt: skip
    return pa.schema(columns, metadata={ABOUT: json.dumps(about(model))})


def about(model: Model) -> dict[str, Any]:
    """Give the settings that answers depend on, and the version that gave them."""
    given = model.options.normalize
    normalize = None if given is None else list(given)
    return {
        "model": model.sha256, "labels": list(model.labels),
        "malignant": None if model.malignant is None else list(model.malignant),
        "normalize": normalize, "views": model.options.views, "lesionedge": __version__,
    }  # fmt: skip


def classified(names: Sequence[str], classifier: Classifier, model: Model) -> Any:
    """Classify pictures.

    Args:
        names: As in the column ``path``.
        classifier: The loaded model.
        model: What it was loaded from.

    Returns:
        A ``pyarrow.Table`` with one row a name, in their order.
    """
    unread: dict[int, LesionEdgeError] = {}

    def images() -> Iterator[str | bytes]:
        for number, content in enumerate(contents(names)):
            if isinstance(content, LesionEdgeError):
                unread[number] = content
            yield b"" if isinstance(content, LesionEdgeError) else content

    labels = _distinct(model.labels)
    rows = []
    for number, prediction in enumerate(classifier.classify_many(images(), errors="yield")):
        if number in unread or isinstance(prediction, LesionEdgeError):
            rows.append(_failure(names[number], str(unread.get(number, prediction)), model))
        else:
            rows.append(_row(names[number], prediction, classifier.labels, labels, model))
    return need("pyarrow").Table.from_pylist(rows, schema=schema(model))


def failed(errors: dict[str, str], model: Model) -> Any:
    """Give the rows (a ``pyarrow.Table``) of pictures that there is no answer to.

    Args:
        errors: Name -> why.
        model: What would have answered.
    """
    rows = [_failure(name, error, model) for name, error in errors.items()]
    return need("pyarrow").Table.from_pylist(rows, schema=schema(model))


def reason(name: str, error: str) -> str:
    """Give an error without the picture's name, by which errors of one kind are counted."""
    return error.removeprefix(f"{name}: ")


def _row(
    name: str, prediction: Prediction, codes: tuple[str, ...], labels: tuple[str, ...], model: Model
) -> dict[str, Any]:
    scores = _scores(prediction, codes)
    return {
        "path": name, "label": prediction.label, "probability": prediction.probability,
        "probabilities": dict(zip(labels, scores)),
        "malignant_probability": prediction.malignant_probability,
        "reliable": getattr(prediction, "reliable", None),  # null where no gate has judged
        "warnings": list(prediction.warnings), "error": None, "model": model.sha256,
    }  # fmt: skip


def _scores(prediction: Prediction, codes: tuple[str, ...]) -> list[float]:
    """Give the probabilities in the labels' order; of labels that are alike, best first."""
    ranked: dict[str, list[float]] = {}
    for candidate in prediction.top:
        ranked.setdefault(candidate.label, []).append(candidate.probability)
    return [ranked[code].pop(0) for code in codes]


def _failure(name: str, error: str, model: Model) -> dict[str, Any]:
    path = local_path(name)
    if path is not None and path != name:  # not UTF-8
        error = error.replace(path, name)
    if not error.startswith(name):
        error = f"{name}: {error}"
    error = error.encode("utf-8", "backslashreplace").decode()
    return {"path": name, "warnings": [], "error": error, "model": model.sha256}


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Number labels that are alike, which columns cannot be."""
    seen: Counter[str] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(label if seen[label] == 1 else f"{label}_{seen[label]}")
    return tuple(names)
