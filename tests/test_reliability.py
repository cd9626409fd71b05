"""The gate: which images it refuses, how predictions report it, and that it can be left out."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

import lesionedge
from lesionedge import reliability
from lesionedge.card import Card
from lesionedge.notice import Notice
from lesionedge.wording import CANNOT_TELL


@pytest.fixture(scope="module")
def classifier():
    return lesionedge.Classifier()


def plain(colour):
    return Image.new("RGB", (300, 300), colour)


def grains():
    values = np.random.default_rng(1).integers(0, 256, (300, 300, 3))
    return Image.fromarray(values.astype(np.uint8))


def gradient():
    return Image.linear_gradient("L").resize((400, 300)).convert("RGB")


def text():
    page = plain((250, 248, 240))
    pen = ImageDraw.Draw(page)
    for top in range(10, 300, 22):
        pen.text((12, top), "Report of the fourth quarter, page twelve", (20, 20, 30))
    return page


NO_LESIONS = {
    "black": plain("black"), "white": plain("white"), "blue": plain((20, 60, 200)),
    "skin colour": plain((224, 172, 150)), "pink": plain((240, 150, 170)), "noise": grains(),
    "gradient": gradient(), "text": text(),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_LESIONS)
def test_images_without_a_lesion_are_refused(classifier, name):
    prediction = classifier.classify(NO_LESIONS[name])
    assert prediction.reliable is False
    assert prediction.warnings[0].code in ("not-dermoscopic", "not-a-lesion")
    assert prediction.label in classifier.labels  # programs still get a label


@pytest.mark.parametrize(
    "ruin",
    [
        lambda p: p.filter(ImageFilter.GaussianBlur(90)), lambda p: p.point(lambda v: v // 25),
        lambda p: p.point(lambda v: 255 - (255 - v) // 20),
    ],
    ids=["blurred", "dark", "bright"],
)  # fmt: skip
def test_useless_images_are_refused(classifier, draw, ruin):
    assert classifier.classify(ruin(draw(600, 450, seed=1))).reliable is False


def test_the_verdict_does_not_depend_on_the_source(classifier, draw, tmp_path):
    image = draw(600, 450, seed=1)
    image.save(tmp_path / "a.png")
    array = np.asarray(image)
    verdicts = {
        classifier.classify(source).reliable
        for source in (image, array, tmp_path / "a.png", (tmp_path / "a.png").read_bytes())
    }
    assert len(verdicts) == 1
    assert verdicts <= {True, False}


def test_classify_and_classify_many_agree(classifier, draw):
    images = [draw(300, 225, seed=1), NO_LESIONS["blue"], NO_LESIONS["noise"]]
    many = [prediction.reliable for prediction in classifier.classify_many(images)]
    assert many == [classifier.classify(image).reliable for image in images]


def test_probabilities_do_not_depend_on_the_check(classifier):
    bare = lesionedge.Classifier(check=False)
    prediction, unchecked = (c.classify(NO_LESIONS["noise"]) for c in (classifier, bare))
    assert unchecked.reliable is None
    assert unchecked.warnings == ()
    assert "check" not in unchecked.timings_ms
    assert prediction.top == unchecked.top


def test_models_that_are_not_for_dermoscopy_are_not_checked(models):
    for name in ("int8", "foreign"):
        classifier = lesionedge.Classifier(models / f"{name}.tflite")
        prediction = classifier.classify(NO_LESIONS["noise"])
        assert not classifier.checks
        assert prediction.reliable is None
        assert prediction.remarks == ()


@pytest.mark.parametrize(
    ("card", "checked"),
    [
        ({}, False), ({"intended_use": "Telling cats from dogs"}, False),
        ({"intended_use": "Research on dermoscopic images"}, True),
        ({"modality": "dermoscopy"}, True),
        ({"modality": "clinical", "intended_use": "not for dermoscopic images"}, False),
    ],
)  # fmt: skip
def test_the_card_decides_whether_a_model_is_checked(card, checked):
    assert reliability.is_for_dermoscopy(Card.from_dict(card)) is checked


def test_the_gate_is_small_and_describes_itself():
    path = Path(lesionedge.__file__).parent / "models" / reliability.FILE
    assert os.path.getsize(path) <= 200_000
    from lesionedge import metadata

    card = metadata.read(path).card
    assert card.licence == "CC BY-NC 4.0"
    assert "PAD-UFES-20" in card.attribution
    assert 0 < card.gate.threshold < 1


def test_a_small_input_is_checked_at_the_gates_own_size(classifier, monkeypatch):
    seen = []
    judge = reliability.Gate.judge
    monkeypatch.setattr(
        reliability.Gate, "judge", lambda self, p: seen.append(p.shape) or judge(self, p)
    )
    classifier.classify(NO_LESIONS["text"])
    assert seen == [(112, 112, 3)]


def test_a_classifier_pickles_with_its_check():
    bare = pickle.loads(pickle.dumps(lesionedge.Classifier("cnn", check=False)))
    assert not bare.checks
    assert pickle.loads(pickle.dumps(lesionedge.Classifier("cnn"))).checks


def test_a_notice_is_a_text_with_a_code():
    notice = Notice("blurred", "blurred: hold still")
    again = pickle.loads(pickle.dumps(notice))
    assert (again, again.code) == ("blurred: hold still", "blurred")
    assert json.dumps([notice]) == '["blurred: hold still"]'


@pytest.fixture
def page(tmp_path):
    NO_LESIONS["text"].save(tmp_path / "page.png")
    return tmp_path / "page.png"


def test_predict_warns_and_still_predicts(cli_run, page):
    done = cli_run("predict", page)
    assert done.exit_code == 0
    assert "warning: not a dermoscopic image" in done.output
    assert CANNOT_TELL in done.output
    assert "malignant" not in done.output
    shown = cli_run("predict", page, "--no-abstain").output
    assert "malignant" in shown
    assert CANNOT_TELL not in shown


def test_abstain_changes_only_what_people_read(cli_run, page):
    done = cli_run("predict", page, "--abstain")
    assert CANNOT_TELL in done.output
    assert "malignant" not in done.output
    facts = json.loads(cli_run("predict", page, "--abstain", "--format", "json").output)
    assert facts["reliable"] is False
    assert facts["label"]
    assert len(facts["top"]) == 7
    assert facts["warnings"][0].startswith("not a dermoscopic image")
    assert facts["warning_codes"][0] in ("not-dermoscopic", "not-a-lesion")
    csv = cli_run("predict", page, "--abstain", "--format", "csv").output
    assert facts["label"] in csv


def test_abstain_keeps_reliable_predictions(cli_run, tmp_path, monkeypatch, photo):
    monkeypatch.setattr(
        reliability.Gate, "judge", lambda self, p: reliability.Verdict(1.0, 0.0, 0.0, reliable=True)
    )
    done = cli_run("predict", photo, "--abstain")
    assert CANNOT_TELL not in done.output
    assert "malignant" in done.output


def test_without_the_check_reliable_is_null(cli_run, page):
    done = cli_run("predict", page, "--no-check", "--format", "json")
    facts = json.loads(done.output)
    assert facts["reliable"] is None
    assert facts["warnings"] == []


def test_worker_processes_report_the_same(command, page):
    lines = [
        command("predict", page, page, "--format", "json", *jobs).stdout.splitlines()
        for jobs in ((), ("--jobs", "2"))
    ]
    verdicts = [[(json.loads(x)["reliable"], json.loads(x)["warning_codes"]) for x in one]
                for one in lines]  # fmt: skip
    assert verdicts[0] == verdicts[1] != []


def test_the_drawing_shows_no_diagnosis_if_refused(cli_run, page, tmp_path):
    for name, more in (("plain", ("--no-abstain",)), ("abstaining", ())):
        assert cli_run("predict", page, "--annotate", tmp_path / name, *more).exit_code == 0
    heights = []
    for name in ("plain", "abstaining"):
        with Image.open(tmp_path / name / "page.png") as drawn:
            heights.append(drawn.height)
    assert heights[1] < heights[0]


def test_the_camera_abstains_by_default(cli_run, page):
    run = ("camera", "--source", page, "--frames", "1")
    assert CANNOT_TELL in cli_run(*run).output
    assert CANNOT_TELL not in cli_run(*run, "--no-abstain").output
    facts = json.loads(cli_run(*run, "--format", "json").stdout)
    assert facts["reliable"] is False
    assert facts["label"]
    assert CANNOT_TELL not in cli_run(*run, "--no-check").output


def test_real_lesions_pass_and_photographs_do_not(ham10000, classifier):
    """It was trained on some of these images, so this test only finds broken files."""
    lesions = sorted((ham10000 / "images").glob("*.jpg"))[::200]
    passed = [prediction.reliable for prediction in classifier.classify_many(lesions)]
    assert np.mean(passed) > 0.85
    for name in ("clinical_photos", "not_skin"):
        folder = ham10000.parent / name
        if not folder.is_dir():
            pytest.skip(f"{folder} is not at hand")
        photos = sorted(folder.rglob("*.jpg"))[::8]
        passed = [prediction.reliable for prediction in classifier.classify_many(photos)]
        assert np.mean(passed) < 0.15
