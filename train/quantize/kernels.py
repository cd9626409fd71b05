"""Makes kernels and biases ones that 8 bits can hold; the network does what it did."""

from __future__ import annotations

import numpy as np
import tf_keras as keras

from train.models.batch_norm import batch_norms

SMALLEST_WEIGHT = 2.0**-14
"""Least size of a channel's largest weight, with batch normalisation folded in, for its bias."""


def equalise_depthwise(model: keras.Model) -> None:
    """Scale every channel of every depthwise kernel to a largest weight of 1.

    The batch normalisation behind it undoes the scaling, so that the network computes what it
    did. But quantization-aware training rounds a depthwise kernel with one step for all its
    channels, and channels with small weights would be rounded away (Nagel et al. 2019,
    arXiv:1906.04721, section 3.1); after this, one step suits them all.
    """
    for norm in batch_norms(model):
        depthwise = norm.input.node.layer
        if not isinstance(depthwise, keras.layers.DepthwiseConv2D):
            continue
        (kernel,) = depthwise.get_weights()
        gamma, beta, mean, variance = norm.get_weights()
        scale = np.abs(kernel).max(axis=(0, 1, 3))
        scale[scale == 0] = 1
        smaller = np.maximum((variance + norm.epsilon) / scale**2 - norm.epsilon, 0)
        gamma *= scale * np.sqrt((smaller + norm.epsilon) / (variance + norm.epsilon))
        depthwise.set_weights([kernel / scale[:, None]])
        norm.set_weights([gamma, beta, mean / scale, smaller])


def keep_biases(model: keras.Model) -> None:
    """Give dead channels of convolutions a tiny weight, so that their bias survives rounding.

    TensorFlow Lite stores a bias as a 32-bit number of steps, a step being the input's times that
    of the channel's weights. Weight decay takes a channel that nothing needs to zero, its bias
    stays; with steps of next to nothing it is cut off at 2**31 of them, and the channel says
    another constant than it did. A weight of 2**-14 of the bias makes steps of which 2**30 cover
    it, for inputs in steps of 1/512 and more, as all are here.

    Args:
        model: From ``build``; changed, by less than rounding changes it.
    """
    for norm in batch_norms(model):
        convolution = norm.input.node.layer
        (kernel,) = convolution.get_weights()
        gamma, beta, mean, variance = norm.get_weights()
        factor = gamma / np.sqrt(variance + norm.epsilon)
        # A view of the kernel: (H, W, input channels, output channels), whatever the layer's order.
        depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
        weights = np.swapaxes(kernel, 2, 3) if depthwise else kernel
        least = np.abs(beta - mean * factor) * SMALLEST_WEIGHT
        largest = np.abs(weights).max(axis=(0, 1, 2)) * np.abs(factor)
        for channel in np.flatnonzero((largest < least) & (factor != 0)):
            weights[..., channel] = 0
            weights[0, 0, 0, channel] = least[channel] / factor[channel]
        convolution.set_weights([kernel])
