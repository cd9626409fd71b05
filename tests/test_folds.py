"""Cross-validation: how images are divided, and how the runs' predictions come together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("pandas", reason="needs the extra train: make test installs it")
pytest.importorskip("sklearn", reason="needs the extra train: make test installs it")
import pandas as pd
from sklearn.metrics import balanced_accuracy_score
from test_evaluate import make_run

from lesionedge import Classifier
from train.__main__ import main
from train.data import folds
from train.evaluate.pool import pool
from train.run import Run, RunError
from train.settings import RecipeError

ROOT = Path(__file__).parent.parent
RELEASED = ROOT / "release" / "split.csv"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(RELEASED)


def test_every_image_is_tested_once_by_a_fold_without_its_lesion(table):
    divided = folds.divide(table, 5, seed=1)
    assert list(divided) == ["fold-1", "fold-2", "fold-3", "fold-4", "fold-5", "all"]
    tested = np.zeros(len(table), int)
    for name, one in divided.items():
        assert one.drop(columns="split").equals(table.drop(columns="split"))
        assert one.groupby("group")["split"].nunique().max() == 1
        assert ((one["split"] == "calibration") == (table["split"] == "calibration")).all()
        tests = set() if name == "all" else {"test"}
        assert set(one["split"]) == {"train", "calibration"} | tests
        tested += (one["split"] == "test").to_numpy()
    assert (tested == (table["split"] != "calibration")).all()


def test_the_first_fold_tests_the_splits_own_test_images(table):
    first = folds.divide(table, 5, seed=1)["fold-1"]
    assert ((first["split"] == "test") == (table["split"] == "test")).all()


def test_folds_have_the_same_mix_of_classes_and_are_fixed_by_the_seed(table):
    divided = folds.divide(table, 5, seed=1)
    shares = [
        one.loc[one["split"] == "test", "label"].value_counts(normalize=True).sort_index()
        for name, one in divided.items()
        if name != "all"
    ]
    assert np.ptp(np.array(shares), axis=0).max() < 0.01
    again = folds.divide(table, 5, seed=1)
    assert all(divided[name].equals(again[name]) for name in divided)
    other = folds.divide(table, 5, seed=2)
    assert not divided["fold-2"].equals(other["fold-2"])


@pytest.mark.parametrize(
    ("change", "count", "message"),
    [
        (lambda t: t, 1, "expected 2 and more"),
        (lambda t: t.assign(split="train"), 5, "with test images"),
        (lambda t: t.drop(columns="group"), 5, "no column group"),
        (lambda t: t.head(40), 90, "lesions for 89 more folds"),
        (lambda t: t.assign(label=t["group"].astype(str)), 90, "the largest class has"),
    ],
)
def test_what_cannot_be_divided_is_refused(table, change, count, message):
    with pytest.raises(RecipeError, match=message):
        folds.divide(change(table), count, seed=1)


def test_the_command_writes_run_folders(tmp_path):
    done = CliRunner().invoke(
        main, ["folds", str(RELEASED), "--count", "3", "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    for name in ("fold-1", "fold-2", "fold-3", "all"):
        assert len(Run(tmp_path / name).table()) == 10015
    assert "'test': 1502" in done.output


def test_folds_that_may_have_been_trained_on_stay(tmp_path):
    """Another division would measure a model on lesions that it was trained on."""
    line = ["folds", str(RELEASED), "--count", "3", "--out", str(tmp_path)]
    for _ in range(2):
        assert CliRunner().invoke(main, line).exit_code == 0
    before = (tmp_path / "fold-2" / "split.csv").read_bytes()
    done = CliRunner().invoke(main, [*line, "--seed", "2"])
    assert isinstance(done.exception, RunError)
    assert "divides the images in another way" in str(done.exception)
    assert (tmp_path / "fold-2" / "split.csv").read_bytes() == before


@pytest.fixture(scope="module")
def runs(tmp_path_factory, draw, models) -> tuple[Path, list[Run]]:
    """Two runs of one dataset that test twenty images each, with a .tflite file each."""
    root = tmp_path_factory.mktemp("pool")
    whole = make_run(root, draw, models / "int8.tflite")
    table, made = whole.table(), []
    for number in range(2):
        folder = root / f"fold-{number + 1}"
        shutil.copytree(whole.folder, folder)
        shutil.copy(models / "int8.tflite", folder / "model.tflite")
        own = table["split"].eq("test") & table["group"].between(10 * number, 10 * number + 9)
        kept = table["split"].where(table["split"] == "calibration", "train")
        table.assign(split=kept.mask(own, "test")).to_csv(folder / "split.csv", index=False)
        made.append(Run(folder))
    return root, made


def test_pooled_figures_are_of_all_runs_predictions(runs, models):
    root, folders = runs
    found = pool(folders, root / "out", cache_folder=root / "cache", data=root / "ham")
    figures = found["model.tflite"]
    assert figures["images"] == 40
    classifier = Classifier(models / "int8.tflite", check=False)
    labels = list(classifier.labels)
    each = []
    for run in folders:
        table = run.table()
        table = table[table["split"] == "test"]
        paths = [root / "ham" / "images" / path for path in table["path"]]
        predicted = np.array([classifier.probabilities(path).argmax() for path in paths])
        each.append((table["label"].map(labels.index).to_numpy(), predicted))
    truth, predicted = (np.concatenate(parts) for parts in zip(*each))
    assert figures["balanced_accuracy"]["value"] == pytest.approx(
        balanced_accuracy_score(truth, predicted)
    )
    record = json.loads((root / "out" / "metrics.json").read_text())
    assert record["runs"] == 2
    assert record["folds"]["model.tflite"]["accuracy"] == pytest.approx(
        [float((one == other).mean()) for one, other in each]
    )
    for point in record["models"]["model.tflite"]["operating_points"]:
        assert "thresholds" not in point
        assert 0 <= point["test"]["sensitivity"]["value"] <= 1
    assert record["models"]["model.tflite"]["subgroups"]["sex"]["male"]["sensitivity"]
    assert (root / "out" / "report.html").is_file()


def test_runs_that_test_the_same_lesion_are_refused(runs):
    root, (first, _) = runs
    with pytest.raises(RunError, match="same lesion"):
        pool([first, first], root / "twice", cache_folder=root / "cache", data=root / "ham")


def test_runs_without_a_model_in_common_are_refused(runs, tmp_path):
    root, (first, second) = runs
    other = tmp_path / "other"
    shutil.copytree(second.folder, other)
    (other / "model.tflite").rename(other / "another.tflite")
    with pytest.raises(RunError, match="no model of one name"):
        pool([first, Run(other)], tmp_path / "o", cache_folder=root / "cache", data=root / "ham")
