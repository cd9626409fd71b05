"""``predict`` and ``batch`` on archives, addresses and folders with system files."""

from __future__ import annotations

import json
import os
import sys
import zipfile

import pytest
from file_server import FileServer
from PIL import Image

import lesionedge


@pytest.fixture(scope="module")
def tree(tmp_path_factory, draw):
    """Three images in two folders, a broken one, litter, and kinds that cannot be read."""
    root = tmp_path_factory.mktemp("tree")
    (root / "deep").mkdir()
    for number, name in enumerate(("a.jpg", "b.mpo", "deep/c.jpg")):
        draw(64, 48, seed=number).save(root / name, "JPEG")
    (root / "deep" / "broken.png").write_bytes(b"no image")
    for name in ("._a.jpg", "__MACOSX/._a.jpg", "Thumbs.db", ".DS_Store", "@eaDir/a.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"litter")
    for name in ("x.cr2", "deep/y.cr2", "z.jxl", "notes.txt"):
        (root / name).write_bytes(b"something")
    return root


IMAGES = ["a.jpg", "b.mpo", "deep/broken.png", "deep/c.jpg"]
PASSED = (
    "lesionedge: 3 files are of kinds that cannot be read here: 2 camera raw (x.cr2, y.cr2; export "
    "it as JPEG or TIFF), 1 JPEG XL (z.jxl; convert it to JPEG or PNG)"
)


@pytest.fixture(scope="module")
def packed(tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(tree.rglob("*")):
            file.write(name, name.relative_to(tree))
    return path


@pytest.fixture(scope="module")
def expected(tree, int8):
    """Name -> the expected prediction; None for the broken image."""
    classifier = lesionedge.Classifier(int8)
    return {
        name: None if "broken" in name else classifier.classify(tree / name).probability
        for name in IMAGES
    }


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(done, expected, name_of):
    """Compare a run's predictions with those of the folder's files."""
    found = rows(done)
    assert [row["path"] for row in found] == [name_of(name) for name in expected]
    for row, (name, probability) in zip(found, expected.items()):
        if probability is None:
            assert row["error"].startswith(row["path"]), name
        else:
            assert row["probability"] == probability, name
    assert done.exit_code == 1  # because of the broken image
    assert done.stderr.splitlines()[1:] == [PASSED, "lesionedge: 1 of 4 images failed"]


def test_a_folder(cli_run, tree, expected, int8):
    done = cli_run("predict", tree, "-r", "-m", int8, "--format", "json")
    check(done, {n: expected[n] for n in ("a.jpg", "b.mpo", *IMAGES[2:])}, lambda n: str(tree / n))
    done = cli_run("predict", tree, "-m", int8, "--format", "json")
    assert done.exit_code == 0  # in a folder, files that cannot be read are no failure
    assert done.stderr.startswith("lesionedge: 2 files are of kinds that cannot be read here: 1 c")
    assert len(rows(done)) == 2


def test_a_named_file_that_cannot_be_read_is_a_failure(cli_run, tree, int8):
    for name, words in (("x.cr2", "camera raw"), ("notes.txt", "not an image")):
        done = cli_run("predict", tree / name, "-m", int8, "--format", "json")
        assert done.exit_code == 1
        assert words in done.stderr
        assert name in done.stderr


def test_a_folder_of_files_that_cannot_be_read(cli_run, tmp_path, int8):
    (tmp_path / "a.nef").touch()
    done = cli_run("predict", tmp_path, "-m", int8)
    assert done.exit_code == 1  # there is no prediction
    error, line = done.stderr.splitlines()
    assert error.startswith(f"lesionedge: error: {tmp_path}: holds no images that can be read here")
    assert "1 file is of a kind that cannot be read here: 1 camera raw (a.nef;" in line


@pytest.mark.parametrize(("suffix", "module"), [("heic", "pillow_heif"), ("dcm", "pydicom")])
def test_formats_whose_extra_is_missing(cli_run, tree, tmp_path, int8, monkeypatch, suffix, module):
    monkeypatch.setitem(sys.modules, module, None)
    head = b"\0\0\0\x18ftypheic" if suffix == "heic" else bytes(128) + b"DICM"
    (tmp_path / f"a.{suffix}").write_bytes(head + bytes(200))
    (tmp_path / "b.jpg").write_bytes((tree / "a.jpg").read_bytes())
    done = cli_run("predict", tmp_path, "-m", int8, "--format", "json")
    assert (done.exit_code, len(rows(done))) == (0, 1)
    assert f"1 {'HEIC' if suffix == 'heic' else 'DICOM'} (a.{suffix}; pip install" in done.stderr
    done = cli_run("predict", tmp_path / f"a.{suffix}", "-m", int8, "--format", "json")
    assert done.exit_code == 1
    assert "pip install 'lesionedge[" in done.stderr


def test_an_archive(cli_run, packed, expected, int8):
    done = cli_run("predict", packed, "-m", int8, "--format", "json")
    check(done, expected, lambda name: f"zip://{name}::{packed}")


def test_an_archive_in_processes(command, packed, expected, int8):
    done = command("predict", packed, "-m", int8, "--format", "json", "--jobs", 2)
    found = {row["path"]: row.get("probability") for row in rows(done)}
    assert found == {f"zip://{name}::{packed}": p for name, p in expected.items()}


def test_a_member_of_an_archive(cli_run, packed, expected, int8):
    name = f"zip://deep/c.jpg::{packed}"
    done = cli_run("predict", name, "-m", int8, "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert rows(done)[0]["path"] == name
    assert rows(done)[0]["probability"] == expected["deep/c.jpg"]


def test_members_with_double_colons(cli_run, tree, tmp_path, int8, expected):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(tree / "a.jpg", "odd::name.jpg")
    done = cli_run("predict", path, "-m", int8, "--format", "json")
    assert rows(done)[0]["path"] == f"zip://odd::name.jpg::{path}"
    assert rows(done)[0]["probability"] == expected["a.jpg"]


def test_a_file_that_is_not_an_archive(cli_run, tmp_path, int8):
    path = tmp_path / "a.zip"
    path.write_bytes(b"text")
    done = cli_run("predict", path, "-m", int8, "--format", "json")
    assert done.exit_code == 1
    assert done.stderr == f"lesionedge: error: {path}: is not a zip archive, or is damaged\n"
    error = f"{path}: is not a zip archive, or is damaged"
    assert rows(done) == [{"path": str(path), "error": error}]


def test_drawings_of_members_and_addresses(cli_run, packed, tree, tmp_path, int8):
    out = tmp_path / "drawn"
    with FileServer(tree) as server:
        done = cli_run(
            "predict", f"zip://a.jpg::{packed}", f"{server.url}/a.jpg",
            f"{server.url}/deep/c.jpg?x=1", "-m", int8, "--annotate", out,
        )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert sorted(os.listdir(out)) == ["a-2.jpg", "a.jpg", "c.jpg"]
    with Image.open(out / "a.jpg") as image:
        assert image.size[0] >= 64


def test_addresses(cli_run, tree, expected, int8):
    with FileServer(tree) as server:
        done = cli_run("predict", f"{server.url}/", "-m", int8, "--format", "json")
        check(done, expected, lambda name: f"{server.url}/{name}")
        done = cli_run(
            "predict", f"{server.url}/a.jpg", f"{server.url}/none.jpg", tree / "b.mpo",
            "-m", int8, "--format", "json",
        )  # fmt: skip
    assert done.exit_code == 1
    one, two, three = rows(done)
    assert one["probability"] == expected["a.jpg"]
    assert two["error"] == f"{server.url}/none.jpg: no such file (404 Not Found)"
    assert three["probability"] == expected["b.mpo"]


def test_an_archive_at_an_address_in_processes(command, packed, expected, int8):
    with FileServer(packed.parent, ranges=True) as server:
        address = f"{server.url}/images.zip"
        done = command("predict", address, "-m", int8, "--format", "json", "--jobs", 2)
    found = {row["path"]: row.get("probability") for row in rows(done)}
    assert found == {f"zip://{name}::{address}": p for name, p in expected.items()}


def test_results_are_not_written_over_an_archive(cli_run, packed, int8):
    before = packed.read_bytes()
    done = cli_run("predict", packed, "-m", int8, "-o", packed)
    assert done.exit_code == 2
    assert packed.read_bytes() == before


# batch


def batch(cli_run, out, int8, *sources, options=()):
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'lesionedge[cluster]'")
    done = cli_run("batch", *sources, "--out", out, "-m", int8, "--workers", 1, *options)
    table = {row["path"]: row["probability"] for row in pq.read_table(out).to_pylist()}
    return done, table


def test_batch_on_a_folder(cli_run, tree, expected, int8, tmp_path):
    done, table = batch(cli_run, tmp_path / "out", int8, tree)
    assert table == {str(tree / name): p for name, p in expected.items()}
    assert PASSED in done.stderr.splitlines()
    done, table = batch(cli_run, tmp_path / "two", int8, f"{tree}/**/*")
    assert table == {str(tree / name): p for name, p in expected.items()}


def test_batch_on_archives(cli_run, tree, packed, expected, int8, tmp_path, monkeypatch):
    monkeypatch.chdir(packed.parent)
    whole = {f"zip://{name}::{packed}": p for name, p in expected.items()}
    for source in (packed, "images.zip", f"zip://::{packed}", "zip://**/*::images.zip"):
        done, table = batch(cli_run, tmp_path / "out", int8, source)
        assert table == whole
    assert "4 of 4 images done before" in done.stderr  # under every name of the archive
    assert PASSED in done.stderr.splitlines()
    odd = tmp_path / "odd.zip"
    with zipfile.ZipFile(odd, "w") as file:
        file.write(tree / "a.jpg", "odd::name.jpg")
    _, table = batch(cli_run, tmp_path / "odd", int8, odd)
    assert table == {f"zip://odd::name.jpg::{odd}": expected["a.jpg"]}


def test_batch_on_addresses(cli_run, tree, packed, expected, int8, tmp_path, monkeypatch):
    """It uses the standard library, so aiohttp, which fsspec needs, may be missing."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with FileServer(tree) as server:
        done, table = batch(cli_run, tmp_path / "page", int8, f"{server.url}/")
        assert table == {f"{server.url}/{name}": p for name, p in expected.items()}
        assert PASSED in done.stderr.splitlines()
    with FileServer(packed.parent, ranges=True) as server:
        address = f"{server.url}/images.zip"
        _, table = batch(cli_run, tmp_path / "archive", int8, address)
        assert table == {f"zip://{name}::{address}": p for name, p in expected.items()}


def test_batch_on_a_store(cli_run, tree, packed, expected, int8, tmp_path):
    """In a store, too, hidden files are skipped and archives are read."""
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for name in sorted(path for path in tree.rglob("*") if path.is_file()):
        files.pipe_file(f"/store/{name.relative_to(tree)}", name.read_bytes())
    files.pipe_file("/packed/images.zip", packed.read_bytes())
    for source in ("memory://store", "memory://store/**"):
        from lesionedge.batch import finding
        from lesionedge.sources.listing import PassedOver

        errors, over = {}, PassedOver()
        found = list(finding.found([source], errors, over))
        assert sorted(found) == [f"memory:///store/{name}" for name in sorted(expected)]
        assert (errors, over.line()) == ({}, PASSED.removeprefix("lesionedge: "))
    chain = "memory://packed/images.zip"
    from lesionedge.batch.reading import contents

    found = list(finding.found([f"zip://::{chain}"], {}, PassedOver()))
    assert found == [f"zip://{name}::{chain}" for name in expected]
    assert next(iter(contents(found))) == (tree / "a.jpg").read_bytes()
    assert found == list(finding.found([chain], {}, PassedOver()))
