from __future__ import annotations

import json
import math

import pytest
from cards import with_card

from lesionedge.wording import RESEARCH_USE


def test_info_shows_what_matters(cli_run, int8):
    result = cli_run("info", int8)
    assert result.exit_code == 0
    for words in ("A model for tests", "32 x 32 x 3 uint8", "Melanoma (malignant)", "Apache-2.0"):
        assert words in result.stdout
    assert result.stdout.rstrip().splitlines()[-1] == RESEARCH_USE


def test_info_as_json_holds_the_card_and_facts_about_the_file(cli_run, int8):
    facts = json.loads(cli_run("info", int8, "--format", "json").stdout)
    assert facts["input"]["crop"] == "centre"
    assert facts["tensors"]["input"] == {"shape": [1, 32, 32, 3], "dtype": "uint8"}
    assert [entry["label"] for entry in facts["labels"]][4] == "mel"


def test_info_of_a_model_from_elsewhere(cli_run, models):
    text = cli_run("info", models / "foreign.tflite").stdout
    assert (
        "\n  thing 3 (not known whether malignant)\n" in text
    )  # once, because label and name are equal
    assert text.startswith("foreign.tflite: ")
    assert text.count(str(models / "foreign.tflite")) == 1
    bare = cli_run("info", models / "bare.tflite")
    assert bare.exit_code == 0
    assert "--labels" in bare.stdout


def test_info_refuses_labels_that_do_not_fit(cli_run, models, tmp_path):
    (tmp_path / "labels.txt").write_text("nv\nmel\n")
    done = cli_run("info", models / "bare.tflite", "--labels", tmp_path / "labels.txt")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "labels.txt has 2 labels; its output needs 7" in done.stderr


def test_info_leaves_out_figures_that_are_none(cli_run, int8, tmp_path):
    """Python writes NaN, which is not JSON."""
    row = {"lesions": 3, "accuracy": {"value": math.nan, "low": 0.1, "high": 10**400}}
    metrics = {"test": {"float": {**row, "images": None}, "int8": {**row, "images": 4}}}
    path = with_card(int8, tmp_path / "m.tflite", metrics=metrics)
    shown = cli_run("info", path)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "4 images of 3 lesions" in shown.stdout
    assert "accuracy" not in shown.stdout
    facts = json.loads(cli_run("info", path, "--format", "json").stdout, parse_constant=pytest.fail)
    assert facts["metrics"]["test"]["int8"]["accuracy"]["value"] is None


def test_info_of_a_missing_model(cli_run, tmp_path):
    result = cli_run("info", tmp_path / "none.tflite")
    assert result.exit_code == 1
    assert "none.tflite" in result.stderr
