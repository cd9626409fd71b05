"""``lesionedge evaluate``: labelled images in, figures with intervals and a report out."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the extra evaluate")
pytest.importorskip("matplotlib", reason="needs the extra evaluate")

from lesionedge import Classifier
from lesionedge.datasets import DatasetError, gather, meaning
from lesionedge.diagnosis import describe_all
from lesionedge.evaluation import entries, submission

LABELS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


@pytest.fixture(scope="module")
def photos(tmp_path_factory, draw):
    """24 images, three of each lesion, with a table of what they show."""
    root = tmp_path_factory.mktemp("evaluate")
    folder = root / "photos"
    folder.mkdir()
    rows = [["image_id", "dx", "lesion_id", "sex", "age", "fitzpatrick"]]
    for number in range(24):
        draw(64, 48, seed=number).save(folder / f"IMG_{number}.png")
        label = ("melanoma", "Nevus", "bcc", "seborrheic keratosis")[number // 3 % 4]
        rows.append([f"IMG_{number}", label, f"L{number // 3}", ("male", "female")[number % 2],
                     str(20 + number), str(1 + number % 3)])  # fmt: skip
    table = root / "truth.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder, table


def measured(cli_run, photos, *options):
    folder, table = photos
    done = cli_run("evaluate", folder, "--truth", table, *options)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def reported(cli_run, photos, int8, tmp_path_factory):
    """A folder with the report of int8, and the command's result."""
    out = tmp_path_factory.mktemp("reported") / "out"
    return out, measured(cli_run, photos, "-m", int8, "-o", out)


def test_figures_are_those_of_the_predictions(reported, photos, int8):
    out, done = reported
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["kind"] == "classes"
    assert metrics["grouped_by"] == "lesion"
    figures = metrics["models"]["int8"]
    assert (figures["images"], figures["lesions"]) == (24, 8)
    truth = [("mel", "nv", "bcc", "bkl")[number // 3 % 4] for number in range(24)]
    classifier = Classifier(int8, check=False)
    found = [classifier.classify(photos[0] / f"IMG_{n}.png").label for n in range(24)]
    recalls = [
        np.mean([f == t for f, t in zip(found, truth) if t == label])
        for label in ("bcc", "bkl", "mel", "nv")
    ]
    assert figures["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
    assert set(figures["subgroups"]) == {"sex", "age_band", "skin_type"}
    assert "seborrheic keratosis -> bkl" in done.stderr
    assert "mel: 6 images of 2 lesions, which is too few for a verdict" in done.stderr
    assert metrics["warnings"]
    assert "balanced accuracy" in done.stdout
    assert done.stdout.endswith("For research use only: not a diagnosis.\n")
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == [
        str(photos[0] / f"IMG_{n}.png") for n in sorted(range(24), key=lambda n: f"IMG_{n}.png")
    ]
    report = (out / "report.html").read_text()
    assert "IMG_" not in report
    assert "No image is in this file." in report
    assert "seborrheic keratosis" in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_an_interrupted_run_is_continued(cli_run, reported, photos, int8, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(reported[0], out)
    whole = (out / "predictions.csv").read_text()
    (out / "predictions.csv.part").write_text("".join(whole.splitlines(keepends=True)[:9]))
    (out / "predictions.csv").unlink()
    for path in sorted(photos[0].iterdir())[:8]:  # they are not classified again
        path.touch()
    done = measured(cli_run, photos, "-m", int8, "-o", out)
    assert "16 of 16 images" in done.stderr
    assert (out / "predictions.csv").read_text() == whole
    again = measured(cli_run, photos, "-m", int8, "-o", out, "--format", "json")
    assert json.loads(again.stdout) == json.loads((out / "metrics.json").read_text())
    assert "images, " not in again.stderr.replace("images, which", "")
    (out / "predictions.csv").write_text(whole, encoding="utf-8-sig")  # saved by a spreadsheet
    again = measured(cli_run, photos, "-m", int8, "-o", out, "--format", "json")
    assert json.loads(again.stdout) == json.loads((out / "metrics.json").read_text())
    other = cli_run("evaluate", photos[0], "--truth", photos[1], "-m", "cnn", "-o", out)
    assert (other.exit_code, "made by the model int8" in other.stderr) == (1, True)
    other = cli_run(
        "evaluate", photos[0], "--truth", photos[1], "-m", int8, "-o", out, "--malignant", "nv"
    )
    assert (other.exit_code, "or with other options" in other.stderr) == (1, True)
    (out / "predictions.json").write_text("[]")
    other = cli_run("evaluate", photos[0], "--truth", photos[1], "-m", int8, "-o", out)
    assert (other.exit_code, "it holds no object" in other.stderr) == (1, True)


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupted_run_says_how_to_continue(draw, int8, tmp_path, kept):
    rows = ["path,label"]
    for number in range(3000):
        file = tmp_path / f"{number}.png"
        if number < 4:
            draw(64, 48, seed=number).save(file)
        else:
            os.link(tmp_path / f"{number % 4}.png", file)
        rows.append(f"{file.name},{('mel', 'nv')[number % 2]}")
    (tmp_path / "truth.csv").write_text("\n".join(rows))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    line = ["evaluate", "truth.csv", "-m", str(int8), *(["-o", "out"] if kept else [])]
    run = subprocess.Popen(
        [sys.executable, "-m", "lesionedge", *line], cwd=tmp_path, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and run.poll() is None:
        parts = [*tmp_path.glob("out/*.part"), *temporary.glob("*/*.part")]
        if parts and parts[0].stat().st_size > 1000:
            break
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, message = run.communicate(timeout=60)
    assert run.returncode == 130
    assert ("the same command continues" in message) == kept
    assert "--resume" not in message
    assert (tmp_path / "out" / "predictions.csv.part").exists() == kept
    assert not any(temporary.iterdir())


def test_models_and_profiles_are_compared(cli_run, reported, photos, int8, models, tmp_path):
    folder, table = photos
    site = tmp_path / "site.json"
    done = cli_run("calibrate", folder, "--truth", table, "-m", int8, "-o", site)
    assert done.exit_code == 0, done.output
    float32 = models / "float32.tflite"
    done = measured(
        cli_run, photos, "-m", int8, "-m", float32, "--profile", site, "--format", "json"
    )
    found = json.loads(done.stdout)
    assert "int8 with site: its profile was made of as many images of each" in done.stderr
    assert list(found["models"]) == ["int8", "float32", "int8 with site"]
    first, second, third = found["models"].values()
    less = found["comparison"]["float32 less int8"]["balanced_accuracy"]
    assert less["value"] == pytest.approx(
        second["balanced_accuracy"]["value"] - first["balanced_accuracy"]["value"]
    )
    assert less["low"] <= less["value"] <= less["high"]
    # A profile keeps the order, but for outputs in 8 bits that do not add up to exactly 1.
    assert found["comparison"]["int8 with site less int8"]["malignant_auroc"]["value"] == (
        pytest.approx(0, abs=0.05)
    )
    assert third["operating_points"] == [] or third["operating_points"][0]["guaranteed"]
    predictions = reported[0] / "predictions.csv"
    done = cli_run(
        "calibrate", predictions, "--truth", table, "-m", int8, "-o", tmp_path / "s.json"
    )
    assert done.exit_code == 0, done.output
    other = cli_run(
        "calibrate", predictions, "--truth", table, "-m", int8, "--views", 4, "-o",
        tmp_path / "views.json",
    )  # fmt: skip
    assert (other.exit_code, "made with --views 1, not 4" in other.stderr) == (1, True)
    one, two = (json.loads(path.read_text()) for path in (site, tmp_path / "s.json"))
    assert one["recalibration"]["malignant"]["bias"] == pytest.approx(
        two["recalibration"]["malignant"]["bias"], abs=1e-6
    )


def test_a_profile_of_one_label_is_measured_on_it(cli_run, photos, int8, tmp_path):
    """24 images: six each of mel, nv, bcc and bkl; the threshold finds some of each."""
    line = ["-m", int8, "--of", "mel", "-o", tmp_path / "site.json"]
    assert cli_run("calibrate", photos[0], "--truth", photos[1], *line).exit_code == 0
    content = json.loads((tmp_path / "site.json").read_text())
    classifier = Classifier(int8, profile=str(tmp_path / "site.json"), check=False)
    images = [classifier.classify(photos[0] / f"IMG_{n}.png") for n in range(24)]
    risks = np.array([image.malignant_probability for image in images])
    content["operating_points"] = [{
        "sensitivity": 0.9, "threshold": float(np.median(risks)), "of": "mel", "guaranteed": True,
        "measured_sensitivity": 0.9, "measured_specificity": 0.5,
    }]  # fmt: skip
    (tmp_path / "site.json").write_text(json.dumps(content))
    options = ("-m", int8, "--profile", tmp_path / "site.json")
    done = measured(cli_run, photos, *options, "-o", tmp_path / "out")
    assert "threshold for 90 % of mel: sensitivity" in done.stdout
    assert "90.0% of mel" in (tmp_path / "out" / "report.html").read_text()
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["models"]
    figures = figures["int8 with site"]
    kinds = np.array([("mel", "nv", "bcc", "bkl")[n // 3 % 4] for n in range(24)])
    found = figures["operating_points"][0]["images"]
    above = risks >= np.median(risks)
    assert found["sensitivity"]["value"] == pytest.approx(above[kinds == "mel"].mean())
    assert above[kinds == "mel"].mean() != above[kinds == "bcc"].mean()
    benign = np.isin(kinds, ("nv", "bkl"))
    assert found["specificity"]["value"] == pytest.approx(1 - above[benign].mean())
    men = np.arange(24) % 2 == 0
    assert figures["subgroups"]["sex"]["male"]["sensitivity"]["value"] == pytest.approx(
        above[men & (kinds == "mel")].mean()
    )
    table = tmp_path / "binary.csv"
    table.write_text("\n".join(["id,malignant", *(f"IMG_{n},{n // 3 % 2}" for n in range(23))]))
    done = measured(cli_run, (photos[0], table), *options, "--format", "json")
    assert json.loads(done.stdout)["models"]["int8 with site"]["operating_points"] == []
    assert "was made of as many" not in done.stderr  # one image less


def test_every_models_predictions_are_kept(cli_run, photos, int8, models, tmp_path):
    """Each in a file of its own, whatever goes wrong afterwards."""
    (tmp_path / "out" / "metrics.json").mkdir(parents=True)
    done = cli_run(
        "evaluate", photos[0], "--truth", photos[1], "-m", int8, "-m", models / "float32.tflite",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert (done.exit_code, "out: the report cannot be written" in done.stderr) == (1, True)
    for name in ("predictions.csv", "predictions-float32.csv"):
        with (tmp_path / "out" / name).open() as file:
            assert len(list(csv.DictReader(file))) == 24


def test_what_cannot_be_measured_is_not_classified(cli_run, photos, int8, tmp_path):
    frogs = tmp_path / "frogs.csv"
    frogs.write_text(
        "id,label\n" + "".join(f"IMG_{n},{('frog', 'toad')[n % 2]}\n" for n in range(24))
    )
    for options, text in (
        (("--truth", photos[1], "--profile", tmp_path / "none.json"), "none.json: the profile"),
        (("--truth", frogs), "fewer than two of the model's classes"),
        (
            ("--truth", photos[1], "--submission", tmp_path / "none" / "s.csv"),
            "s.csv: cannot be written (No such file or directory)",
        ),
    ):
        done = cli_run("evaluate", photos[0], *options, "-m", int8, "-o", tmp_path / "out")
        assert (done.exit_code, text in done.stderr) == (1, True)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.csv.part"])
def test_predictions_of_unknown_origin_are_refused(cli_run, reported, photos, int8, tmp_path, name):
    """Such as those of predict, by another model or with a profile."""
    shutil.copy(reported[0] / "predictions.csv", tmp_path / name)
    for _ in range(2):
        done = cli_run("evaluate", photos[0], "--truth", photos[1], "-m", int8, "-o", tmp_path)
        assert done.exit_code == 1
        assert f"{name}: predictions.json beside it does not say which model" in done.stderr
    (tmp_path / name).unlink()
    measured(cli_run, photos, "-m", int8, "-o", tmp_path)


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.csv.part"])
def test_images_that_were_replaced_are_noticed(
    cli_run, reported, photos, int8, tmp_path, draw, name
):
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(photos[0], folder)
    measured(cli_run, (folder, photos[1]), "-m", int8, "-o", out)
    (out / "predictions.csv").rename(out / name)
    draw(80, 60, seed=99).save(folder / "IMG_3.png")
    done = cli_run("evaluate", folder, "--truth", photos[1], "-m", int8, "-o", out)
    assert (done.exit_code, "some images have changed since" in done.stderr) == (1, True)
    assert "the same command continues" not in done.stderr
    (out / name).unlink()
    measured(cli_run, (folder, photos[1]), "-m", int8, "-o", out)
    record = json.loads((out / "predictions.json").read_text())
    for key in ("images", "malignant"):  # as older versions wrote it
        del record["predictions.csv"][key]
    (out / "predictions.json").write_text(json.dumps(record))
    measured(cli_run, (folder, photos[1]), "-m", int8, "-o", out)


def test_like_names_of_models_and_profiles_are_numbered(cli_run, photos, int8, models, tmp_path):
    others = []
    for number, name in enumerate(("int8", "float32", "float16")):
        (tmp_path / str(number)).mkdir()
        others += ["-m", tmp_path / str(number) / "model.tflite"]
        shutil.copy(models / f"{name}.tflite", others[-1])
    profiles = []
    for name in ("clinic/ward", "clinic/ward", "clinic-ward"):
        profiles += ["--profile", tmp_path / f"{len(profiles)}.json"]
        line = ["-m", others[1], "--name", name, "-o", profiles[-1]]
        assert cli_run("calibrate", photos[0], "--truth", photos[1], *line).exit_code == 0
    out = tmp_path / "out"
    measured(cli_run, photos, *others, *profiles, "-o", out)
    assert {file.name for file in out.glob("*.csv")} == {
        "predictions.csv", "predictions-model.csv", "predictions-model-2.csv",
    }  # fmt: skip
    names = ["model", "model (2)", "model (3)", "model with clinic/ward",
             "model with clinic/ward (2)", "model with clinic-ward (3)"]  # fmt: skip
    found = list(json.loads((out / "metrics.json").read_text())["models"])
    assert found == names
    assert len(list((out / "plots").glob("confusion-*.png"))) == 6
    assert (out / "plots" / "confusion-model with clinic-ward.png").exists()


@pytest.mark.parametrize("kind", ["malignant", "melanoma"])
def test_two_kinds_of_truth(cli_run, photos, int8, tmp_path, kind):
    table = tmp_path / "binary.csv"
    rows = [f"IMG_{number},{number // 3 % 2}" for number in range(24)]
    table.write_text("\n".join([f"isic_id,{kind}", *rows]))
    done = measured(cli_run, (photos[0], table), "-m", int8, "--format", "json")
    found = json.loads(done.stdout)
    assert found["kind"] == kind
    figures = found["models"]["int8"]
    classifier = Classifier(int8, check=False)
    shares = {
        n: classifier.probabilities(photos[0] / f"IMG_{n}.png").astype(float) for n in range(24)
    }
    chosen = [0, 1, 4] if kind == "malignant" else [4]
    scores = [shares[n][chosen].sum() for n in range(24)]
    positive = [number // 3 % 2 == 1 for number in range(24)]
    pairs = [(p, q) for p, t in zip(scores, positive) for q, u in zip(scores, positive) if t > u]
    area = np.mean([(p > q) + (p == q) / 2 for p, q in pairs])
    name = "malignant_auroc" if kind == "malignant" else "melanoma_auroc"
    assert figures[name]["value"] == pytest.approx(area)


def test_class_folders_and_a_submission(cli_run, draw, int8, tmp_path):
    for number in range(8):
        folder = tmp_path / "data" / ("Melanoma" if number % 2 else "nv")
        folder.mkdir(parents=True, exist_ok=True)
        draw(64, 48, seed=number).save(folder / f"ISIC_{number}.png")
    file = tmp_path / "submission.csv"
    done = cli_run("evaluate", tmp_path / "data", "-m", int8, "--submission", file)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert list(rows[0]) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert {row["image"] for row in rows} == {f"ISIC_{number}" for number in range(8)}
    for row in rows:
        shares = Classifier(int8).probabilities(
            next((tmp_path / "data").rglob(f"{row['image']}.png"))
        )
        assert float(row["MEL"]) == float(shares[LABELS.index("mel")])


@pytest.mark.parametrize(
    ("labels", "columns", "melanoma"),
    [
        (("Vascular lesions", "Actinic keratoses", "Basal cell carcinoma", "Melanocytic nevi",
          "Melanoma", "Dermatofibroma", "Benign keratosis-like lesions"),
         ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"), 0.4),
        (("other", "mel"), ("OTHER", "MEL"), 0.1),
    ],
)  # fmt: skip
def test_a_submission_has_the_challenges_columns(tmp_path, labels, columns, melanoma):
    shares = np.arange(len(labels))[None] / 10
    submission.write(str(tmp_path / "s.csv"), ["a/ISIC_1.jpg"], shares, labels)
    (row,) = csv.DictReader((tmp_path / "s.csv").read_text().splitlines())
    assert tuple(row) == ("image", *columns)
    assert float(row["MEL"]) == melanoma


def test_images_of_an_archive_are_shown(cli_run, photos, int8, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", photos[0])
    out = tmp_path / "out"
    measured(cli_run, (archive, photos[1]), "-m", int8, "-o", out, "--with-images")
    assert "The worst mistakes" in (out / "report.html").read_text()


def test_the_report_says_what_is_independent(cli_run, photos, int8, tmp_path):
    for name, unit, text in (
        ("patient", "patient", "24 of 8 patients"), ("camera", "image", "<dd>24</dd>"),
    ):  # fmt: skip
        table = tmp_path / f"{name}.csv"
        table.write_text(photos[1].read_text().replace("lesion_id", name))
        done = measured(cli_run, (photos[0], table), "-m", int8, "-o", tmp_path / name)
        assert f"independent ones (by {unit})" in done.stdout
        report = (tmp_path / name / "report.html").read_text()
        assert text in report
        assert "by lesion" not in report
        assert "whole lesions" not in report


def test_a_folders_own_table_says_the_skin_type(cli_run, photos, int8, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos[0], folder)
    shutil.copy(photos[1], folder / "labels.csv")
    done = cli_run("evaluate", folder, "-m", int8, "--format", "json")
    assert done.exit_code == 0, done.output
    groups = json.loads(done.stdout)["models"]["int8"]["subgroups"]
    assert set(groups) == {"sex", "age_band", "skin_type"}


def test_one_image_under_two_labels_is_refused(cli_run, draw, int8, tmp_path):
    for label in ("mel", "nv"):
        (tmp_path / "data" / label).mkdir(parents=True)
        draw(64, 48, seed=1).save(tmp_path / "data" / label / f"{label}.png")
    done = cli_run("evaluate", tmp_path / "data", "-m", int8)
    assert done.exit_code == 1
    assert "are the same image under two labels" in done.stderr


def test_a_broken_image_is_counted(cli_run, photos, int8, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos[0], folder)
    shutil.copy(folder / "IMG_0.png", folder / "IMG_1.png")  # of the same lesion
    (folder / "IMG_3.png").write_bytes(b"no image")
    (folder / "IMG_4.png").unlink()
    command = ("evaluate", folder, "--truth", photos[1], "-m", int8, "-o", tmp_path / "out")
    for again in (False, True):
        done = cli_run(*command, "--format", "json")
        assert done.exit_code == 1
        assert "IMG_3.png: " in done.stderr
        assert ("remove it to try again" in done.stderr) == again
        assert "warning: 1 image is a copy of another, byte for byte" in done.stderr
        assert "1 of 23 images failed" in done.stderr
        metrics = json.loads(done.stdout)
        assert (metrics["failed"], metrics["models"]["int8"]["images"]) == (1, 22)
    report = (tmp_path / "out" / "report.html").read_text()
    assert (
        "<dt>left out</dt><dd>image that failed: 1; row of truth without an image: 1</dd>" in report
    )


def test_names_need_not_be_utf_8(cli_run, draw, int8, tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for number in range(8):
        folder = root / ("mel", "nv")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        draw(64, 48, seed=number).save(folder / os.fsdecode(b"m\xe9%d.png" % number))
    for source in (root, root / "mel"):
        out = tmp_path / f"{source.name}-out"
        done = cli_run("evaluate", source, "-m", int8, "-o", out, "--with-images")
        assert done.exit_code == 0, done.output
        assert "caf?" in (out / "report.html").read_text() or source.name == "mel"
    line = ["-m", int8, "-o", tmp_path / "site.json"]
    for source in (root, tmp_path / os.fsdecode(b"caf\xe9-out") / "predictions.csv"):
        truth = [] if source == root else ["--truth", root]
        done = cli_run("calibrate", source, *truth, *line)
        assert done.exit_code == 0, done.output


def test_empty_files_are_no_image_of_two_labels(cli_run, int8, tmp_path):
    for label in ("mel", "nv"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / f"{label}.png").touch()
    for command in (("evaluate",), ("calibrate", "-o", tmp_path / "site.json")):
        done = cli_run(*command, tmp_path / "data", "-m", int8)
        assert done.exit_code == 1
        assert "nv.png: " in done.stderr
        assert ": all 2 images failed" in done.stderr


def test_what_cannot_be_evaluated(cli_run, photos, int8, tmp_path):
    lone = tmp_path / "lone.csv"
    lone.write_text("id,label\nIMG_1,mel\nIMG_2,mel\n")
    done = cli_run("evaluate", photos[0], "--truth", lone, "-m", int8)
    assert (done.exit_code, "fewer than two of the model's classes" in done.stderr) == (1, True)
    done = cli_run("evaluate", photos[0], "-m", int8, "--layout", "csv")
    assert (done.exit_code, "--truth" in done.stderr) == (1, True)
    done = cli_run("evaluate", tmp_path / "none", "--truth", lone, "-m", int8)
    assert done.exit_code == 1
    with pytest.raises(DatasetError, match="stands for two images"):
        gather.named(["a/IMG_1.png", "b/IMG_1.png"], str(lone))


def test_groups_are_the_first_that_is_known(tmp_path):
    images = [f"{number}.png" for number in range(4)]
    (tmp_path / "t.csv").write_text(
        "id,label,lesion,patient\n0,mel,A,P\n1,nv,B,P\n2,nv,A,\n3,mel,,\n"
    )
    found = gather.named(images, str(tmp_path / "t.csv"))
    one, two, three, four = found.groups("patient", "lesion")
    assert one == two
    assert len({one, three, four}) == 3
    one, two, three, four = found.groups("lesion", "patient")
    assert one == three
    assert len({one, two, four}) == 3
    assert found.grouped_by("patient", "lesion") == "patient"
    (tmp_path / "t.csv").write_text(
        "id,label,lesion,patient\n0,mel,1,P\n1,nv,1,Q\n2,nv,2,Q\n3,mel,1,P\n"
    )
    one, two, three, four = gather.named(images, str(tmp_path / "t.csv")).groups(
        "lesion", "patient"
    )
    assert one == four
    assert len({one, two, three}) == 3


@pytest.mark.parametrize("word", ["unknown", "Unknown", "-", "?", "n/a"])
def test_an_unknown_patient_is_no_patient(tmp_path, draw, word):
    rows = ["path,label,lesion,patient"]
    for number in range(3):
        draw(40, 30, seed=number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{('mel', 'nv')[number % 2]},{word},{word}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    images = [str(tmp_path / f"{number}.png") for number in range(3)]
    found = gather.named(images, str(tmp_path / "t.csv"))
    for one in (found, gather.gather(str(tmp_path))):
        assert len(set(one.groups("patient", "lesion"))) == 3
        assert one.grouped_by("patient", "lesion") == "image"


@pytest.mark.parametrize(
    ("labels", "kind", "left_out"),
    [
        (["mel", "nevus", "SCC"], "classes", 1),
        (["benign", "malignant"], "malignant", 0),
        (["melanoma", "not melanoma"], "melanoma", 0),
        (["mel", "No-Melanoma"], "melanoma", 0),
        (["melanoma", "benign"], "malignant", 0),
    ],
)
def test_labels_are_understood(labels, kind, left_out):
    found = meaning.understand(labels, describe_all(LABELS), name="x")
    assert found.kind == kind
    assert sum(found.number(label, LABELS) is None for label in labels) == left_out


@pytest.mark.parametrize("model", [("benign", "malignant"), ("nv", "bcc")])
def test_melanoma_or_not_needs_a_class_melanoma(model):
    labels = ["melanoma", "not melanoma"]
    with pytest.raises(DatasetError, match="the model has no class melanoma"):
        meaning.understand(labels, describe_all(model), name="x")
    found = meaning.understand(labels, describe_all(("nv", "Melanoma")), name="x")
    assert found.kind == "melanoma"


def test_paths_in_the_truth_may_be_relative(tmp_path):
    images = [os.path.join("photos", name) for name in ("a/1.jpg", "b/1.jpg")]
    (tmp_path / "t.csv").write_text("path,label\na/1.jpg,mel\nb/1.jpg,nv\n")
    found = gather.named(images, str(tmp_path / "t.csv"))
    assert found.table["label"].tolist() == ["mel", "nv"]


def test_images_that_the_model_knows_are_reported(tmp_path, draw, monkeypatch):
    from lesionedge.description import find_model, read_card
    from lesionedge.evaluation import known

    image = draw(300, 200, seed=3)
    image.save(tmp_path / "a.jpg", quality=95)
    image.resize((150, 100)).save(tmp_path / "b.jpg", quality=80)
    draw(300, 200, seed=8).save(tmp_path / "c.jpg", quality=95)
    one, small, other = (known.hash_of(str(tmp_path / f"{name}.jpg")) for name in "abc")
    found = known.Filter("x", 24306, 34320, np.array([one], "<u8"), 3, 0.004)
    assert found.has_look(small)
    assert not found.has_look(other)
    assert found.has_name("photos/ISIC_0024306.jpg")
    assert not found.has_name("ISIC_0024305.jpg")
    assert not found.has_name("IMG_0024306.jpg")
    path, card = find_model("mobilenetv2"), read_card("mobilenetv2")
    paths = ["ISIC_0030000.jpg", str(tmp_path / "c.jpg")]
    assert known.remark(paths, card, path) == (
        "1 of these 2 images have names of HAM10000: the model has learnt from them, and its "
        "figures are too good"
    )
    assert known.remark(paths[1:], card, path) is None
    assert known.remark(paths, card, str(tmp_path / "own.tflite")) is None
    some = dataclasses.replace(found, named=np.arange(10015) % 2 == 1)
    assert some.has_name("ISIC_0024307.jpg") and not some.has_name("ISIC_0024306.jpg")
    monkeypatch.setattr(known, "load", lambda _: found)
    assert "1 of 2 others look like images of" in known.remark(
        [str(tmp_path / "b.jpg"), paths[1]], card, path
    )


def test_the_filters_are_small():
    from lesionedge.evaluation import known

    files = [f"{name}{end}" for name in known.FILES.values() for end in (".json", ".hashes")]
    assert sum(os.path.getsize(os.path.join(known.FOLDER, file)) for file in files) <= 100_000
    for name in known.FILES:
        assert 0 < known.load(name).false_positives < 0.01
    assert len(known.load("HAM10000").hashes) == 10_015
    half = known.load("isic2017")
    assert half.has_name("ISIC_0000001") and not half.has_name("ISIC_0000004")
    assert known.load("bcn20000").has_name("ISIC_0053879")


def test_a_two_class_models_confidence_is_its_distance_from_the_threshold():
    classifier = SimpleNamespace(threshold=0.3, card=SimpleNamespace(operating_points=()))
    raw = np.array([[0.69, 0.31], [0.71, 0.29], [0.1, 0.9], [0.95, 0.05]])
    found = entries.measured(entries.Entry("x", classifier), meaning.CLASSES, raw, [None] * 4)
    assert found.predicted.tolist() == [1, 0, 1, 0]
    assert np.argsort(-found.scores["confidence"]).tolist() == [2, 3, 1, 0]
