"""``lesionedge batch`` with the engine ``local``; if Ray is installed, it makes the same rows."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import lesionedge
from lesionedge.model_options import ModelOptions

pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: make test-device installs it")


@pytest.fixture(scope="module")
def archive(tmp_path_factory, draw):
    """Eight images in two folders, two broken images, and a text file."""
    root = tmp_path_factory.mktemp("archive")
    (root / "2019").mkdir()
    for number in range(8):
        folder = root / "2019" if number % 2 else root
        draw(120, 100, seed=number).save(folder / f"{number}.jpg")
    (root / "broken.jpg").write_bytes(b"no image")
    (root / "2019" / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.fixture(scope="module")
def long_archive(tmp_path_factory, draw):
    """Images that take some seconds: links to a large one."""
    root = tmp_path_factory.mktemp("long")
    # PNG in spite of the name, because decoding it takes long.
    draw(1600, 1200, seed=1).save(root / "0000.jpg", format="PNG")
    for number in range(1, 120):
        os.link(root / "0000.jpg", root / f"{number:04d}.jpg")
    return root


def table(folder):
    return pq.read_table(folder).sort_by("path")


def parts(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith("_"))


def start(*arguments):
    line = [sys.executable, "-m", "lesionedge", "batch", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process):
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("waited for a minute")


def children(process):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{name}/stat").read_text().rsplit(")")[-1].split()[1])
            line = Path(f"/proc/{name}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == process.pid and b"spawn_main" in line:
            found.append(int(name))
    return found


def test_every_image_has_its_row(cli_run, archive, int8, tmp_path):
    done = cli_run("batch", archive, "-o", tmp_path / "out", "-m", int8, "--jobs", 2)
    assert done.exit_code == 1, done.output  # two failed
    rows = table(tmp_path / "out").to_pylist()
    assert len(rows) == 10
    classifier = lesionedge.Classifier(int8, threads=1)
    assert {row["model"] for row in rows} == {rows[0]["model"]}
    assert rows[0]["model"] == int8
    for row in rows:
        if os.path.basename(row["path"]) in ("broken.jpg", "empty.png"):
            assert row["error"].startswith(row["path"])
            assert (row["label"], row["probabilities"], row["probability"]) == (None, None, None)
            continue
        prediction = classifier.classify(row["path"])
        assert row["error"] is None
        assert (row["label"], row["probability"]) == (prediction.label, prediction.probability)
        assert row["probabilities"] == {c.label: c.probability for c in prediction.top}
        assert row["malignant_probability"] == prediction.malignant_probability
        for key in ("name", "top", "reliable", "warnings", "warning_codes", "operating_point"):
            assert row[key] == prediction.to_dict()[key]
    assert all(name.endswith(".parquet") for name in parts(tmp_path / "out"))


def test_the_summary_counts_labels_and_errors_and_shows_how_to_see_them(
    cli_run, archive, int8, tmp_path
):
    done = cli_run("batch", archive, "-o", tmp_path, "-m", int8, "--jobs", 1)
    labels = Counter(table(tmp_path)["label"].drop_null().to_pylist())
    for label, count in labels.items():
        assert f"{count:9d}  {label}\n" in done.stdout
    assert "2 failed" in done.stdout
    assert "        1  is empty (0 bytes)" in done.stdout
    assert "a second" in done.stdout
    assert "--show-failed" in done.stdout
    shown = cli_run("batch", "-o", tmp_path, "-m", int8, "--show-failed")
    assert shown.exit_code == 0
    assert sorted(shown.stdout.splitlines()) == sorted(
        row["error"] for row in table(tmp_path).to_pylist() if row["error"]
    )


def test_a_second_run_classifies_only_new_images(cli_run, archive, int8, tmp_path, monkeypatch):
    copy, out = tmp_path / "archive", tmp_path / "out"
    shutil.copytree(archive, copy)
    cli_run("batch", copy, "-o", out, "-m", int8, "--jobs", 1)
    before = {name: (out / name).stat().st_mtime_ns for name in parts(out)}
    shutil.copy(copy / "0.jpg", copy / "new.jpg")
    monkeypatch.chdir(copy)  # the archive may be named from any folder
    done = cli_run("batch", ".", "2019", "-o", out, "-m", int8, "--jobs", 1)
    assert "10 of 11 images done before" in done.stderr
    rows = table(out).to_pylist()
    assert len(rows) == len({row["path"] for row in rows}) == 11
    assert before == {name: (out / name).stat().st_mtime_ns for name in before}
    done = cli_run("batch", copy, "-o", out, "-m", int8)
    assert "11 of 11 images done before" in done.stderr
    assert table(out).num_rows == 11


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_is_continued(cli_run, long_archive, int8, tmp_path, number):
    run = start(long_archive, "-o", tmp_path, "-m", int8, "--jobs", 2, "--save-every", 0)
    wait_for(lambda: len(parts(tmp_path)) >= 2, run)
    workers = children(run)
    assert len(workers) == 2
    run.send_signal(number)
    run.communicate()
    assert run.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    (tmp_path / "_unfinished").write_bytes(b"half a file")  # as after a kill at the wrong moment
    for _ in range(100):
        if not any(os.path.exists(f"/proc/{worker}") for worker in workers):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("its workers live on")
    saved = table(tmp_path)
    assert 0 < saved.num_rows < 120
    done = cli_run("batch", long_archive, "-o", tmp_path, "-m", int8, "--jobs", 2)
    assert done.exit_code == 0, done.output
    assert f"{saved.num_rows} of 120 images done before" in done.stderr
    paths = table(tmp_path)["path"].to_pylist()
    assert paths == sorted(str(long_archive / f"{n:04d}.jpg") for n in range(120))
    assert not (tmp_path / "_unfinished").exists()


def test_finished_predictions_are_saved_when_it_is_stopped(int8, tmp_path):
    from lesionedge.batch import rows, run
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output

    model = Model.of(ModelOptions(int8))

    def engine(chunks, model):
        for number, chunk in enumerate(chunks):
            if number == 2:
                raise KeyboardInterrupt
            yield rows.failed(dict.fromkeys(chunk, "seen"), model)

    with (
        pytest.raises(KeyboardInterrupt),
        Output(str(tmp_path), model, save_every_s=900) as output,
    ):
        todo = run.names(f"{number:03d}" for number in range(100))
        run.classify(todo, output, engine, model, workers=1, step=lambda count: None)
    assert table(tmp_path).num_rows == 50


def test_a_killed_worker_is_replaced_and_nothing_is_lost(long_archive, int8, tmp_path):
    run = start(long_archive, "-o", tmp_path, "-m", int8, "--jobs", 2, "--save-every", 0)
    wait_for(lambda: len(parts(tmp_path)) >= 1, run)
    first = children(run)
    os.kill(first[0], signal.SIGKILL)
    wait_for(lambda: len(set(children(run)) - set(first)) == 1, run)
    output, errors = run.communicate()
    assert run.returncode == 0, errors
    assert "120 images" in output
    rows = table(tmp_path).to_pylist()
    assert len({row["path"] for row in rows}) == len(rows) == 120
    assert not any(row["error"] for row in rows)


def test_an_image_that_kills_every_worker_gets_an_error(int8, tmp_path):
    from lesionedge.batch import rows, run
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output

    model, tries, seen = Model.of(ModelOptions(int8)), Counter(), []

    def engine(chunks, model):
        for chunk in chunks:
            tries.update(chunk)
            if "bad" not in chunk:
                yield rows.failed(dict.fromkeys(chunk, "seen"), model)

    with Output(str(tmp_path), model, save_every_s=0) as output:
        todo = run.names(["bad" if n == 33 else f"{n:03d}" for n in range(100)])
        run.classify(todo, output, engine, model, workers=1, step=seen.append)
    found = {row["path"]: row["error"] for row in table(tmp_path).to_pylist()}
    assert len(found) == sum(seen) == 100
    assert (
        found.pop("bad")
        == "bad: 3 worker processes died, one after the other, while classifying it"
    )
    assert set(found.values()) == {f"{name}: seen" for name in found}
    assert tries["bad"] == 3
    assert tries["000"] <= 2


def test_workers_that_cannot_predict_at_all_are_an_error(int8, tmp_path):
    from lesionedge.batch import run
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output

    model = Model.of(ModelOptions(int8))
    with (
        Output(str(tmp_path), model, save_every_s=0) as output,
        pytest.raises(lesionedge.LesionEdgeError, match="every worker died"),
    ):
        run.classify(
            run.names(map(str, range(900))), output, lambda chunks, model: (x for x in ()),
            model, workers=2, step=print,
        )  # fmt: skip
    assert parts(tmp_path) == []


def test_retry_failed_tries_failures_again(cli_run, archive, int8, tmp_path, draw):
    copy, out = tmp_path / "archive", tmp_path / "out"
    shutil.copytree(archive, copy)
    cli_run("batch", copy, "-o", out, "-m", int8, "--jobs", 1)
    draw(120, 100, seed=3).save(copy / "broken.jpg")
    cli_run("batch", copy, "-o", out, "-m", int8, "--jobs", 1)
    assert table(out)["error"].null_count == 8
    done = cli_run("batch", copy, "-o", out, "-m", int8, "--jobs", 1, "--retry-failed")
    assert "8 of 10 images done before" in done.stderr
    rows = table(out)
    assert (rows.num_rows, rows["error"].null_count) == (10, 9)


def test_retry_failed_keeps_the_errors_of_other_sources(cli_run, archive, int8, tmp_path, draw):
    other, out = tmp_path / "other", tmp_path / "out"
    other.mkdir()
    draw(120, 100, seed=3).save(other / "new.jpg")
    cli_run("batch", archive, "-o", out, "-m", int8, "--jobs", 1)
    for source in (other, other / "mistyped"):
        cli_run("batch", source, "-o", out, "-m", int8, "--jobs", 1, "--retry-failed")
        rows = table(out)
        assert (rows.num_rows, rows["error"].null_count) == (11, 9)


def test_names_that_are_not_utf8_are_kept_apart_and_found_again(cli_run, archive, int8, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg", "café.jpg".encode()):
        shutil.copy(archive / "0.jpg", os.path.join(os.fsencode(folder), name))
    (folder / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"no")
    for _ in range(2):
        cli_run("batch", folder, "-o", tmp_path / "out", "-m", int8, "--jobs", 1)
    rows = table(tmp_path / "out").to_pylist()
    assert len(rows) == 4
    assert sum(row["path"].startswith("file://") for row in rows) == 3
    assert sum(row["error"] is None for row in rows) == 3
    done = cli_run("batch", rows[0]["path"], "-o", tmp_path / "out", "-m", int8)
    assert "1 of 1 image done before" in done.stderr


def test_equal_errors_of_members_are_counted_together(cli_run, int8, tmp_path):
    packed = tmp_path / "bad.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for number in range(1, 4):
            file.writestr(f"{number}.jpg", b"x" * number)
    done = cli_run("batch", packed, "-o", tmp_path / "out", "-m", int8, "--jobs", 1)
    assert "\n        3  not an image that can be read" in done.stdout, done.output


def test_images_behind_a_url_get_the_same_predictions(cli_run, archive, int8, tmp_path):
    pytest.importorskip("fsspec", reason="needs fsspec: make test-device installs it")
    packed = tmp_path / "archive.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(archive.rglob("*")):
            file.write(path, path.relative_to(archive))
    cli_run("batch", archive, "-o", tmp_path / "a", "-m", int8, "--jobs", 1)
    url = f"zip://::{packed}"
    done = cli_run("batch", url, "-o", tmp_path / "b", "-m", int8, "--jobs", 2)
    assert done.exit_code == 1, done.output
    local, remote = table(tmp_path / "a").to_pylist(), table(tmp_path / "b").to_pylist()
    named = {row["path"].removeprefix("zip://").split("::")[0]: row for row in remote}
    assert len(local) == len(named) == 10
    for row in local:
        other = named[os.path.relpath(row["path"], archive)]
        aside = {"path": "", "error": "", "timings_ms": {}}
        assert {**row, **aside} == {**other, **aside}
        assert (row["error"] is None) == (other["error"] is None)
    done = cli_run("batch", f"zip://2019/*.jpg::{packed}", "-o", tmp_path / "b", "-m", int8)
    assert "4 of 4 images done before" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere"], 1, "nowhere: no such file"),
        (["*.nothing"], 1, "no image matches"),
        (["s4://bucket"], 1, "s4://bucket: cannot be opened"),
        (["-"], 2, "SOURCE -"),
        (["images", "--address", "1.2.3.4:5"], 2, "--engine ray"),
    ],
)
def test_missing_sources_are_errors(cli_run, int8, tmp_path, arguments, status, message):
    done = cli_run("batch", *arguments, "-o", tmp_path / "out", "-m", int8, "--jobs", 1)
    assert done.exit_code == status
    assert message in done.stderr


def test_sides_of_other_thresholds_are_not_mixed_in(tmp_path):
    from lesionedge.batch import rows
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output

    usual, high, low = (
        Model.of(ModelOptions("cnn", operating_point=point)) for point in (None, 0.95, 0.9)
    )
    with Output(str(tmp_path), usual, save_every_s=0) as output:
        output.add(rows.failed({"a.jpg": "damaged"}, usual))
    with Output(str(tmp_path), high, save_every_s=0) as output:
        assert len(output.done()) == 1
    with pytest.raises(lesionedge.LesionEdgeError, match="--operating-point 0.95, not 0.9;"):
        Output(str(tmp_path), low, save_every_s=0)


def test_predictions_of_another_model_are_not_mixed_in(cli_run, archive, int8, models, tmp_path):
    cli_run("batch", archive, "-o", tmp_path, "-m", int8, "--jobs", 1)
    other = models / "float32.tflite"
    done = cli_run("batch", archive, "-o", tmp_path, "-m", other, "--jobs", 1)
    assert done.exit_code == 1
    assert "holds predictions with model" in done.stderr
    assert table(tmp_path).num_rows == 10


@pytest.mark.parametrize("name", ["notes.txt", "part-000001.parquet", "part-1.parquet"])
def test_a_folder_with_other_files_is_refused(cli_run, archive, int8, tmp_path, name):
    (tmp_path / name).write_text("mine")
    done = cli_run("batch", archive, "-o", tmp_path, "-m", int8)
    assert done.exit_code == 1
    assert name in done.stderr
    assert (tmp_path / name).read_text() == "mine"


def test_two_commands_at_once_are_refused(cli_run, archive, long_archive, int8, tmp_path):
    run = start(long_archive, "-o", tmp_path, "-m", int8, "--jobs", 1)
    try:
        wait_for(lambda: len(children(run)) == 1, run)
        done = cli_run("batch", archive, "-o", tmp_path, "-m", int8)
        assert done.exit_code == 1
        assert "another lesionedge batch is writing there" in done.stderr
    finally:
        run.kill()
        run.communicate()


def test_show_failed_disturbs_no_command_that_writes(cli_run, int8, tmp_path):
    from lesionedge.batch import rows
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output

    model = Model.of(ModelOptions(int8))
    with Output(str(tmp_path), model, save_every_s=0) as output:
        output.add(rows.failed({"a.jpg": "damaged"}, model))
        (tmp_path / "_unfinished").touch()
        (tmp_path / ".hidden").touch()
        done = cli_run("batch", "-o", tmp_path, "--show-failed")
        assert (done.exit_code, done.stdout) == (0, "a.jpg: damaged\n"), done.output
        assert (tmp_path / "_unfinished").exists()


def test_metrics_among_the_results_are_refused(cli_run, archive, int8, tmp_path):
    """The next command would take them for files of somebody else."""
    file = tmp_path / "out" / "drift.prom"
    done = cli_run("batch", archive, "-o", tmp_path / "out", "-m", int8, "--metrics", file)
    assert (done.exit_code, "name a file outside" in done.stderr) == (2, True)


def test_no_place_for_the_metrics_is_an_error_at_once(cli_run, archive, int8, tmp_path):
    file = tmp_path / "none" / "drift.prom"
    done = cli_run("batch", archive, "-o", tmp_path / "out", "-m", int8, "--metrics", file)
    assert (done.exit_code, "drift.prom: cannot be written" in done.stderr) == (1, True)
    assert not (tmp_path / "out").exists()


def test_show_failed_makes_no_folder(cli_run, tmp_path):
    done = cli_run("batch", "-o", tmp_path / "mistyped", "--show-failed")
    assert done.exit_code == 1
    assert "mistyped: cannot be listed (No such file or directory)" in done.stderr
    assert os.listdir(tmp_path) == []
    done = cli_run("batch", "-o", tmp_path, "--show-failed")
    assert "holds no results of lesionedge batch" in done.stderr
    done = cli_run("batch", "-o", tmp_path, "--show-failed", "--retry-failed")
    assert (done.exit_code, "without --retry-failed" in done.stderr) == (2, True)


def test_a_folder_that_is_gone_is_an_error(int8, tmp_path):
    from lesionedge.batch import rows
    from lesionedge.batch.model import Model
    from lesionedge.batch.output import Output

    model = Model.of(ModelOptions(int8))
    with (
        pytest.raises(lesionedge.LesionEdgeError, match=r"1\.parquet: cannot be written \(No such"),
        Output(str(tmp_path / "out"), model, save_every_s=0) as output,
    ):
        shutil.rmtree(tmp_path / "out")
        output.add(rows.failed({"a.jpg": "damaged"}, model))


def test_equal_labels_have_their_own_columns(cli_run, archive, models, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("???\n" * 6 + "mel\n")
    done = cli_run(
        "batch", archive / "0.jpg", "-o", tmp_path / "out", "--jobs", 1, "-m",
        models / "bare.tflite", "--labels", labels, "--normalize", "127.5,127.5",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    scores = table(tmp_path / "out").to_pylist()[0]["probabilities"]
    assert list(scores) == ["???", *(f"???_{n}" for n in range(2, 7)), "mel"]
    about = json.loads(
        pq.read_schema(tmp_path / "out" / "part-000001.parquet").metadata[b"lesionedge"]
    )
    assert about["normalize"] == [127.5, 127.5]


def test_without_its_libraries_it_says_what_to_install(
    cli_run, archive, int8, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = cli_run("batch", archive, "-o", tmp_path, "-m", int8)
    assert done.exit_code == 1
    assert "pip install 'lesionedge[batch]'" in done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="needs Ray: make test-cluster installs it",
)
def test_ray_gives_the_same_rows(command, archive, int8, tmp_path):
    for engine in ("local", "ray"):
        done = command(
            "batch", archive, "-o", tmp_path / engine, "-m", int8, "--engine", engine,
            "--jobs", 1,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
    both = [table(tmp_path / engine).drop_columns("timings_ms") for engine in ("local", "ray")]
    assert both[0].equals(both[1])
    assert b"10 of 10 images" in done.stderr


def test_the_summary_counts_refused_images_apart(cli_run, draw, tmp_path):
    images = tmp_path / "in"
    images.mkdir()
    draw(600, 450, seed=1).save(images / "lesion.jpg")
    Image.new("RGB", (300, 300), "white").save(images / "paper.png")
    done = cli_run("batch", images, "-o", tmp_path / "out", "--jobs", 1)
    assert done.exit_code == 0, done.output
    head, *rows, last = done.stdout.splitlines()[1:]
    assert head == f"{tmp_path / 'out'}: 2 images"
    assert [row.split(maxsplit=1) for row in rows] == [
        ["1", "nv"], ["1", "Can't tell: not a dermoscopic image"],
    ]  # fmt: skip
    assert last == "For research use only: not a diagnosis."
