"""What ``python -m convert`` refuses, and that it judges a file as ``predict`` does."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training import keras, program

from lesionedge import Classifier, ModelError
from lesionedge.card import (
    DECISION,
    Calibration,
    Card,
    Input,
    Label,
    NamedPoint,
    Output,
    Quantization,
)

SIDE = 32
CARD = Card(
    name="tiny", labels=(Label("benign", malignant=False), Label("malignant", malignant=True)),
    input=Input(SIDE, SIDE, mean=(128.0,) * 3, std=(128.0,) * 3), output=Output("sigmoid"),
    quantization=Quantization("none"), calibration=Calibration("temperature", {"float": 1.0}),
    named_points=(NamedPoint(DECISION, 0.2),),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of a network that finds bright images malignant, with probabilities below a half."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    images = keras.Input((SIDE, SIDE, 3))
    logit = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(images))
    model = keras.Model(images, logit)
    model.set_weights([np.full((3, 1), 0.8), np.array([-2.5])])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5", UserWarning)
        model.save(folder / "float.h5")
    (folder / "card.json").write_text(CARD.to_json())
    rows = ["path,label,lesion,group,split"]
    for number in range(24):
        split, is_bright = "test" if number < 12 else "train", number % 2
        path = folder / f"{number}.png"
        Image.new("RGB", (SIDE, SIDE), (230 if is_bright else 40,) * 3).save(path)
        rows.append(f"{path},{('benign', 'malignant')[is_bright]},,{number},{split}")
    (folder / "split.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def file(run) -> Path:
    path = run / "tiny.tflite"
    program("convert", "export", run, "--format", "float32", "-o", path)
    return path


def test_verify_names_two_classes_as_predict_does(run, file):
    """By the card's threshold: neither model finds a malignant image if a half decides."""
    classifier = Classifier(file, check=False)
    assert classifier.classify(run / "1.png").label == "malignant"
    assert classifier.probabilities(run / "1.png").argmax() == 0
    shown = program("convert", "verify", file, "--run", run).stdout
    assert "balanced accuracy    Keras 1.0000, file 1.0000" in shown


def test_verify_refuses_a_file_of_another_run(run, tmp_path, models):
    def refused(**section) -> str:
        (tmp_path / "card.json").write_text(json.dumps(card | section))
        shutil.copy(run / "split.csv", tmp_path)
        done = program("convert", "verify", models / "int8.tflite", "--run", tmp_path, check=False)
        assert done.returncode == 1
        return done.stderr

    card = Classifier(models / "int8.tflite").card.to_dict()
    larger = {**card["input"], "width_px": 64, "height_px": 64}
    assert "takes images of 32x32 px; those of the run have 64x64" in refused(input=larger)
    assert "int8.tflite: its card does not say how it was made" in refused()


def test_a_file_that_tensorflow_rounded_says_what_would_be_better(run, tmp_path):
    done = program("convert", "export", run, "--format", "int8", "-o", tmp_path / "x.tflite")
    assert f"python -m train quantize {run}" in done.stderr


def test_thresholds_of_twins_are_not_those_of_the_file(models, tmp_path):
    from convert.card import set_operating_points

    file, metrics = tmp_path / "int8.tflite", tmp_path / "metrics.json"
    shutil.copy(models / "int8.tflite", file)
    before = file.read_bytes()
    point = {"sensitivity": 0.9, "threshold": 0.25, "measured_sensitivity": 0.92,
             "measured_specificity": 0.6}  # fmt: skip
    record = {"models": {file.name: {"operating_points": [point]}}, "folds": {file.name: {}}}
    metrics.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="thresholds of their own"):
        set_operating_points(file, metrics)
    assert file.read_bytes() == before
