"""What training does before and after TensorFlow; the rest is in test_pipeline.py."""

from __future__ import annotations

import csv
import dataclasses
import errno
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the extra train: make test installs it")
import pandas as pd

from lesionedge import datasets
from lesionedge.card import Card
from lesionedge.evaluation import intervals, metrics, weighted
from lesionedge.image import Preprocessing, model_input
from train import calibration, command_line, recipe, run
from train.data import cache, prepare, splits
from train.fit import checkpoints, distillation
from train.models import folded
from train.settings import RecipeError


@pytest.fixture
def dataset(tmp_path, draw):
    """A few synthetic images laid out as HAM10000 is published."""
    root = tmp_path / "ham"
    (root / "images").mkdir(parents=True)
    rows = []
    for number in range(24):
        name = f"ISIC_{number:07d}"
        label = ("nv", "mel", "bcc")[number % 3]
        rows.append((f"HAM_{number // 2:07d}", name, label, "histo", "50", "male", "back"))
        draw(64, 48, seed=number).save(root / "images" / f"{name}.jpg")
    write_csv(root / "HAM10000_metadata.csv", rows)
    return root


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"])
        writer.writerows(rows)


def test_every_published_layout_gives_the_same_table(dataset):
    one = datasets.load(dataset).table
    for part in (1, 2):
        (dataset / f"HAM10000_images_part_{part}").mkdir()
    for number, path in enumerate(sorted((dataset / "images").iterdir())):
        shutil.move(path, dataset / f"HAM10000_images_part_{1 + number % 2}")
    (dataset / "images").rmdir()
    (dataset / "HAM10000_metadata.csv").rename(dataset / "HAM10000_metadata")
    two = datasets.load(dataset).table
    assert len(one) == len(two) == 24
    assert [p.name for p in one["path"]] == [p.name for p in two["path"]]
    assert one["label"].tolist() == two["label"].tolist()


def test_unusable_rows_are_skipped_and_counted(dataset):
    with (dataset / "HAM10000_metadata.csv").open("a") as file:
        file.write("HAM_9,ISIC_none,nv,histo,50,male,back\n")
        file.write("HAM_9,ISIC_0000001,zzz,histo,50,male,back\n")
        file.write("HAM_9,ISIC_0000002,bcc,histo,50,male,back\n")  # another label is refused
    (dataset / "images" / "ISIC_0000005.jpg").unlink()
    found = datasets.load(dataset)
    assert len(found.table) == 23
    assert found.skipped == {"no image": 2, "unknown diagnosis": 1, "listed twice": 1}


@pytest.mark.parametrize("name", ["HAM10000_metadata.csv", "images"])
def test_missing_parts_are_named(dataset, name):
    path = dataset / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(datasets.DatasetError, match="no HAM10000_metadata|holds no images"):
        datasets.load(dataset)


def test_no_lesion_crosses_the_split():
    rng = np.random.default_rng(0)
    lesions = rng.integers(0, 500, 1500)
    labels = np.array(["nv", "mel", "bcc"])[lesions % 3]
    assigned = splits.split(labels.tolist(), lesions, seed=1)
    parts = ("train", "validation", "calibration", "test")
    assert set(assigned) == set(parts)
    for lesion in np.unique(lesions):
        assert len(set(assigned[lesions == lesion])) == 1
    shares = {name: (assigned == name).mean() for name in parts}
    assert shares["train"] == pytest.approx(0.7, abs=0.03)
    assert shares["test"] == pytest.approx(0.15, abs=0.03)
    assert np.array_equal(assigned, splits.split(labels.tolist(), lesions, seed=1))
    assert not np.array_equal(assigned, splits.split(labels.tolist(), lesions, seed=2))


def test_too_few_images_to_split():
    with pytest.raises(datasets.DatasetError, match="largest class has 2 images"):
        splits.split(["a", "a", "b"], np.arange(3), seed=1)


def test_too_few_patients_to_split():
    patients = np.repeat(np.arange(5), 30)
    with pytest.raises(datasets.DatasetError, match="are of 5 lesions or patients"):
        splits.split(["a", "b"] * 75, patients, seed=1)


def test_one_class_is_nothing_to_learn():
    dataset = SimpleNamespace(name="mine", labels=("mole",))
    with pytest.raises(RecipeError, match="cnn: the dataset has one class, mole"):
        prepare._labels(dataset, recipe.load("cnn"))


@pytest.mark.parametrize("images", [6, 195])
def test_a_shortened_training_keeps_the_classes_shares(images):
    classes = np.repeat(np.arange(7), (100, 50, 20, 10, 10, 5, 3))
    rows, tiny = np.arange(len(classes)), recipe.load("cnn")
    chosen = prepare._training_rows(rows, classes, shortened(tiny, 99), 1)
    assert np.bincount(classes[chosen]).tolist() == [50, 25, 10, 5, 5, 3, 1]
    with pytest.raises(RecipeError, match=f"--images {images}; expected 7 to 191 of 198"):
        prepare._training_rows(rows, classes, shortened(tiny, images), 1)
    rows = np.arange(99, len(classes))  # of the first class one image
    with pytest.raises(RecipeError, match="two and more of each class: the least common has 1"):
        prepare._training_rows(rows, classes, shortened(tiny, 50), 1)


def shortened(whole: recipe.Recipe, images: int) -> recipe.Recipe:
    return dataclasses.replace(whole, shortened=recipe.Shortened(images=images))


def test_a_class_may_be_called_none(tmp_path):
    folder = run.Run(tmp_path)
    folder.split.write_text("path,label,lesion,split\na.jpg,None,,train\nb.jpg,NA,NULL,test\n")
    table = folder.table()
    assert table["label"].tolist() == ["None", "NA"]
    assert table["lesion"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (bytes(range(256)), "cannot be read"),
        (b"path,label\na,b\n", "no column split"),
    ],
)
def test_a_split_that_is_none_is_named(tmp_path, content, message):
    folder = run.Run(tmp_path)
    folder.split.write_bytes(content)
    with pytest.raises(run.RunError, match=rf"split\.csv: .*{message}"):
        folder.table()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 is no archive"])
def test_files_that_are_no_npz_are_named(tmp_path, content):
    file = tmp_path / "soft.npz"
    file.write_bytes(content)
    with pytest.raises(distillation.SoftLabelsError, match="no file of soft labels"):
        distillation.read(file, pd.DataFrame({"path": ["a.jpg"]}), ("a", "b"), recipe.Distil(0.5))
    with pytest.raises(RecipeError, match="no weights that can be read"):
        folded.read(file)
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))  # one array is no .npz either
    with pytest.raises(RecipeError, match="no weights that can be read"):
        folded.read(file)


def test_an_image_that_cannot_be_read_gets_no_soft_label(dataset, int8, tmp_path):
    good, bad = sorted((dataset / "images").iterdir())[:2]
    bad.write_bytes(b"no image")
    said = []
    distillation.write([int8], [good, bad], tmp_path / "soft.npz", say=said.append)
    assert "skipped: " in said[0] and bad.name in said[0]
    with np.load(tmp_path / "soft.npz") as kept:
        assert kept["names"].tolist() == [good.name]
        assert kept["probabilities"].shape == (1, len(kept["labels"]))


def test_a_full_disk_is_one_line(capsys):
    def fit() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/mine/float.h5")

    with pytest.raises(SystemExit) as ended:
        command_line.run(fit, failure=lambda: 3)
    assert ended.value.code == 3
    assert capsys.readouterr().err == "error: runs/mine/float.h5: No space left on device\n"


def test_look_alikes_under_two_lesions_stay_together(draw):
    first, other = (np.asarray(draw(200, 150, seed=n)) for n in (1, 2))
    brighter = np.clip(first.astype(int) + 6, 0, 255).astype(np.uint8)
    hashes = np.array([splits.perceptual_hash(p) for p in (first, other, brighter)])
    groups, twins = splits.merge_twins(["a", "b", "c"], hashes)
    assert twins == [(0, 2)]
    assert groups[0] == groups[2] != groups[1]


def test_real_ham10000_lesions_do_not_cross(ham10000):
    """The whole collection's ids, and its known pair of one lesion under two ids."""
    table = datasets.load(ham10000).table
    assert len(table) == 10_015
    pair = [next(p for p in table["path"] if p.stem == n) for n in ("ISIC_0025226", "ISIC_0030074")]
    hashes = np.array(
        [splits.perceptual_hash(model_input(p, Preprocessing(342, 256))) for p in pair]
    )
    _, twins = splits.merge_twins(["a", "b"], hashes)
    assert twins == [(0, 1)]


def test_the_cache_holds_what_the_device_feeds_the_model(dataset, tmp_path, monkeypatch):
    paths = sorted((dataset / "images").iterdir())
    (dataset / "images" / "broken.jpg").write_text("no image")
    paths.append(dataset / "images" / "broken.jpg")
    settings = Preprocessing(40, 40)
    pixels, good = cache.prepared(paths, settings, tmp_path / "cache")
    assert good.tolist() == [True] * 24 + [False]
    for row, path in enumerate(paths[:-1]):
        assert np.array_equal(pixels[row], model_input(path, settings))
    before = os.listdir(tmp_path / "cache")
    again, _ = cache.prepared(paths, settings, tmp_path / "cache")
    assert np.array_equal(again, pixels)
    assert os.listdir(tmp_path / "cache") == before
    os.utime(paths[0], (1, 1))
    cache.prepared(paths, settings, tmp_path / "cache")
    assert len(os.listdir(tmp_path / "cache")) == 2 * len(before)
    code = tmp_path / "image.py"  # another version of what decodes
    code.write_text("changed")
    monkeypatch.setattr(cache, "PREPROCESSING", (SimpleNamespace(__file__=str(code)),))
    cache.prepared(paths, settings, tmp_path / "cache")
    assert len(os.listdir(tmp_path / "cache")) == 3 * len(before)


def test_a_disk_too_full_for_the_cache_is_found_out_first(dataset, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    paths = list(datasets.load(dataset).table["path"])
    with pytest.raises(OSError, match="No space left on device: '.*part'"):
        cache.prepared(paths, Preprocessing(32, 24), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_the_cache_that_was_used_longest_ago_makes_room(dataset, tmp_path, monkeypatch):
    paths, folder = sorted((dataset / "images").iterdir()), tmp_path / "cache"
    first, second, third = (Preprocessing(side, side) for side in (30, 31, 32))
    pixels, _ = cache.prepared(paths, first, folder)
    for number, settings in enumerate((first, second)):
        cache.prepared(paths, settings, folder)
        for file in folder.iterdir():
            os.utime(file, (1 + number, 1 + number))
    cache.prepared(paths, first, folder)  # used now; the second was used longer ago
    monkeypatch.setattr(cache, "MOST_BYTES", len(paths) * 3 * (30**2 + 32**2) + 1000)
    cache.prepared(paths, third, folder)
    held = {np.load(file).shape[1] for file in folder.glob("*.npy") if "good" not in file.name}
    assert held == {30, 32}
    assert len(os.listdir(folder)) == 4
    monkeypatch.setattr(cache, "MOST_BYTES", 0)
    cache.prepared(paths, second, folder)
    assert len(os.listdir(folder)) == 2
    assert pixels[0].any(), "what has a cache open keeps its images"


def test_every_recipe_is_well_formed():
    assert {"mobilenetv2", "cnn"} <= set(recipe.names())
    for name in recipe.names():
        loaded = recipe.load(name)
        assert loaded.name == name
        assert loaded.stages[-1].input_px == loaded.input.width_px


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "cannot be read"),
        ('name = "x"', "architecture missing|missing"),
        ("[input]\nwidth_px = 1\nheight_px = 1\ncolour = 3\n", "unknown colour"),
    ],
)
def test_malformed_recipes_say_where(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.load(str(path))
    assert "r.toml" in str(caught.value)
    with pytest.raises(RecipeError, match="known: .*mobilenetv2"):
        recipe.load("nonsense")


def test_metrics_against_scikit_learn():
    from sklearn import metrics as sk

    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 400)
    raw = rng.random((400, 3)) + np.eye(3)[truth] * 0.7
    probabilities = raw / raw.sum(1, keepdims=True)
    groups = np.arange(400) // 2
    found = metrics.measure(probabilities, truth, groups, ["mel", "nv", "bcc"], [True, False, True])
    predicted = probabilities.argmax(1)
    assert found["balanced_accuracy"]["value"] == pytest.approx(
        sk.balanced_accuracy_score(truth, predicted)
    )
    assert found["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, predicted))
    wanted = sk.roc_auc_score(truth, probabilities, multi_class="ovr")
    assert found["macro_auroc"]["value"] == pytest.approx(wanted)
    assert found["confusion"]["value"] == sk.confusion_matrix(truth, predicted).tolist()
    assert found["per_class"]["nv"]["recall"]["value"] == pytest.approx(
        sk.recall_score(truth == 1, predicted == 1)
    )
    for name in ("balanced_accuracy", "melanoma_auroc", "malignant_auroc", "ece"):
        assert found[name]["low"] < found[name]["value"] + 1e-9
        assert found[name]["value"] - 1e-9 < found[name]["high"] or name == "ece"
    assert found["lesions"] == 200


def test_calibration_error_of_a_calibrated_and_a_boastful_model():
    rng = np.random.default_rng(4)
    sure = rng.uniform(0.5, 1, 20_000)
    truth = (rng.random(20_000) > sure).astype(int)
    ones = np.ones((1, 20_000))
    assert weighted.expected_calibration_error(sure, truth == 0, ones, bins=15) < 0.015
    boastful = np.full(20_000, 0.999)
    found = weighted.expected_calibration_error(boastful, truth == 0, ones, bins=15)
    assert found == pytest.approx(0.999 - (truth == 0).mean(), abs=1e-6)


def test_the_temperature_undoes_a_scale():
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (20_000, 4))
    chances = calibration.softmax(logits)
    truth = np.array([rng.choice(4, p=p) for p in chances])
    assert calibration.fit_temperature(logits, truth) == pytest.approx(1, abs=0.05)
    assert calibration.fit_temperature(logits * 3, truth) == pytest.approx(3, abs=0.15)
    assert calibration.fit_temperature(logits, logits.argmax(1)) == calibration.TEMPERATURES[0]


def _unlike_classes() -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that is mostly right if it predicts the first class, else half the time."""
    rng = np.random.default_rng(7)
    said = rng.choice(4, 4000, p=[0.7, 0.1, 0.1, 0.1])
    other = (said + rng.integers(1, 4, 4000)) % 4
    right = rng.random(4000) < np.where(said == 0, 0.97, 0.5)
    logits = rng.normal(0, 0.3, (4000, 4))
    logits[np.arange(4000), said] += 3
    return logits, np.where(right, said, other)


def test_classes_that_are_right_in_unlike_shares_get_their_own_temperatures():
    logits, truth = _unlike_classes()
    fitted = calibration.fit(logits[:2000], truth[:2000])
    one = calibration.Calibration(fitted.temperature)
    gaps = []
    for each in (one, fitted):
        probabilities = each.probabilities(logits[2000:])
        assert (probabilities.argmax(1) == logits[2000:].argmax(1)).all()
        sure, said = probabilities.max(1), probabilities.argmax(1)
        right = said == truth[2000:]
        gaps.append([abs(sure[said == c].mean() - right[said == c].mean()) for c in range(4)])
    assert np.max(gaps[0]) > 0.25
    assert np.mean(gaps[1]) < 0.5 * np.mean(gaps[0])


def test_two_classes_have_one_temperature_and_the_card_gives_it_back():
    logits, truth = _unlike_classes()
    assert calibration.fit(logits[:, :2], truth % 2).classes is None
    fitted = calibration.Calibration(0.5, (1.0, 2.0, 3.0))
    section = {"temperature": {"int8": 0.5}, "class_temperature": {"int8": [1, 2, 3]}}
    card = Card.from_dict({"calibration": section})
    assert calibration.Calibration.from_card(card, "int8") == fitted
    del section["class_temperature"]  # as cards were before
    card = Card.from_dict({"calibration": section})
    assert calibration.Calibration.from_card(card, "int8") == calibration.Calibration(0.5)


def test_operating_points_reach_their_sensitivity():
    rng = np.random.default_rng(6)
    malignant = rng.random(2000) < 0.3
    risk = np.clip(rng.normal(0.3 + 0.3 * malignant, 0.15), 0, 1)
    points = calibration.operating_points(risk, malignant)
    assert [p["sensitivity"] for p in points] == [0.9, 0.95, 0.98]
    for p in points:
        found = risk >= p["threshold"]
        assert p["measured_sensitivity"] >= p["sensitivity"]
        assert found[malignant].mean() == pytest.approx(p["measured_sensitivity"])
        assert (~found)[~malignant].mean() == pytest.approx(p["measured_specificity"])
    assert calibration.operating_points(risk, np.zeros(2000, bool)) == []


def test_two_processes_never_write_one_run(tmp_path):
    one = run.Run(tmp_path / "r")
    with (
        one.lock(),
        pytest.raises(run.RunError, match="another process"),
        run.Run(tmp_path / "r").lock(),
    ):
        pass


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    path = tmp_path / "c" / "state.npz"
    arrays = {"weights": [np.eye(3), np.zeros(2)], "optimizer": [np.array(7)]}
    state = checkpoints.State(1, 2, 0.5, 2, ({"loss": 1.0},), arrays)
    assert checkpoints.load_state(path) is None
    checkpoints.save_state(path, state)
    back = checkpoints.load_state(path)
    assert back is not None
    assert (back.stage, back.epoch, back.best, back.history) == (1, 2, 0.5, ({"loss": 1.0},))
    assert all(np.array_equal(a, b) for a, b in zip(back.arrays["weights"], arrays["weights"]))


def test_weights_that_a_begun_training_would_pass_over_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    folder = run.Run(tmp_path / "run")
    checkpoints.refuse_other_weights(folder, tmp_path / "b")  # it has not begun
    checkpoints.keep_weights(folder, tmp_path / "a")
    checkpoints.refuse_other_weights(folder, tmp_path / "a")
    checkpoints.refuse_other_weights(folder, None)  # to go on, none are needed
    with pytest.raises(run.RunError, match="has begun with other weights"):
        checkpoints.refuse_other_weights(folder, tmp_path / "b")


def test_shares_have_wilsons_interval():
    # Wilson's formula with z = 1.95996 (Brown, Cai and DasGupta 2001, equation 4).
    assert intervals.share(0, 20) == pytest.approx((0, 0.16113), abs=1e-5)
    assert intervals.share(15, 20) == pytest.approx((0.53130, 0.88814), abs=1e-5)
