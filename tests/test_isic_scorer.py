"""Our figures against the ISIC challenge's own scorer, which runs in an environment of its own."""

from __future__ import annotations

import csv
import json
import os
import subprocess

import pytest

pytest.importorskip("scipy", reason="needs the extra evaluate")
pytest.importorskip("matplotlib", reason="needs the extra evaluate")

PYTHON = os.environ.get("LESIONEDGE_ISIC_SCORER", "")
CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
SCORE = """
import json, pathlib, sys
from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore
truth, submission = map(pathlib.Path, sys.argv[1:])
found = ClassificationScore.from_file(truth, submission, ClassificationMetric.BALANCED_ACCURACY)
print(json.dumps(found.to_dict(rocs=False)))
"""


@pytest.fixture
def score():
    """Scores a submission as the challenge does."""
    if not PYTHON:
        pytest.skip("set LESIONEDGE_ISIC_SCORER to a Python with isic-challenge-scoring: make test")
    there = subprocess.run([PYTHON, "-c", "import isic_challenge_scoring"], capture_output=True)
    if there.returncode:
        pytest.skip(f"isic-challenge-scoring cannot be had here: {PYTHON} does not import it")

    def run(truth, submission):
        done = subprocess.run(
            [PYTHON, "-W", "ignore", "-c", SCORE, truth, submission], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def challenge(tmp_path, draw):
    """70 drawn images laid out as the test of ISIC 2018's Task 3."""
    name = "ISIC2018_Task3_Test"
    folder = tmp_path / "isic" / f"{name}_Input"
    folder.mkdir(parents=True)
    truth = tmp_path / "isic" / f"{name}_GroundTruth.csv"
    with truth.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *CODES])
        for number in range(70):
            image = f"ISIC_{9_000_000 + number}"
            draw(64, 48, seed=number).save(folder / f"{image}.jpg")
            marks = [float(place == number * 5 % 7) for place in range(7)]
            writer.writerow([image, *marks])
    return truth


def test_figures_are_those_of_the_challenges_scorer(score, challenge, cli_run, int8, tmp_path):
    submission = tmp_path / "submission.csv"
    done = cli_run(
        "evaluate", challenge.parent, "-m", int8, "--submission", submission, "--format", "json"
    )
    assert done.exit_code == 0, done.output
    own = json.loads(done.stdout)["models"]["int8"]
    theirs = score(challenge, submission)
    assert theirs["overall"] == pytest.approx(own["balanced_accuracy"]["value"])
    assert theirs["macro_average"]["auc"] == pytest.approx(own["macro_auroc"]["value"])
    for label, figures in own["per_class"].items():
        category = label.upper()
        assert theirs["per_category"]["auc"][category] == pytest.approx(figures["auroc"]["value"])
        assert theirs["per_category"]["ap"][category] == pytest.approx(
            figures["average_precision"]["value"]
        )
