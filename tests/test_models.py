"""The models in the wheel, and their predictions for real images if these are available."""

from __future__ import annotations

import os

import numpy as np
import pytest

from lesionedge import Classifier
from lesionedge.description import EMBEDDED, find_model

LARGEST_BYTES = {"mobilenetv2": 2_900_000, "cnn": 350_000, "mobilenetv2-float16": 4_700_000}


@pytest.fixture(params=EMBEDDED)
def model(request):
    return request.param


def test_embedded_models_are_as_small_as_promised(model):
    assert os.path.getsize(find_model(model)) <= LARGEST_BYTES[model]


def test_embedded_models_describe_themselves(model):
    classifier = Classifier(model)
    card = classifier.card
    assert classifier.labels == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert card.licence == "CC BY-NC 4.0"
    assert "HAM10000" in card.attribution
    assert card.limits
    trained = "bias-corrected" if model == "cnn" else "qat"
    assert card.quantization.training == trained
    if model != "mobilenetv2-float16":
        assert card.file.method == trained
        assert classifier.interpreter.input.dtype == "uint8"
    assert card.metrics["test"][card.file.format]["balanced_accuracy"]["value"] > 0.4


def test_embedded_models_predict(model, draw):
    prediction = Classifier(model).classify(draw(600, 450, seed=1))
    assert sum(c.probability for c in prediction.top) == pytest.approx(1, abs=1e-4)
    assert prediction.model == model


def test_int8_and_float16_mostly_agree(draw):
    images = [draw(300, 225, seed=n) for n in range(6)]
    predictions = [
        [Classifier(m).probabilities(p) for p in images]
        for m in ("mobilenetv2", "mobilenetv2-float16")
    ]
    assert np.abs(np.array(predictions[0]) - np.array(predictions[1])).mean() < 0.1


def test_they_know_real_lesions(model, ham10000):
    """Far above chance (1/7) on a balanced handful; the measured figures are in MODEL_CARD.md.

    Most of these images were trained on, so this test only finds broken files.
    """
    least = 0.4 if model == "cnn" else 0.6
    pytest.importorskip("sklearn", reason="needs the extra train: make test installs it")
    from lesionedge import datasets

    table = datasets.load(ham10000).table
    sample = table.groupby("label").sample(12, random_state=0)
    classifier = Classifier(model)
    predictions = [classifier.classify(path).label for path in sample["path"]]
    assert (sample["label"].to_numpy() == np.array(predictions)).mean() > least
