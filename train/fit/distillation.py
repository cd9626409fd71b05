"""Soft labels: what trained models think of every image, for another to learn from.

An image's soft label is the mean of the teachers' probabilities over the eight turned and mirrored
views of it, so that a student that sees one view is taught what all of them together show (Hinton,
Vinyals, Dean 2015, arXiv:1503.02531). They are computed once and kept: an epoch costs no more with
them than without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lesionedge import tta
from lesionedge.atomic import whole_file
from lesionedge.errors import ImageError, LesionEdgeError
from train import npz
from train.recipe import Distil

if TYPE_CHECKING:
    from lesionedge import Classifier

TOLD_EVERY = 1000
"""Images after which progress is told."""


class SoftLabelsError(LesionEdgeError):
    """A file of soft labels is missing, malformed or is of other images."""


def write(
    models: Sequence[Path], paths: Sequence[Path], file: Path, *, say: Callable[[str], None]
) -> None:
    """Predict every image that can be read with the teachers and write their predictions.

    Args:
        models: .tflite files with the same labels in the same order.
        paths: N image files, of different names.
        file: The .npz to write: ``names`` (N,), ``labels`` (classes,) and ``probabilities`` (N,
            classes) float16, fewer where images cannot be read.
        say: Receives messages on progress.

    Raises:
        SoftLabelsError: The models' labels differ, or two images have one name.
    """
    from lesionedge import Classifier

    name, times = Counter(path.name for path in paths).most_common(1)[0]
    if times > 1:
        raise SoftLabelsError(
            f"{times} images are called {name}; soft labels are kept by the file's name"
        )
    teachers = [Classifier(model, check=False) for model in models]
    labels = teachers[0].labels
    for model, teacher in zip(models, teachers):
        if teacher.labels != labels:
            raise SoftLabelsError(
                f"{model}: its labels are {', '.join(teacher.labels)}; the first model's are "
                f"{', '.join(labels)}"
            )
    found: dict[str, np.ndarray] = {}
    for number, path in enumerate(paths, start=1):
        try:
            found[path.name] = _prediction(teachers, path)
        except ImageError as error:
            say(f"skipped: {error}")
        if number % TOLD_EVERY == 0 or number == len(paths):
            say(f"{number} of {len(paths)} images")
    whole = np.array(list(found.values()), np.float32).reshape(-1, len(labels))
    keep(file, list(found), labels, whole)


def _prediction(teachers: Sequence[Classifier], path: Path) -> np.ndarray:
    """Return the (classes,) mean of the teachers' predictions of an image's views."""
    predictions = [
        teacher.probabilities_of_inputs(_views(teacher.model_input(path))) for teacher in teachers
    ]
    mean: np.ndarray = np.mean(predictions, axis=(0, 1))
    return mean


def keep(
    file: Path, names: Sequence[str], labels: Sequence[str], probabilities: np.ndarray
) -> None:
    """Write soft labels.

    Args:
        file: The .npz to write.
        names: Names of N image files.
        labels: Class codes.
        probabilities: (N, classes), rows sum to 1.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as stream:
        np.savez_compressed(
            stream, names=np.array(names), labels=np.array(labels),
            probabilities=probabilities.astype(np.float16),
        )  # fmt: skip


def _views(pixels: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(view) for view in tta.views(pixels, tta.MOST)]


def read(file: Path, table: pd.DataFrame, labels: Sequence[str], distil: Distil) -> np.ndarray:
    """Return every image's soft label, softened as the recipe says.

    Args:
        file: From ``write``.
        table: ``split.csv``; images are known by their file's name.
        labels: The run's classes in output order.
        distil: The recipe's ``[distil]``.

    Returns:
        (N, classes) float32, rows sum to 1.

    Raises:
        SoftLabelsError: The file cannot be read, or is of other classes or images.
    """
    try:
        kept = npz.read(file)
        names, theirs = kept["names"].tolist(), kept["labels"].tolist()
        probabilities = kept["probabilities"].astype(np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise SoftLabelsError(f"{file}: no file of soft labels ({error})") from error
    if theirs != list(labels):
        raise SoftLabelsError(
            f"{file}: soft labels of {', '.join(theirs)}; the run's are {', '.join(labels)}"
        )
    rows = {name: number for number, name in enumerate(names)}
    wanted = [Path(path).name for path in table["path"]]
    missing = [name for name in wanted if name not in rows]
    if missing:
        raise SoftLabelsError(
            f"{file}: no soft labels for {len(missing)} of {len(wanted)} images, the first "
            f"{missing[0]}; make them anew with python -m train label"
        )
    found = probabilities[[rows[name] for name in wanted]]
    return softened(found, distil)


def softened(probabilities: np.ndarray, distil: Distil) -> np.ndarray:
    """Return (N, classes) probabilities softened as the recipe says, float32, rows sum to 1."""
    softer = np.maximum(probabilities, 1e-6) ** (1 / distil.temperature)
    return np.asarray(softer / softer.sum(1, keepdims=True), np.float32)
