"""Labels of other people's models are malignant, benign or unknown."""

from __future__ import annotations

import csv
import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
from cards import with_card
from PIL import ImageChops
from serving import serving

import lesionedge
from lesionedge import Classifier, ModelError, render
from lesionedge.cli.live_output import line_of
from lesionedge.notice import MALIGNANT_UNKNOWN
from lesionedge.preview.drawing import lines_of

CODES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
NAMES = ("Actinic keratoses", "basal_cell_carcinoma", "Benign keratosis-like lesions",
         "dermatofibroma", "Melanoma Invasive", "melanocytic nevi", "vascular lesions")  # fmt: skip
MALIGNANT = (0, 1, 4)
THINGS = tuple(f"thing {n}" for n in range(7))
RAW = (127.5, 127.5)
HINT = "--malignant mel,bcc"


def labelled(source: Path, target: Path, labels) -> Path:
    """Return a model with standard metadata and these lines in its labels file."""
    content = source.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        start = min(entry.header_offset for entry in files.infolist())
        (name,) = files.namelist()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as files:
        files.writestr(name, "\n".join(labels))
    target.write_bytes(content[:start] + made.getvalue())
    return target


@pytest.fixture
def things(models) -> Path:
    """A model whose labels say nothing."""
    return models / "foreign.tflite"


@pytest.fixture
def named(things, tmp_path) -> Path:
    """The same model with the names of diagnoses."""
    return labelled(things, tmp_path / "named.tflite", NAMES)


@pytest.fixture
def scores(things, photo) -> list[float]:
    """Both models' probabilities for the image, in output order."""
    return Classifier(things).probabilities(photo).tolist()


def risk_of(scores, numbers=MALIGNANT):
    return pytest.approx(sum(scores[number] for number in numbers))


@pytest.fixture
def folder(tmp_path, draw) -> Path:
    """Three images."""
    root = tmp_path / "three"
    root.mkdir()
    for number in range(3):
        draw(120, 100, seed=number).save(root / f"{number}.jpg")
    return root


# --- known names ------------------------------------------------------------------------------


def test_names_of_diagnoses_count_like_their_codes(named, photo, scores):
    found = Classifier(named).classify(photo)
    assert found.malignant_probability == risk_of(scores)
    assert MALIGNANT_UNKNOWN not in [notice.code for notice in found.warnings]


@pytest.mark.parametrize(
    "labels",
    [["melanoma", "nevus"], ["0 mel", "1 nv"], ["Melanoma", "Benign"], ["MALIGNANT", "benign"],
     ["Melanoma Invasive", "Nevus, NOS, Compound"], ["1 nv", "0 mel"]],
)  # fmt: skip
def test_a_melanoma_is_malignant_in_every_spelling(labels, models, photo):
    model = Classifier(models / "sigmoid.tflite", labels=labels)
    found = model.classify(photo)
    melanoma = float(model.probabilities(photo)[0])
    assert found.malignant_probability == pytest.approx(melanoma)


@pytest.mark.parametrize("order", [range(7), (6, 0, 3, 1, 5, 2, 4)], ids=["in order", "mixed"])
@pytest.mark.parametrize("form", ["{} {}", "{}: {}", "{:02d}\t{}"])
def test_numbered_labels_everywhere(order, form, things, models, photo, scores, tmp_path):
    lines = [form.format(n, CODES[n]) for n in order]
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(lines))
    inside = labelled(things, tmp_path / "numbered.tflite", lines)
    for model in (
        Classifier(inside),
        Classifier(things, labels=file),
        Classifier(things, labels=lines),
        Classifier(models / "bare.tflite", labels=str(file), normalize=RAW),
    ):
        assert model.labels == CODES
        found = model.classify(photo)
        own = model.probabilities(photo).tolist()
        assert {c.label: c.probability for c in found.top} == dict(zip(CODES, own))
        assert found.malignant_probability == risk_of(own)
    assert Classifier(inside).probabilities(photo).tolist() == scores


def test_numbers_with_gaps_and_duplicates_are_refused(things, tmp_path, cli_run, photo):
    for lines, message in (
        (["0 a", "1 b", "2 c", "3 d", "4 e", "5 f", "7 g"], "number 6 is missing; expected 0"),
        (["0 a", "1 b", "2 c", "3 d", "4 e", "5 f", "5 g"], "the number 5 occurs twice"),
        (["0 a", "1 b", "2 c", "3 d", "4 e", "5 f", "g"], "label 7 ('g') has no number"),
    ):
        model = labelled(things, tmp_path / "gap.tflite", lines)
        done = cli_run("predict", photo, "-m", model)
        assert done.exit_code == 1
        assert done.stderr.startswith(f"lesionedge: error: {model}: its metadata: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        file = tmp_path / "names.txt"
        file.write_text("\n".join(lines))
        done = cli_run("predict", photo, "-m", things, "--labels", file)
        assert f"{file}: " in done.stderr and message in done.stderr


# --- unknown ones ------------------------------------------------------------------------------


def test_it_is_unknown_if_any_label_is(things, photo, tmp_path):
    for labels in (THINGS, (*CODES[:6], "other"), ("mel", *THINGS[1:])):
        model = labelled(things, tmp_path / "open.tflite", labels)
        found = Classifier(model).classify(photo)
        assert found.malignant_probability is None
        (notice,) = [one for one in found.warnings if one.code == MALIGNANT_UNKNOWN]
        assert HINT in notice and "card" in notice
        content = found.to_dict()
        assert content["malignant_probability"] is None
        assert MALIGNANT_UNKNOWN in content["warning_codes"]


def test_labels_named_as_malignant(things, photo, scores):
    for malignant, numbers in (
        (["thing 2"], (2,)), (["THING_2", "1: Thing 0"], (0, 2)), ([], ()), (THINGS, range(7)),
    ):  # fmt: skip
        model = Classifier(things, malignant=malignant)
        found = model.classify(photo)
        assert found.malignant_probability == pytest.approx(min(sum(scores[n] for n in numbers), 1))
        assert MALIGNANT_UNKNOWN not in found.to_dict()["warning_codes"]
        again = pickle.loads(pickle.dumps(model)).classify(photo)
        assert again.malignant_probability == found.malignant_probability


def test_named_labels_override_the_vocabulary(named, int8, photo, scores):
    found = Classifier(named, malignant=["mel", "Nevus"])
    assert [d.malignant for d in found.diagnoses] == [False, False, False, False, True, True, False]
    assert found.classify(photo).malignant_probability == risk_of(scores, (4, 5))
    kinds = ["Melanoma in situ", "Melanoma Invasive", *THINGS[2:]]
    found = Classifier(named, labels=kinds, malignant=["mel"]).diagnoses
    assert [d.malignant for d in found] == [True, True, *[False] * 5]
    assert not any(d.malignant for d in Classifier(int8, malignant=[]).diagnoses)
    assert Classifier(int8, malignant=[]).classify(photo).malignant_probability == 0


def test_naming_missing_labels_is_an_error(named, things):
    with pytest.raises(ModelError, match=r"named\.tflite: has no label 'scc', .*Melanoma Invasive"):
        Classifier(named, malignant=["scc", "mel"])
    with pytest.raises(ModelError, match="has no label 'mel'"):
        Classifier(things, malignant=["mel"])
    with pytest.raises(ValueError, match="malignant is 'mel'; expected a list"):
        Classifier(named, malignant="mel")


def test_the_card_may_define_unknown_labels(models, tmp_path, photo):
    source = models / "int8.tflite"
    content = source.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        start = min(entry.header_offset for entry in files.infolist())
        card = json.loads(files.read("lesionedge.json"))
    for verdicts in ([n == 3 for n in range(7)], [None, *[False] * 6]):
        card["labels"] = [
            {"label": label, "name": label, "malignant": malignant}
            for label, malignant in zip(THINGS, verdicts)
        ]
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as files:
            files.writestr("labels.txt", "\n".join(THINGS))
            files.writestr("lesionedge.json", json.dumps(card))
        target = tmp_path / "carded.tflite"
        target.write_bytes(content[:start] + made.getvalue())
        model = Classifier(target)
        found = model.classify(photo).malignant_probability
        if None in verdicts:
            assert found is None
        else:
            assert found == pytest.approx(float(model.probabilities(photo)[3]))


def test_other_labels_for_a_model_with_a_card_are_unknown_too(int8, photo):
    found = Classifier(int8, labels=THINGS).classify(photo)
    assert found.malignant_probability is None


# --- predict -----------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_predict_warns_once_on_standard_error(form, jobs, things, folder, cli_run):
    done = cli_run("predict", folder, "-m", things, "--format", form, "--jobs", jobs)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("it is not known whether") == 1
    assert HINT in done.stderr
    if form == "text":
        assert done.stdout.count("malignant unknown") == 3
        assert "not known" not in done.stdout
    elif form == "json":
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["malignant_probability"] for row in rows] == [None] * 3
        assert all(MALIGNANT_UNKNOWN in row["warning_codes"] for row in rows)
        assert all(any(HINT in text for text in row["warnings"]) for row in rows)
    else:
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert [row["malignant_probability"] for row in rows] == [""] * 3


def test_predict_with_malignant_labels(things, photo, scores, cli_run):
    for malignant, wanted in (
        ("thing 2,THING 5", scores[2] + scores[5]), ('"thing 2" , thing_5,', scores[2] + scores[5]),
        ("", 0),
    ):  # fmt: skip
        done = cli_run("predict", photo, "-m", things, "--malignant", malignant, "--format", "json")
        assert done.exit_code == 0, done.stderr
        assert "not known" not in done.stderr
        assert json.loads(done.stdout)["malignant_probability"] == pytest.approx(wanted)


def test_labels_with_commas_need_quotes(things, photo, scores, cli_run, tmp_path):
    model = labelled(things, tmp_path / "x.tflite", ["Skin, sore", "Skin, red", *THINGS[2:]])
    done = cli_run(
        "predict", photo, "-m", model, "--malignant", '"Skin, red",thing 4', "--format", "json"
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["malignant_probability"]
    assert found == pytest.approx(scores[1] + scores[4])


def test_wrong_labels_on_the_command_line(things, photo, cli_run):
    done = cli_run("predict", photo, "-m", things, "--malignant", "thing 2,wart")
    assert done.exit_code == 1
    assert "has no label 'wart'" in done.stderr and "thing 0" in done.stderr
    done = cli_run("predict", photo, "-m", things, "--malignant", '"thing')
    assert done.exit_code == 2
    assert "is not a list of labels" in done.stderr


def test_operating_points_need_known_labels(int8, photo, cli_run, tmp_path, models):
    point = {"sensitivity": 0.95, "threshold": 0.5, "measured_sensitivity": 0.95,
             "measured_specificity": 0.6}  # fmt: skip
    card_with_points = with_card(int8, tmp_path / "points.tflite", operating_points=[point])
    assert Classifier(card_with_points).classify(photo).operating_point is not None
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(THINGS))
    found = Classifier(card_with_points, labels=labels).classify(photo)
    assert found.operating_point is None
    with pytest.raises(ModelError, match=r"unknown: it is not known whether 'thing 0'"):
        Classifier(card_with_points, labels=THINGS, operating_point=0.95)
    with pytest.raises(ModelError, match=r"unknown: it is not known whether 'thing 0'"):
        found.at(Classifier(card_with_points).operating_points[0])
    for form in ("text", "json", "csv"):
        done = cli_run(
            "predict", photo, "-m", card_with_points, "--labels", labels, "--operating-point",
            0.95, "--format", form,
        )  # fmt: skip
        assert done.exit_code == 1
        assert "error: " in done.stderr and HINT in done.stderr
        assert "Traceback" not in done.stderr
    done = cli_run(
        "predict", photo, "-m", card_with_points, "--labels", labels, "--malignant",
        "thing 0,thing 1,thing 4", "--operating-point", 0.95, "--format", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["operating_point"]["threshold"] == 0.5


def test_operating_points_are_for_the_cards_own_malignant_labels(int8, photo, cli_run, tmp_path):
    """Of a sum over other classes, a threshold says nothing."""
    point = {"sensitivity": 0.95, "threshold": 0.5, "measured_sensitivity": 0.95,
             "measured_specificity": 0.6}  # fmt: skip
    model = with_card(int8, tmp_path / "points.tflite", operating_points=[point])
    own = Classifier(int8).labels
    turned = tmp_path / "turned.txt"
    turned.write_text("\n".join(reversed(own)))
    for options, fits in (
        (["--malignant", "mel,bcc,akiec"], True), (["--malignant", "mel"], False),
        (["--malignant", ""], False), (["--labels", turned], False),
        (["--labels", turned, "--malignant", ",".join(own[-1 - n] for n in (0, 1, 4))], True),
    ):  # fmt: skip
        line = ["predict", photo, "-m", model, *options, "--format", "json"]
        done = cli_run(*line)
        assert (json.loads(done.stdout)["operating_point"] is not None) == fits
        done = cli_run(*line, "--operating-point", 0.95)
        assert done.exit_code == (0 if fits else 1)
        assert fits or "operating points are for other malignant labels" in done.stderr
        done = cli_run("info", model, *options)
        assert done.exit_code == 0
        assert ("Operating points" in done.stdout) == fits


def test_annotated_images(things, photo, cli_run, tmp_path):
    unknown = Classifier(things)
    drawn = [
        render.annotate(photo, one.classify(photo), one.preprocessing)
        for one in (unknown, Classifier(things, malignant=[]))
    ]
    assert ImageChops.difference(*drawn).getbbox() is not None  # "unknown", and 0.0 %
    done = cli_run("predict", photo, "-m", things, "--annotate", tmp_path / "drawn")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "drawn" / photo.name).stat().st_size > 1000


# --- the other commands ------------------------------------------------------------------------


def test_info_does_not_call_unknown_labels_benign(things, named, cli_run, tmp_path):
    done = cli_run("info", things)
    assert done.exit_code == 0, done.stderr
    assert "benign" not in done.stdout
    assert "thing 0 (not known whether malignant)" in done.stdout
    assert HINT in done.stdout
    shown = json.loads(cli_run("info", things, "--format", "json").stdout)["labels"]
    assert shown[0] == {"label": "thing 0", "name": "thing 0", "malignant": None}
    done = cli_run("info", named)
    assert "Melanoma Invasive (malignant)" in done.stdout
    assert "Melanocytic nevi (benign)" in done.stdout
    assert "not known" not in done.stdout
    done = cli_run("info", things, "--malignant", "thing 0")
    assert "thing 0 (malignant)" in done.stdout and "thing 1 (benign)" in done.stdout
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(f"{n} {code}" for n, code in enumerate(CODES)))
    assert "Melanoma (malignant)" in cli_run("info", things, "--labels", file).stdout
    assert cli_run("info", things, "--malignant", "wart").exit_code == 1


def test_batch_writes_null(things, folder, cli_run, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    out = tmp_path / "out"
    arguments = ("batch", folder, "-m", things, "--out", out, "--workers", 1)
    done = cli_run(*arguments)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("it is not known whether") == 1
    rows = pq.read_table(out).to_pylist()
    assert [row["malignant_probability"] for row in rows] == [None] * 3
    assert all(any(HINT in text for text in row["warnings"]) for row in rows)
    done = cli_run(*arguments, "--malignant", "thing 3")
    assert done.exit_code == 1
    assert "--malignant None, not ['thing 3']" in done.stderr
    done = cli_run(*arguments[:-3], tmp_path / "other", "--workers", 1, "--malignant", "THING 3")
    assert done.exit_code == 0, done.stderr
    assert "not known" not in done.stderr
    for row in pq.read_table(tmp_path / "other").to_pylist():
        assert row["malignant_probability"] == row["probabilities"]["thing 3"]


def test_camera_says_unknown(things, folder, cli_run):
    arguments = ("camera", "--source", folder, "-m", things)
    done = cli_run(*arguments, "--format", "json")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows and all(row["malignant_probability"] is None for row in rows)
    assert all(row["warning_codes"].count(MALIGNANT_UNKNOWN) == 1 for row in rows)
    assert done.stderr.count("it is not known whether") == 1
    done = cli_run(*arguments, "--smooth", 3)
    assert "malignant unknown" in done.stdout
    assert "not known" not in done.stdout


def test_camera_saves_malignant_frames_if_labels_are_known(
    things, named, folder, cli_run, tmp_path
):
    save = tmp_path / "saved"
    arguments = ("camera", "--source", folder, "--save", save, "--save-when", "malignant",
             "--format", "json")  # fmt: skip
    done = cli_run(*arguments, "-m", things)
    assert done.exit_code == 1
    assert done.stderr.startswith("lesionedge: error: ")
    assert "it is not known whether 'thing 0'" in done.stderr and HINT in done.stderr
    assert not save.exists()
    done = cli_run(*arguments, "-m", things, "--malignant", "")
    assert done.exit_code == 1
    assert "none of its labels is malignant" in done.stderr
    labels = [lesionedge.classify(p, model=things).label for p in sorted(folder.iterdir())]
    done = cli_run(*arguments, "-m", things, "--malignant", labels[0])
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows
    assert all(bool(row["saved"]) == (row["label"] == labels[0]) for row in rows)
    done = cli_run(*arguments, "-m", named)
    assert done.exit_code == 0, done.stderr
    for row in map(json.loads, done.stdout.splitlines()):
        assert bool(row["saved"]) == (row["label"] in [NAMES[n] for n in MALIGNANT])


def test_live_lines(things, named, folder):
    for model, message in ((things, "malignant unknown"), (named, "malignant <0.1 %")):
        classifier = Classifier(model, threads=1)
        if model == named:
            classifier = Classifier(model, threads=1, malignant=[])
        with lesionedge.Camera(str(folder / "0.jpg")) as camera:
            seen = next(iter(lesionedge.watch(camera, classifier)))
        assert message in line_of(seen)
        assert any(line.startswith(message) for line in lines_of(seen))
        assert "not known" not in line_of(seen) + " ".join(lines_of(seen))


def test_serve_returns_null(things, named, photo):
    with serving("-m", str(things)) as server:
        found = server.predict(photo.read_bytes()).json
        assert found["malignant_probability"] is None
        assert {one["malignant"] for one in found["predictions"]} == {None}
        assert MALIGNANT_UNKNOWN in found["warning_codes"]
        shown = server.request("GET", "/model").json
        assert shown["labels"][0] == {"label": "thing 0", "name": "thing 0", "malignant": None}
    assert sum("it is not known whether" in line for line in server.messages) == 1
    with serving("-m", str(things), "--malignant", "thing 6") as server:
        found = server.predict(photo.read_bytes()).json
        by_code = {one["code"]: one for one in found["predictions"]}
        assert found["malignant_probability"] == by_code["thing 6"]["prob"]
        assert [c for c, one in by_code.items() if one["malignant"]] == ["thing 6"]


def test_explain_takes_the_same_options(things, photo, cli_run, tmp_path):
    done = cli_run("explain", photo, photo, "-m", things, "-o", tmp_path / "maps")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("malignant unknown") == 2
    assert done.stderr.count("it is not known whether") == 1
    done = cli_run("explain", photo, "-m", things, "--malignant", "thing 1", "-o",
                   tmp_path / "heat.png")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "malignant unknown" not in done.stdout and "not known" not in done.stderr
    done = cli_run("explain", photo, "-m", things, "--malignant", "wart", "-o",
                   tmp_path / "heat.png")  # fmt: skip
    assert done.exit_code == 1


def test_batch_orders_labels_once(things, folder, cli_run, tmp_path, scores):
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    spots = ("1 spot", "0 dots", *THINGS[2:])
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(f"{n} {label}" for n, label in enumerate(spots)))
    done = cli_run(
        "batch", folder, "-m", things, "--labels", file, "--out", tmp_path / "out", "--workers", 1
    )
    assert done.exit_code == 0, done.stderr
    for row in pq.read_table(tmp_path / "out").to_pylist():
        own = Classifier(things).probabilities(row["path"]).tolist()
        assert list(row["probabilities"].items()) == list(zip(spots, own))
