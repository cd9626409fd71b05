"""What is ours of the loss: logit adjustment, and learning from soft labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from train.models.inference import both_classes
from train.recipe import Distil, Loss


def logit_adjusted(
    loss: Loss, class_counts: np.ndarray
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Make the cross-entropy that a rare class weighs in as much as a common one.

    softmax(logits + tau * log(share of the class)) is compared with the target, so that the
    logits alone, without the shares, minimise the balanced error (Menon et al. 2021,
    "Long-tail learning via logit adjustment", arXiv:2007.07314, equation 10).

    Args:
        loss: The recipe's ``[loss]``; with tau 0 this is the plain cross-entropy.
        class_counts: (classes,) training images of each class.

    Returns:
        A function of (N,) int labels and (N, classes) logits, or the (N, 1) logit of the second
        of two classes, to (N,) losses.
    """
    classes = len(class_counts)
    shares = np.maximum(class_counts, 1) / np.maximum(class_counts, 1).sum()
    offset = tf.constant(loss.tau * np.log(shares), tf.float32)
    smoothing = loss.label_smoothing

    def call(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        logits = both_classes(logits)
        targets = tf.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
        return tf.nn.softmax_cross_entropy_with_logits(targets, logits + offset)

    return call


def distilled(
    loss: Loss, distil: Distil, class_counts: np.ndarray
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return what a training minimises: the labels' loss, and the soft labels' cross-entropy.

    Soft labels come from models that were trained with logit adjustment, whose logits are already
    for classes of equal shares: the student's are compared with them as they are.

    Args:
        loss: The recipe's ``[loss]``.
        distil: The recipe's ``[distil]``.
        class_counts: (classes,) training images of each class.

    Returns:
        A function of (N,) int labels, (N, classes) soft labels (any shape where ``distil`` has no
        share) and logits as ``logit_adjusted`` takes them, to (N,) losses.
    """
    hard = logit_adjusted(loss, class_counts)

    def call(labels: tf.Tensor, soft: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        own = hard(labels, logits)
        if not distil.share:
            return own
        learnt = tf.nn.softmax_cross_entropy_with_logits(soft, both_classes(logits))
        return (1 - distil.share) * own + distil.share * learnt

    return call
