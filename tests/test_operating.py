"""Operating points in the card and in ``predict``; ``convert`` rewrites them."""

from __future__ import annotations

import io
import json
import math
import shutil
import zipfile
from dataclasses import replace
from itertools import pairwise

import pytest
from cards import with_card

from lesionedge import Classifier, ModelError
from lesionedge.card import Card, OperatingPoint
from lesionedge.operating import find


@pytest.mark.parametrize("model", ["mobilenetv2", "mobilenetv2-float16", "cnn"])
def test_embedded_models_have_operating_points(model):
    found = Classifier(model).operating_points
    assert [point.sensitivity for point in found] == [0.9, 0.95, 0.98]
    assert all(a.threshold > b.threshold for a, b in pairwise(found))
    assert all(point.measured_sensitivity >= point.sensitivity for point in found)


@pytest.mark.parametrize("sensitivity", [0.9, 0.95, 0.98])
def test_json_has_the_side_of_the_threshold(cli_run, photo, sensitivity):
    plain = json.loads(cli_run("predict", photo, "--format", "json").stdout)
    default = next(p for p in Classifier().operating_points if p.sensitivity == 0.95)
    assert plain["operating_point"]["threshold"] == default.threshold
    result = cli_run("predict", photo, "--format", "json", "--operating-point", sensitivity)
    prediction = json.loads(result.stdout)
    point = prediction["operating_point"]
    wanted = next(p for p in Classifier().operating_points if p.sensitivity == sensitivity)
    assert point == {
        "sensitivity": sensitivity, "specificity": wanted.measured_specificity,
        "threshold": wanted.threshold,
        "above": prediction["malignant_probability"] >= wanted.threshold, "source": "model card",
    }  # fmt: skip


def test_text_has_the_side_of_the_default_point(cli_run, photo):
    found = Classifier().classify(photo)
    side = "above" if found.operating_point.above else "below"
    text = cli_run("predict", photo).stdout
    assert f"{side} the threshold of " in text
    assert "(95 % sensitivity)" in text
    assert "(90 % sensitivity)" in cli_run("predict", photo, "--operating-point", 0.9).stdout


def test_info_lists_them(cli_run, int8):
    shown = cli_run("info", "mobilenetv2").stdout
    for point in Classifier().operating_points:
        threshold, sensitivity = 100 * point.threshold, 100 * point.sensitivity
        assert f"threshold {threshold:6.3f} %: sensitivity {sensitivity:.0f} %" in shown
    assert "Operating points" not in cli_run("info", int8).stdout


def test_workers_report_the_same_side_as_one_process(command, photo):
    lines = [
        command("predict", photo, photo, photo, "--format", "json", "--operating-point", 0.9,
                "--jobs", jobs).stdout.splitlines()
        for jobs in (1, 2)
    ]  # fmt: skip
    one, two = ([json.loads(line)["operating_point"] for line in some] for some in lines)
    assert one == two


def test_a_missing_operating_point_is_an_error(cli_run, int8, photo):
    none = cli_run("predict", photo, "-m", int8, "--operating-point", 0.95)
    assert none.exit_code == 1
    assert "no operating points" in none.stderr
    assert none.stdout == ""
    other = cli_run("predict", photo, "--operating-point", 0.97)
    assert other.exit_code == 1
    assert "0.9, 0.95, 0.98" in other.stderr
    assert cli_run("predict", photo, "--operating-point", 1.5).exit_code == 2


def test_named_entries_are_no_operating_points_and_broken_ones_are_errors():
    entry = {"sensitivity": 0.9, "threshold": 0.2, "measured_sensitivity": 0.91,
             "measured_specificity": 0.7}  # fmt: skip
    card = Card.from_dict({"operating_points": [{"name": "decision", **entry}, entry]})
    assert card.operating_points == (OperatingPoint(0.9, 0.2, 0.91, 0.7),)
    assert card.decision_threshold == 0.2
    point = find(0.9, points=card.operating_points, model="m")
    assert point.above(0.2)
    assert not point.above(0.19)
    for broken in ([{"sensitivity": 0.9}], [1], 3, [{**entry, "threshold": "much"}],
                   [{**entry, "threshold": math.inf}]):  # fmt: skip
        with pytest.raises(
            ModelError, match='m: "operating_points" in its card is unusable: .* is'
        ):
            Card.from_dict({"operating_points": broken}, "m")


def test_other_files_behind_the_network_stay_and_odd_metrics_are_refused(models, tmp_path):
    pytest.importorskip("tensorflow", reason="needs the extra train: make test installs it")
    from convert.card import set_figures, set_operating_points

    metrics = tmp_path / "metrics.json"
    file = with_card(models / "int8.tflite", tmp_path / "m.tflite", file={"format": "int8"})
    with zipfile.ZipFile(file, "a") as files:
        files.writestr("anchors.bin", b"\xff\xfe")
    entry = {"sensitivity": 0.9, "threshold": 0.25, "measured_sensitivity": 0.92,
             "measured_specificity": 0.6}  # fmt: skip
    metrics.write_text(json.dumps({"models": {file.name: {"operating_points": [entry]}}}))
    set_operating_points(file, metrics)
    with zipfile.ZipFile(file) as files:
        assert files.read("anchors.bin") == b"\xff\xfe"
    metrics.write_text(json.dumps({"split": "test", "models": {file.name: []}}))
    with pytest.raises(ModelError, match=r"has no figures of m\.tflite"):
        set_figures(file, metrics)


def test_the_card_is_rewritten_and_the_network_is_not(models, tmp_path, photo):
    pytest.importorskip("tensorflow", reason="needs the extra train: make test installs it")
    from convert.card import set_operating_points

    file, metrics = tmp_path / "int8.tflite", tmp_path / "metrics.json"
    shutil.copy(models / "int8.tflite", file)
    before, old = file.read_bytes(), Classifier(file)
    entry = {"sensitivity": 0.9, "threshold": 0.25, "measured_sensitivity": 0.92,
             "measured_specificity": 0.6, "test": {"found": 1}}  # fmt: skip
    metrics.write_text(json.dumps({"models": {"int8.tflite": {"operating_points": [entry]}}}))
    set_operating_points(file, metrics)
    new = Classifier(file)
    assert new.operating_points == (OperatingPoint(0.9, 0.25, 0.92, 0.6),)
    assert replace(new.card, operating_points=()) == old.card
    assert new.labels == old.labels
    assert (new.probabilities(photo) == old.probabilities(photo)).all()
    with zipfile.ZipFile(io.BytesIO(before)) as files:
        network = min(entry.header_offset for entry in files.infolist())
    assert file.read_bytes()[:network] == before[:network]
    with pytest.raises(ModelError, match="no operating points of int8.tflite"):
        metrics.write_text(json.dumps({"models": {}}))
        set_operating_points(file, metrics)
    with pytest.raises(ModelError, match="has no card"):
        set_operating_points(models / "foreign.tflite", metrics)
