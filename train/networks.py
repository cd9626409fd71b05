"""What is done with a Keras model besides training it: quantize, load, run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from train import pipeline
from train.run import RunError


def quantization_aware(model: keras.Model) -> keras.Model:
    """Make every layer round its weights and activations to 8 bits in the forward pass.

    (Jacob et al. 2018, arXiv:1712.05877; tensorflow_model_optimization's default 8-bit scheme.)
    """
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras.quantize_model(model)


def load_model(file: Path) -> keras.Model:
    """Load a run's Keras model, quantization-aware or not.

    Raises:
        RunError: The file is missing.
    """
    import tensorflow_model_optimization as tfmot

    if not file.is_file():
        raise RunError(f"{file}: missing; the training has not ended yet: run fit again")
    with tfmot.quantization.keras.quantize_scope():
        return keras.models.load_model(file, compile=False)


def logits(
    model: keras.Model, inputs: np.ndarray, weights: list[np.ndarray] | None = None
) -> np.ndarray:
    """Run a model over prepared pictures.

    Args:
        model: Ends in logits.
        inputs: (N, H, W, 3) uint8 RGB.
        weights: Used in place of the model's own, which are put back.

    Returns:
        (N, classes) float32.
    """
    own = None
    if weights is not None:
        own = model.get_weights()
        model.set_weights(weights)
    predict = tf.function(lambda x: model(pipeline.normalise(x), training=False))
    size = 32
    whole = np.concatenate(
        [predict(inputs[i : i + size]).numpy() for i in range(0, len(inputs), size)]
    )
    if own is not None:
        model.set_weights(own)
    return whole
