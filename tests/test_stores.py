"""Archives and predictions in object stores and on servers.

``make test-cluster`` installs emulators of the stores; they run on loopback, so no cloud is used.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest

if not os.environ.get("LESIONEDGE_CLUSTER"):
    pytest.skip("needs stand-ins for stores: make test-cluster", allow_module_level=True)

import pyarrow.parquet as pq

import lesionedge
from lesionedge.batch import rows, run
from lesionedge.batch.folder import folder
from lesionedge.batch.model import Model
from lesionedge.batch.output import Output, failures
from lesionedge.batch.reading import opened
from lesionedge.model_options import ModelOptions

COUNT = 8
LONG_COUNT = 240
SCRIPTS = Path(sys.executable).parent
FORBIDDING = """
import http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if "secret" in self.path:
            self.send_error(403)
        else:
            super().do_GET()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process on a loopback port that runs until the block ends."""

    def __init__(self, *line, where=None):
        self.port = free_port()
        self.line = [str(word).replace("PORT", str(self.port)) for word in line]
        self.where = where

    def __enter__(self):
        self.process = subprocess.Popen(
            self.line, cwd=self.where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self.port
            assert self.process.poll() is None, self.line
            time.sleep(0.1)
        raise AssertionError(f"{self.line}: waited for a minute")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module", autouse=True)
def stores():
    """Emulators of S3 and Google's store, set in the environment as for their libraries."""
    s3 = Server(SCRIPTS / "moto_server", "-H", "127.0.0.1", "-p", "PORT")
    gs = Server(
        SCRIPTS / "gcp-storage-emulator", "start", "--host=127.0.0.1", "--port=PORT",
        "--in-memory", "--default-bucket=bucket",
    )  # fmt: skip
    with s3 as s3_port, gs as gs_port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", secrets.token_hex(20))
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{gs_port}")
        from pyarrow.fs import S3FileSystem

        S3FileSystem(
            allow_bucket_creation=True, endpoint_override=f"http://127.0.0.1:{s3_port}"
        ).create_dir("bucket")
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory, draw):
    """Six images in two folders, with names that need quoting in URLs; one is broken, one empty."""
    root = tmp_path_factory.mktemp("archive")
    (root / "2019").mkdir()
    for number in range(3):
        draw(120, 100, seed=number).save(root / f"{number}.jpg")
        draw(120, 100, seed=9 + number).save(root / "2019" / f"a b+c%41 é{number}.jpg")
    (root / "broken.jpg").write_bytes(b"no image")
    (root / "2019" / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory, int8):
    """Name -> the row of the image on disk."""
    out = tmp_path_factory.mktemp("expected")
    done = batch(archive, out, int8)
    assert done.returncode == 1, done.stderr
    return {os.path.relpath(row["path"], archive): row for row in table(out)}


def put(local, url):
    """Copy a folder or file to a store."""
    paths = [path for path in sorted(local.rglob("*")) if path.is_file()] or [local]
    for path in paths:
        inner = "" if path == local else f"/{path.relative_to(local)}"
        files, there = opened(f"{url}{inner}")
        files.pipe_file(there, path.read_bytes())


def start(source, out, model, *arguments, **environment):
    line = [sys.executable, "-m", "lesionedge", "batch", *([source] if source else []),
            "-o", out, "-m", model, "--jobs", 1, *arguments]  # fmt: skip
    return subprocess.Popen(
        list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def batch(source, out, model, *arguments, **environment):
    process = start(source, out, model, *arguments, **environment)
    output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def table(out):
    """Return the rows of a folder, local or in a store."""
    at = folder(str(out))
    try:
        return [
            row for name in sorted(at.names()) for row in pq.read_table(at.read(name)).to_pylist()
        ]
    finally:
        at.close()


def names_in(url):
    files, path = opened(url)
    files.invalidate_cache()
    return sorted(file.rpartition("/")[2] for file in files.find(path))


def alike(found, expected, inner):
    """Compare rows with those of the images on disk, except for names and texts with names."""
    assert len(found) == len(expected) == COUNT
    assert {inner(row["path"]) for row in found} == set(expected)
    for row in found:
        other = expected[inner(row["path"])]
        aside = {"path": "", "error": "", "timings_ms": {}}
        assert {**row, **aside} == {**other, **aside}
        assert (row["error"] is None) == (other["error"] is None)


def wait_for_parts(url, count, process):
    for _ in range(1200):
        files, path = opened(url)
        try:
            found = [file for file in files.find(path) if file.endswith(".parquet")]
        except OSError:  # nothing is there yet
            found = []
        if len(found) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("waited for two minutes")


@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_images_and_predictions_in_a_store(scheme, engine, archive, expected, int8):
    top = f"{scheme}://bucket/{engine}/images"
    out = f"{scheme}://bucket/{engine}/predictions"
    put(archive, top)
    done = batch(f"{top}/2019/*.jpg", out, int8, "--engine", engine)
    assert done.returncode == 0, done.stderr
    assert "3 images" in done.stdout
    done = batch(top, out, int8, "--engine", engine)
    assert done.returncode == 1, done.stderr
    assert f"3 of {COUNT} images done before" in done.stderr
    alike(table(out), expected, lambda path: path.removeprefix(f"{top}/"))
    again = batch(f"{top}/**/*.jpg", out, int8, "--engine", engine)
    assert "7 of 7 images done before" in again.stderr
    assert f"{out}: {COUNT} images" in again.stdout
    assert all(name.startswith("part-") for name in names_in(out))


def test_show_failed_reads_the_errors_from_the_store(archive, int8):
    put(archive, "s3://bucket/shown")
    batch("s3://bucket/shown", "s3://bucket/shown-predictions", int8)
    line = ["batch", "-o", "s3://bucket/shown-predictions", "--show-failed"]
    shown = subprocess.run(
        [sys.executable, "-m", "lesionedge", *line], capture_output=True, text=True
    )
    errors = [row["error"] for row in table("s3://bucket/shown-predictions") if row["error"]]
    assert sorted(shown.stdout.splitlines()) == sorted(errors)
    assert len(errors) == 2


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_run_that_was_killed_continues_in_the_store(scheme, int8, tmp_path, draw):
    # PNG in spite of the name, because decoding it takes long.
    draw(1600, 1200, seed=1).save(tmp_path / "0000.jpg", format="PNG")
    for number in range(1, LONG_COUNT):
        os.link(tmp_path / "0000.jpg", tmp_path / f"{number:04d}.jpg")
    out = f"{scheme}://bucket/killed"
    process = start(tmp_path, out, int8, "--save-every", 0)
    wait_for_parts(out, 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = {row["path"] for row in table(out)}
    assert 0 < len(saved) < LONG_COUNT
    done = batch(tmp_path, out, int8)
    assert done.returncode == 0, done.stderr
    assert f"{len(saved)} of {LONG_COUNT} images done before" in done.stderr
    counts = Counter(row["path"] for row in table(out))
    assert len(counts) == LONG_COUNT
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("url", ["s3://bucket/twice", "gs://bucket/twice", "memory://twice"])
def test_the_later_of_two_commands_owns_the_folder_and_no_row_is_duplicated(url, int8):
    model = Model.of(ModelOptions(int8))

    def some(*names):
        return rows.failed(dict.fromkeys(names, "seen"), model)

    with (
        pytest.raises(lesionedge.LesionEdgeError, match="another lesionedge batch writes"),
        Output(url, model, save_every_s=0) as first,
    ):
        first.add(some("a"))
        assert list(failures(url)) == ["a: seen"]  # reading does not take the folder over
        first.add(some("b"))
        with Output(url, model, save_every_s=0) as second:
            assert sorted(second.done().to_pylist()) == ["a", "b"]
            first.add(some("c"))
    with Output(url, model, save_every_s=0) as third:
        third.add(some("c"))
        third.forget_failures(third.done())
        third.add(some("d"))
    assert [row["path"] for row in table(url)] == ["d"]


def test_predictions_of_another_model_are_not_mixed_in(archive, int8, models):
    put(archive / "0.jpg", "s3://bucket/mixed.jpg")
    assert batch("s3://bucket/mixed.jpg", "s3://bucket/mixed", int8).returncode == 0
    done = batch("s3://bucket/mixed.jpg", "s3://bucket/mixed", models / "float32.tflite")
    assert done.returncode == 1
    assert "holds predictions with model" in done.stderr


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("s3://nobody/images", None, "s3://nobody/images: cannot be listed"),
        ("gs://nobody/images", None, "gs://nobody/images: cannot be listed (NOT_FOUND"),
        ("s3://bucket/nothing", None, "s3://bucket/nothing: cannot be listed"),
        (None, "s3://nobody/out", "s3://nobody/out: cannot be written"),
        (None, "gs://nobody/out", "gs://nobody/out: cannot be written"),
        (None, "http://127.0.0.1:1/out", "http://127.0.0.1:1/out: cannot be written"),
    ],
)
def test_a_missing_source_is_one_line(source, out, message, archive, int8, tmp_path):
    done = batch(source or archive, out or tmp_path / "out", int8)
    one_line(done, message)


@pytest.mark.parametrize("url", ["s3://bucket/images", "gs://bucket/images"])
def test_a_store_that_does_not_respond_is_one_line(url, int8, tmp_path):
    nobody = f"http://127.0.0.1:{free_port()}"
    done = batch(url, tmp_path / "out", int8, AWS_ENDPOINT_URL=nobody, STORAGE_EMULATOR_HOST=nobody)
    one_line(done, f"{url}: cannot be listed")


def one_line(done, message):
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"lesionedge: error: {message}")


def test_missing_credentials_are_one_line(archive, int8, tmp_path, monkeypatch):
    import boto3

    content = (archive / "0.jpg").read_bytes()
    boto3.client("s3").put_object(Bucket="bucket", Key="closed/0.jpg", Body=content)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    done = batch("s3://bucket/closed", tmp_path / "out", int8)
    assert done.returncode == 1
    assert "ACCESS_DENIED" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_images_removed_meanwhile_become_rows_with_an_error(scheme, int8, tmp_path, draw):
    draw(1600, 1200, seed=1).save(tmp_path / "one.jpg", format="PNG")
    top, out = f"{scheme}://bucket/leaving", tmp_path / "out"
    for number in range(LONG_COUNT):
        put(tmp_path / "one.jpg", f"{top}/{number:04d}.jpg")
    process = start(top, out, int8, "--save-every", 0)
    wait_for_parts(f"file://{out}", 1, process)
    files, path = opened(top)
    for name in sorted(files.find(path), reverse=True):
        files.rm_file(name)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert f"{LONG_COUNT} images" in output
    found = table(out)
    assert len(found) == len({row["path"] for row in found}) == LONG_COUNT
    failed = [row["error"] for row in found if row["error"]]
    assert 0 < len(failed) < LONG_COUNT
    # S3 is asked whether a file exists, and then for its content: it may vanish in between.
    assert all(error.endswith(": no such file") or "NOT_FOUND" in error for error in failed)


def test_a_local_folder_removed_meanwhile_becomes_rows_with_an_error(int8, tmp_path, draw):
    top, out = tmp_path / "leaving", tmp_path / "out"
    top.mkdir()
    draw(1600, 1200, seed=1).save(top / "0000.jpg", format="PNG")
    for number in range(1, LONG_COUNT):
        os.link(top / "0000.jpg", top / f"{number:04d}.jpg")
    process = start(top, out, int8, "--save-every", 0)
    wait_for_parts(f"file://{out}", 1, process)
    shutil.rmtree(top)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    found = table(out)
    assert len(found) == len({row["path"] for row in found}) == LONG_COUNT
    assert 0 < sum(row["error"] is not None for row in found) < LONG_COUNT


def test_an_archive_file_in_a_store(archive, expected, int8, tmp_path):
    packed = tmp_path / "archive.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(archive.rglob("*")):
            file.write(path, path.relative_to(archive))
    put(packed, "s3://bucket/archive.zip")
    done = batch("zip://::s3://bucket/archive.zip", tmp_path / "out", int8)
    assert done.returncode == 1, done.stderr
    alike(
        table(tmp_path / "out"), expected,
        lambda path: path.removeprefix("zip://").removesuffix("::s3://bucket/archive.zip"),
    )  # fmt: skip


def test_images_and_pages_of_links_over_http(archive, int8, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(archive, site)
    shutil.copy(site / "0.jpg", site / "secret.jpg")
    with Server(sys.executable, "-c", FORBIDDING, "PORT", where=site) as port:
        host = f"http://127.0.0.1:{port}"
        done = batch(f"{host}/", tmp_path / "list", int8)
        assert done.returncode == 1, done.stderr
        some = ["0.jpg?size=large", "secret.jpg", "none.jpg"]
        done = batch(None, tmp_path / "some", int8, *(f"{host}/{name}" for name in some))
        assert done.returncode == 1, done.stderr
    errors = {row["path"]: row["error"] for row in table(tmp_path / "list")}
    assert len(errors) == COUNT + 1
    assert sum(error is not None for error in errors.values()) == 3
    assert "403" in errors[f"{host}/secret.jpg"]
    errors = {row["path"]: row["error"] for row in table(tmp_path / "some")}
    assert errors.pop(f"{host}/0.jpg?size=large") is None
    assert "403" in errors.pop(f"{host}/secret.jpg")
    assert errors == {f"{host}/none.jpg": f"{host}/none.jpg: no such file (404 File not found)"}


def test_images_and_predictions_on_an_ftp_server(archive, expected, int8, tmp_path):
    shutil.copytree(archive, tmp_path / "images")
    line = [
        sys.executable,
        "-m",
        "pyftpdlib",
        "-i",
        "127.0.0.1",
        "-p",
        "PORT",
        "-d",
        tmp_path,
        "-w",
    ]
    with Server(*line) as port:
        host = f"ftp://127.0.0.1:{port}"
        (tmp_path / "predictions").mkdir()
        (tmp_path / "predictions" / "_unfinished").write_bytes(b"half a file")
        for _ in range(2):
            done = batch(f"{host}/images", f"{host}/predictions", int8)
            assert done.returncode == 1, done.stderr
        assert f"{COUNT} of {COUNT} images done before" in done.stderr
        top = f"{host}/images/"
        alike(table(f"{host}/predictions"), expected, lambda path: path.removeprefix(top))
        done = batch(f"{host}/images", f"{host}/predictions", int8, "--retry-failed")
        assert f"6 of {COUNT} images done before" in done.stderr
        alike(table(f"{host}/predictions"), expected, lambda path: path.removeprefix(top))
    parts = ["part-000001.parquet", "part-000002.parquet"]
    assert sorted(os.listdir(tmp_path / "predictions")) == parts


def test_an_image_that_cannot_be_read_does_not_end_its_worker(int8, tmp_path):
    """Every exception of a library becomes a row with an error."""
    from lesionedge.batch import processes

    model = Model.of(ModelOptions(int8))
    names = ["ftp://127.0.0.1:1/a.jpg", "s4://nowhere/b.jpg", "zip://c.jpg::/no/such.zip"]
    with Output(str(tmp_path / "out"), model, save_every_s=0) as output:
        run.classify(
            run.names(names), output,
            lambda chunks, model: processes.predictions(chunks, model, workers=1), model,
            workers=1, step=lambda count: None,
        )  # fmt: skip
    errors = {row["path"]: row["error"] for row in table(tmp_path / "out")}
    assert set(errors) == set(names)
    assert not any("worker processes" in error for error in errors.values())
