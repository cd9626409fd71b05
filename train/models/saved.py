"""Any saved Keras model, loaded back and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lesionedge.card import Card, present
from train.run import RunError

BATCH = 32


def load(file: Path, facts: Card) -> Any:
    """Load a whole Keras model: ``.h5`` or ``.keras``, of Keras 2 or 3.

    Args:
        file: What ``model.save`` wrote.
        facts: The card of the run whose classes and input it must have.

    Raises:
        RunError: It cannot be read, or its input or output is another than the card's.
    """
    if not file.is_file():
        raise RunError(f"{file}: no such file; expected a saved Keras model (.h5 or .keras)")
    model = _load(file)
    _check(file, model, facts)
    return model


def _load(file: Path) -> Any:
    import keras
    import tensorflow_model_optimization as tfmot
    import tf_keras

    reasons = []
    for name, loader in (
        ("Keras 2", tf_keras.models.load_model),
        ("Keras 3", keras.saving.load_model),
    ):
        try:
            with tfmot.quantization.keras.quantize_scope():
                return loader(file, compile=False)
        # What a strange file makes the loaders raise.
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
            reasons.append(
                f"{name}: {str(error).strip().splitlines()[0] if str(error) else error!r}"
            )
    raise RunError(
        f"{file}: not a whole Keras model that can be read ({'; '.join(reasons)}); expected what "
        "model.save writes; weights alone, as model.save_weights writes them, are not enough"
    )


def _check(file: Path, model: Any, facts: Card) -> None:
    section, count = present(facts.input, "input"), len(facts.labels)
    wanted = (section.height_px, section.width_px, 3)
    shape = tuple(model.input_shape[1:])
    if len(shape) != 3 or any(a not in (None, b) for a, b in zip(shape, wanted)):
        raise RunError(f"{file}: its input is {shape}; this run's images are {wanted}")
    outputs = model.output_shape[-1]
    if outputs != count and not (outputs == 1 and count == 2):
        raise RunError(f"{file}: has {outputs} outputs; this run has {count} classes")


def outputs(model: Any, inputs: np.ndarray, facts: Card) -> np.ndarray:
    """Return a model's outputs; pixels are normalised as the card says.

    Args:
        model: From ``load``.
        inputs: (N, H, W, 3) uint8 RGB.
        facts: The card.

    Returns:
        (N, outputs) float64: logits or probabilities, as the model ends.
    """
    section = present(facts.input, "input")
    mean, std = (np.array(values, np.float32) for values in (section.mean, section.std))
    parts = [
        np.asarray(model((inputs[i : i + BATCH] - mean) / std, training=False))
        for i in range(0, len(inputs), BATCH)
    ]
    return np.concatenate(parts).astype(np.float64)


def are_probabilities(outputs: np.ndarray) -> bool:
    """Return whether a model ends in a softmax or a sigmoid, by its outputs for many images."""
    if outputs.min() < 0 or outputs.max() > 1:
        return False
    return outputs.shape[1] == 1 or bool(np.allclose(outputs.sum(1), 1, atol=1e-3))
