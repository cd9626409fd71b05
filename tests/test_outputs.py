"""Only outputs that are probabilities of classes that exclude each other are accepted."""

from __future__ import annotations

import numpy as np
import pytest

from lesionedge import Classifier, ModelError, metadata
from lesionedge.interpreter import quantise
from lesionedge.outputs import BELOW_THRESHOLD, Outputs

THINGS = [f"thing {n}" for n in range(7)]
NORMALIZE = (127.5, 127.5)


def loaded(models, name, classes=7):
    return Classifier(models / f"{name}.tflite", labels=THINGS[:classes], normalize=NORMALIZE)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("end-softmax", 7), ("end-reshaped", 7), ("end-by-hand", 7), ("end-ensemble", 7),
        ("end-shifted", 7), ("end-complement", 2), ("end-second-of-two", 2),
    ],
)  # fmt: skip
def test_all_ways_to_compute_probabilities_are_accepted(models, photo, name, classes):
    classifier = loaded(models, name, classes)
    pixels = classifier.model_input(photo)
    raw = classifier.interpreter.run((pixels.astype(np.float32) - 127.5) / np.float32(127.5))
    wanted = raw.tolist() if len(raw) > 1 else [1 - float(raw[0]), float(raw[0])]
    found = classifier.probabilities(photo).tolist()
    assert found == pytest.approx(wanted, abs=1e-6)
    assert sum(found) == pytest.approx(1, abs=1e-5)
    assert max(found) > 1.2 / classes  # not constant


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bare-float", {"labels": THINGS, "normalize": NORMALIZE}),  # Keras
        ("bare", {"labels": THINGS, "normalize": NORMALIZE}),  # Teachable Machine, quantized
        ("int8-to-one", {"labels": THINGS, "normalize": (0, 255)}),  # Edge Impulse
        ("foreign", {}),  # MediaPipe Model Maker, quantized
        ("foreign-mobilenet", {}),
        ("score-threshold", {}),  # the same, with float inputs
    ],
)
def test_models_of_other_programs_are_read(models, photo, name, options):
    classifier = Classifier(models / f"{name}.tflite", **options)
    prediction = classifier.classify(photo)
    assert [d.label for d in classifier.diagnoses] == THINGS
    assert sum(c.probability for c in prediction.top) == pytest.approx(1, abs=0.02)
    info = classifier.interpreter.input
    real = (classifier.model_input(photo) - np.float64(127.5)) / 127.5
    if name == "int8-to-one":
        real = (real + 1) / 2
    wanted = classifier.interpreter.run(quantise(real, info))
    assert np.abs(classifier.probabilities(photo) - wanted).max() < 0.02


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("end-logits-near-0", "FULLY_CONNECTED"), ("end-logits-of-attention", "FULLY_CONNECTED"),
        ("end-gated-logits", "MUL"), ("end-clipped", "RELU"), ("end-log-softmax", "LOG_SOFTMAX"),
    ],
)  # fmt: skip
def test_logits_of_any_range_are_refused(models, name, operator):
    with pytest.raises(ModelError, match=rf"{name}.*last operator is {operator}\).*a softmax"):
        loaded(models, name)


def test_logits_between_0_and_1_look_like_probabilities(models):
    from lesionedge.interpreter import Interpreter

    network = Interpreter(models / "end-logits-near-0.tflite")
    raw = network.run(np.zeros((32, 32, 3), np.float32))
    assert raw.min() > 0
    assert raw.sum() == pytest.approx(1, abs=1e-5)


def test_a_sigmoid_for_each_of_several_classes_is_refused(models):
    with pytest.raises(ModelError, match=r"7 outputs have a sigmoid each.*softmax over all"):
        loaded(models, "end-sigmoids")


def test_a_softmax_over_one_class_is_refused(models):
    with pytest.raises(ModelError, match=r"one output is a softmax.*always 1"):
        loaded(models, "end-one-softmax", 2)


@pytest.mark.parametrize(
    ("name", "classes"), [("end-heads", 3), ("end-doubled", 7), ("end-first-axis", 7)]
)
def test_outputs_that_do_not_add_up_to_1_are_refused(models, photo, name, classes):
    with pytest.raises(ModelError, match=rf"{name}\.tflite: its outputs add up to [0-9.]+, so"):
        loaded(models, name, classes).classify(photo)


def test_score_calibration_is_refused(models):
    with pytest.raises(ModelError, match=r"ScoreCalibrationOptions.*without score calibration"):
        Classifier(models / "score-calibration.tflite")


def test_a_score_below_the_models_own_threshold_is_a_warning(models, draw):
    classifier = Classifier(models / "score-threshold.tflite")
    plain = loaded(models, "end-softmax")
    images = [np.asarray(draw(60, 50, seed=n)) for n in range(6)]
    images += [np.full((32, 32, 3), (r, g, b), np.uint8) for r, g, b in ((0, 0, 0), (255, 0, 255))]
    warned = set()
    for image in images:
        prediction = classifier.classify(image)
        codes = [notice.code for notice in prediction.warnings]
        assert (BELOW_THRESHOLD in codes) == (prediction.probability < 0.75)
        warned.add(BELOW_THRESHOLD in codes)
        assert BELOW_THRESHOLD not in [n.code for n in plain.classify(image).warnings]
    assert warned == {True, False}


def test_the_models_own_threshold_is_of_a_mean_and_not_of_its_last_image(models):
    classifier = Classifier(models / "score-threshold.tflite")
    rest = [0.0] * (len(classifier.labels) - 2)
    last = classifier.prediction([0.6, 0.4, *rest])
    assert [notice.code for notice in last.remarks] == [BELOW_THRESHOLD]
    mean = classifier.prediction([0.8, 0.2, *rest], warnings=last.warnings)
    assert mean.remarks == ()
    assert (
        classifier.prediction([0.7, 0.3, *rest], warnings=last.warnings).warnings == last.warnings
    )


def test_numbers_out_of_range_are_refused():
    outputs = Outputs("m.tflite", threshold=None)
    for values in ([0.2, float("nan")], [1.2, -0.2], [3.0]):
        with pytest.raises(ModelError, match=r"m\.tflite: its outputs, .* are not probabilities"):
            outputs.probabilities(np.array(values, np.float32))
    assert outputs.probabilities(np.array([0.25], np.float32)).tolist() == [0.75, 0.25]


def test_probabilities_in_8_bits_stay_between_0_and_1():
    outputs = Outputs("m.tflite", threshold=None)
    for values, wanted in (([1.004], [0, 1]), ([-0.004], [1, 0]), ([1.004, -0.004], [1, 0])):
        assert outputs.probabilities(np.array(values, np.float32)).tolist() == wanted


def test_our_own_files_need_no_steps_after_the_graph(int8):
    found = metadata.read(int8)
    assert (found.score_calibration, found.score_threshold) == (False, None)
