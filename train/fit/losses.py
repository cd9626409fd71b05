"""What is ours of the loss: logit adjustment, labels that leave classes open, soft labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from train.models.inference import both_classes
from train.recipe import Distil, Loss

NEVER = -1e9
"""Logarithm of the chance of what cannot be."""


@dataclass(frozen=True)
class LabelMeanings:
    """What label numbers stand for: the classes, then labels of other collections."""

    possible: np.ndarray
    """(labels, classes) bool: the classes that an image so labelled may be of."""
    shares: np.ndarray
    """(labels, classes) float: each class's share of the collection that the label is of; 0: it has
    no image of the class."""


def classes_alone(counts: np.ndarray) -> LabelMeanings:
    """Return the labels of a dataset that has every class.

    Args:
        counts: (classes,) training images of each class.
    """
    known = np.maximum(counts, 1)
    return LabelMeanings(
        np.eye(len(counts), dtype=bool), np.tile(known / known.sum(), (len(counts), 1))
    )


def logit_adjusted(
    loss: Loss, meanings: LabelMeanings
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Make the cross-entropy that a rare class weighs in as much as a common one.

    softmax(logits + tau * log(share of the class)) is compared with the target, so that the
    logits alone, without the shares, minimise the balanced error (Menon et al. 2021,
    "Long-tail learning via logit adjustment", arXiv:2007.07314, equation 10). An image of another
    collection is compared with that collection's shares. Where a label leaves several classes
    open, the sum of their probabilities is the label's.

    Args:
        loss: The recipe's ``[loss]``; with tau 0 this is the plain cross-entropy.
        meanings: What the labels stand for.

    Returns:
        A function of (N,) int labels and (N, classes) logits, or the (N, 1) logit of the second
        of two classes, to (N,) losses.
    """
    there = meanings.shares > 0
    offsets = loss.tau * np.log(np.where(there, meanings.shares, 1.0)) + np.where(there, 0, NEVER)
    others = np.where(meanings.possible, 0.0, NEVER)
    spread = there / there.sum(1, keepdims=True)
    tables = [tf.constant(table, tf.float32) for table in (offsets, others, spread)]
    smoothing = loss.label_smoothing

    def call(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        offset, other, even = (tf.gather(table, labels) for table in tables)
        chances = tf.nn.log_softmax(both_classes(logits) + offset)
        right = -tf.reduce_logsumexp(chances + other, axis=1)
        return (1 - smoothing) * right - smoothing * tf.reduce_sum(even * chances, axis=1)

    return call


def distilled(
    loss: Loss, distil: Distil, meanings: LabelMeanings
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return what a training minimises: the labels' loss, and the soft labels' cross-entropy.

    Soft labels come from models that were trained with logit adjustment, whose logits are already
    for classes of equal shares: the student's are compared with them as they are.

    Args:
        loss: The recipe's ``[loss]``.
        distil: The recipe's ``[distil]``.
        meanings: What the labels stand for.

    Returns:
        A function of (N,) int labels, (M, classes) soft labels (any shape where ``distil`` has no
        share) and logits as ``logit_adjusted`` takes them, to (N,) losses.
    """
    hard = logit_adjusted(loss, meanings)

    def call(labels: tf.Tensor, soft: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        own = hard(labels, logits)
        if not distil.share:
            return own
        taught = soft.shape[0]
        learnt = tf.nn.softmax_cross_entropy_with_logits(soft, both_classes(logits)[:taught])
        mixed = (1 - distil.share) * own[:taught] + distil.share * learnt
        return tf.concat([mixed, own[taught:]], axis=0)

    return call


def named(meanings: LabelMeanings, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return (N,) bool: whether the largest logit is that of a class that the label stands for."""
    largest = tf.argmax(both_classes(logits), axis=1)
    return tf.gather(tf.gather(tf.constant(meanings.possible), labels), largest, batch_dims=1)
