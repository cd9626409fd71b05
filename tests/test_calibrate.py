"""Site profiles: how they are made, what they guarantee, and who takes them."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="calibration needs the extra evaluate")
pytest.importorskip("pandas", reason="calibration needs the extra evaluate")

from serving import serving

import lesionedge
from lesionedge import Classifier, ModelError
from lesionedge.calibration import guarantee
from lesionedge.calibration.fit import fit
from lesionedge.calibration.held_out import report
from lesionedge.calibration.sample import Sample
from lesionedge.calibration.site import make
from lesionedge.card import Card
from lesionedge.model_options import ModelOptions
from lesionedge.profile import Owner, Profile, Recalibration, digest, read

ROOT = Path(__file__).parent.parent
LABELS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
MALIGNANT = (True, True, False, False, True, False, False)


def drawn(count, *, seed=0, malignant=0.5, sharpness=1.0):
    """Probabilities of a model that is right up to a temperature, and what is true of them."""
    rng = np.random.default_rng(seed)
    prior = np.where(MALIGNANT, malignant / 3, (1 - malignant) / 4)
    logits = rng.normal(0, 2, (count, 7)) + np.log(prior)
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = np.array([rng.choice(7, p=row) for row in true])
    shown = np.exp(sharpness * logits)
    return shown / shown.sum(1, keepdims=True), classes


def sample_of(probabilities, classes, lesions=None):
    kinds = np.array(MALIGNANT)[classes].astype(np.int64)
    lesions = np.arange(len(classes)) if lesions is None else lesions
    return Sample(probabilities, classes, kinds, lesions)


def owner_of(sha256="0" * 64):
    return Owner("model", sha256, LABELS, MALIGNANT)


def write_predictions(path, probabilities, more=()):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        head = ["path", "label", "name", "probability", "malignant_probability", "reliable"]
        writer.writerow([*head, "warnings", *(f"p_{label}" for label in LABELS), *more, "error"])
        for number, row in enumerate(probabilities):
            best = int(row.argmax())
            risk = row[np.array(MALIGNANT)].sum()
            writer.writerow(
                [f"photos/{number}.jpg", LABELS[best], "", row[best], risk, "true", "",
                 *row, *("x" for _ in more), ""]
            )  # fmt: skip


def write_truth(path, classes, lesions=None):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "lesion"])
        for number, label in enumerate(classes):
            lesion = "" if lesions is None else lesions[number]
            writer.writerow([number, LABELS[label] if isinstance(label, np.integer) else label,
                             lesion])  # fmt: skip


@pytest.fixture(scope="module")
def profiles(cli_run, tmp_path_factory, int8):
    """Calibrates int8 on drawn predictions, once for the same arguments."""

    @cache
    def made(*options, count, **facts):
        folder = tmp_path_factory.mktemp("calibrated")
        probabilities, classes = drawn(count, **facts)
        write_predictions(folder / "predictions.csv", probabilities)
        write_truth(folder / "truth.csv", classes)
        done = cli_run(
            "calibrate", folder / "predictions.csv", "--truth", folder / "truth.csv", "-m",
            int8, "-o", folder / "site.json", *options,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        return folder / "site.json", done

    return made


@pytest.fixture
def calibrated(profiles, tmp_path):
    """Returns the file of a profile of int8, the test's own, and the command's result."""

    def run(count=400, *options, **facts):
        file, done = profiles(*options, count=count, **facts)
        return Path(shutil.copy(file, tmp_path / "site.json")), done

    return run


def raw(image, int8):
    return Classifier(int8).probabilities(image)


# --- the guarantee


@pytest.mark.parametrize(("sensitivity", "least"), [(0.9, 29), (0.95, 59), (0.98, 149)])
def test_a_guarantee_takes_so_many_lesions(sensitivity, least):
    assert guarantee.needed(sensitivity) == least
    scores = np.arange(float(least))
    assert guarantee.threshold(scores, sensitivity) == 0
    assert guarantee.threshold(scores[1:], sensitivity) is None


def test_the_threshold_is_the_order_statistic_of_the_binomial_bound():
    # P(Bin(181, 0.05) <= 4) = 0.0497, P(Bin(181, 0.05) <= 5) = 0.11: the fifth lowest.
    assert guarantee.threshold(np.arange(181.0)[::-1], 0.95) == 4
    # P(Bin(93, 0.05) <= 1) = 0.0500, just too much: the lowest for 92, the second for 93.
    assert guarantee.threshold(np.arange(92.0), 0.95) == 0
    assert guarantee.threshold(np.arange(93.0), 0.95) == 1


@pytest.mark.parametrize("wanted", [0.9, 0.95])
def test_the_sensitivity_is_reached_in_95_percent_of_samples(wanted):
    rng = np.random.default_rng(1)
    population = np.round(rng.normal(0, 1, 500), 1)  # with ties
    reached = []
    for _ in range(1000):
        threshold = guarantee.threshold(rng.choice(population, 120), wanted)
        reached.append((population >= threshold).mean() >= wanted)
    assert np.mean(reached) >= 0.94  # of 0.95 expected at least; 2 standard errors less


def test_several_images_of_a_lesion_count_once():
    probabilities, classes = drawn(60, malignant=0.9)
    doubled = np.repeat(probabilities, 2, axis=0), np.repeat(classes, 2)
    points = [
        make(sample_of(*doubled, lesions), owner_of(), Card(), name="x").operating_points
        for lesions in (np.arange(120), np.repeat(np.arange(60), 2))
    ]
    malignant = int(np.array(MALIGNANT)[classes].sum())
    assert 29 <= malignant < 59 <= 2 * malignant
    assert [p.sensitivity for p in points[0] if p.extra["guaranteed"]] == [0.9, 0.95]
    assert [p.sensitivity for p in points[1] if p.extra["guaranteed"]] == [0.9]
    assert points[1][0].extra["lesions"] == malignant


def test_thresholds_are_those_of_the_raw_order():
    """Recalibration keeps the order, so exactly the images below the order statistic are below."""
    probabilities, classes = drawn(300, sharpness=1.5)
    profile = make(sample_of(probabilities, classes), owner_of(), Card(), name="x")
    malignant = np.array(MALIGNANT)[classes]
    recalibrated = profile.recalibration.apply(probabilities).astype(np.float32)
    risk = recalibrated[:, np.array(MALIGNANT)].sum(1)
    count = int(malignant.sum())
    for point in profile.operating_points:
        from scipy.stats import binom

        most = np.flatnonzero(binom.cdf(np.arange(count), count, 1 - point.sensitivity) <= 0.05)
        assert point.extra["guaranteed"] == bool(len(most))
        assert (risk[malignant] < point.threshold).sum() == most[-1]


# --- recalibration


def test_few_images_do_little_and_many_do_much():
    def temperature(count):
        found = []
        for seed in range(4):
            probabilities, classes = drawn(count, seed=seed, sharpness=2.0)
            change = fit(sample_of(probabilities, classes), MALIGNANT)
            found.append(np.log(change.between.temperature))
        return np.mean(found)

    none, few, many = temperature(4), temperature(30), temperature(1000)
    assert 0 <= none < few < many
    assert none < 0.4 * many
    assert many > 0.6


def test_probabilities_that_are_right_stay():
    probabilities, classes = drawn(3000)
    profile = make(sample_of(probabilities, classes), owner_of(), Card(), name="x")
    assert abs(profile.recalibration.apply(probabilities) - probabilities).max() < 0.1
    assert profile.report["log_loss"]["after"] == pytest.approx(
        profile.report["log_loss"]["before"], abs=0.01
    )


def test_no_change_is_the_identity():
    probabilities, _ = drawn(50)
    same = Recalibration.none(MALIGNANT).apply(probabilities)
    assert same == pytest.approx(probabilities, abs=1e-7)


def test_steep_temperatures_keep_both_kinds():
    """The most likely benign class is e^-1000 times as likely here as a malignant one."""
    change = replace(Recalibration.none(MALIGNANT), temperatures=(0.005,) * 7)
    probabilities = np.where(MALIGNANT, 0.98 / 3, 0.02 / 4)
    assert change.apply(probabilities) == pytest.approx(probabilities)


def test_what_is_0_or_1_stays_finite():
    change = Recalibration.none(MALIGNANT)
    for number in range(7):
        found = change.apply(np.eye(7)[number])
        assert np.isfinite(found).all()
        assert found.sum() == pytest.approx(1)
        assert found.argmax() == number


def test_the_order_of_suspicion_stays():
    probabilities, classes = drawn(800, sharpness=3.0, malignant=0.1)
    profile = make(sample_of(probabilities, classes), owner_of(), Card(), name="x")
    mask = np.array(MALIGNANT)
    before = profile.recalibration.suspicion(probabilities)
    after = profile.recalibration.apply(probabilities)[:, mask].sum(1)
    assert (np.diff(after[np.argsort(before)]) >= -1e-9).all()


def test_binary_truth_is_enough():
    probabilities, classes = drawn(1000, sharpness=2.0)
    known = sample_of(probabilities, classes)
    unknown = Sample(probabilities, np.full(1000, -1), known.malignant, known.lesions)
    change = make(unknown, owner_of(), Card(), name="x").recalibration
    assert change.between.temperature > 1.5
    assert change.temperatures == (1.0,) * 7
    assert change.biases == (0.0,) * 7


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_given_prevalence(share):
    probabilities, classes = drawn(2000, malignant=0.5)
    sample = sample_of(probabilities, classes)
    profile = make(sample, owner_of(), Card(), name="x", mix=f"malignant={share}")
    mix = profile.prevalence["mix"]
    assert sum(mix[label] for label in ("akiec", "bcc", "mel")) == pytest.approx(share, abs=1e-5)
    # Where the mix is that one, the probabilities of the profile are as high as they should be.
    there, truth = drawn(6000, malignant=share, seed=5)
    weights = np.where(np.array(MALIGNANT)[classes], share, 1 - share)
    kinds = np.array(MALIGNANT)[classes]
    weights = weights / np.where(kinds, kinds.mean(), 1 - kinds.mean())
    risk = profile.recalibration.apply(probabilities)[:, np.array(MALIGNANT)].sum(1)
    assert (risk * weights).sum() / weights.sum() == pytest.approx(share, rel=0.25)
    assert len(there) == len(truth)


@pytest.mark.parametrize(
    "mix", ["mel", "mel=2", "mel=-1", "mel=x", "frog=0.1", "mel=0.1,mel=0.2", "mel=0.7,nv=0.7", ""]
)
def test_a_prevalence_that_is_none(mix):
    probabilities, classes = drawn(100)
    with pytest.raises(ModelError, match="prevalence"):
        make(sample_of(probabilities, classes), owner_of(), Card(), name="x", mix=mix)


def test_the_cards_prevalence_is_that_of_its_data():
    from lesionedge.description import read_card

    probabilities, classes = drawn(100)
    sample = sample_of(probabilities, classes)
    mix = make(
        sample, owner_of(), read_card("mobilenetv2"), name="x", mix="card"
    ).prevalence["mix"]  # fmt: skip
    assert mix["mel"] == pytest.approx(1113 / 10015, abs=1e-5)
    with pytest.raises(ModelError, match="not known"):
        make(sample, owner_of(), Card(), name="x", mix="card")


# --- the command and the file


def test_the_profile_is_as_its_schema_says(calibrated, int8):
    jsonschema = pytest.importorskip("jsonschema", reason="validates profiles")
    schema = json.loads((ROOT / "docs/reference/profile.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    file, done = calibrated(400)
    content = json.loads(file.read_text())
    jsonschema.Draft202012Validator(schema).validate(content)
    assert content["name"] == "site"
    assert content["model"]["sha256"] == digest(int8)
    assert content["data"]["images"] == 400
    assert Profile.to_dict(read(file)) == content
    assert file.stat().st_size < 10_000
    assert "guaranteed with 95 % confidence" in done.stdout
    assert done.stdout.endswith("For research use only: not a diagnosis.\n")


def test_what_is_missing_is_said(calibrated):
    file, done = calibrated(80)
    malignant = json.loads(file.read_text())["data"]["malignant"]
    assert 29 <= malignant < 59
    assert f"95 % sensitivity: no threshold; {59 - malignant} more malignant lesions" in done.stdout
    assert "too few to say much" in done.stderr


def test_the_cards_threshold_takes_the_place_of_a_guarantee(tmp_path):
    from lesionedge.description import read_card

    probabilities, classes = drawn(80)
    card = read_card("mobilenetv2")
    profile = make(sample_of(probabilities, classes), owner_of(), card, name="x")
    points = {point.sensitivity: point for point in profile.operating_points}
    assert points[0.9].extra["guaranteed"]
    assert not points[0.98].extra["guaranteed"]
    assert points[0.98].extra["source"] == "model card"
    assert points[0.98].extra["missing"] > 0
    assert points[0.98].threshold <= points[0.9].threshold


def test_the_held_out_report_says_when_it_helps(calibrated):
    _, helped = calibrated(1500, sharpness=3.0)
    assert "The probabilities are better for it." in helped.stdout
    _, useless = calibrated(60, seed=3)
    assert "better for it" in useless.stdout
    assert "The probabilities are better for it." not in useless.stdout


@pytest.mark.parametrize("card", [{}, {0.9: 0.3, 0.95: 0.2, 0.98: 0.1}])
def test_a_threshold_is_checked_only_against_its_like(card):
    """36 malignant lesions guarantee 90 %, and 29 do, but 28 do not: no check for all of them."""
    rng = np.random.default_rng(2)
    risk = rng.random(130)
    sample = Sample(
        np.stack([1 - risk, risk], axis=1), np.arange(130) % 2, (np.arange(130) >= 94) * 1,
        np.arange(130),
    )  # fmt: skip
    positive = sample.malignant == 1
    found = report(sample, (False, True), positive, card)["operating_points"]
    assert [point["sensitivity"] for point in found] == [one for one in card if one > 0.9]
    twice = Sample(*(np.concatenate([each] * 2) for each in (
        sample.probabilities, sample.classes, sample.malignant)), np.arange(260))  # fmt: skip
    found = report(twice, (False, True), twice.malignant == 1, {})["operating_points"]
    assert [point["sensitivity"] for point in found] == [0.9]


def test_what_could_not_be_checked_is_said(calibrated):
    _, done = calibrated(70)
    assert "guaranteed with 95 % confidence\n  too few lesions to check it" in done.stdout


def test_json_is_the_profile(calibrated):
    file, done = calibrated(100, "--format", "json")
    assert json.loads(done.stdout) == json.loads(file.read_text())


def test_thresholds_of_one_label(calibrated):
    file, _ = calibrated(800, "--of", "mel", "--name", "clinic")
    content = json.loads(file.read_text())
    assert content["name"] == "clinic"
    assert {point["of"] for point in content["operating_points"]} == {"mel"}
    melanomas = content["data"]["by_label"]["mel"]
    assert {point["lesions"] for point in content["operating_points"]} == {melanomas}


def test_a_benign_label_has_no_threshold(cli_run, int8, tmp_path):
    probabilities, classes = drawn(60)
    write_predictions(tmp_path / "p.csv", probabilities)
    write_truth(tmp_path / "t.csv", classes)
    done = cli_run(
        "calibrate", tmp_path / "p.csv", "--truth", tmp_path / "t.csv", "-m", int8, "--of", "nv",
        "-o", tmp_path / "x.json",
    )  # fmt: skip
    assert (done.exit_code, "--of nv: it is benign" in done.stderr) == (1, True)
    assert "expected malignant or one of akiec, bcc, mel\n" in done.stderr


def test_images_are_predicted_where_no_predictions_are(cli_run, int8, tmp_path, draw):
    for number in range(12):
        folder = tmp_path / "photos" / ("melanoma" if number % 2 else "nevus")
        folder.mkdir(parents=True, exist_ok=True)
        draw(80, 60, seed=number).save(folder / f"{number}.png")
    done = cli_run(
        "calibrate", tmp_path / "photos", "-m", int8, "-o", tmp_path / "a.json", "--jobs", 2
    )
    assert done.exit_code == 0, done.output
    assert "6  melanoma -> mel" in done.stderr
    rows = [f"{number}.png,{'melanoma' if number % 2 else 'nevus'}" for number in range(12)]
    (tmp_path / "truth.csv").write_text("\n".join(["file,diagnosis", *rows]))
    done = cli_run(
        "calibrate", tmp_path / "photos", "--truth", tmp_path / "truth.csv", "-m", int8, "-o",
        tmp_path / "b.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert one["recalibration"] == other["recalibration"]
    assert one["data"]["by_label"]["mel"] == 6
    (tmp_path / "photos" / "nevus" / "0.png").write_bytes(b"no image")
    done = cli_run("calibrate", tmp_path / "photos", "-m", int8, "-o", tmp_path / "c.json")
    assert (done.exit_code, "1 of 12 images failed" in done.stderr) == (1, True)
    assert json.loads((tmp_path / "c.json").read_text())["data"]["images"] == 11


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("mel", ("--of", "nv"), "--of nv: it is benign"),
        ("mel", ("--prevalence", "mel=2"), "--prevalence mel=2: 'mel=2' is unusable"),
        ("mel", ("--prevalence", "card"), "the mix of diagnoses that the model was trained on"),
        ("toad", (), "fewer than two of the model's classes"),
        ("bkl", (), "the 2 labelled images have none that is malignant"),
        ("mel", ("-o", "none/site.json"), "site.json: cannot be written (No such file"),
    ],
)
def test_what_cannot_be_made_is_not_classified(
    cli_run, int8, tmp_path, monkeypatch, draw, label, options, message
):
    for folder in (label, "nv"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        draw(80, 60, seed=len(folder)).save(tmp_path / "photos" / folder / f"{folder}.png")
    monkeypatch.chdir(tmp_path)
    done = cli_run("calibrate", "photos", "-m", int8, "-o", "site.json", *options)
    assert (done.exit_code, message in done.stderr) == (1, True)
    assert "of 2 images" not in done.stderr  # no progress: none was classified


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("id,label\n0,mel\n0,nv\n", "0 has the labels mel and nv"),
        ("id,label\nother,mel\nelse,nv\n", "none of its 2 rows names one of the"),
        ("id,label\n0,frog\n1,toad\n", "fewer than two of the model's classes"),
        ("id,melanoma\n0,1\n1,0\n", "melanoma or not"),
        ("id,label\n0,nv\n1,bkl\n", "none that is malignant"),
        ("id,label\n", "no usable row"),
        ("a,b\n1,2\n", "a column path (or id) and a column label"),
        ("id,label\n0,mel\n1,nv\n2,\n", None),
    ],
)
def test_truth_that_cannot_be_used(cli_run, int8, tmp_path, truth, message):
    write_predictions(tmp_path / "predictions.csv", drawn(5)[0])
    (tmp_path / "truth.csv").write_text(truth)
    done = cli_run(
        "calibrate", tmp_path / "predictions.csv", "--truth", tmp_path / "truth.csv", "-m", int8,
        "-o", tmp_path / "site.json",
    )  # fmt: skip
    assert done.exit_code == (0 if message is None else done.exit_code)
    if message is not None:
        assert done.exit_code in (1, 2)
        assert message in done.stderr
        assert not (tmp_path / "site.json").exists()


def test_predictions_that_cannot_be_used(cli_run, int8, models, tmp_path):
    probabilities, classes = drawn(30)
    write_predictions(tmp_path / "p.csv", probabilities, more=("profile",))
    write_truth(tmp_path / "t.csv", classes)
    line = ["--truth", tmp_path / "t.csv", "-o", tmp_path / "x.json"]
    done = cli_run("calibrate", tmp_path / "p.csv", "-m", int8, *line)
    assert (done.exit_code, "a site profile has changed" in done.stderr) == (1, True)
    write_predictions(tmp_path / "p.csv", probabilities)
    done = cli_run("calibrate", tmp_path / "p.csv", "-m", models / "sigmoid.tflite", *line)
    assert (done.exit_code, "name the model that made it" in done.stderr) == (1, True)
    done = cli_run("calibrate", tmp_path / "p.csv", "-m", int8, "-o", tmp_path / "x.json")
    assert (done.exit_code, "--truth FILE says" in done.stderr) == (2, True)
    (tmp_path / "p.csv").write_text((tmp_path / "p.csv").read_text().replace(",", ";"))
    done = cli_run("calibrate", tmp_path / "p.csv", "-m", int8, *line)
    assert (done.exit_code, "expected cells between commas" in done.stderr) == (1, True)


def test_predictions_may_have_been_saved_again(cli_run, int8, tmp_path):
    """Spreadsheets put a mark before the first column's name."""
    probabilities, classes = drawn(30)
    write_predictions(tmp_path / "p.csv", probabilities)
    (tmp_path / "p.csv").write_text((tmp_path / "p.csv").read_text(), encoding="utf-8-sig")
    write_truth(tmp_path / "t.csv", classes)
    done = cli_run(
        "calibrate", tmp_path / "p.csv", "--truth", tmp_path / "t.csv", "-m", int8, "-o",
        tmp_path / "site.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "site.json").read_text())["data"]["images"] == 30


# --- who takes it


def test_python_takes_it(calibrated, int8, photo):
    file, _ = calibrated(600, sharpness=2.0)
    classifier = Classifier(int8, profile=file)
    found = classifier.classify(photo)
    expected = read(file).recalibration.apply(raw(photo, int8))
    assert [c.probability for c in sorted(found.top, key=lambda c: c.label)] == pytest.approx(
        expected, rel=1e-5
    )
    assert found.profile == "site"
    assert found.operating_point.source == "site"
    assert found.operating_point.point.sensitivity == 0.95
    assert found.to_dict()["profile"] == "site"
    assert Classifier(int8, profile=read(file)).classify(photo).probability == found.probability
    assert (
        Classifier(int8, profile=file, operating_point=0.9).classify(photo).operating_point.point
        == classifier.operating_points[0]
    )
    assert Classifier(int8).classify(photo).profile is None
    assert lesionedge.explain(photo, model=classifier).prediction.profile == "site"


def test_every_command_takes_it(calibrated, cli_run, int8, photo, tmp_path, monkeypatch):
    file, _ = calibrated(600, sharpness=2.0)
    options = ("-m", int8, "--profile", file)
    found = json.loads(cli_run("predict", photo, *options, "--format", "json").stdout)
    assert found["profile"] == "site"
    assert found["operating_point"]["source"] == "site"
    assert "by profile site" in cli_run("predict", photo, *options).stdout
    row = next(csv.DictReader(
        cli_run("predict", photo, *options, "--format", "csv").stdout.splitlines()
    ))  # fmt: skip
    assert row["profile"] == "site"
    assert float(row["malignant_probability"]) == found["malignant_probability"]
    line = cli_run("camera", "--source", photo, "--frames", 1, "--format", "json", *options)
    assert json.loads(line.stdout)["malignant_probability"] == pytest.approx(
        found["malignant_probability"], abs=0.02
    )
    assert json.loads(line.stdout)["profile"] == "site"
    shown = cli_run("explain", photo, "-o", tmp_path / "heat.png", *options, "--no-abstain")
    assert "by profile site" in shown.stdout
    monkeypatch.setenv("LESIONEDGE_PROFILE", str(file))
    assert json.loads(
        cli_run("predict", photo, "-m", int8, "--format", "json").stdout
    )["profile"] == "site"  # fmt: skip
    monkeypatch.setenv("LESIONEDGE_PROFILE", "")
    assert "profile" not in json.loads(
        cli_run("predict", photo, "-m", int8, "--format", "json").stdout
    )


def test_serve_names_it(calibrated, int8, photo):
    for module in ("fastapi", "prometheus_client"):
        pytest.importorskip(module, reason="needs lesionedge[web]")
    file, _ = calibrated(600, sharpness=2.0)
    with serving("-m", int8, "--profile", file) as server:
        assert "int8.tflite with site, " in server.messages[0]
        assert server.request("GET", "/model").json["profile"] == "site"
        found = server.predict(photo.read_bytes()).json
    expected = Classifier(int8, profile=file).classify(photo)
    assert found["profile"] == "site"
    assert found["malignant_probability"] == expected.malignant_probability


def test_batch_takes_it_to_its_workers(calibrated, cli_run, int8, photo, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="batch needs it")
    file, _ = calibrated(600, sharpness=2.0)
    done = cli_run(
        "batch", photo, "-o", tmp_path / "out", "-m", int8, "--profile", file, "--jobs", 1
    )
    assert done.exit_code == 0, done.output
    row = parquet.read_table(tmp_path / "out").to_pylist()[0]
    expected = Classifier(int8, profile=file).classify(photo)
    assert row["profile"] == "site"
    assert row["malignant_probability"] == expected.malignant_probability
    without = cli_run("batch", photo, "-o", tmp_path / "out", "-m", int8, "--jobs", 1)
    assert (without.exit_code, "--profile" in without.stderr) == (1, True)


def test_an_operating_point_that_it_lacks_is_an_error(calibrated, int8):
    file, _ = calibrated(60, "--of", "mel")
    with pytest.raises(
        ModelError, match=r"profile site: it has no operating point .* 0\.98; it has"
    ):
        Classifier(int8, profile=file, operating_point=0.98)


def test_the_rows_of_batch_name_the_label_that_a_threshold_is_to_find(calibrated, int8, photo):
    pytest.importorskip("pyarrow", reason="batch needs it")
    from lesionedge.batch import rows
    from lesionedge.batch.model import Model

    file, _ = calibrated(600, "--of", "mel")
    model = Model.of(ModelOptions(int8, profile=file))
    row = rows.classified([str(photo)], model.load(), model).to_pylist()[0]
    assert row["operating_point"]["of"] == "mel"
    expected = Classifier(int8, profile=file).classify(photo).to_dict()
    assert row["operating_point"] == expected["operating_point"]


def test_a_resumed_csv_keeps_its_column(calibrated, cli_run, int8, photo, tmp_path):
    file, _ = calibrated(300)
    other = tmp_path / "other.jpg"
    other.write_bytes(photo.read_bytes())
    line = ("predict", photo, other, "-m", int8, "--profile", file, "-o", tmp_path / "r.csv")
    assert cli_run(*line).exit_code == 0
    whole = (tmp_path / "r.csv").read_text()
    (tmp_path / "r.csv.part").write_text("".join(whole.splitlines(keepends=True)[:2]))
    (tmp_path / "r.csv").unlink()
    assert cli_run(*line, "--resume").exit_code == 0
    assert (tmp_path / "r.csv").read_text() == whole


def test_another_model_refuses_it(calibrated, models, int8, tmp_path):
    file, _ = calibrated(100)
    with pytest.raises(ModelError, match="made for the model"):
        Classifier("cnn", profile=file)
    with pytest.raises(ModelError, match="made with views 1"):
        Classifier(int8, profile=file, views=4)
    with pytest.raises(ModelError, match="made with malignant"):
        Classifier(int8, profile=file, malignant=["mel"])
    with pytest.raises(ModelError, match="made with labels"):
        Classifier(int8, profile=file, labels=[*LABELS[:-1], "other"])


def test_its_normalisation_may_be_given_as_a_list(calibrated, int8):
    file, _ = calibrated(100)
    found = read(file)
    site = replace(found, owner=found.owner._replace(normalize=(127.5, 127.5)))
    assert Classifier(int8, normalize=[127.5, 127.5], profile=site).profile == site


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"recalibration": 1}', "null", "\x00", '{"a": 1e999}'],
)
def test_what_is_no_profile(tmp_path, int8, content):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ModelError, match="not a site profile"):
        Classifier(int8, profile=tmp_path / "p.json")
    with pytest.raises(ModelError, match="cannot be read"):
        Classifier(int8, profile=tmp_path / "none.json")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), 2),
        (("name",), ""),
        (("model", "labels"), ["mel"]),
        (("model", "malignant"), [1, 2]),
        (("model", "malignant"), [False] * 7),
        (("recalibration", "classes"), {}),
        (("recalibration", "malignant", "temperature"), 0),
        (("recalibration", "malignant", "bias"), "x"),
        (("operating_points", 0, "sensitivity"), 0),
        (("operating_points", 0, "guaranteed"), None),
        (("operating_points", 0, "threshold"), None),
        (("data",), 3),
        (("report", "before"), float("nan")),
    ],
)
def test_a_profile_that_was_spoilt(calibrated, int8, place, value):
    file, _ = calibrated(200)
    content = json.loads(file.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="not a site profile"):
        Classifier(int8, profile=file)
