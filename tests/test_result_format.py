"""Every output of every command is valid by the published schema of results."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import lesionedge

jsonschema = pytest.importorskip("jsonschema", reason="validates results; make test installs it")
SCHEMA = Path(__file__).parent.parent / "docs" / "reference" / "result.schema.json"


@pytest.fixture(scope="module")
def validate():
    """Validates one result."""
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


@pytest.fixture
def page(tmp_path):
    """An image that the gate refuses."""
    from PIL import Image

    Image.new("RGB", (300, 200), "white").save(tmp_path / "page.png")
    return tmp_path / "page.png"


def test_to_dict_has_the_same_format(validate, photo):
    found = lesionedge.classify(photo).to_dict(str(photo))
    validate(found)
    assert found["path"] == str(photo)
    assert found["operating_point"]["source"] == "model card"
    assert len(found["warnings"]) == len(found["warning_codes"])


@pytest.mark.parametrize("model", ["mobilenetv2", "cnn", "int8", "foreign"])
def test_predict(validate, cli_run, models, photo, page, tmp_path, model):
    files = {"int8": models / "int8.tflite", "foreign": models / "foreign.tflite"}
    name = files.get(model, model)
    done = cli_run("predict", photo, page, tmp_path / "none.jpg", "-m", name, "--format", "json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [("error" in one) for one in found] == [False, False, True]
    for one in found:
        validate(one)


def test_numbers_are_not_rounded(cli_run, photo):
    found = json.loads(cli_run("predict", photo, "--format", "json").stdout)
    prediction = lesionedge.classify(photo)
    assert found["probability"] == prediction.probability
    assert sum(one["probability"] for one in found["top"]) == pytest.approx(1, abs=0.01)


def test_csv_holds_what_json_holds(cli_run, photo, page):
    images = (photo, page)
    rows = list(csv.DictReader(io.StringIO(
        cli_run("predict", *images, "--format", "csv").stdout
    )))  # fmt: skip
    lines = cli_run("predict", *images, "--format", "json").stdout.splitlines()
    for row, found in zip(rows, map(json.loads, lines), strict=True):
        assert row["reliable"] == str(found["reliable"]).lower()
        assert row["warnings"] == "; ".join(found["warnings"])
        assert float(row["malignant_probability"]) == found["malignant_probability"]
        for one in found["top"]:
            assert float(row[f"p_{one['label']}"]) == one["probability"]


def test_camera(validate, cli_run, photo):
    done = cli_run("camera", "--source", photo, "--frames", 1, "--format", "json")
    found = json.loads(done.stdout)
    validate(found)
    assert {"timestamp", "frame", "age_ms", "source"} <= set(found)
