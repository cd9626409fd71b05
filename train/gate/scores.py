"""The gate's scores of pictures, by the file that is shipped and as the device makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesionedge import image as images
from lesionedge import reliability

MODEL_INPUT = images.Preprocessing(224, 224)
"""What the embedded classifiers are fed, of which the gate sees a thumbnail."""


def dermoscopic(paths: Sequence[str | Path | bytes], *, file: Path | None = None) -> np.ndarray:
    """Give how likely each picture is a dermoscopic one.

    Args:
        paths: N picture files, or their bytes.
        file: The gate; None for the one in ``lesionedge/models``.

    Returns:
        (N,) float64, 0-1.
    """
    gate = reliability.Gate(file)
    return np.array([
        gate.judge(reliability.thumbnail(images.model_input(path, MODEL_INPUT))).dermoscopic
        for path in paths
    ], np.float64)  # fmt: skip
