"""Makes a network round as its int8 file will."""

from __future__ import annotations

import tf_keras as keras


def quantization_aware(model: keras.Model) -> keras.Model:
    """Make every layer round its weights and activations to 8 bits in the forward pass.

    (Jacob et al. 2018, arXiv:1712.05877; tensorflow_model_optimization's default 8-bit scheme.)
    """
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras.quantize_model(model)
