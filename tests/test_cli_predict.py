from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from lesionedge import Classifier
from lesionedge.wording import RESEARCH_USE

KEYS = {"path", "label", "name", "probability", "malignant_probability", "top", "warnings", "model",
        "timings_ms"}  # fmt: skip


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path, draw):
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    for number in range(7):
        draw(60, 60, seed=number).save(root / f"{number}.jpg")
    draw(60, 60, seed=9).save(root / "deep" / "x.PNG")
    (root / "notes.txt").write_text("no image")
    return root


def test_json_has_the_documented_keys(cli_run, int8, photo):
    result = cli_run("predict", photo, "-m", int8, "--format", "json")
    assert result.exit_code == 0
    (prediction,) = lines(result)
    assert set(prediction) >= KEYS
    assert prediction["path"] == str(photo)
    assert prediction["model"] == int8
    assert set(prediction["timings_ms"]) == {"decode", "preprocess", "invoke"}
    assert set(prediction["top"][0]) == {"label", "name", "probability"}
    exact = Classifier(int8).classify(photo)
    assert prediction["probability"] == exact.probability
    assert prediction["malignant_probability"] == exact.malignant_probability


def test_text_shows_bars_and_ends_with_the_research_line(cli_run, int8, photo):
    result = cli_run("predict", photo, "-m", int8)
    assert result.exit_code == 0
    assert "█" in result.stdout
    assert "Melanoma" in result.stdout
    assert "%" in result.stdout
    assert result.stdout.rstrip().splitlines()[-1] == RESEARCH_USE


def test_a_label_that_is_its_own_name_is_shown_once(cli_run, models, photo):
    text = cli_run("predict", photo, "-m", models / "foreign.tflite").stdout
    assert text.count("thing 0") == 1
    text = cli_run("predict", photo, "-m", models / "sigmoid.tflite").stdout
    assert "  Benign " in text and "benign" not in text


def test_csv_has_the_documented_columns(cli_run, int8, photo, tmp_path):
    result = cli_run("predict", photo, tmp_path / "none.jpg", "-m", int8, "--format", "csv")
    assert result.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    labels = Classifier(int8).labels
    assert list(rows[0]) == [
        "path", "label", "name", "probability", "malignant_probability", "reliable", "warnings",
        *(f"p_{label}" for label in labels), "error",
    ]  # fmt: skip
    found = Classifier(int8).classify(photo)
    assert rows[0]["reliable"] == ("" if found.reliable is None else str(found.reliable).lower())
    assert rows[0]["warnings"] == "; ".join(found.warnings)
    assert {c.label: float(rows[0][f"p_{c.label}"]) for c in found.top} == {
        c.label: c.probability for c in found.top
    }
    assert rows[0]["error"] == ""
    assert float(rows[0]["probability"]) == Classifier(int8).classify(photo).probability
    assert rows[1]["label"] == ""
    assert "no such file" in rows[1]["error"]


def test_k_and_threshold_shorten_the_list_only(cli_run, int8, photo):
    plain = lines(cli_run("predict", photo, "-m", int8, "--format", "json"))[0]
    short = lines(cli_run("predict", photo, "-m", int8, "--format", "json", "-k", 2))[0]
    assert short["top"] == plain["top"][:2]
    high = lines(cli_run("predict", photo, "-m", int8, "--format", "json", "--threshold", 0.99))[0]
    assert high["top"] == []
    assert high["label"] == plain["label"]
    many = lines(cli_run("predict", photo, "-m", int8, "--format", "json", "-k", 50))[0]
    assert many["top"] == plain["top"]


def test_folders_patterns_and_recursion(cli_run, int8, folder):
    flat = lines(cli_run("predict", folder, "-m", int8, "--format", "json"))
    assert [os.path.basename(a["path"]) for a in flat] == [f"{n}.jpg" for n in range(7)]
    deep = lines(cli_run("predict", folder, "-m", int8, "--format", "json", "--recursive"))
    assert len(deep) == 8
    some = lines(cli_run("predict", f"{folder}/[0-2].jpg", "-m", int8, "--format", "json"))
    assert len(some) == 3


def test_standard_input(command, int8, photo):
    done = command("predict", "-", "-m", int8, "--format", "json", input=photo.read_bytes())
    assert done.returncode == 0
    assert json.loads(done.stdout)["path"] == "-"
    broken = command("predict", "-", "-m", int8, "--format", "json", input=b"text")
    assert broken.returncode == 1
    assert json.loads(broken.stdout)["error"].startswith("-: ")


def test_one_bad_file_never_stops_the_rest(cli_run, int8, folder):
    (folder / "3.jpg").write_text("not an image")
    result = cli_run("predict", folder, "-m", int8, "--format", "json")
    assert result.exit_code == 1
    predictions = lines(result)
    assert [("error" in a) for a in predictions] == [n == 3 for n in range(7)]
    assert set(predictions[3]) == {"path", "error"}
    assert "3.jpg" in result.stderr


def test_jobs_return_the_same_predictions_in_the_same_order(command, int8, folder):
    (folder / "3.jpg").write_text("not an image")
    options = ("-m", int8, "--format", "json", "--recursive")
    one, two = (command("predict", folder, *options, "--jobs", n) for n in (1, 2))
    assert one.returncode == two.returncode == 1

    def predictions(done):
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [{k: v for k, v in row.items() if k != "timings_ms"} for row in rows]

    assert predictions(one) == predictions(two)
    assert len(predictions(one)) == 8


@pytest.fixture
def many(folder, tmp_path):
    """A folder of 4,000 links to a few images."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(4000):
        os.link(folder / f"{number % 7}.jpg", root / f"{number:05d}.jpg")
    return root


def started(arguments):
    """Start ``lesionedge predict`` and wait for its first prediction."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lesionedge", "predict", "--format", "json", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"{")
    return process


def test_a_killed_worker_is_an_error_not_a_hang(int8, many):
    with started([many, "-m", int8, "--jobs", 2]) as process:
        worker = next(pid for pid in children(process.pid) if b"spawn_main" in command_line(pid))
        os.kill(worker, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"worker process was killed" in errors
    assert b"Traceback" not in errors


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted(int8, many, jobs):
    with started([many, "-m", int8, "--jobs", jobs]) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_a_pipe_closed_by_its_reader(int8, many):
    with started([many, "-m", int8]) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert b"Traceback" not in errors
    assert b"BrokenPipe" not in errors


def test_output_to_a_file_leaves_stdout_empty(cli_run, int8, photo, tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")
    target.chmod(0o640)
    result = cli_run("predict", photo, "-m", int8, "--format", "json", "-o", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert [one["path"] for one in json.loads(target.read_text())] == [str(photo)]
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path).count("out.json") == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".lesionedge")]
    assert not (tmp_path / "out.json.part").exists()


def test_the_suffix_of_the_output_selects_the_format(cli_run, int8, photo, tmp_path):
    run = ("predict", photo, photo, tmp_path / "none.jpg", "-m", int8, "-o")
    for name in ("a.csv", "a.jsonl", "a.json"):
        done = cli_run(*run, tmp_path / name)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "1 of 3 images failed" in done.stderr
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))) == 3
    one_a_line = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    array = json.loads((tmp_path / "a.json").read_text())
    assert [one["path"] for one in one_a_line] == [one["path"] for one in array]
    assert "error" in array[2]


def test_a_suffix_and_a_format_that_contradict_each_other_are_refused(
    cli_run, int8, photo, tmp_path
):
    done = cli_run("predict", photo, "-m", int8, "--format", "json", "-o", tmp_path / "a.csv")
    assert done.exit_code == 2
    assert "a .csv file holds csv" in done.stderr
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("a.parquet", "batch writes Parquet"), ("a.png", "--annotate"), ("a.tsv", "another suffix"),
     ("a.csv.gz", ".gz files are not written")],
)  # fmt: skip
def test_no_text_gets_the_suffix_of_another_format(cli_run, int8, photo, tmp_path, name, hint):
    done = cli_run("predict", photo, "-m", int8, "-o", tmp_path / name)
    assert done.exit_code == 2
    assert hint in done.stderr
    assert not (tmp_path / name).exists()
    assert cli_run("predict", photo, "-m", int8, "-o", tmp_path / "a.txt").exit_code == 0


def test_k_leaves_the_other_cells_empty(cli_run, int8, photo):
    done = cli_run("predict", photo, "-m", int8, "--format", "csv", "-k", 2)
    row = next(csv.DictReader(io.StringIO(done.stdout)))
    listed = {c.label for c in Classifier(int8).classify(photo, top_k=2).top}
    for label in Classifier(int8).labels:
        assert (row[f"p_{label}"] != "") == (label in listed)


@pytest.mark.parametrize("name", ["results/", "no/such/folder/a.csv"])
def test_an_output_in_a_missing_folder_is_refused(cli_run, int8, photo, tmp_path, name):
    done = cli_run("predict", photo, "-m", int8, "-o", f"{tmp_path}/{name}")
    assert done.exit_code == 2
    assert "folder" in done.stderr


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_an_interrupted_run_is_resumed(cli_run, command, int8, draw, tmp_path, name):
    """A named pipe stops the run in the middle; then come Ctrl-C and --resume."""
    for number in range(4):
        draw(60 + number, 60, seed=number).save(tmp_path / f"{number}.png")
    os.mkfifo(tmp_path / "9.png")
    images = ["0.png", "1.png", "none.png", "2.png", "3.png"]
    whole = cli_run("predict", *(tmp_path / image for image in images), "-m", int8,
                    "--threads", 1, "-o", tmp_path / f"whole{name}")  # fmt: skip
    assert whole.exit_code == 1
    arguments = ["predict", "-m", int8, "--threads", "1", "-o", name]
    run = subprocess.Popen(
        [sys.executable, "-m", "lesionedge", *arguments, *images, "9.png"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    part = tmp_path / f"{name}.part"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if part.exists() and "3.png" in part.read_text():
            break
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, message = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "--resume continues" in message
    assert not (tmp_path / name).exists()
    again = command(*arguments, *images, cwd=tmp_path)
    assert again.returncode == 1
    assert b"--resume" in again.stderr  # the finished results are kept
    content = part.read_bytes()
    part.write_bytes(content[: content.rindex(b"3.png") + 9])  # cut within the last line
    done = command(*arguments, "--resume", *images, cwd=tmp_path)
    assert done.returncode == 1
    assert b"1 of 5 images failed" in done.stderr
    assert not part.exists()
    assert _facts(tmp_path / name) == _facts(tmp_path / f"whole{name}")


def _facts(path):
    """Return the facts that do not depend on the clock or the folder."""
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return [(os.path.basename(row.pop("path")), bool(row.pop("error")), row) for row in rows]
    text = path.read_text()
    found = json.loads(text) if path.suffix == ".json" else map(json.loads, text.splitlines())
    return [
        (os.path.basename(one["path"]), "error" in one, one.get("top"), one.get("label"))
        for one in found
    ]


@pytest.mark.parametrize("tail", [b"", bytes(200_000)])
def test_a_table_is_resumed_wherever_it_was_cut_off(cli_run, photo, int8, tmp_path, tail):
    """Also within a name of several lines; after a power cut, zeros may follow."""
    output, part = tmp_path / "a.csv", tmp_path / "a.csv.part"
    images = (photo, tmp_path / 'a\r"b"\r\n\nc.jpg', photo)
    cli_run("predict", *images, "-m", int8, "-o", output)
    whole = output.read_bytes()
    begin = whole.index(b"\n", whole.index(b"\n") + 1)
    for cut in range(begin, begin + 2 * len(str(tmp_path)) + 80, 5):
        output.unlink()
        part.write_bytes(whole[:cut] + tail)
        done = cli_run("predict", *images, "-m", int8, "-o", output, "--resume")
        assert "1 of 3 images failed" in done.stderr, (whole[:cut], done.stderr, done.exception)
        assert output.read_bytes() == whole


def test_resume_refuses_the_results_of_other_images(cli_run, int8, photo, tmp_path):
    (tmp_path / "a.jsonl.part").write_text('{"path": "other.jpg", "error": "x"}\n')
    done = cli_run("predict", photo, "-m", int8, "-o", tmp_path / "a.jsonl", "--resume")
    assert done.exit_code == 2
    assert "other.jpg" in done.stderr
    assert (tmp_path / "a.jsonl.part").read_text().startswith('{"path": "other.jpg"')


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize(
    ("options", "alike"),
    [([], True), (["--threads", 2], True), (["-m", "cnn"], False), (["-k", 1], False),
     (["--malignant", "nv"], False), (["--no-check"], False), (["--views", 4], False)],
)  # fmt: skip
def test_resume_refuses_the_results_of_other_options(cli_run, draw, tmp_path, name, options, alike):
    """A table with predictions of two models would say so nowhere."""
    images = [tmp_path / f"{number}.png" for number in range(3)]
    for number, image in enumerate(images):
        draw(60, 60, seed=number).save(image)
    output = tmp_path / name
    line = ["predict", *images, "--threads", 1, "-o", output]
    assert cli_run(*line).exit_code == 0
    lines = output.read_text().splitlines(keepends=True)
    part = tmp_path / f"{name}.part"
    part.write_text("".join(lines[:-1]))
    output.unlink()
    done = cli_run(*line, "--resume", *options)
    assert done.exit_code == (0 if alike else 1), done.stderr
    if alike:
        assert len(output.read_text().splitlines()) == len(lines)
    else:
        assert "another model or other options" in done.stderr
        assert part.read_text() == "".join(lines[:-1])


def test_output_through_a_link_and_to_a_device(cli_run, int8, photo, tmp_path):
    target = tmp_path / "real.csv"
    target.touch()
    (tmp_path / "link.csv").symlink_to(target)
    cli_run("predict", photo, "-m", int8, "--format", "csv", "-o", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert target.read_text().startswith("path,label")
    assert cli_run("predict", photo, "-m", int8, "-o", "/dev/null").exit_code == 0


def test_annotate_makes_its_folder_and_never_overwrites(cli_run, int8, photo, draw, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    draw(80, 80, seed=3).save(other / "lesion.jpg")
    out = tmp_path / "new" / "drawn"
    result = cli_run("predict", photo, other / "lesion.jpg", "-m", int8, "--annotate", out)
    assert result.exit_code == 0
    assert sorted(os.listdir(out)) == ["lesion-2.jpg", "lesion.jpg"]
    before = photo.read_bytes()
    cli_run("predict", photo, "-m", int8, "--annotate", photo.parent)
    assert photo.read_bytes() == before
    with Image.open(out / "lesion.jpg") as drawn:
        assert not drawn.getexif()
        assert drawn.height > 200


def test_progress_goes_to_stderr_for_more_than_a_few(cli_run, int8, folder):
    result = cli_run("predict", folder, "-m", int8, "--format", "json")
    assert "7 of 7 images" in result.stderr
    assert "of 7 images" not in result.stdout
    assert cli_run("predict", folder / "1.jpg", "-m", int8).stderr == ""


def test_labels_and_normalize(cli_run, models, photo, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"thing {n}" for n in range(7)))
    result = cli_run("predict", photo, "-m", models / "bare.tflite", "--labels", labels,
                     "--normalize", "127.5,127.5", "--format", "json")  # fmt: skip
    assert result.exit_code == 0
    explicit = lines(result)[0]
    standard = lines(cli_run("predict", photo, "-m", models / "foreign.tflite", "--format", "json"))
    assert explicit["top"] == standard[0]["top"]


def test_a_quantized_mobilenet_made_elsewhere(cli_run, models, photo):
    model = models / "foreign-mobilenet.tflite"
    prediction = lines(cli_run("predict", photo, "-m", model, "--format", "json"))[0]
    assert {entry["label"] for entry in prediction["top"]} == {f"thing {n}" for n in range(7)}
    assert sum(entry["probability"] for entry in prediction["top"]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "options",
    [
        ["-k", "0"], ["--threshold", "2"], ["--threads", "0"], ["--jobs", "0"],
        ["--format", "xml"], ["--normalize", "1"], ["--normalize", "1,0"], ["--nonsense"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_2(cli_run, int8, photo, options):
    assert cli_run("predict", photo, "-m", int8, *options).exit_code == 2


def test_no_paths_is_exit_2(cli_run):
    assert cli_run("predict").exit_code == 2


@pytest.mark.parametrize("name", ["-dash.jpg", "with space.jpg", "emoji 🩺.jpg", "new\nline.jpg"])
def test_odd_names_work(command, int8, draw, tmp_path, name):
    draw(40, 40, seed=1).save(tmp_path / name, "JPEG")
    for form in ("text", "json", "csv"):
        done = command("predict", "-m", int8, "--format", form, "--", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if form == "json":
            assert json.loads(done.stdout)["path"] == name


@pytest.mark.parametrize("locale", ["C.UTF-8", "C", "POSIX"])
def test_names_that_are_not_utf8(command, int8, draw, tmp_path, locale):
    name = b"caf\xe9.jpg"
    content = io.BytesIO()
    draw(40, 40, seed=1).save(content, "JPEG")
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as file:
        file.write(content.getvalue())
    environment = {**os.environ, "LC_ALL": locale}
    for form in ("text", "json", "csv"):
        done = command("predict", "-m", int8, "--format", form, os.fsdecode(path), env=environment)
        assert done.returncode == 0, done.stderr
        if form == "json":
            assert os.fsencode(json.loads(done.stdout)["path"]) == path
        elif form == "csv":
            assert name in done.stdout
        else:
            assert b"caf\\xe9.jpg" in done.stdout


@pytest.mark.parametrize("name", ["predict", "camera", "batch", "explain"])
def test_names_that_standard_output_cannot_encode(command, int8, draw, tmp_path, name):
    if name == "batch":
        pytest.importorskip("pyarrow", reason="needs lesionedge[batch]")
    (tmp_path / "ł").mkdir()
    image = tmp_path / "ł" / "ł.png"
    draw(40, 40, seed=1).save(image)
    arguments = {
        "predict": (image,), "camera": ("--source", image),
        "batch": (image, "-o", tmp_path / "ł" / "out"),
        "explain": (image, "-o", tmp_path / "e.png"),
    }[name]  # fmt: skip
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = command(name, *arguments, "-m", int8, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"\\u0142" in done.stdout


def test_all_is_done_if_standard_error_is_full_or_closed(command, int8, photo, tmp_path):
    reader, closed = os.pipe()
    os.close(reader)
    images = [photo, *[tmp_path / f"none{number}.jpg" for number in range(6)]]
    with open("/dev/full", "w") as full:
        for number, stderr in enumerate((full, closed)):
            output = tmp_path / f"{number}.csv"
            done = command("predict", *images, "-m", int8, "-o", output, capture_output=False,
                           stderr=stderr)  # fmt: skip
            assert (done.returncode, output.read_text().count("\n")) == (1, 8)
    os.close(closed)


def test_memory_does_not_grow_with_the_number_of_images(int8, folder, many):
    def peak_kb(images):
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True,"
            " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        line = [sys.executable, "-c", code, sys.executable, "-m", "lesionedge", "predict",
                str(images), "-m", int8, "--format", "json"]  # fmt: skip
        return int(subprocess.run(line, capture_output=True, check=True).stdout)

    assert peak_kb(many) < peak_kb(folder) * 1.1


def test_annotated_image_is_legible_at_any_size(draw, int8):
    from lesionedge import render

    classifier = Classifier(int8)
    for size in [(20, 20), (600, 450), (450, 600), (40, 900)]:
        image = draw(*size, seed=1) if min(size) > 30 else Image.new("RGB", size, (200, 150, 140))
        prediction = classifier.classify(image)
        drawn = render.annotate(image, prediction, classifier.preprocessing)
        assert drawn.width >= render.LEAST_WIDTH_PX
        panel = np.asarray(drawn)[-40:]
        assert panel.max() > 200, "nothing is written below the image"
