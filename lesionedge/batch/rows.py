"""The rows of the output: one per image, with a prediction or an error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lesionedge import __version__
from lesionedge.batch.libraries import need
from lesionedge.batch.model import Model
from lesionedge.batch.reading import contents, local_path
from lesionedge.description import name_of
from lesionedge.errors import LesionEdgeError
from lesionedge.labels import distinct
from lesionedge.prediction import by_class, of_label

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.prediction import Prediction

STAGES = ("decode", "preprocess", "check", "invoke")
"""Fields of ``timings_ms``."""

COLOUR = ("red", "green", "blue")
"""Fields of ``colour``: the mean of what the model sees, 0-255."""

ABOUT = b"lesionedge"
"""Key in the schema's metadata; its value holds the run's settings, as JSON."""


def schema(model: Model) -> Any:
    """Return the columns (a ``pyarrow.Schema``): the result format, and ``probabilities``.

    ``probabilities`` is a struct with a field for each label. A row with an ``error`` has no other
    values than ``path``, ``model`` and empty lists.
    """
    pa = need("pyarrow")
    points = () if model.profile is None else model.profile.operating_points
    number, text, flag = pa.float64(), pa.string(), pa.bool_()
    candidate = pa.struct({"label": text, "name": text, "probability": number})
    point = pa.struct({
        "sensitivity": number, "specificity": number, "threshold": number, "above": flag,
        "source": text, **({"of": text} if any(of_label(point) for point in points) else {}),
    })  # fmt: skip
    columns = {
        "path": text, "label": text, "name": text, "probability": number,
        "malignant_probability": number, "top": pa.list_(candidate),
        "probabilities": pa.struct(dict.fromkeys(distinct(model.labels), number)),
        "reliable": flag, "warnings": pa.list_(text), "warning_codes": pa.list_(text),
        "operating_point": point, "model": text,
        "timings_ms": pa.struct(dict.fromkeys(STAGES, number)), "views": pa.int8(), "profile": text,
        "colour": pa.struct(dict.fromkeys(COLOUR, number)), "error": text,
    }  # fmt: skip
    return pa.schema(columns, metadata={ABOUT: json.dumps(about(model))})


def about(model: Model) -> dict[str, Any]:
    """Return the settings that predictions depend on, and the version that made them."""
    pair = model.options.normalize
    normalize = None if pair is None else list(pair)
    return {
        "model": model.sha256, "labels": list(model.labels),
        "malignant": None if model.malignant is None else list(model.malignant),
        "normalize": normalize, "views": model.options.views,
        "operating_point": model.options.operating_point, "lesionedge": __version__,
        "profile": None if model.profile is None else model.profile.label,
    }  # fmt: skip


def classified(names: Sequence[str], classifier: Classifier, model: Model) -> Any:
    """Classify images.

    Args:
        names: As in the column ``path``.
        classifier: The loaded model.
        model: The model that it was loaded from.

    Returns:
        A ``pyarrow.Table`` with one row per name, in order.
    """
    unread: dict[int, LesionEdgeError] = {}

    def images() -> Iterator[str | bytes]:
        for number, content in enumerate(contents(names)):
            if isinstance(content, LesionEdgeError):
                unread[number] = content
            yield b"" if isinstance(content, LesionEdgeError) else content

    rows = []
    for number, prediction in enumerate(classifier.classify_many(images(), errors="yield")):
        if number in unread or isinstance(prediction, LesionEdgeError):
            rows.append(_failure(names[number], str(unread.get(number, prediction)), model))
        else:
            rows.append(_row(names[number], prediction, classifier.labels, model))
    return need("pyarrow").Table.from_pylist(rows, schema=schema(model))


def failed(errors: dict[str, str], model: Model) -> Any:
    """Return the rows (a ``pyarrow.Table``) of images that have no prediction.

    Args:
        errors: Name -> error.
        model: The model.
    """
    rows = [_failure(name, error, model) for name, error in errors.items()]
    return need("pyarrow").Table.from_pylist(rows, schema=schema(model))


def reason(name: str, error: str) -> str:
    """Return an error without the image's name or size, so that equal errors can be counted."""
    return re.sub(r"^image of \d+ bytes: ", "", error.removeprefix(f"{name}: "))


def _row(name: str, prediction: Prediction, labels: Sequence[str], model: Model) -> dict[str, Any]:
    shares = by_class(prediction.top, labels)
    return {
        **prediction.to_dict(name),
        "probabilities": dict(zip(distinct(labels), shares)),
        "colour": None if prediction.colour is None else dict(zip(COLOUR, prediction.colour)),
        "model": name_of(model.options),  # a worker's own path may differ
    }


def _failure(name: str, error: str, model: Model) -> dict[str, Any]:
    path = local_path(name)
    if path is not None and path != name:  # not UTF-8
        error = error.replace(path, name)
    if not error.startswith(name):
        error = f"{name}: {error}"
    error = error.encode("utf-8", "backslashreplace").decode()
    return {
        "path": name, "top": [], "warnings": [], "warning_codes": [], "error": error,
        "model": name_of(model.options),
    }  # fmt: skip
