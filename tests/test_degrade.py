"""Training images degraded at random: what is asked for happens, and nothing else."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("tensorflow") is None:
    pytest.skip("needs the extra train: make test installs it", allow_module_level=True)

import tensorflow as tf

from lesionedge import tta
from train.fit.augmentation import random_changes
from train.fit.degradation import degrade
from train.models.pixels import normalise
from train.recipe import Augment

COUNT = 32


def draw(number: int, low: float, high: float, shape: tuple[int, ...]) -> Any:
    return tf.random.stateless_uniform(shape, [5, number], low, high)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.uniform(60, 200, (COUNT, 48, 48, 3)).astype(np.float32)


def changed(images: np.ndarray, **settings: float) -> np.ndarray:
    return degrade(draw, Augment(**settings), tf.constant(images)).numpy()


def which(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(after - before).max(axis=(1, 2, 3)) > 0


def test_nothing_asked_for_changes_nothing(images):
    assert np.array_equal(changed(images), images)


def test_blur_takes_detail_from_its_share(images):
    after = changed(images, blur=0.25, detail=0.3)
    hit = which(images, after)
    assert hit.sum() == COUNT / 4
    assert (after[hit].std(axis=(1, 2, 3)) < 0.7 * images[hit].std(axis=(1, 2, 3))).all()
    assert after[hit].mean() == pytest.approx(images[hit].mean(), abs=2)


def test_noise_is_no_stronger_than_asked_for(images):
    after = changed(np.full_like(images, 128.0), noise=0.04)
    deviations = (after - 128).std(axis=(1, 2, 3))
    assert 0.2 < (deviations > 0).mean() < 0.8
    assert deviations.max() < 0.045 * 255
    assert len(np.unique(deviations.round(3))) > COUNT / 4  # every image its own strength


def test_jpeg_rounds_its_share_and_stays_in_range(images):
    hit = which(images.round(), changed(images.round(), jpeg=0.5))
    assert 0.2 < hit.mean() < 0.8
    after = changed(images * 1.27, jpeg=1.0)
    assert after.min() >= 0 and after.max() <= 255


def test_a_square_is_covered_with_grey(images):
    after = changed(images, erase=0.5)
    covered = (after == 128).all(-1)
    assert (which(images, after) == covered.any(axis=(1, 2))).all()
    assert 0.2 < covered.any(axis=(1, 2)).mean() <= 0.6
    for mask in covered[covered.any(axis=(1, 2))]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)  # one rectangle, whole
        assert max(len(rows), len(columns)) <= 0.5 * 48 + 1


def test_the_same_seeds_give_the_same_images(images):
    settings = {"blur": 0.3, "noise": 0.03, "jpeg": 0.5, "erase": 0.3}
    assert np.array_equal(changed(images, **settings), changed(images, **settings))


def test_quarter_turns_and_flips_give_all_eight_ways_and_no_other(images):
    whole = np.rint(images).astype(np.uint8)
    augment = Augment(flip=True, quarter_turns=True)
    seeds = tf.constant([3, 4], tf.int64)
    after = random_changes(tf.constant(whole), augment, 48, seeds).numpy()
    seen = set()
    for before, image in zip(whole, after):
        ways = [normalise(way).numpy() for way in tta.views(before, 8)]
        off = [np.abs(way - image).max() for way in ways]
        assert min(off) < 0.01
        seen.add(int(np.argmin(off)))
    assert len(seen) == 8
