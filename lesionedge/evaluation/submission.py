"""Predictions in the format of the ISIC challenge's Task 3 (2018 and later)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from lesionedge.atomic import write_text
from lesionedge.diagnosis import match
from lesionedge.sources.names import base_name

ORDER = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""The challenge's classes, in its order."""


def write(
    path: str, images: Sequence[str], probabilities: np.ndarray, labels: Sequence[str]
) -> None:
    """Write a submission: ``image`` and a column a class; a confidence above 0.5 is a yes.

    Args:
        path: The csv.
        images: The N images.
        probabilities: (N, classes).
        labels: The model's labels, in output order.

    Raises:
        OSError: It cannot be written.
    """
    own = [code.lower() for code in ORDER]
    codes = [match(label, own) for label in labels]  # a model may call nv Melanocytic nevi
    challenge = sorted(code or "" for code in codes) == sorted(own)
    columns = list(ORDER) if challenge else [label.upper() for label in labels]
    places = [codes.index(code) for code in own] if challenge else range(len(labels))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *columns])
    for image, row in zip(images, probabilities):
        stem = os.path.splitext(base_name(image))[0]
        writer.writerow([stem, *(float(min(max(row[place], 0), 1)) for place in places)])
    write_text(path, text.getvalue())
