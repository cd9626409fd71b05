"""The gate's scores of images, by the file that is shipped and as the device makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesionedge import reliability
from lesionedge.image import Preprocessing, model_input

MODEL_INPUT = Preprocessing(224, 224)
"""What the embedded classifiers are fed, of which the gate sees a thumbnail."""


def dermoscopic(paths: Sequence[str | Path | bytes], *, file: Path | None = None) -> np.ndarray:
    """Return how likely each image is a dermoscopic one.

    Args:
        paths: N image files, or their bytes.
        file: The gate; None for the one in ``lesionedge/models``.

    Returns:
        (N,) float64, 0-1.
    """
    gate = reliability.Gate(file)
    return np.array([
        gate.judge(reliability.thumbnail(model_input(path, MODEL_INPUT))).dermoscopic
        for path in paths
    ], np.float64)  # fmt: skip
