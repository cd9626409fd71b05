"""ONNX Runtime and Pillow: the same network, converted by tf2onnx, on all cores (the default)."""

import numpy as np
import onnxruntime
from PIL import Image

SIDE_PX = 224


def load(model, threads):
    """Load the model; return a function from an image's path to scores."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (into,) = session.get_inputs()

    def classify(path):
        with Image.open(path) as file:
            image = file.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)[None]
        if "float" in into.type:
            pixels = (pixels.astype(np.float32) - 128) / 128
        return session.run(None, {into.name: pixels})[0][0]

    return classify
