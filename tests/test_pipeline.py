"""From images to a prediction: fit (killed and resumed), quantize, evaluate, export, predict.

Everything is real but small: synthetic images, one epoch a stage, the commands as a person runs
them; the training that is killed is a process of its own.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from operators import operators
from training import LABELS, draw_ham10000, keras, program

from lesionedge import Classifier
from lesionedge.image import Preprocessing
from train import recipe
from train.data import cache
from train.data.prepare import Source, prepare
from train.fit import crops
from train.models.inference import logits
from train.run import Run

ROOT = Path(__file__).parent.parent
RECIPE = """
name = "tiny"
description = "A recipe for tests"
batch_size = 8
ema = 0.5
cache_side_px = 36
[input]
width_px = 32
height_px = 32
[model]
architecture = "cnn"
[augment]
rotation_deg = 90
flip = true
[[stages]]
name = "float"
epochs = 2
learning_rate = 1e-3
input_px = 32
[[stages]]
name = "quantized"
epochs = 1
learning_rate = 1e-4
input_px = 32
quantize = true
freeze_batch_norm = true
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, draw) -> Path:
    """A finished run that was killed after its first epoch and resumed."""
    root = tmp_path_factory.mktemp("pipeline")
    draw_ham10000(root / "ham", draw, lambda n: "nv" if n % 2 else LABELS[n // 2 % 7], 84)
    (root / "tiny.toml").write_text(RECIPE)
    out = root / "runs" / "tiny"
    fit = ["train", "fit", root / "tiny.toml", "--data", root / "ham", "--out", out, "--seed", 3]
    with subprocess.Popen(
        [sys.executable, "-m", *map(str, fit)], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as first:
        while not (out / "checkpoint" / "state.npz").exists():
            assert first.poll() is None, "fit ended before its first epoch"
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
    program(*fit)
    program("train", "quantize", out)
    program("train", "evaluate", out)
    return out


@pytest.fixture(scope="module")
def files(run) -> dict[str, Path]:
    """The run's .tflite files by format."""
    made = {}
    for form in ("int8", "float16", "float32"):
        made[form] = run.parent / f"tiny-{form}.tflite"
        program("convert", "export", run, "--format", form, "-o", made[form])
    return made


def test_a_killed_run_resumes_and_ends(run):
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        ("float", "1"), ("float", "2"), ("quantized", "1"),
    ]  # fmt: skip
    assert "resuming" in (run / "log.txt").read_text()
    names = {"recipe.toml", "split.csv", "int8.h5", "float.h5", "card.json", "metrics.json",
             "history.csv", "log.txt", "plots", "checkpoint"}  # fmt: skip
    assert names <= set(os.listdir(run))
    assert set(os.listdir(run.parent)) >= {"tiny", "cache"}


def test_the_card_and_the_metrics_are_whole(run):
    card = json.loads((run / "card.json").read_text())
    assert [entry["label"] for entry in card["labels"]] == [
        "akiec",
        "bcc",
        "bkl",
        "df",
        "mel",
        "nv",
        "vasc",
    ]
    assert card["quantization"]["training"] == "qat"
    assert card["modality"] == "dermoscopy"  # HAM10000's: the device's gate judges its images
    assert set(card["calibration"]["temperature"]) == {"float", "int8"}
    assert {k: len(v) for k, v in card["calibration"]["class_temperature"].items()} == {
        "float": 7, "int8": 7,
    }  # fmt: skip
    assert sum(card["data"]["images"].values()) == 84
    assert card["metrics"]["test"]["int8"]["balanced_accuracy"]["low"] <= 1
    metrics = json.loads((run / "metrics.json").read_text())["models"]
    assert set(metrics) == {"float", "int8"}
    assert np.array(metrics["int8"]["confusion"]["value"]).sum() == metrics["int8"]["images"]
    for name in ("training", "confusion-int8", "roc-int8", "reliability-int8"):
        assert (run / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_another_recipe_may_not_take_the_folder(run):
    done = program(
        "train", "fit", "cnn", "--data", run.parent.parent / "ham", "--out", run, check=False
    )
    assert done.returncode == 1
    assert "another recipe" in done.stderr
    assert "Traceback" not in done.stderr


def test_exported_files_have_the_formats_promised(files):
    sizes = {form: path.stat().st_size for form, path in files.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    for form, path in files.items():
        classifier = Classifier(path)
        assert classifier.card.file.format == form
        assert classifier.card.file.method == ("qat" if form == "int8" else "none")
        assert classifier.interpreter.input.dtype == ("uint8" if form == "int8" else "float32")
        assert classifier.interpreter.output.dtype == "float32"
        assert classifier.labels[4] == "mel"


def test_the_int8_body_is_int8_throughout(files):
    found = operators(files["int8"])
    assert found[0] == "QUANTIZE"  # uint8 pixels become int8
    # Calibration, in float: logits / T, how sharp their softmax says, and the result.
    assert found[-7:] == ["DEQUANTIZE", "MUL", "SOFTMAX", "MUL", "SUM", "MUL", "SOFTMAX"]
    body = found[1:-7]
    assert "QUANTIZE" not in body
    assert "DEQUANTIZE" not in body
    # XNNPACK has kernels for all of these, so that it takes the whole graph.
    known = {"CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "MEAN", "FULLY_CONNECTED", "ADD"}
    assert set(body) <= known


def test_the_same_pixels_reach_keras_and_the_device(run, files):
    table, classifier = Run(run).table(), Classifier(files["int8"])
    paths = [Path(path) for path in table.loc[table["split"] == "test", "path"]]
    settings = Preprocessing.from_card(Run(run).read_card().input)
    pixels, _ = cache.prepared(paths, settings, run.parent / "cache")
    assert len(paths) > 5
    for row, path in zip(pixels, paths):
        assert np.array_equal(row, classifier.model_input(path))


def test_verify_passes_what_agrees_and_fails_what_does_not(run, files, tmp_path):
    for form in ("float16", "int8"):
        # A dozen images and one epoch: whether int8 lost too much is chance here.
        done = program("convert", "verify", files[form], "--run", run, check=form != "int8")
        assert "same top label" in done.stdout
        assert ("lost more" in done.stderr) == bool(done.returncode)
    other = program("convert", "verify", ROOT / "tests/data/bare.tflite", "--run", run, check=False)
    assert other.returncode == 1
    assert "bare.tflite" in other.stderr
    empty = program("convert", "export", tmp_path, "-o", tmp_path / "x.tflite", check=False)
    assert empty.returncode == 1
    assert "card.json" in empty.stderr


def test_post_training_quantization_is_said_in_the_card(run, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("float.h5", "split.csv"):
        (plain / name).symlink_to(run / name)
    card = json.loads((run / "card.json").read_text())
    card["quantization"]["training"] = "none"
    (plain / "card.json").write_text(json.dumps(card))
    program("convert", "export", plain, "--format", "int8", "-o", tmp_path / "p.tflite")
    classifier = Classifier(tmp_path / "p.tflite")
    assert classifier.card.file.method == "post-training"
    assert classifier.interpreter.input.dtype == "uint8"


def test_a_student_learns_from_a_file_and_its_predictions(run, files, tmp_path):
    """It starts from the teacher's weights, and compares itself with the teacher's predictions."""
    ham, soft = run.parent.parent / "ham", tmp_path / "soft.npz"
    program("train", "label", files["float16"], "--data", ham, "--out", soft)
    with np.load(soft) as kept:
        assert kept["probabilities"].shape == (84, 7)
        assert np.allclose(kept["probabilities"].sum(1), 1, atol=5e-3)
        image = ham / "images" / kept["names"][5]
        alone = Classifier(files["float16"]).probabilities(image)
        assert not np.allclose(kept["probabilities"][5], alone, atol=1e-4)  # of eight views
    student = RECIPE.replace('"tiny"', '"student"').replace("epochs = 2", "epochs = 1")
    student = student.replace("learning_rate = 1e-3", "learning_rate = 1e-9")
    student = student.replace('name = "float"\n', 'name = "float"\nmix = 0.5\n')
    student += "[distil]\nshare = 0.5\ntemperature = 2.0\n"
    (tmp_path / "student.toml").write_text(student)
    fit = ["train", "fit", tmp_path / "student.toml", "--data", ham, "--seed", 3, "--out",
           tmp_path / "runs" / "student"]  # fmt: skip
    refused = program(*fit, check=False)
    assert refused.returncode == 1 and "--soft-labels" in refused.stderr
    program(*fit, "--soft-labels", soft, "--weights", files["float16"])
    # At such a rate it can only predict as the teacher does because it began as the teacher.
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    teacher, own = (
        logits(keras.models.load_model(folder / "float.h5", compile=False), images).ravel()
        for folder in (run, tmp_path / "runs" / "student")
    )
    assert np.corrcoef(teacher, own)[0, 1] > 0.95


def _interrupting_after(text: str) -> Callable[[Run, str], None]:
    """Speak as a run does, and be interrupted from the keyboard after the first such line."""
    say = Run.say

    def interrupted(run: Run, line: str) -> None:
        say(run, line)
        if line.startswith(text):
            raise KeyboardInterrupt

    return interrupted


def test_a_student_learns_from_what_teachers_say_of_crops(run, files, tmp_path, monkeypatch):
    """Interrupted between two passes over the crops, it asks about the second pass only."""
    ham, out = run.parent.parent / "ham", tmp_path / "runs" / "student"
    student = RECIPE.replace('"tiny"', '"student"')
    student = student.replace(
        'name = "float"\n', 'name = "float"\nmix = 0.5\ntrain = "block_3_a"\n'
        "freeze_batch_norm = true\n"
    )  # fmt: skip
    student = student.replace("input_px = 32\n[[stages]]", "input_px = 24\n[[stages]]")
    student = student.replace("epochs = 1\n", "epochs = 0\n")
    student += "[distil]\nshare = 0.9\ncrops = 2\n"
    (tmp_path / "student.toml").write_text(student)
    fit = ["train", "fit", tmp_path / "student.toml", "--data", ham, "--seed", 3, "--out", out,
           "--weights", files["float16"]]  # fmt: skip
    refused = program(*fit, check=False)
    assert refused.returncode == 1 and "--teacher" in refused.stderr
    fit += ["--teacher", files["int8"], "--teacher", files["float32"]]
    asked_about = out / "checkpoint" / "crops"
    with monkeypatch.context() as patched:
        patched.setattr(Run, "say", _interrupting_after("teachers asked about"))
        assert program(*fit, check=False).returncode != 0
    assert not (asked_about / "pass-1.npz").exists()
    with np.load(asked_about / "pass-0.npz") as kept:
        assert np.allclose(kept["soft"].sum(1), 1, atol=1e-3)
        asked = len(kept["soft"])
    images = np.load(asked_about / "images.npy", mmap_mode="r")
    assert images.shape == (2 * asked, 24, 24, 3) and images[:asked].std() > 10
    others = program(*fit[:-2], check=False)
    assert others.returncode == 1 and "other teachers" in others.stderr
    said = program(*fit).stderr
    assert f"asked about {2 * asked} of {2 * asked}" in said
    assert f"asked about {asked} of" not in said
    assert not asked_about.exists(), "gigabytes are left"
    started, own, mixed = (
        np.load(out / "checkpoint" / f"{name}.npz") for name in ("start", "own-0", "best-0")
    )
    names = [name for name in started.files if name != "facts"]
    moved = [name for name in names if not np.array_equal(started[name], own[name])]
    assert 0 < len(moved) < len(names) / 2
    for name in names:
        assert np.allclose(mixed[name], (started[name] + own[name]) / 2, atol=1e-6)


def test_a_teacher_that_is_given_twice_counts_twice(run, files, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(run / "split.csv", tmp_path / "run")
    made = recipe.load(str(run / "recipe.toml"))
    made = dataclasses.replace(made, distil=recipe.Distil(share=0.9, crops=1))
    made = dataclasses.replace(made, stages=made.stages[:1])
    data = prepare(
        made, Source(run.parent.parent / "ham"), Run(tmp_path / "run"), seed=3,
        cache_folder=run.parent / "cache",
    )  # fmt: skip

    def soft(*names: str) -> np.ndarray:
        asked = [files[name] for name in names]
        return crops.make(
            asked, data, made, tmp_path / "-".join(names), seed=3, say=lambda _: None
        ).soft  # fmt: skip

    one, other = soft("int8"), soft("float32")
    assert np.abs(one - other).max() > 1e-4
    twice = soft("int8", "int8", "float32")
    assert np.allclose(twice, (2 * one + other) / 3, rtol=0, atol=1e-6)


def test_evaluate_measures_the_file_itself(run, files, tmp_path):
    """Here of a run whose Keras models are gone: they are measured above."""
    before = (run / "card.json").read_text()
    for name in ("card.json", "split.csv", "recipe.toml"):
        shutil.copy(run / name, tmp_path)
    cache_folder = run.parent / "cache"
    program("train", "evaluate", tmp_path, "--model", files["int8"], "--cache", cache_folder)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["models"]
    assert list(metrics) == ["tiny-int8.tflite"]
    assert (tmp_path / "card.json").read_text() == before


def test_predict_runs_the_new_model(cli_run, files, photo):
    result = cli_run("predict", photo, "-m", files["int8"], "--format", "json")
    assert result.exit_code == 0
    prediction = json.loads(result.stdout)
    assert sum(c["probability"] for c in prediction["top"]) == pytest.approx(1, abs=1e-4)


MEDIAPIPE = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
with vision.ImageClassifier.create_from_options(options) as classifier:
    image = mediapipe.Image(mediapipe.ImageFormat.SRGB, numpy.load(sys.argv[2]))
    found = classifier.classify(image).classifications[0]
print(json.dumps({c.category_name: c.score for c in found.categories}))
"""


@pytest.fixture(scope="module")
def mediapipe() -> str:
    """A Python that has MediaPipe, which cannot share an environment with the train extra."""
    python = os.environ.get("LESIONEDGE_MEDIAPIPE", sys.executable)
    if subprocess.run([python, "-c", "import mediapipe"], capture_output=True).returncode:
        pytest.skip("needs MediaPipe: make test installs it")
    return python


@pytest.mark.parametrize("model", ["mobilenetv2", "mobilenetv2-float16", "cnn"])
def test_mediapipe_runs_our_files_and_agrees(mediapipe, photo, tmp_path, model):
    ours = Classifier(model)
    pixels = ours.model_input(photo)
    np.save(tmp_path / "pixels.npy", pixels)
    line = [mediapipe, "-c", MEDIAPIPE, str(ours.path), str(tmp_path / "pixels.npy")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    for label, probability in zip(ours.labels, ours.probabilities(pixels).tolist()):
        assert theirs[label] == pytest.approx(probability, abs=0.01)


@pytest.mark.slow
def test_a_model_of_all_images_is_measured_by_its_folds(run, files, tmp_path):
    """Weights are taken as they are, made ready for rounding in every fold, and measured."""
    ham, text = run.parent.parent / "ham", RECIPE.replace("epochs = 2", "epochs = 0")
    (tmp_path / "taken.toml").write_text(text.replace('"tiny"', '"taken"'))
    program("train", "folds", run / "split.csv", "--count", 2, "--out", tmp_path)
    for name in ("fold-1", "fold-2", "all"):
        program("train", "fit", tmp_path / "taken.toml", "--data", ham, "--seed", 3, "--out",
                tmp_path / name, "--weights", files["float16"])  # fmt: skip
        program("train", "quantize", tmp_path / name)
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    before, taken = (
        logits(keras.models.load_model(folder / "float.h5", compile=False), images)
        for folder in (run, tmp_path / "all")
    )
    assert np.abs(before - taken).max() < 0.02 * np.abs(before).max()
    assert "no test images" in (tmp_path / "all" / "log.txt").read_text()
    assert "metrics" not in json.loads((tmp_path / "all" / "card.json").read_text())

    program("train", "pool", tmp_path / "fold-1", tmp_path / "fold-2", "--out", tmp_path / "pool",
            "--card", tmp_path / "all")  # fmt: skip
    found = json.loads((tmp_path / "pool" / "metrics.json").read_text())["models"]
    card = json.loads((tmp_path / "all" / "card.json").read_text())
    calibration = card["data"]["images"]["calibration"]
    assert set(card["data"]["images"]) == {"calibration", "train"}
    assert found["int8"]["images"] == 84 - calibration
    assert card["metrics"]["test"]["int8"]["accuracy"] == found["int8"]["accuracy"]
    assert any("twins" in limit for limit in card["limits"])
