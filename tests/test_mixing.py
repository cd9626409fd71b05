"""A training that mixes other collections into its batches, and folds batch normalisation."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training import LABELS, draw_ham10000, keras, program, tensorflow

from train import recipe
from train.fit import batches, checkpoints, losses
from train.fit import fit as training
from train.fit.batches import Lessons, OtherImages
from train.fit.workers import Team
from train.models import architectures, batch_norm
from train.models.pixels import PIXEL_MEAN, PIXEL_STD
from train.recipe import Augment, Loss, Model
from train.run import Run
from train.settings import RecipeError

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
architecture = "stacked"
filters = [8, 16]
batch_norm = true
[[others]]
name = "elsewhere"
share = 0.25
cache_side_px = 24
cache_aspect = 1.0
attribution = "and on images from elsewhere"
[[others]]
name = "binary"
share = 0.25
stretch = true
classes = { malignant = ["mel"], benign = ["nv", "bkl"] }
[others.augment]
flip = true
[[stages]]
name = "float"
epochs = 1
learning_rate = 1e-3
input_px = 32
[[stages]]
name = "mixed"
epochs = 2
learning_rate = 1e-3
input_px = 32
fold_batch_norm = true
others = true
taught = 0.5
keep = "last"
"""


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def call(loss, meanings, labels, logits):
    made = losses.logit_adjusted(loss, meanings)
    return made(
        tensorflow.constant(labels), tensorflow.constant(logits, tensorflow.float32)
    ).numpy()


def test_labels_of_one_class_cost_the_adjusted_cross_entropy():
    rng = np.random.default_rng(0)
    logits, labels, counts = rng.normal(0, 2, (9, 3)), rng.integers(0, 3, 9), np.array([70, 20, 10])
    found = call(Loss(1.0, 0.1), losses.classes_alone(counts), labels, logits)
    chances = softmax(logits + np.log(counts / 100))
    targets = np.eye(3)[labels] * 0.9 + 0.1 / 3
    assert found == pytest.approx(-(targets * np.log(chances)).sum(1), abs=1e-5)


def test_a_label_that_leaves_classes_open_costs_their_sum():
    """The collection has none of the third class, and half of its images are of the first."""
    possible = np.array([[True, False, False], [True, True, False]])
    meanings = losses.LabelMeanings(possible, np.array([[0.5, 0.5, 0.0]] * 2))
    logits = np.array([[1.0, 2.0, 30.0], [1.0, 2.0, 30.0]])
    found = call(Loss(1.0, 0.0), meanings, np.array([0, 1]), logits)
    first = 1 / (1 + np.e)
    assert found == pytest.approx([-np.log(first), 0.0], abs=1e-5)


def test_what_is_named_may_be_any_of_a_labels_classes():
    meanings = losses.LabelMeanings(
        np.array([[True, False, False], [True, True, False]]), np.ones((2, 3))
    )
    logits = tensorflow.constant([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    named = losses.named(meanings, tensorflow.constant([0, 1, 1]), logits)
    assert named.numpy().tolist() == [False, True, False]


def test_each_batch_has_its_share_of_every_collection():
    own = np.full((12, 8, 8, 3), 10, np.uint8)
    other = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((10, 4, 4, 3), np.uint8)
    rows = np.array([1, 2, 3, 5, 7])
    mixed = OtherImages(other + 100, rows, rows + 7, share=0.25)
    lessons = Lessons(own, np.arange(12), np.arange(12), others=(mixed,))
    assert lessons.own(8) == 6
    seen = []
    for epoch in (0, 1, 2):
        found = list(
            batches.training_batches(
                lessons, augment=Augment(), input_px=8, batch_size=8, seed=(1, epoch)
            )
        )
        assert len(found) == 2
        for images, labels, _ in found:
            pixels = (images.numpy() * PIXEL_STD + PIXEL_MEAN).mean((1, 2, 3))
            assert pixels[:6] == pytest.approx(np.full(6, 10), abs=0.01)
            assert pixels[6:] == pytest.approx(labels.numpy()[6:] - 7 + 100, abs=0.01)
            seen += labels.numpy()[6:].tolist()
        own_labels = np.concatenate([labels.numpy()[:6] for _, labels, _ in found])
        assert sorted(own_labels) == list(range(12)), "each of its own images once an epoch"
    first, second, third = (set(seen[start : start + 4]) for start in (0, 4, 8))
    assert {len(first), len(second), len(third)} == {4}, "none twice before all have come"


def network(seed, architecture="cnn"):
    """Build a network whose batch normalisation does something."""
    keras.utils.set_random_seed(seed)
    model = architectures.build(Model(architecture), classes=7, height_px=32, width_px=32)
    rng = np.random.default_rng(seed)
    for norm in batch_norm.batch_norms(model):
        n = norm.gamma.shape
        norm.set_weights([rng.uniform(0.5, 2, n), rng.normal(0, 0.3, n), rng.normal(0, 0.3, n),
                          rng.uniform(0.3, 3, n)])  # fmt: skip
    return model


@pytest.mark.parametrize("architecture", ["cnn", "mobilenetv2"])
def test_a_folded_network_computes_the_same_and_goes_back(architecture):
    model = network(1, architecture)
    images = np.random.default_rng(2).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    made = batch_norm.folded(model)
    assert not batch_norm.batch_norms(made)
    assert made(images).numpy() == pytest.approx(model(images).numpy(), abs=1e-4)
    rng = np.random.default_rng(3)
    made.set_weights([w + rng.normal(0, 0.01, w.shape) for w in made.get_weights()])
    before = model.get_weights()
    weights = batch_norm.unfolded(model, made, made.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights())), "unchanged"
    model.set_weights(weights)
    assert made(images).numpy() == pytest.approx(model(images).numpy(), abs=1e-4)


def draw_others(root, draw):
    """Draw two collections: one with a class that the model lacks, one that says little."""
    (root / "elsewhere" / "images").mkdir(parents=True)
    with (root / "elsewhere" / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "dx", "lesion_id"])
        for number in range(24):
            dx = ("scc", "bcc", "melanoma", "nv")[number % 4]
            writer.writerow([f"E_{number}", dx, f"L_{number // 2}"])
            draw(24, 24, seed=500 + number).save(root / "elsewhere" / "images" / f"E_{number}.png")
    for number in range(24):
        folder = root / "binary" / ("test" if number < 8 else "train")
        folder /= "malignant" if number % 4 == 0 else "benign"
        folder.mkdir(parents=True, exist_ok=True)
        draw(40, 40, seed=700 + number).save(folder / f"B_{number}.png")


@pytest.fixture(scope="module")
def fit(tmp_path_factory, draw) -> list[str | Path]:
    """The command, without its run folder."""
    root = tmp_path_factory.mktemp("mixing")
    ham = draw_ham10000(
        root / "ham", draw, lambda n: "nv" if n % 2 else LABELS[n // 2 % 7], 84
    )  # fmt: skip
    draw_others(root, draw)
    (root / "tiny.toml").write_text(RECIPE)
    return ["train", "fit", root / "tiny.toml", "--data", ham, "--cache", root / "cache",
            "--also", f"elsewhere={root / 'elsewhere'}", "--also", f"binary={root / 'binary'}",
            "--out"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(fit, tmp_path_factory) -> Path:
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    program(*fit, out)
    return out


def weights_of(run: Path) -> list[np.ndarray]:
    """Return a run's float weights."""
    return Run(run).load_model("float").get_weights()


def test_a_training_mixes_what_it_is_given(whole):
    said = (whole / "log.txt").read_text()
    assert "elsewhere: 18 images: " in said and "bcc 6 (bcc)" in said and "melanoma 6 (mel)" in said
    assert "6 of other labels" in said
    assert "binary: 16 images: benign 12 (nv/bkl), malignant 4 (mel)" in said
    assert "8 of other labels or held out by their publisher" in said
    card = Run(whole).read_card()
    assert "and on images from elsewhere; also binary" in card.attribution
    assert card.data.also == {"elsewhere": 18, "binary": 16}
    with (whole / "history.csv").open() as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["float", "mixed", "mixed"]
    before, after = (np.load(whole / "checkpoint" / f"best-{n}.npz") for n in (0, 1))
    model = Run(whole).load_model("float")
    moving = [n for n, v in enumerate(model.weights) if "moving" in v.name or "gamma" in v.name]
    assert moving
    for number in range(len(model.weights)):
        same = np.array_equal(*(kept[f"weights/{number:05d}"] for kept in (before, after)))
        assert same == (number in moving), model.weights[number].name


def test_a_stage_mixes_its_last_weights_with_its_own_first_ones(tmp_path):
    """Not with those that the whole training began with: earlier stages have learned since."""
    run = Run(tmp_path)
    checkpoints.save_start(run, [np.zeros(2)])
    for stage, value in enumerate((4.0, 8.0)):
        checkpoints.save_best(run, stage, [np.full(2, value)])
        for _ in range(2):  # a killed training mixes again, from the same weights
            checkpoints.mix(run, stage, 0.75)
    assert checkpoints.load_best(run, 0)[0].tolist() == [3.0, 3.0]
    assert checkpoints.load_best(run, 1)[0].tolist() == [6.75, 6.75]


def test_a_mixed_training_that_was_stopped_ends_with_the_same_weights(
    fit, whole, tmp_path, monkeypatch
):
    say = Run.say

    def interrupted(run: Run, line: str) -> None:
        say(run, line)
        if line.startswith("mixed epoch 1/2:"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "say", interrupted)
        assert program(*fit, tmp_path / "run", check=False).returncode != 0
    program(*fit, tmp_path / "run")
    for one, other in zip(weights_of(whole), weights_of(tmp_path / "run"), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_an_image_that_is_measured_on_is_not_trained_on_by_another_name(fit, whole, tmp_path):
    table = Run(whole).table()
    kept = table[table["split"] != "train"]["path"].iloc[0]
    for name in ("binary", "elsewhere"):
        shutil.copytree(fit[2].parent / name, tmp_path / name)
    shutil.copy(kept, tmp_path / "binary" / "train" / "benign" / "renamed.jpg")
    shutil.copy(kept, tmp_path / "elsewhere" / "images" / "E_99.jpg")
    with (tmp_path / "elsewhere" / "labels.csv").open("a") as file:
        file.write("E_99,nv,L_99\r\n")
    also = [part for name in ("binary", "elsewhere")
            for part in ("--also", f"{name}={tmp_path / name}")]  # fmt: skip
    program(*fit[:7], *also, "--epochs", 1, "--out", tmp_path / "run")
    said = (tmp_path / "run" / "log.txt").read_text()
    for line in ("elsewhere: 18 images", "binary: 16 images"):  # the first is prepared as squares
        told = next(one for one in said.splitlines() if line in one)
        assert "1 that look like an image on which this run is measured" in told


def test_without_other_collections_the_stage_is_left_out():
    alone = recipe.loads(RECIPE, "tiny.toml")
    assert [stage.epochs for stage in alone.stages] == [1, 0] and not alone.others
    short = recipe.shortened_text(RECIPE, recipe.Shortened(as_given=True, also=("binary",)))
    found = recipe.loads(short, "tiny.toml")
    assert [stage.epochs for stage in found.stages] == [0, 2]
    assert [other.name for other in found.others] == ["binary"]
    assert found.others[0].augment == Augment(flip=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("share = 0.25\nstretch", "share = 0.9\nstretch", "shares that leave some of a batch"),
        ('"binary"', '"elsewhere"', "names that differ"),
        ("share = 0.25", "share = 0.0", "share"),
        ("others = true\ntaught", "taught", "taught is 0.5; expected 0"),
        ("others = true\n", "others = true\nquantize = true\n", "are not quantized"),
        ('["nv", "bkl"]', "[]", "benign"),
        ("[[stages]]", "[distil]\nshare = 0.5\n[[stages]]", r"\[distil\] and \[\[others\]\]"),
    ],
)
def test_what_cannot_be_mixed_is_refused(old, new, message):
    text = recipe.shortened_text(RECIPE, recipe.Shortened(also=("elsewhere", "binary")))
    with pytest.raises(RecipeError, match=message):
        recipe.loads(text.replace(old, new, 1), "tiny.toml")


def test_several_gpus_are_refused_as_several_workers_are():
    text = recipe.shortened_text(RECIPE, recipe.Shortened(also=("elsewhere", "binary")))
    mixed = recipe.loads(text, "tiny.toml")
    gpus = Team(strategy=None, chief=True, several=True)  # of one process: no TF_CONFIG
    with pytest.raises(RecipeError, match=r"has \[\[others\]\], fold_batch_norm: for one worker"):
        training._check_alone(mixed, gpus)


def test_a_collection_smaller_than_its_share_is_refused():
    few = OtherImages(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2), np.array([7, 8]), share=0.25)
    lessons = Lessons(
        np.zeros((12, 8, 8, 3), np.uint8), np.arange(12), np.arange(12), others=(few,)
    )
    with pytest.raises(RecipeError, match="3 images of a collection that has 2"):
        batches.training_batches(lessons, augment=Augment(), input_px=8, batch_size=12, seed=(1, 0))


def test_collections_that_do_not_fit_are_named(fit, tmp_path):
    for also, message in (
        ("nowhere=.", "has no nowhere in [[others]]; it has elsewhere, binary"),
        ("binary=absent", "expected NAME=FOLDER"),
        (f"binary={fit[2].parent / 'elsewhere'}", "names benign, malignant"),
    ):
        found = program(*fit[:7], "--also", also, "--out", tmp_path / "run", check=False)
        assert found.returncode != 0 and message in found.stderr, found.stderr
        shutil.rmtree(tmp_path / "run", ignore_errors=True)


def test_freed_memory_is_kept():
    """What is freed stays the process's, with the call and not without."""
    code = (
        "import sys; from train import memory; sys.argv[1] == 'keep' and memory.keep()\n"
        "blocks = [b'x' * 60_000_000 for _ in range(5)]; del blocks\n"
        "print(int(open('/proc/self/statm').read().split()[1]) * 4096)"
    )
    left = {
        choice: int(
            subprocess.run(
                [sys.executable, "-c", code, choice], capture_output=True, check=True, text=True
            ).stdout
        )
        for choice in ("keep", "give")
    }
    assert left["keep"] - left["give"] > 200_000_000
