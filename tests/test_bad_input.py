"""Every bad input causes one line that names the file, and never a traceback."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image


def check(done, name, *, code=1, words=""):
    errors = done.stderr.decode(errors="replace").strip().splitlines()
    assert done.returncode == code, done.stderr
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("lesionedge: error: ")
    assert name in errors[0]
    assert words in errors[0]


@pytest.fixture
def bad(tmp_path, draw):
    """Makes one kind of broken image."""

    def make(kind):
        path = tmp_path / f"{kind}.jpg"
        if kind == "empty":
            path.write_bytes(b"")
        elif kind == "text":
            path.write_text("I am no image")
        elif kind == "cut-jpeg":
            draw(200, 200, seed=1).save(path)
            path.write_bytes(path.read_bytes()[:-1500])
        elif kind == "cut-png":
            draw(200, 200, seed=1).save(path, "PNG")
            path.write_bytes(path.read_bytes()[:5000])
        elif kind == "dot":
            Image.new("RGB", (1, 1)).save(path)
        elif kind == "bomb":
            head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
            content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head
            content += struct.pack(">I", zlib.crc32(head)) + struct.pack(">I", 4) + b"IDAT"
            path.write_bytes(content + b"\0" * 8)
        return path

    return make


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such file"), ("empty", "empty"), ("text", "not an image"),
        ("cut-jpeg", "cut short"), ("cut-png", "cut short"), ("dot", "too small"),
        ("bomb", "200 MP"),
    ],
)  # fmt: skip
def test_bad_images(command, int8, bad, kind, words):
    path = bad(kind)
    done = command("predict", path, "-m", int8, "--format", "json")
    check(done, path.name, words=words)
    prediction = json.loads(done.stdout)
    assert set(prediction) == {"path", "error"}
    assert prediction["path"] == str(path)


def test_an_animated_gif_is_classified_with_a_warning(command, int8, draw, tmp_path):
    path = tmp_path / "a.gif"
    draw(64, 64, seed=1).save(path, save_all=True, append_images=[draw(64, 64, seed=2)])
    done = command("predict", path, "-m", int8)
    assert done.returncode == 0
    assert b"warning: animated" in done.stdout


def test_no_permission(int8, photo, draw, tmp_path):
    readable = tmp_path / "readable.jpg"
    draw(60, 60, seed=1).save(readable)
    photo.chmod(0o600 if os.getuid() == 0 else 0)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    # Root may read everything: become another user after all modules are loaded (the Python
    # that runs the tests may be in a folder which that user cannot read).
    script = (
        "import difflib, os\n"
        "from click.testing import CliRunner\n"
        "from lesionedge.cli import main\n"
        f"arguments = ['-m', {int8!r}]\n"
        f"CliRunner().invoke(main, ['predict', {str(readable)!r}, *arguments])\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        f"main(['predict', {str(photo)!r}, *arguments], prog_name='lesionedge')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    check(done, "lesion.jpg", words="permission")


def test_a_folder_instead_of_a_file(command, int8, photo, tmp_path):
    (tmp_path / "empty").mkdir()
    check(command("predict", tmp_path / "empty", "-m", int8), "empty", words="holds no images")
    check(command("predict", photo, "-m", tmp_path), tmp_path.name)
    done = command("predict", photo, "-m", int8, "-o", tmp_path)
    assert done.returncode == 2


def test_a_pattern_without_matches(command, int8, tmp_path):
    check(command("predict", f"{tmp_path}/*.jpg", "-m", int8), "*.jpg", words="no image matches")


@pytest.mark.parametrize(
    ("name", "words"),
    [("wrong-labels", "3 labels"), ("not-image", "not an image classifier"), ("bare", "--labels")],
)
def test_unusable_models(command, models, photo, name, words):
    check(command("predict", photo, "-m", models / f"{name}.tflite"), name, words=words)


def test_corrupt_and_missing_models(command, models, photo, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes((models / "int8.tflite").read_bytes()[:3000])
    check(command("predict", photo, "-m", cut), "cut.tflite")
    text = tmp_path / "text.tflite"
    text.write_text("I am no model at all")
    check(command("predict", photo, "-m", text), "text.tflite", words="not a .tflite model")
    check(
        command("predict", photo, "-m", tmp_path / "none.tflite"),
        "none.tflite",
        words="no such model",
    )


def test_disk_full_leaves_nothing_half_written(int8, photo, tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    def no_room():
        # A file may not grow at all: writing fails as on a full disk, with EFBIG.
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    line = [sys.executable, "-m", "lesionedge", "predict", str(photo), "-m", int8]
    done = subprocess.run(
        [*line, "-o", str(out / "a.json")], capture_output=True, preexec_fn=no_room
    )
    check(done, "a.json", words="cannot be written")
    assert os.listdir(out) == []
    done = subprocess.run([*line, "--annotate", str(out)], capture_output=True, preexec_fn=no_room)
    assert done.returncode == 1
    assert b"cannot be written" in done.stderr
    assert os.listdir(out) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_device(command, int8, photo):
    check(
        command("predict", photo, "-m", int8, "-o", "/dev/full"),
        "/dev/full",
        words="No space left",
    )
    with open("/dev/full", "w") as full:
        done = command("predict", photo, "-m", int8, capture_output=False, stdout=full,
                       stderr=subprocess.PIPE)  # fmt: skip
    check(done, "output", words="cannot be written")


def test_unwritable_output_folder(command, int8, photo, tmp_path):
    done = command("predict", photo, "-m", int8, "-o", tmp_path / "no" / "a.json")
    assert done.returncode == 2
    assert b"there is no folder" in done.stderr
    (tmp_path / "file").touch()
    done = command("predict", photo, "-m", int8, "--annotate", tmp_path / "file" / "x")
    check(done, "x")


def test_metadata_csv_with_missing_columns(tmp_path):
    pytest.importorskip("pandas", reason="needs the extra train: make test installs it")
    from lesionedge import datasets

    (tmp_path / "HAM10000_metadata.csv").write_text("image_id,diagnosis\nISIC_1,nv\n")
    with pytest.raises(
        datasets.DatasetError, match=r"columns dx, lesion_id are missing; found image_id"
    ):
        datasets.load(tmp_path)
