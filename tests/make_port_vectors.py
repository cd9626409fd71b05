"""Write ``tests/vectors.json``: inputs and expected probabilities, which check any port.

    python tests/make_port_vectors.py

The inputs are given by whole-number formulas, so that no image has to be decoded: a program in
any language can compute them. ``tests/test_vectors.py`` holds Python to the file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionedge import Classifier
from lesionedge.reliability import Gate, thumbnail

FILE = Path(__file__).parent / "vectors.json"
ABOUT = (
    "For x from 0 to width - 1, y from 0 to height - 1 and c = 0 (red), 1 (green), 2 (blue): the "
    "pixel is lesion[c] if (x - centre[0])^2 + (y - centre[1])^2 < radius^2, else skin[c]; to it "
    "is added (step[0] * x + step[1] * y + 5 * c) modulo 17. All are whole numbers from 0 to 255. "
    "sha256 is of the bytes in the order y, x, c. An image of the size of the model's input (224 "
    "px for mobilenetv2, 128 px for cnn) goes into the network as it is. Another one is cropped to "
    "its centred square and resized by Pillow's BILINEAR with a reducing_gap of 2; "
    "model_input_sha256 is of the result. probabilities are in the order of labels: expect them "
    "within 1e-6 with the same model input. Another way of resizing changes them: on these fine "
    "patterns by up to 0.6, if it has no filter against aliasing. "
    "gate has the gate's three probabilities for the means of 2 x 2 pixels of the model's input "
    "(for cnn: the model's input resized to 112 px by Pillow's BOX)."
)
SKINS = ((224, 178, 158), (196, 140, 112), (120, 84, 66))
LESIONS = ((112, 66, 44), (60, 40, 38), (150, 60, 70), (90, 80, 110))
SIZES = ((224, 224), (128, 128), (600, 450), (450, 600), (300, 200), (1024, 1024))


def drawn(recipe: dict[str, Any]) -> NDArray[np.uint8]:
    """Compute an image by the formula of ``ABOUT``: (H, W, 3) uint8 RGB."""
    y, x = np.mgrid[0 : recipe["height"], 0 : recipe["width"]]
    across, down = recipe["centre"]
    inside = (x - across) ** 2 + (y - down) ** 2 < recipe["radius"] ** 2
    ripple = recipe["step"][0] * x + recipe["step"][1] * y
    channels = [
        np.where(inside, recipe["lesion"][c], recipe["skin"][c]) + (ripple + 5 * c) % 17
        for c in range(3)
    ]
    return np.stack(channels, axis=-1).astype(np.uint8)


def digest(pixels: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of pixels."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _model(number: int, width: int) -> str:
    if width in (128, 224):
        return "cnn" if width == 128 else "mobilenetv2"
    return "cnn" if number % 4 == 3 else "mobilenetv2"


def recipes() -> list[dict[str, Any]]:
    """Return the formulas' numbers."""
    found = []
    for number in range(24):
        width, height = SIZES[number % len(SIZES)]
        found.append(
            {
                "model": _model(number, width),
                "width": width, "height": height,
                "skin": list(SKINS[number % len(SKINS)]), "lesion": list(LESIONS[number % 4]),
                "centre": [width // 2 + number, height // 2 - number],
                "radius": min(width, height) * (2 + number % 3) // 10,
                "step": [3 + number, 7 + 2 * number],
            }
        )  # fmt: skip
    return found


def expected(
    recipe: dict[str, Any], classifiers: dict[str, Classifier], gate: Gate
) -> dict[str, Any]:
    """Return Python's result for an image."""
    classifier = classifiers[recipe["model"]]
    pixels = drawn(recipe)
    model_input = classifier.model_input(pixels)
    verdict = gate.judge(thumbnail(model_input))
    return {
        "sha256": digest(pixels),
        "model_input_sha256": digest(model_input),
        "probabilities": classifier.probabilities(pixels).tolist(),
        "gate": [verdict.dermoscopic, verdict.clinical, verdict.other],
    }


def vectors() -> dict[str, Any]:
    """Return the content of the file."""
    classifiers = {name: Classifier(name, threads=1) for name in ("mobilenetv2", "cnn")}
    gate = Gate(threads=1)
    return {
        "about": ABOUT,
        "labels": {name: list(one.labels) for name, one in classifiers.items()},
        "vectors": [{**one, **expected(one, classifiers, gate)} for one in recipes()],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n")
