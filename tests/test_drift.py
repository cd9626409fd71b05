"""How far images without labels are from what a model knows: evaluate, serve and batch."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from serving import serving

import lesionedge
from lesionedge import Classifier, ModelError
from lesionedge.description import EMBEDDED, find_model
from lesionedge.drift import metrics, reference, words
from lesionedge.drift.difference import SAME, TOO_FEW, compare, distance, wilson
from lesionedge.drift.reference import SUFFIX, Reference
from lesionedge.drift.statistics import VALUES, Seen, Statistics, lab


def seen(count, *, seed=0, confidence=0.0, refused=0.1, blurred=0.05, yellow=0.0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        codes = ("blurred",) if rng.random() < blurred else ()
        red, green, blue = (rng.normal(middle, 10) for middle in (190, 150, 140 - yellow))
        yield Seen(
            min(max(rng.beta(6, 2) - confidence, 0.2), 1), rng.beta(1, 5),
            bool(rng.random() >= refused), codes, (red, green, blue),
        )  # fmt: skip


def reference_of(rows, images="500 drawn images"):
    return Reference(images, "0" * 64, Statistics.of(rows))


def verdicts(drift):
    return {one.name: one.verdict for one in drift.differences}


@pytest.fixture
def known(tmp_path, draw):
    """A model with a reference of drawn images beside it, and a folder of such images."""
    model = tmp_path / "own.tflite"
    shutil.copy(find_model("cnn"), model)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(24):
        draw(96, 72, seed=number).save(folder / f"IMG_{number:02d}.png")
    classifier = Classifier(model)
    found = Statistics.of(map(Seen.of, classifier.classify_many(sorted(folder.iterdir()))))
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    text = Reference("24 drawn images", digest, found).to_json(made="2026-11-29")
    (tmp_path / f"own{SUFFIX}").write_text(text)
    return model, folder, found


# --- the arithmetic


def test_the_distance_is_kolmogorovs_and_smirnovs():
    stats = pytest.importorskip("scipy.stats", reason="needs the extra evaluate")
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 1, 4000), rng.normal(0.5, 1.5, 3000)
    ties = np.round(one)
    for a, b in ((one, other), (one, one[:1000]), (ties, np.round(other))):
        expected = stats.ks_2samp(a, b).statistic
        found = distance(*(np.percentile(x, np.arange(101)) for x in (a, b)))
        assert found == pytest.approx(expected, abs=0.015)
    assert distance(np.zeros(101), np.ones(101)) == 1
    assert distance(np.zeros(101), np.zeros(101)) == 0


def test_the_interval_of_a_share_is_wilsons():
    stats = pytest.importorskip("scipy.stats", reason="needs the extra evaluate")
    for found, count in ((0, 20), (3, 20), (20, 20), (50, 500)):
        expected = stats.binomtest(found, count).proportion_ci(0.99, method="wilson")
        assert wilson(found / count, count) == pytest.approx(tuple(expected), abs=1e-4)


def test_colours_are_those_of_cielab():
    found = lab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]]))
    expected = [[100, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [0, 0, 0]]
    assert found == pytest.approx(np.array(expected), abs=0.05)


def test_samples_of_the_same_images_seldom_differ():
    known = reference_of(seen(2000, seed=99))
    differing = [
        len(compare(Statistics.of(seen(200, seed=seed)), known).differing) for seed in range(100)
    ]
    assert np.mean([count > 0 for count in differing]) <= 0.1  # thirteen figures, 1 % each


def test_what_differs_is_named():
    known = reference_of(seen(500, seed=1))
    found = verdicts(
        compare(Statistics.of(seen(500, seed=2, confidence=0.3, refused=0.6, yellow=15)), known)
    )
    assert found["confidence"] == "much lower"
    assert found["refused"] == "much more often"
    assert found["yellowness"] == "much yellower"
    assert found["blurred"] == SAME
    assert found["malignant_probability"] == SAME
    few = compare(Statistics.of(seen(19, seed=2, confidence=0.5, refused=0.9)), known)
    assert not few.differing
    assert set(verdicts(few).values()) == {TOO_FEW}
    assert "too few" in words.summary(few)


def test_what_is_not_known_is_left_out():
    unchecked = Statistics.of([Seen(0.9), Seen(0.7)])
    assert (unchecked.images, unchecked.checked, dict(unchecked.shares)) == (2, 0, {})
    assert set(unchecked.values) == {"confidence"}
    drift = compare(unchecked, reference_of(seen(100)))
    assert set(verdicts(drift)) == {"confidence"}
    nothing = compare(Statistics.of([]), reference_of(seen(100)))
    assert nothing.differences == ()
    assert metrics.text(nothing).endswith("lesionedge_drift_images 0\n")
    assert "no reference" in words.summary(compare(unchecked, None))


# --- the reference


def test_embedded_models_have_a_reference():
    for name in EMBEDDED:
        found = reference.of(Classifier(name))
        assert found is not None
        assert found.sha256 == hashlib.sha256(Path(find_model(name)).read_bytes()).hexdigest()
        assert found.statistics.images == 500
        assert set(found.statistics.values) == set(VALUES)
        assert 0 < found.statistics.shares["refused"] < 0.1


def test_a_reference_of_another_file_is_none(known):
    model, _, _ = known
    assert reference.of(Classifier(model)).images == "24 drawn images"
    model.with_name(f"own{SUFFIX}").write_text(reference_of(seen(10)).to_json())
    assert reference.of(Classifier(model)) is None
    model.with_name(f"own{SUFFIX}").unlink()
    assert reference.of(Classifier(model)) is None


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "images": ""}'])
def test_a_broken_reference_is_refused(known, text):
    model, _, _ = known
    model.with_name(f"own{SUFFIX}").write_text(text)
    with pytest.raises(ModelError, match="not a reference"):
        reference.of(Classifier(model))


def test_a_reference_is_what_was_written(tmp_path):
    found = reference_of(seen(300))
    (tmp_path / "r.json").write_text(found.to_json())
    again = reference.read(str(tmp_path / "r.json")).statistics
    assert again.shares == found.statistics.shares
    for name, column in found.statistics.values.items():
        assert again.values[name] == pytest.approx(column, rel=1e-4)
    assert set(found.for_profile().statistics.values) == {"lightness", "redness", "yellowness"}


# --- lesionedge evaluate


@pytest.fixture
def evaluated(cli_run):
    pytest.importorskip("scipy", reason="needs the extra evaluate")
    pytest.importorskip("matplotlib", reason="needs the extra evaluate")

    def run(*arguments):
        done = cli_run("evaluate", *arguments)
        assert done.exit_code == 0, done.output
        return done

    return run


def test_images_without_labels_are_compared(evaluated, known, tmp_path):
    model, folder, own = known
    done = evaluated(folder, "-m", model, "-o", tmp_path / "out")
    assert "no labels: " in done.stderr
    assert "own: 24 images without labels" in done.stdout
    assert "No figure of these images differs" in done.stdout
    assert done.stdout.endswith("For research use only: not a diagnosis.\n")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["kind"], found["images"], found["failed"]) == ("unlabelled", 24, 0)
    drift = found["drift"]["own"]
    assert drift["statistics"] == own.to_dict()
    assert drift["reference"] == "24 drawn images"
    assert max(abs(one["distance"]) for one in drift["differences"]) <= 0.02
    report = (tmp_path / "out" / "report.html").read_text()
    assert "confidence, median" in report
    assert "data:image/png;base64," in report
    assert "IMG_" not in report
    assert (tmp_path / "out" / "plots" / "drift-own.png").stat().st_size > 10_000


def test_images_of_another_kind_differ(evaluated, known, tmp_path):
    from PIL import Image

    model, _, _ = known
    blue = tmp_path / "blue"
    blue.mkdir()
    for number in range(60):
        Image.new("RGB", (96, 72), (20, 40, 150 + number)).save(blue / f"{number}.png")
    done = evaluated(blue, "-m", model, "--format", "json")
    found = {one["name"]: one for one in json.loads(done.stdout)["drift"]["own"]["differences"]}
    assert found["yellowness"]["verdict"] == "much bluer"
    assert found["lightness"]["verdict"] == "much darker"
    assert found["yellowness"]["distance"] == 1
    text = evaluated(blue, "-m", model).stdout
    assert "yellow against blue (b*) much bluer" in text
    assert "measure on labelled images" in text


def test_labelled_images_are_compared_too(evaluated, known, tmp_path):
    model, folder, own = known
    rows = [f"IMG_{number:02d},{('mel', 'nv')[number % 2]}" for number in range(24)]
    (tmp_path / "t.csv").write_text("\n".join(["id,label", *rows]))
    done = evaluated(folder, "--truth", tmp_path / "t.csv", "-m", model, "--format", "json")
    found = json.loads(done.stdout)
    assert found["kind"] == "classes"
    assert found["drift"]["own"]["statistics"] == own.to_dict()
    assert not any("differ from those" in warning for warning in found["warnings"])


def test_archives_and_single_images_need_no_labels(evaluated, known, tmp_path):
    model, folder, _ = known
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    for source, count in ((archive, 24), (folder / "IMG_03.png", 1), (f"{folder}/IMG_0*.png", 10)):
        done = evaluated(source, "-m", model, "--format", "json")
        assert json.loads(done.stdout)["images"] == count


def test_a_model_without_a_reference(evaluated, known, int8):
    _, folder, _ = known
    done = evaluated(folder, "-m", int8)
    assert "the model has no reference to compare them with" in done.stdout
    assert "confidence, median" in done.stdout


def test_a_run_without_labels_is_continued(evaluated, known, tmp_path):
    model, folder, _ = known
    whole = evaluated(folder, "-m", model, "-o", tmp_path / "out", "--format", "json")
    csv = tmp_path / "out" / "predictions.csv"
    lines = csv.read_text().splitlines(keepends=True)
    csv.with_name("predictions.csv.part").write_text("".join(lines[:10]))
    csv.unlink()
    again = evaluated(folder, "-m", model, "-o", tmp_path / "out", "--format", "json")
    assert "15 of 15 images" in again.stderr
    assert json.loads(again.stdout) == json.loads(whole.stdout)


def test_what_needs_labels_is_refused(cli_run, known, tmp_path):
    pytest.importorskip("scipy", reason="needs the extra evaluate")
    model, folder, _ = known
    (tmp_path / "site.json").write_text("{}")
    done = cli_run("evaluate", folder, "-m", model, "--profile", tmp_path / "site.json")
    assert (done.exit_code, "give --truth" in done.stderr) == (2, True)
    done = cli_run("evaluate", tmp_path / "nowhere", "-m", model)
    assert done.exit_code == 1
    assert done.stderr.startswith("lesionedge: error: ") and "no such file" in done.stderr
    done = cli_run("evaluate", folder, "-m", model, "--layout", "ham10000")
    assert (done.exit_code, "HAM10000_metadata.csv" in done.stderr) == (1, True)


# --- serve and batch


def series(text):
    """Return name and ``of`` of each metric -> its value."""
    parser = pytest.importorskip("prometheus_client.parser", reason="needs lesionedge[web]")
    return {
        (sample.name.removeprefix("lesionedge_drift_"), sample.labels.get("of")): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("lesionedge_drift_")
    }


def test_serve_and_batch_export_the_same(known, cli_run, tmp_path):
    pytest.importorskip("pyarrow", reason="needs lesionedge[batch]")
    pytest.importorskip("fastapi", reason="needs lesionedge[web]")
    model, folder, own = known
    images = sorted(folder.iterdir())
    with serving("-m", model) as server:
        for image in images[:19]:
            server.predict(image.read_bytes())
        few = series(server.request("GET", "/metrics").body.decode())
        assert few == {("images", None): 19}  # of few images nothing else is told
        for image in images[19:]:
            server.predict(image.read_bytes())
        served = series(server.request("GET", "/metrics").body.decode())
    file = tmp_path / "drift.prom"
    done = cli_run(
        "batch", folder, "-o", tmp_path / "out", "-m", model, "--jobs", 1, "--metrics", file
    )
    assert done.exit_code == 0, done.output
    assert "differ" not in done.stdout
    assert served == pytest.approx(series(file.read_text()), abs=1e-3)
    assert served["images", None] == 24
    assert served["share", "refused"] == pytest.approx(own.shares["refused"])
    assert served["median", "confidence"] == pytest.approx(own.values["confidence"][50], abs=1e-4)
    assert served["distance", "confidence"] <= 0.02
    assert served["differs", "lightness"] == 0
    assert math.isfinite(served["reference_median", "redness"])


def test_batch_says_what_differs(known, cli_run, tmp_path):
    pytest.importorskip("pyarrow", reason="needs lesionedge[batch]")
    from PIL import Image

    model, _, _ = known
    blue = tmp_path / "blue"
    blue.mkdir()
    for number in range(60):
        Image.new("RGB", (96, 72), (20, 40, 150 + number)).save(blue / f"{number}.png")
    (blue / "broken.png").write_text("no image")
    done = cli_run("batch", blue, "-o", tmp_path / "out", "-m", model, "--jobs", 1)
    assert done.exit_code == 1
    assert "much bluer" in done.stdout
    assert done.stdout.endswith("For research use only: not a diagnosis.\n")


def test_batch_continues_a_folder_without_colours(known, cli_run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs lesionedge[batch]")
    model, folder, _ = known
    out, file = tmp_path / "out", tmp_path / "drift.prom"
    line = ("batch", folder, "-o", out, "-m", model, "--jobs", 1, "--metrics", file)
    last = folder / "IMG_23.png"
    content = last.read_bytes()
    last.unlink()
    assert cli_run(*line).exit_code == 0
    part = next(out.iterdir())
    table = parquet.read_table(part, partitioning=None).drop_columns(["colour"])
    parquet.write_table(table, part)
    last.write_bytes(content)
    done = cli_run(*line)
    assert done.exit_code == 0, done.output
    found = series(file.read_text())
    assert found["images", None] == 24
    assert ("median", "confidence") in found
    assert ("median", "lightness") not in found  # of one image, it is compared with nothing
    assert len(parquet.read_table(out)) == 24


def test_a_profile_leaves_the_probabilities_out(known, tmp_path):
    from lesionedge.profile import Owner, Profile, Recalibration, digest

    model, _, _ = known
    plain = Classifier(model)
    kinds = tuple(diagnosis.malignant for diagnosis in plain.diagnoses)
    owner = Owner("own", digest(str(model)), plain.labels, kinds)
    site = Profile("site", owner, Recalibration.none(kinds))
    found = reference.of(Classifier(model, profile=site))
    assert set(found.statistics.values) == {"lightness", "redness", "yellowness"}


def test_predictions_hold_the_mean_colour(photo):
    classifier = Classifier()
    found = classifier.classify(photo)
    pixels = classifier.model_input(photo).reshape(-1, 3).mean(0)
    assert found.colour == pytest.approx(pixels, abs=0.6)
    assert "colour" not in found.to_dict()
    assert Classifier(check=False).classify(photo).colour is None
    assert lesionedge.classify(photo).colour == found.colour
