"""A normalisation that does not fit the input is refused, and one that fits is suggested."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lesionedge import Classifier, ModelError, normalisation
from lesionedge.interpreter import Interpreter, TensorInfo

THINGS = [f"thing {n}" for n in range(7)]
TO_ONE, AROUND_0 = (0.0, 255.0), (127.5, 127.5)


def info(dtype, scale=0.0, zero_point=0):
    return TensorInfo("t", (1, 32, 32, 3), dtype, scale, zero_point, 0)


def levels(tensor, mean, std):
    mean, std = (np.atleast_1d(np.asarray(values, np.float32)) for values in (mean, std))
    return normalisation.stored_levels(tensor, mean, std, model="m.tflite")


def test_metadata_that_contradicts_the_input_is_refused_and_normalize_fixes_it(models, photo):
    path = models / "contradicting.tflite"
    with pytest.raises(ModelError, match=r"clips 12[78] of the 256 grey levels; give") as error:
        Classifier(path)
    assert "holds 0 to 1" in str(error.value)
    assert "--normalize 0,255," in str(error.value)
    classifier = Classifier(path, normalize=TO_ONE)
    pixels = classifier.model_input(photo)
    assert np.array_equal(classifier.probabilities(photo), classifier.interpreter.run(pixels))


@pytest.mark.parametrize(
    ("given", "hint"),
    [((0.5, 0.5), "127.5,127.5"), ((0.485, 0.229), "123.675,58.395"), ((0, 0.00392157), "0,1"),
     ((0.485, 0.456, 0.406, 0.229, 0.224, 0.225),
      "123.675,116.28,103.53,58.395,57.12,57.375")],
)  # fmt: skip
def test_numbers_for_pixels_from_0_to_1_are_refused_with_those_for_255(models, given, hint):
    """A float network would take them, and see only numbers that it has never seen."""
    path = models / "bare-float.tflite"
    with pytest.raises(ModelError, match=rf"of pixels from 0 to 255; give --normalize {hint} if"):
        Classifier(path, labels=THINGS, normalize=given)
    usual = [(0, 1), (0, 255), (127.5, 127.5), (127, 128), (128, 1)]
    for normalize in (*usual, tuple(map(float, hint.split(",")))):
        Classifier(path, labels=THINGS, normalize=normalize)


def test_each_channel_may_have_its_own_numbers(models, photo, cli_run):
    path = models / "bare-float.tflite"
    six = (123.675, 116.28, 103.53, 58.395, 57.12, 57.375)
    classifier = Classifier(path, labels=THINGS, normalize=six)
    mean, std = np.float32(six[:3]), np.float32(six[3:])
    real = (classifier.model_input(photo).astype(np.float32) - mean) / std
    wanted = classifier.interpreter.run(real)
    assert np.array_equal(classifier.probabilities(photo), wanted)
    other = Classifier(path, labels=THINGS, normalize=(114.5, 57.6))
    assert np.abs(other.probabilities(photo) - wanted).max() > 0.001
    file = photo.parent / "things.txt"
    file.write_text("\n".join(THINGS))
    done = cli_run("predict", photo, "-m", path, "--labels", file, "--normalize",
                   ",".join(map(str, six)), "--format", "json")  # fmt: skip
    top = json.loads(done.stdout)["top"][0]
    assert top["probability"] == pytest.approx(float(wanted.max()))
    for bad in ("1,2,3", "1,2,3,4,5,0", "1,2,3,4"):
        assert cli_run("predict", photo, "-m", path, "--normalize", bad).exit_code == 2


@pytest.mark.parametrize("name", ["bare", "int8-to-one", "int8-tensors"])
def test_the_suggested_normalisation_changes_nothing(models, name):
    tensor = Interpreter(models / f"{name}.tflite").input
    mean, std = map(float, str(normalisation.fitting(tensor)).split(","))
    table = levels(tensor, mean, std)
    assert np.array_equal(table[:, 0].astype(int) - np.iinfo(tensor.dtype).min, np.arange(256))


@pytest.mark.parametrize(
    ("name", "normalize", "fault", "fitting"),
    [
        ("bare", TO_ONE, "uses 50 % of the input's range", "127,127.5"),
        ("bare", (0, 1), "clips 254 of", "127,127.5"),
        ("bare", (127.5, 50), r"clips 15\d of", "127,127.5"),
        ("int8-to-one", AROUND_0, "clips 12[78] of", "0,255"),
        ("int8-to-one", (0, 1000), "uses 25 % of", "0,255"),
        ("int8-tensors", TO_ONE, "uses 50 % of", "127,127.5"),
    ],
)
def test_normalize_that_does_not_fit_is_refused(models, name, normalize, fault, fitting):
    with pytest.raises(ModelError, match=rf"{fault}.*--normalize {fitting},"):
        Classifier(models / f"{name}.tflite", labels=THINGS, normalize=normalize)


@pytest.mark.parametrize(
    ("name", "normalize"),
    [("bare", AROUND_0), ("bare", (128, 128)), ("bare", (127, 128)), ("bare", (120, 130)),
     ("int8-to-one", TO_ONE), ("int8-to-one", (0, 256)), ("int8-tensors", (127, 127.5))],
)  # fmt: skip
def test_normalisation_that_fits_is_used(models, photo, name, normalize):
    classifier = Classifier(models / f"{name}.tflite", labels=THINGS, normalize=normalize)
    tensor = classifier.interpreter.input
    real = (classifier.model_input(photo).astype(np.float64) - normalize[0]) / normalize[1]
    stored = np.rint(real / tensor.scale) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    fed = np.clip(stored, limits.min, limits.max).astype(tensor.dtype)
    wanted = classifier.interpreter.run(fed)
    assert np.abs(classifier.probabilities(photo) - wanted).max() < 0.02


def test_five_per_cent_of_the_levels_may_clip():
    tensor = info("uint8", 1 / 255)
    assert levels(tensor, 12, 255)[:13, 0].tolist() == [0] * 13  # 12 levels below 0
    with pytest.raises(ModelError, match="clips 13 of the 256 grey levels;"):
        levels(tensor, 13, 255)


def test_each_channel_is_checked():
    tensor = info(
        "uint8", 4.76 / 255, 113
    )  # ImageNet's mean and deviation, with one range for all channels
    imagenet = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    table = levels(tensor, *imagenet)
    assert table[0].tolist() == [0, 4, 16]
    assert table[255].tolist() == [233, 243, 254]
    with pytest.raises(ModelError, match="clips 128 of the 256 grey levels of blue"):
        levels(info("uint8", 1 / 255), (0, 0, 127.5), (255, 255, 127.5))
    with pytest.raises(ModelError, match="uses 20 % of the input's range of green"):
        levels(info("uint8", 1 / 255), (0, 0, 0), (255, 1275, 255))


def test_integers_without_a_scale_stand_for_themselves():
    assert levels(info("uint8"), 0, 1)[:, 0].tolist() == list(range(256))
    assert levels(info("int8"), 128, 1)[:, 0].tolist() == list(range(-128, 128))
    with pytest.raises(ModelError, match=r"holds 0 to 255.*--normalize 0,1,"):
        levels(info("uint8"), *AROUND_0)
    with pytest.raises(ModelError, match=r"holds -128 to 127: it clips 128 .*--normalize 128,1,"):
        levels(info("int8"), 0, 1)


def test_floats_hold_any_range_but_not_any_number():
    for dtype in ("float16", "float32"):
        for mean, std in (TO_ONE, AROUND_0, (0, 1), ([124, 116, 104], [58, 57, 57])):
            assert levels(info(dtype), mean, std).shape == (256, 3)
    assert levels(info("float32"), *AROUND_0)[[0, 255], 0].tolist() == [-1.0, 1.0]
    with pytest.raises(ModelError, match="float16 input: it makes numbers that the input cannot"):
        levels(info("float16"), 0, 1e-3)
    with pytest.raises(ModelError, match=r"leaves \d+ of the 256 grey levels"):
        levels(info("float16"), 60000, 1)
    with pytest.raises(ModelError, match="leaves 1 of the 256 grey levels"):
        levels(info("float32"), 1e12, 1)
