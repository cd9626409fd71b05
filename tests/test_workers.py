"""Training on several workers; minutes long, so only ``make test-cluster`` runs the most of it."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if importlib.util.find_spec("tensorflow_model_optimization") is None:
    pytest.skip("needs the extra train: make test installs it", allow_module_level=True)
from train.fit import workers  # noqa: E402
from train.run import RunError  # noqa: E402

LONG = pytest.mark.skipif(
    not os.environ.get("LESIONEDGE_CLUSTER"), reason="minutes long: make test-cluster runs it"
)
RECIPE = """
name = "tiny"
description = "A recipe for tests"
batch_size = 16
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
epochs = 3
learning_rate = 1e-3
input_px = 32
"""
QUANTIZED = """
[[stages]]
name = "quantized"
epochs = 1
learning_rate = 1e-4
input_px = 32
quantize = true
freeze_batch_norm = true
"""
# Two replicas as two GPUs of one machine would be, on two halves of its processor.
REPLICAS = """
import os
os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="2")
import numpy as np, tensorflow as tf, tf_keras as keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from train.models import architectures
from train.quantize import aware
from train import recipe
from train.fit import trainer
from train.fit.batches import Lessons
r = recipe.load("{recipe}")
rng = np.random.default_rng(0)
pixels = rng.integers(0, 255, (64, 36, 36, 3), dtype=np.uint8)
data = Lessons(pixels, np.arange(64) % 7, np.arange(64))
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
turns = [(0, tf.distribute.get_strategy()), (0, mirrored), (1, mirrored)]
for number, strategy in turns:
    keras.utils.set_random_seed(1)
    stage = r.stages[number]
    with strategy.scope():
        model = architectures.build(r.model, classes=7, height_px=32, width_px=32)
        model = aware.quantization_aware(model) if stage.quantize else model
    found = trainer.Trainer(r, stage, model, data, strategy=strategy)
    facts = found.epoch(0, seed=(1, 1), say=print)
    kept = found.arrays()
    found.restore(kept)
    again = found.arrays()
    assert all(np.array_equal(a, b) for k in kept for a, b in zip(kept[k], again[k]))
    print("loss", facts["loss"], found.replicas)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, draw):
    """Synthetic images laid out as HAM10000 is published."""
    root = tmp_path_factory.mktemp("ham")
    (root / "images").mkdir()
    labels = ("nv", "mel", "bcc", "bkl", "akiec", "df", "vasc")
    with (root / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"])
        for number in range(140):
            name = f"ISIC_{number:07d}"
            label = labels[number % 7]
            writer.writerow((f"HAM_{number}", name, label, "histo", 50, "male", "back"))
            draw(48, 36, seed=number).save(root / "images" / f"{name}.jpg")
    return root


def fit(recipe, dataset, out, *arguments):
    line = ["-m", "train", "fit", recipe, "--data", dataset, "--out", out, *arguments]
    return subprocess.Popen(
        [sys.executable, *map(str, line)], cwd=ROOT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def history(out):
    with (out / "history.csv").open() as file:
        return list(csv.DictReader(file))


def members(launcher):
    """Find a launcher's workers."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{name}/stat").read_text().rsplit(")")[-1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == launcher.pid:
            found.append(int(name))
    return sorted(found)


@LONG
def test_two_workers_train_as_one_does_and_resume_after_a_kill(dataset, tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    losses = []
    for seed in (1, 2, 3):
        one = fit(recipe, dataset, tmp_path / f"one-{seed}", "--seed", seed)
        _, errors = one.communicate()
        assert one.returncode == 0, errors
        losses.append([float(row["loss"]) for row in history(tmp_path / f"one-{seed}")])
    two = fit(recipe, dataset, tmp_path / "two", "--seed", 1, "--workers", 2)
    while not (tmp_path / "two" / "checkpoint" / "state.npz").exists():
        assert two.poll() is None, two.communicate()
        time.sleep(0.1)
    crew = members(two)
    assert len(crew) == 2
    os.kill(crew[1], signal.SIGKILL)
    _, errors = two.communicate()
    assert two.returncode == 0, errors
    assert "worker 2 of 2 died: all start again and resume" in errors
    assert re.search(r"resuming: stage 1, after epoch [12]", errors)
    rows = history(tmp_path / "two")
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        ("float", "1"), ("float", "2"), ("float", "3"),
    ]  # fmt: skip
    assert (tmp_path / "two" / "card.json").exists()
    assert (tmp_path / "two" / "float.h5").exists()
    for number in range(3):
        seeds = [loss[number] for loss in losses]
        spread = max(seeds) - min(seeds)
        assert min(seeds) - spread <= float(rows[number]["loss"]) <= max(seeds) + spread


@LONG
def test_what_would_fail_again_is_not_tried_again(dataset, tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.replace("batch_size = 16", "batch_size = 15"))
    run = fit(recipe, dataset, tmp_path / "out", "--workers", 2)
    _, errors = run.communicate()
    assert run.returncode == 1
    assert "batches of 15 images cannot be shared by 2 replicas" in errors
    assert "start again" not in errors


@LONG
def test_replicas_of_one_machine_sum_to_one(tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE + QUANTIZED)
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS.format(recipe=recipe)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("loss")]
    (one, _), (two, count), (quantized, _) = lines
    assert count == "2"
    assert float(two) == pytest.approx(float(one), rel=0.15)
    assert float(quantized) == pytest.approx(float(one), rel=0.3)


TWO, CHIEF = {"worker": ["a:1", "b:1"]}, {"chief": ["a:1"], "worker": ["b:1"]}


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "member", "chief"),
    [
        (TWO, "worker", 0, True, True),
        (TWO, "worker", 1, True, False),
        (CHIEF, "worker", 0, True, False),
        (CHIEF, "chief", 0, True, True),
        ({"worker": ["a:1"]}, "worker", 0, False, True),
    ],
)
def test_tf_config_says_who_this_is(monkeypatch, cluster, kind, index, member, chief):
    config = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert (workers.is_member(), workers.is_chief()) == (member, chief)


def test_without_tf_config_there_is_one_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert not workers.is_member()


def test_an_unusable_tf_config_is_an_error(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "worker 1")
    with pytest.raises(RunError, match="expected JSON with cluster and task"):
        workers.is_member()


def test_shares_of_a_batch_are_the_batch():
    import numpy as np

    from train import recipe
    from train.fit.batches import Lessons, training_batches

    augment = recipe.Augment()  # no changes
    lessons = Lessons(np.zeros((40, 8, 8, 3), np.uint8), np.arange(40), np.arange(40))

    def given(shares):
        found = training_batches(
            lessons, augment=augment, input_px=8, batch_size=12, seed=(1, 2), shares=shares,
        )  # fmt: skip
        return [sorted(batch.numpy().tolist()) for _, batch, _ in found]

    whole = given((1, range(1)))
    first, rest = given((3, range(1))), given((3, range(1, 3)))
    assert [len(batch) for batch in whole] == [12, 12, 12]
    assert [len(share) for share in first + rest] == [4] * 9
    for number, batch in enumerate(whole):
        assert sorted(first[number] + rest[2 * number] + rest[2 * number + 1]) == batch
