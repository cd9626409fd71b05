from __future__ import annotations

import csv
import io
import json
import pickle

import numpy as np
import pytest

import lesionedge
from lesionedge import Classifier, ModelError
from lesionedge import image as images

SYMMETRIES = {
    "as it is": lambda a: a,
    "half turn": lambda a: np.rot90(a, 2),
    "left-right": np.fliplr,
    "top-bottom": np.flipud,
    "transposed": lambda a: a.swapaxes(0, 1),
    "other diagonal": lambda a: np.rot90(a, 2).swapaxes(0, 1),
    "quarter turn": lambda a: np.rot90(a, 3),
    "other quarter turn": np.rot90,
}
"""Written in another way than the package does, in its order."""


def by_hand(classifier, pixels, count):
    views = [np.ascontiguousarray(turn(pixels)) for turn in [*SYMMETRIES.values()][:count]]
    return np.mean([classifier.interpreter.run(view) for view in views], axis=0)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_prediction_is_the_mean_over_the_views(int8, photo, count):
    plain, averaging = Classifier(int8), Classifier(int8, views=count)
    assert averaging.views == count
    wanted = by_hand(plain, plain.model_input(photo), count)
    assert np.allclose(averaging.probabilities(photo), wanted, rtol=0, atol=1e-6)


def test_the_views_are_all_different(int8, draw):
    classifier = Classifier(int8)
    pixels = classifier.model_input(draw(40, 40, seed=3))
    predictions = {classifier.probabilities(turn(pixels)).tobytes() for turn in SYMMETRIES.values()}
    assert len(predictions) == 8


def test_one_view_equals_no_augmentation(int8, photo):
    plain, one = Classifier(int8), Classifier(int8, views=1)
    assert plain.views == 1
    direct = plain.interpreter.run(plain.model_input(photo))
    assert np.array_equal(one.probabilities(photo), direct)
    assert np.array_equal(plain.probabilities(photo), direct)


def test_every_interface_averages_the_same(int8, photo):
    classifier = Classifier(int8, views=8)
    wanted = classifier.probabilities(photo)
    pixels = classifier.model_input(photo)
    decoded = images.decode(photo, classifier.preprocessing)
    predictions = [
        classifier.classify(photo), *classifier.classify_many([photo, photo]),
        *Classifier(int8, views=8, threads=1).classify_many([photo]),
        classifier.classify_decoded(decoded),
    ]  # fmt: skip
    for prediction in predictions:
        found = {candidate.label: candidate.probability for candidate in prediction.top}
        assert [found[label] for label in classifier.labels] == wanted.tolist()
        assert prediction.views == 8
        assert set(prediction.timings_ms) == {"decode", "preprocess", "invoke"}
    assert np.array_equal(
        classifier.probabilities_of_inputs([pixels, pixels]), np.stack([wanted, wanted])
    )


def test_a_single_call_may_use_another_number_of_views(int8, photo):
    plain, averaging = Classifier(int8), Classifier(int8, views=8)
    pixels = plain.model_input(photo)
    decoded = images.decode(photo, plain.preprocessing)
    assert np.array_equal(
        averaging.probabilities_of_inputs([pixels], views=1),
        plain.probabilities_of_inputs([pixels]),
    )
    assert np.array_equal(
        plain.probabilities_of_inputs([pixels], views=8),
        averaging.probabilities_of_inputs([pixels]),
    )
    assert averaging.classify_decoded(decoded, views=1).top == plain.classify(photo).top
    assert plain.classify_decoded(decoded, views=8).top == averaging.classify(photo).top
    with pytest.raises(ValueError, match="views is 9"):
        plain.probabilities_of_inputs([pixels], views=9)
    with pytest.raises(ValueError, match="views is 0"):
        plain.classify_decoded(decoded, views=0)


@pytest.mark.parametrize(("count", "turns"), [(2, [1]), (4, [1, 2, 3]), (8, range(1, 8))])
def test_a_whole_group_of_views_is_invariant_to_turns(models, draw, count, turns):
    for name in ("int8", "float32", "int8-tensors"):
        classifier = Classifier(models / f"{name}.tflite", views=count)
        pixels = classifier.model_input(draw(40, 40, seed=5))
        wanted = classifier.probabilities(pixels)
        for number in turns:
            turned = np.ascontiguousarray([*SYMMETRIES.values()][number](pixels))
            assert np.array_equal(classifier.probabilities(turned), wanted)


@pytest.mark.parametrize("views", [0, 9, -1, 2.5, "2", None])
def test_other_numbers_of_views_are_refused(int8, views):
    with pytest.raises(ValueError, match=rf"views is {views}; expected 1 to 8"):
        Classifier(int8, views=views)


def test_an_oblong_input_has_four_views(models, photo):
    oblong = models / "oblong.tflite"
    plain, four = Classifier(oblong), Classifier(oblong, views=4)
    assert plain.model_input(photo).shape == (24, 32, 3)
    wanted = by_hand(plain, plain.model_input(photo), 4)
    assert np.allclose(four.probabilities(photo), wanted, rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match=r"32x24 px.*views is 5; expected at most 4"):
        Classifier(oblong, views=5)


def test_both_classes_of_a_sigmoid_are_averaged(models, photo):
    path = models / "sigmoid.tflite"
    plain, averaging = Classifier(path), Classifier(path, views=8)
    pixels = plain.model_input(photo)
    each = plain.probabilities_of_inputs(
        [np.ascontiguousarray(turn(pixels)) for turn in SYMMETRIES.values()]
    )
    found = averaging.probabilities(photo)
    assert found.sum() == pytest.approx(1)
    assert np.allclose(found, each.mean(0), rtol=0, atol=1e-6)


def test_the_cards_threshold_decides_by_the_mean(models, draw, monkeypatch):
    path = models / "sigmoid.tflite"
    plain, averaging = Classifier(path), Classifier(path, views=8)
    for seed in range(20):
        photo = draw(40, 40, seed=seed)
        single, mean = plain.probabilities(photo)[1], averaging.probabilities(photo)[1]
        for classifier in (plain, averaging):
            monkeypatch.setattr(classifier, "threshold", float(single + mean) / 2)
        if abs(single - mean) > 0.01:
            labels = [c.classify(photo).label for c in (plain, averaging)]
            wanted = ["benign", "malignant"] if mean > single else ["malignant", "benign"]
            assert labels == wanted
            return
    raise AssertionError("turning changed no prediction")


@pytest.mark.parametrize("name", ["bare", "bare-float"])
def test_pixels_are_turned_however_they_are_normalised(models, photo, name):
    options = {"labels": [f"thing {n}" for n in range(7)], "normalize": (120.0, 130.0)}
    classifier = Classifier(models / f"{name}.tflite", views=8, **options)
    pixels = classifier.model_input(photo)
    turned = [np.ascontiguousarray(turn(pixels)) for turn in SYMMETRIES.values()]
    each = classifier.probabilities_of_inputs(turned, views=1)
    assert np.ptp(each, axis=0).max() > 0.01
    assert np.allclose(classifier.probabilities(photo), each.mean(0), rtol=0, atol=1e-6)


def test_views_are_pickled(int8, photo):
    classifier = Classifier(int8, views=4)
    again = pickle.loads(pickle.dumps(classifier))
    assert again.views == 4
    assert np.array_equal(again.probabilities(photo), classifier.probabilities(photo))


def test_the_gate_checks_the_unturned_image(photo):
    one, eight = Classifier(), Classifier(views=8)
    predictions = one.classify(photo), eight.classify(photo)
    assert predictions[0].reliable == predictions[1].reliable is not None
    assert predictions[0].warnings == predictions[1].warnings
    assert (predictions[0].views, predictions[1].views) == (1, 8)
    assert predictions[0].probability != predictions[1].probability


def test_explain_uses_the_unturned_image(int8, photo):
    one = lesionedge.explain(photo, model=Classifier(int8))
    eight = lesionedge.explain(photo, model=Classifier(int8, views=8))
    assert np.array_equal(one.heat, eight.heat)
    assert one.prediction.top == eight.prediction.top
    assert eight.prediction.views == 1


def test_predict_averages_and_reports_the_number_of_views(cli_run, int8, photo):
    plain = cli_run("predict", photo, "-m", int8, "--format", "json")
    assert "views" not in json.loads(plain.stdout)
    one = cli_run("predict", photo, "-m", int8, "--format", "json", "--views", 1)
    assert json.loads(one.stdout)["top"] == json.loads(plain.stdout)["top"]
    assert "views" not in json.loads(one.stdout)
    eight = json.loads(
        cli_run("predict", photo, "-m", int8, "--format", "json", "--views", 8).stdout
    )
    wanted = Classifier(int8, views=8).classify(photo)
    assert eight["views"] == 8
    assert [c["probability"] for c in eight["top"]] == [c.probability for c in wanted.top]
    rows = csv.DictReader(
        io.StringIO(cli_run("predict", photo, "-m", int8, "--format", "csv", "--views", 8).stdout)
    )
    assert float(next(rows)["probability"]) == wanted.probability


def test_worker_processes_average_too(cli_run, int8, photo):
    done = cli_run(
        "predict", photo, photo, photo, "-m", int8, "--format", "json", "--views", 4,
        "--jobs", 2,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = Classifier(int8, views=4).classify(photo).probability
    assert [(line["views"], line["probability"]) for line in lines] == [(4, wanted)] * 3


@pytest.mark.parametrize("views", ["0", "9", "two"])
def test_predict_refuses_other_numbers(cli_run, int8, photo, views):
    done = cli_run("predict", photo, "-m", int8, "--views", views)
    assert done.exit_code == 2
    assert "--views" in done.stderr


def test_predict_names_the_limit_for_an_oblong_input(cli_run, models, photo):
    oblong = models / "oblong.tflite"
    assert cli_run("predict", photo, "-m", oblong, "--views", 4).exit_code == 0
    for jobs in (1, 2):
        done = cli_run("predict", photo, photo, "-m", oblong, "--views", 8, "--jobs", jobs)
        assert done.exit_code == 1
        assert "expected at most 4" in done.stderr
        assert done.stdout == ""


def test_predict_notes_that_operating_points_are_for_single_views(cli_run, photo):
    arguments = ("predict", photo, "--operating-point", 0.95, "--format", "json")
    assert "single views" not in cli_run(*arguments).stderr
    done = cli_run(*arguments, "--views", 2)
    assert done.exit_code == 0
    assert "chosen on single views" in done.stderr
    prediction = json.loads(done.stdout)
    assert prediction["views"] == 2
    point = prediction["operating_point"]
    assert point["above"] == (prediction["malignant_probability"] >= point["threshold"])


def test_batch_averages_and_does_not_mix_numbers_of_views(cli_run, int8, draw, tmp_path):
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="needs pyarrow: make test-device installs it"
    )
    archive, out = tmp_path / "archive", tmp_path / "out"
    archive.mkdir()
    for number in range(3):
        draw(60, 50, seed=number).save(archive / f"{number}.png")
    arguments = ("batch", archive, "--out", out, "-m", int8, "--workers", 1)
    assert cli_run(*arguments, "--views", 4).exit_code == 0
    classifier = Classifier(int8, views=4, threads=1)
    for row in parquet.read_table(out).to_pylist():
        assert row["probability"] == classifier.classify(row["path"]).probability
    other = cli_run(*arguments)
    assert other.exit_code == 1
    assert "holds predictions with --views 4, not 1" in other.stderr
    assert "3 of 3 images done before" in cli_run(*arguments, "--views", 4).stderr
