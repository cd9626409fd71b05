"""Figures, groups, plots and the report of ``train evaluate``; saved Keras models measured."""

from __future__ import annotations

import json
import shutil
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pandas", reason="needs the extra train: make test installs it")
pytest.importorskip("sklearn", reason="needs the extra train: make test installs it")
pytest.importorskip("jinja2", reason="needs the extra train: make test installs it")
import pandas as pd
from PIL import Image
from sklearn import metrics as sk

from lesionedge import Classifier
from lesionedge.evaluation import (
    gallery,
    intervals,
    metrics,
    risk_coverage,
    subgroups,
    thresholds,
    weighted,
)
from lesionedge.image import Preprocessing, model_input
from train.data import located
from train.evaluate.measure import evaluate, predict
from train.run import Run, RunError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def predictions():
    """True classes, probabilities and lesions of 400 invented images of three classes."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 400)
    raw = np.round(rng.random((400, 3)) + np.eye(3)[truth] * 0.7, 2)  # with ties
    return truth, raw / raw.sum(1, keepdims=True), np.arange(400) // 2


def test_the_bootstraps_figures_equal_scikit_learns(predictions):
    truth, probabilities, lesions = predictions
    chosen = probabilities.argmax(1)
    draws = intervals.resamples(lesions, count=5).astype(np.float32)
    scores = weighted.precision_recall_f1(truth, chosen, 3)(draws)
    balanced = weighted.balanced_accuracy(chosen == truth, truth, draws)
    accuracy = weighted.share(chosen == truth, draws)
    for row, weights in enumerate(draws.astype(float)):
        wanted = sk.balanced_accuracy_score(truth, chosen, sample_weight=weights)
        assert balanced[row] == pytest.approx(wanted)
        wanted = sk.accuracy_score(truth, chosen, sample_weight=weights)
        assert accuracy[row] == pytest.approx(wanted)
        table = sk.precision_recall_fscore_support(truth, chosen, sample_weight=weights)
        assert np.allclose(scores[row], np.stack(table[:3]))


@pytest.mark.parametrize("few", [True, False], ids=["few positives", "many"])
def test_the_bootstraps_curves_equal_scikit_learns(predictions, few):
    truth, probabilities, lesions = predictions
    positive, score = (truth == 1) == few, probabilities[:, 1] * (1 if few else -1)
    draws = intervals.resamples(lesions, count=5).astype(np.float32)
    kinds = (weighted.auroc(positive, score), weighted.average_precision(positive, score),
             weighted.sensitivity_at(positive, score, specificity=0.9))  # fmt: skip
    areas, precisions, sensitivities = (kind(draws) for kind in kinds)
    for row, weights in enumerate(draws.astype(float)):
        wanted = sk.roc_auc_score(positive, score, sample_weight=weights)
        assert areas[row] == pytest.approx(wanted)
        wanted = sk.average_precision_score(positive, score, sample_weight=weights)
        assert precisions[row] == pytest.approx(wanted)
        fpr, tpr, _ = sk.roc_curve(positive, score, sample_weight=weights)
        assert sensitivities[row] == pytest.approx(tpr[fpr <= 0.1 + 1e-9].max())


def test_a_resample_without_a_kind_of_image_has_no_figure():
    positive, score = np.array([True, False, True]), np.array([0.9, 0.2, 0.1])
    weights = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
    undefined = [True, True, False]
    for made in (weighted.auroc(positive, score), weighted.auroc(~positive, score),
                 weighted.sensitivity_at(positive, score, specificity=0.9)):  # fmt: skip
        assert np.isnan(made(weights)).tolist() == undefined
    found = weighted.average_precision(positive, score)(weights)
    assert np.isnan(found).tolist() == [False, True, False]
    assert np.isnan(weighted.share(positive, weights * ~positive)).tolist() == [True, False, False]


def test_whole_lesions_are_resampled():
    draws = intervals.resamples(np.array([5, 5, 9, 9, 9, 7]), count=50)
    assert draws.shape == (50, 6)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws[:, 2] == draws[:, 4]).all()
    assert (draws[:, [0, 2, 5]].sum(1) == 3).all()


def test_melanoma_is_found_however_it_is_spelled(predictions):
    truth, probabilities, lesions = predictions
    wanted, found = (
        metrics.measure(probabilities, truth, lesions, [label, "nv", "df"], [True, False, False])
        for label in ("mel", "Melanoma")
    )
    for name in ("melanoma_auroc", "melanoma_sensitivity_at_90_specificity"):
        assert found[name] == wanted[name]


def test_undefined_figures_are_left_out(predictions):
    _, probabilities, lesions = predictions
    truth = np.ones(len(lesions), np.int64)
    found = metrics.measure(
        probabilities, truth, lesions, ["mel", "nv", "df"], [True, False, False]
    )
    assert "macro_auroc" not in found
    assert "melanoma_auroc" not in found
    assert found["per_class"]["mel"]["auroc"] == {"value": None, "low": None, "high": None}
    assert "NaN" not in json.dumps(found)
    assert found["accuracy"]["value"] == found["balanced_accuracy"]["value"]


def test_withholding_by_a_good_score_raises_accuracy():
    rng = np.random.default_rng(5)
    right = rng.random(1000) < 0.7
    knowing, blind = right + rng.random(1000) * 0.1, rng.random(1000)
    share, accuracy, _ = risk_coverage.curve(knowing, right)
    assert accuracy[share <= right.mean()].min() == 1
    assert accuracy[-1] == pytest.approx(right.mean())
    ones = np.ones((1, 1000))
    assert risk_coverage.area(knowing, right, ones) < 0.06
    assert risk_coverage.area(blind, right, ones) == pytest.approx(0.3, abs=0.05)
    # With one score for all, every image is classified or none is.
    assert risk_coverage.area(ones[0], right, ones) == pytest.approx(1 - right.mean())
    draws = intervals.resamples(np.arange(1000), count=100)
    found = risk_coverage.measure({"a": knowing, "b": blind}, right * 1, np.ones(1000), draws)
    assert found["a"]["aurc"]["high"] < found["b"]["aurc"]["low"]
    half = next(point for point in found["a"]["points"] if point["coverage"] == 0.5)
    assert half["accuracy"]["value"] == 1


def test_thresholds_are_measured_with_intervals():
    rng = np.random.default_rng(6)
    positive = rng.random(600) < 0.4
    risk = np.clip(rng.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
    draws = intervals.resamples(np.arange(600) // 3)
    found = thresholds.at(0.5, risk, positive, draws)
    assert found["sensitivity"]["value"] == sk.recall_score(positive, risk >= 0.5)
    assert found["specificity"]["value"] == sk.recall_score(~positive, risk < 0.5)
    curves = thresholds.curves(risk, positive, np.array([0.0, 0.5, 1.1]), draws)
    assert curves["sensitivity"][0].tolist() == pytest.approx([1, found["sensitivity"]["value"], 0])
    assert (curves["specificity"][1] <= curves["specificity"][2]).all()
    for part, row in (("low", 1), ("high", 2)):
        assert curves["sensitivity"][row][1] == pytest.approx(found["sensitivity"][part], abs=1e-6)


def test_groups_have_readable_names():
    table = pd.DataFrame(
        {
            "sex": ["male", "female", "unknown", None],
            "age": ["85.0", "30", "29.9", ""],
            "localization": ["back", "Back ", "", "face"],
            "dx_type": ["histo", "follow_up", "consensus", None],
            "group": range(4),
        }
    )
    found = subgroups.groups_of(table)
    assert found["sex"].tolist() == ["male", "female", "unknown", "unknown"]
    assert found["age_band"].tolist() == ["75 and over", "30-44", "under 30", "unknown"]
    assert found["site"].tolist() == ["back", "back", "unknown", "face"]
    assert found["confirmation"].tolist() == ["histology", "otherwise", "otherwise", "unknown"]
    assert subgroups.groups_of(table[["group"]].assign(sex="unknown", age=None)) == {}


def test_how_a_diagnosis_was_confirmed_has_many_names():
    names = {
        "histopathology": "histology", "Histology": "histology", "histological": "histology",
        "biopsy": "histology", "pathology report": "histology", "biopsy: no": "otherwise",
        "no histology": "otherwise", "confocal microscopy": "otherwise", "Unknown": "unknown",
    }  # fmt: skip
    found = subgroups.groups_of(pd.DataFrame({"dx_type": list(names)}))
    assert dict(zip(names, found["confirmation"])) == names


def test_spellings_of_a_group_are_one():
    ages = {
        "45-50": "45-59", "45 to 59": "45-59", "85+": "75 and over", "50 years": "45-59",
        "<30": "under 30", "0": "under 30", ">75": "75 and over", "40-50": "unknown",
        "old": "unknown", "-5": "unknown", "300": "unknown", "6 months": "unknown",
        "60+": "unknown", "<45": "unknown", ">=75": "75 and over", "<=29": "under 30",
        "45,5": "45-59", "45 yo": "45-59",
    }  # fmt: skip
    table = pd.DataFrame({"age": list(ages), "group": range(len(ages))})
    assert subgroups.groups_of(table)["age_band"].tolist() == list(ages.values())
    assert set(subgroups.groups_of(table[8:9])["age_band"]) == {"unknown"}
    table = pd.DataFrame(
        {
            "sex": ["M", "male", "Female", "f", "divers"],
            "skin_type": ["3", "III", "Type 3.0", "FST-iii", "-1"],
        }
    )
    found = subgroups.groups_of(table)
    assert found["sex"].tolist() == ["male", "male", "female", "female", "divers"]
    assert found["skin_type"].tolist() == ["III", "III", "III", "III", "unknown"]
    assert subgroups.groups_of(table.assign(sex=None, skin_type=[1.0, 2, 3, 4, None])).popitem()[
        1
    ].tolist() == ["I", "II", "III", "IV", "unknown"]


def test_each_group_is_measured_separately(predictions):
    truth, probabilities, lesions = predictions
    sex = np.where(np.arange(400) < 100, "male", "female")
    table = pd.DataFrame({"sex": sex, "group": lesions})
    found = subgroups.measure(probabilities, truth, table, [True, False, False], threshold=0.4)
    men = found["sex"]["male"]
    assert (men["images"], men["lesions"]) == (100, 50)
    assert men["malignant"] == (truth[:100] == 0).sum()
    right = probabilities.argmax(1)[:100] == truth[:100]
    assert men["accuracy"]["value"] == pytest.approx(right.mean())
    assert men["accuracy"]["low"] < right.mean() < men["accuracy"]["high"]
    wanted = sk.roc_auc_score(truth[:100] == 0, probabilities[:100, 0])
    assert men["malignant_auroc"]["value"] == pytest.approx(wanted)
    wanted = (probabilities[:100, 0] >= 0.4)[truth[:100] == 0].mean()
    assert men["sensitivity"]["value"] == pytest.approx(wanted)


def test_the_galleries_choose_the_right_images():
    truth = np.array([0] * 90 + [1] * 8 + [2] * 2)
    shown = gallery.sample(truth, 9)
    assert np.bincount(truth[shown]).tolist() == [4, 3, 2]
    score = np.array([0.9, 0.95, 0.8, 0.7, 0.99])
    wrong = np.array([True, True, True, True, False])
    assert gallery.worst(score, wrong, np.array([1, 1, 2, 3, 4]), 2).tolist() == [1, 2]


@pytest.fixture(scope="module")
def run(tmp_path_factory, draw, models) -> Run:
    """A run folder as in a release: card, split and history, but no Keras models."""
    return make_run(tmp_path_factory.mktemp("evaluate"), draw, models / "int8.tflite")


def make_run(root: Path, draw, file: Path) -> Run:
    """Draw images, and write the files of a run that could have made this model."""
    (root / "ham" / "images").mkdir(parents=True)
    card = Classifier(file).card.to_dict() | {
        "calibration": {"temperature": {"float": 1.0}},
        "data": {"name": "drawn & <made>", "split": "by lesion"},
    }
    labels = [entry["label"] for entry in card["labels"]]
    rows, meta = [], []
    for number in range(60):
        name, label = f"ISIC_{number:07d}", labels[number % len(labels)]
        draw(64, 48, seed=number).save(root / "ham" / "images" / f"{name}.jpg")
        split = "test" if number < 40 else "calibration"
        rows.append((f"{name}.jpg", label, f"HAM_{number // 2}", number // 2, split))
        sex = ("male", "female", "")[number % 3]
        meta.append((f"HAM_{number // 2}", name, label, "histo", 20 + number, sex, "back"))
    table = pd.DataFrame(rows, columns=["path", "label", "lesion", "group", "split"])
    (root / "run").mkdir()
    table.to_csv(root / "run" / "split.csv", index=False)
    (root / "run" / "card.json").write_text(json.dumps(card))
    shutil.copy(ROOT / "train/recipes/embedded/cnn.toml", root / "run" / "recipe.toml")
    (root / "run" / "history.csv").write_text(
        "loss,learning_rate,stage,epoch,validation_balanced_accuracy,accuracy\n"
        "1.5,0.001,a,1,0.3,\n1.2,0.0005,a,2,0.4,0.5\n1.1,0.0,b,1,0.45,0.55\n"
    )
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    pd.DataFrame(meta, columns=columns).to_csv(root / "ham" / "HAM10000_metadata.csv", index=False)
    return Run(root / "run")


@pytest.fixture(scope="module")
def evaluated(run, models) -> Path:
    """The folder with the results of evaluating a .tflite file."""
    out = run.folder.parent / "out"
    evaluate(
        run, cache_folder=run.folder.parent / "cache", files=[models / "int8.tflite"],
        data=run.folder.parent / "ham", out=out,
    )  # fmt: skip
    return out


def test_metrics_json_holds_every_section(run, evaluated, models):
    record = json.loads((evaluated / "metrics.json").read_text())
    found = record["models"]["int8.tflite"]
    assert record["split"] == "test"
    assert found["images"] == 40
    assert set(metrics.SECTIONS) <= set(found)
    classifier = Classifier(models / "int8.tflite")
    table = run.table()
    table = table[table["split"] == "test"]
    folder = run.folder.parent / "ham" / "images"
    predictions = [classifier.classify(folder / path).label for path in table["path"]]
    assert found["accuracy"]["value"] == pytest.approx((table["label"] == predictions).mean())
    assert set(found["subgroups"]) == {"sex", "age_band", "site", "confirmation"}
    assert sum(group["images"] for group in found["subgroups"]["sex"].values()) == 40
    for point in found["operating_points"]:
        assert point["measured_sensitivity"] >= point["sensitivity"]
        assert 0 <= point["test"]["specificity"]["value"] <= 1
    assert not (run.folder / "metrics.json").exists()


def test_no_plot_is_empty(evaluated):
    kinds = ("confusion", "roc", "precision-recall", "reliability", "thresholds", "risk-coverage",
             "subgroups", "samples", "mistakes")  # fmt: skip
    names = {f"{kind}-int8.tflite.png" for kind in kinds} | {"training.png"}
    assert names <= {path.name for path in (evaluated / "plots").iterdir()}
    for path in (evaluated / "plots").iterdir():
        with Image.open(path) as photo:
            assert min(photo.size) > 300
            assert np.asarray(photo.convert("L")).std() > 5


def test_a_two_class_model_is_measured_by_its_own_decision(tmp_path, draw, models):
    file = models / "sigmoid.tflite"
    run = make_run(tmp_path, draw, file)
    table = run.table()
    folder = tmp_path / "ham" / "images"
    (tmp_path / "ham" / "HAM10000_metadata.csv").unlink()
    run.split.write_text(
        table.assign(path=[str(folder / path) for path in table["path"]]).to_csv(index=False)
    )
    table = table[table["split"] == "test"]
    classifier = Classifier(file)
    risk = np.array([classifier.probabilities(folder / path)[1] for path in table["path"]])
    threshold = float(np.sort(risk)[5:7].mean())
    card = json.loads(run.card.read_text())
    card["operating_points"] = [{"name": "decision", "threshold": threshold}]
    run.card.write_text(json.dumps(card))
    found = evaluate(run, cache_folder=tmp_path / "cache", files=[file])["sigmoid.tflite"]
    positive = table["label"] == "malignant"
    assert found["accuracy"]["value"] == pytest.approx(((risk >= threshold) == positive).mean())
    assert np.array(found["confusion"]["value"])[:, 1].sum() == (risk >= threshold).sum()
    assert found["malignant_auroc"]["value"] == pytest.approx(sk.roc_auc_score(positive, risk))
    assert found["subgroups"] == {}
    assert {"roc-sigmoid.tflite.png", "thresholds-sigmoid.tflite.png"} <= {
        path.name for path in run.plots.iterdir()
    }
    assert run.report.exists()


class Links(HTMLParser):
    """Collects a page's references and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images = 0
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.images += tag == "img"
        assert tag not in ("script", "link", "iframe", "object")

    def handle_data(self, data):
        self.text += data


def test_the_report_is_one_self_contained_file(evaluated):
    text = (evaluated / "report.html").read_text()
    page = Links()
    page.feed(text)
    assert page.images == len(list((evaluated / "plots").iterdir()))
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert "url(" not in text
    assert "@import" not in text
    assert "drawn & <made>" in page.text  # escaped in the source
    assert "prefers-color-scheme: dark" in text
    assert "not a diagnosis" in page.text


def test_the_error_for_a_folder_without_models_or_images(run, tmp_path, models):
    cache = tmp_path / "cache"
    with pytest.raises(RunError, match="--data"):
        evaluate(run, cache_folder=cache, files=[models / "int8.tflite"], out=tmp_path)
    ham = run.folder.parent / "ham"
    with pytest.raises(RunError, match="--model or --weights"):
        evaluate(run, cache_folder=cache, data=ham, out=tmp_path)
    with pytest.raises(RunError, match="labels are benign, malignant"):
        evaluate(run, cache_folder=cache, data=ham, files=[models / "sigmoid.tflite"], out=tmp_path)


def build(library, activation: str, outputs: int = 7):
    """Build a small network with Keras 2 or Keras 3."""
    library.utils.set_random_seed(1)
    layers = library.layers
    return library.Sequential([
        library.Input((32, 32, 3)), layers.Conv2D(8, 3, strides=4, activation="relu"),
        layers.Flatten(), layers.Dense(outputs), layers.Activation(activation),
    ])  # fmt: skip


def test_saved_keras_models_are_loaded_back_and_measured(run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras as keras3
        from training import keras as keras2
        from training import program
    made = {
        "two.h5": build(keras2, "softmax"), "two.keras": build(keras2, "linear"),
        "three.keras": build(keras3, "softmax"), "few.h5": build(keras2, "softmax", 3),
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras' own: HDF5 is an older format
        for name, model in made.items():
            model.save(tmp_path / name)
        made["two.h5"].save_weights(tmp_path / "alone.weights.h5")
    ham, cache = run.folder.parent / "ham", run.folder.parent / "cache"
    names = list(made)[:3]
    images, found = predict(
        run, located.table(run, ham), "test", weights=[tmp_path / name for name in names],
        cache_folder=cache, say=print,
    )  # fmt: skip
    assert [model.name for model in found] == names
    table = run.table()
    table = table[table["split"] == "test"]
    card = run.read_card()
    settings = Preprocessing.from_card(card.input)
    pixels = np.stack([model_input(ham / "images" / path, settings) for path in table["path"]])
    labels = list(card.codes)
    for model in found:
        values = np.asarray(made[model.name]((pixels - np.float32(127.5)) / np.float32(127.5)))
        assert (values.argmax(1) == model.predicted).all()
    assert (images.truth == table["label"].map(labels.index)).all()

    def measure(name: str, check: bool = False):
        return program("train", "evaluate", run.folder, "--data", ham, "--weights",
                       tmp_path / name, "--out", tmp_path, "--cache", cache,
                       check=check)  # fmt: skip

    measure(names[-1], check=True)
    figures = json.loads((tmp_path / "metrics.json").read_text())["models"][names[-1]]
    right = found[-1].predicted == images.truth
    assert figures["accuracy"]["value"] == pytest.approx(right.mean())
    few, alone = map(measure, ("few.h5", "alone.weights.h5"))
    assert "has 3 outputs; this run has 7 classes" in few.stderr
    assert "weights alone" in alone.stderr
