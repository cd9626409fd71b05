"""The gate is trained by the trainer of all models, measured, and given its threshold."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training import program

import lesionedge
from lesionedge.card import Card
from lesionedge.datasets.table import DatasetError
from lesionedge.metadata import read
from lesionedge.reliability import Gate
from train import recipe
from train.gate import sources
from train.run import Run

pytestmark = pytest.mark.slow

GATE = Path(lesionedge.__file__).parent / "models" / "gate-int8.tflite"
MANY = {"train": 24, "validation": 12, "calibration": 12, "test": 12}
"""Images of HAM10000 by split."""


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw) -> Path:
    """The three folders, with drawn lesions, skin-coloured photographs and blue ones."""
    root = tmp_path_factory.mktemp("gate")
    rng = np.random.default_rng(0)
    with sources.SPLIT_FILE.open() as file:
        rows = list(csv.DictReader(file))
    (root / "ham10000").mkdir()
    for part, count in MANY.items():
        for number, row in enumerate([r for r in rows if r["split"] == part][:count]):
            draw(96, 72, seed=number).save(root / "ham10000" / row["path"])
    lines = ["image_id,patient_id"]
    for folder, colour in (("clinical_photos", (210, 160, 130)), ("not_skin", (40, 60, 200))):
        (root / folder).mkdir()
        for number in range(60):
            pixels = rng.normal(colour, 20, (72, 96, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{folder}{number}.png")
    lines += [f"clinical_photos{number},p{number}" for number in range(60)]
    (root / "clinical_photos" / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def run(data) -> Run:
    """A run of the embedded recipe, smaller and shorter."""
    text = recipe.read("gate")
    for old, new in (
        ('weights = "imagenet"', 'weights = "random"'),
        ('train = "block_3_expand"\n', ""), ("epochs = 6", "epochs = 3"),
        ("batch_size = 64", "batch_size = 16"), ("drawn = 4000", "drawn = 8"),
        ("ruined = 2000", "ruined = 8"), ("clinical = 36", "clinical = 2"),
        ("not_skin = 26", "not_skin = 2"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    file = data / "tiny.toml"
    file.write_text(text)
    fit = ["train", "fit", file, "--data", data, "--out", data / "runs" / "gate", "--seed", 2]
    program(*fit)
    return Run(data / "runs" / "gate")


def test_it_learns_and_says_what_it_refuses(run):
    rows = list(csv.DictReader(run.history.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    card = run.read_card()
    assert card.codes == sources.LABELS
    assert card.gate.threshold == json.loads(run.metrics.read_text())["threshold"]
    measured = json.loads(run.metrics.read_text())["test"]
    assert {"ham10000", "clinical", "not_skin", "drawn", "ruined"} <= set(measured)
    assert measured["ham10000"]["images"] == MANY["test"]
    assert all(0 <= one["refused"] <= 1 for one in measured.values() if isinstance(one, dict))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--images", 9], "--images"),
        (["--layout", "folders"], "--layout"),
        (["--allow-overlap"], "--drop-overlap and --allow-overlap"),
    ],
)
def test_what_the_gate_has_no_use_for_is_refused(data, tmp_path, given, named):
    line = ["train", "fit", "gate", "--data", data, "--out", tmp_path / "run"]
    done = program(*line, *given, check=False)
    assert done.returncode == 1
    assert f"gate: {named} cannot be used with a [gate]" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_table_of_photographs_that_lacks_a_column_is_named(data, tmp_path):
    for name in ("ham10000", "not_skin"):
        (tmp_path / name).symlink_to(data / name)
    (tmp_path / "clinical_photos").mkdir()
    (tmp_path / "clinical_photos" / "labels.csv").write_text("image_id,person\n1,2\n")
    with pytest.raises(DatasetError, match=r"labels\.csv: columns patient_id are missing"):
        sources.table(tmp_path)


def test_the_same_command_again_trains_no_more(run, data):
    """Nor does it forget what has been found out since: the card stays as it is."""
    before, card = run.history.read_text(), run.card.read_bytes()
    line = ["train", "fit", data / "tiny.toml", "--data", data, "--out", run.folder, "--seed"]
    assert "is trained already" in program(*line, 2).stderr
    assert run.history.read_text() == before and run.card.read_bytes() == card
    done = program(*line, 3, check=False)
    assert done.returncode and "holds a training with the seed 2" in done.stderr


def test_the_file_gets_the_threshold_that_refuses_its_share(run, data):
    file = run.folder / "gate-int8.tflite"
    program("convert", "export", run.folder, "--format", "int8", "-o", file)
    program("train.gate", "calibrate", file, "--run", run.folder, "--data", data)
    chosen = run.read_card().gate
    assert chosen.refused_of_genuine == recipe.load("gate").gate.refused
    assert set(chosen.chosen_on) == {"ham10000", "clinical", "not_skin"}
    assert chosen.chosen_on["ham10000"] <= 2 / 24
    program("convert", "export", run.folder, "--format", "int8", "-o", file)
    card: Card = read(file).card
    assert card.gate.threshold == pytest.approx(chosen.threshold)
    assert Gate(file).threshold == pytest.approx(chosen.threshold)
    assert file.stat().st_size < 1.1 * GATE.stat().st_size


def test_another_run_has_no_threshold_to_choose(run, data, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.toml").write_text(recipe.read("cnn"))
    (other / "card.json").write_text(run.card.read_text())
    file = (
        data / "ham10000" / next(iter(sorted(path.name for path in (data / "ham10000").iterdir())))
    )
    done = program("train.gate", "calibrate", file, "--run", other, "--data", data, check=False)
    assert done.returncode == 1 and "expected a [gate]" in done.stderr
