"""From a float network to one that rounds as its int8 file will, with nothing trained.

This is the step to exchange for another way of rounding: a float network and some images go in, a
quantization-aware network comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from train.quantize.aware import quantization_aware
from train.quantize.bias_correction import take_out_rounding
from train.quantize.kernels import equalise_depthwise, keep_biases
from train.quantize.ranges import start_ranges


def rounded(floating: keras.Model, batches: Sequence[tf.Tensor]) -> keras.Model:
    """Return a network that rounds its weights and activations to 8 bits.

    Args:
        floating: Ends in logits; changed in a way that leaves what it does.
        batches: Training images, (B, H, W, 3) float32 in [-1, 1), by which the ranges of
            activations and the shifts that rounding makes are measured.
    """
    quantized = unmeasured(floating)
    start_ranges(quantized, floating, batches)
    take_out_rounding(quantized, floating, batches)
    return quantized


def unmeasured(floating: keras.Model) -> keras.Model:
    """Return a network that rounds, whose ranges are not set yet: load its weights.

    Args:
        floating: As ``rounded``'s.
    """
    keep_biases(floating)
    equalise_depthwise(floating)
    return quantization_aware(floating)
