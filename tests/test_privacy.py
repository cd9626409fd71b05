"""Nothing leaves the machine, and nothing is written but what was asked for.

Each command runs in namespaces of its own: no network, and every file system read-only except
one folder. A first program tries both, and must fail, so that the seal is known to hold.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lesionedge.cli import COMMANDS

# mount --bind makes a copy of the tree of mounts; the second call makes it read-only.
SEAL = """
set -e
mount --make-rprivate /
awk '{print $2}' /proc/self/mounts | while read -r where; do
  case $where in /proc*|/sys*|/dev*) continue;; esac
  mount -o remount,bind,ro "$(printf '%b' "$where")" 2>/dev/null || true
done
mount --bind "$OUT" "$OUT"
mount -o remount,bind,rw "$OUT"
exec "$@"
"""
PROOF = """
import os, socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=1)
    raise SystemExit("there is a network")
except OSError:
    pass
for folder in (os.getcwd(), "/tmp", os.path.expanduser("~")):
    try:
        open(os.path.join(folder, "written"), "w").close()
        raise SystemExit(f"{folder} can be written")
    except OSError:
        pass
open(os.path.join(sys.argv[1], "proof"), "w").close()
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def sealed(out):
    """Runs a command without a network, where only ``out`` can be written."""
    line = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", SEAL, "sh"]

    def run(*command, **options):
        return subprocess.run(
            [*line, *map(str, command)], capture_output=True, text=True, timeout=120,
            env={**os.environ, "OUT": str(out), "PYTHONDONTWRITEBYTECODE": "1"}, **options,
        )  # fmt: skip

    if shutil.which("unshare") is None or run("true").returncode:
        pytest.skip("this system lets nobody make namespaces (unshare)")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run(sys.executable, "-c", PROOF, out, server.getsockname()[1])
    assert done.returncode == 0, done.stderr  # the seal itself holds
    return run


@pytest.fixture(scope="module")
def photo(tmp_path_factory, draw):
    """A picture that says who, when and where."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0131] = "Camera maker", "Jane Doe's phone"
    exif[0x9003] = "2026:01:02 03:04:05"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (47.0, 59.0, 0.0)
    path = tmp_path_factory.mktemp("in") / "photo.jpg"
    draw(600, 450, seed=4).save(path, exif=exif, comment=b"Jane Doe")
    assert b"Jane Doe" in path.read_bytes()
    return path


def command(*arguments):
    return [sys.executable, "-m", "lesionedge", *arguments]


def assert_anonymous(path: Path) -> None:
    with Image.open(path) as picture:
        assert not picture.getexif()
        assert not {"exif", "comment", "xmp", "photoshop"} & picture.info.keys()
    content = path.read_bytes()
    assert b"Jane Doe" not in content
    assert b"Exif" not in content


def test_predict(sealed, out, photo):
    done = sealed(*command("predict", photo, "--format", "json", "--annotate", out / "drawn"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"]
    assert_anonymous(out / "drawn" / "photo.jpg")


def test_explain(sealed, out, photo):
    done = sealed(*command("explain", photo, "-o", out / "heat.png"))
    assert done.returncode == 0, done.stderr
    assert_anonymous(out / "heat.png")


def test_camera_on_a_file(sealed, out, photo):
    done = sealed(
        *command("camera", "--source", photo, "--frames", "1", "--save", out / "kept",
                 "--save-when", "always", "--format", "json")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (saved,) = (out / "kept").glob("*.jpg")
    assert_anonymous(saved)


@pytest.mark.skipif("serve" not in COMMANDS, reason="this version has no serve")
def test_serve(sealed, photo):
    pytest.importorskip("fastapi", reason="needs lesionedge[web]")
    script = """
import json, subprocess, sys, time, urllib.request
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # loopback is all there is
server = subprocess.Popen([*sys.argv[2:], "--port", "8471"])
try:
    for _ in range(200):
        try:
            page = urllib.request.urlopen("http://127.0.0.1:8471/", timeout=5).read()
            break
        except OSError:
            assert server.poll() is None, "the server has ended"
            time.sleep(0.1)
    picture = open(sys.argv[1], "rb").read()
    ask = urllib.request.Request(
        "http://127.0.0.1:8471/predict", picture, {"Content-Type": "image/jpeg"}
    )
    print(json.dumps({"page": len(page), "answer": json.load(urllib.request.urlopen(ask))}))
finally:
    server.terminate()
    server.wait(20)
"""
    if shutil.which("ip") is None:
        pytest.skip("loopback in a namespace needs ip (iproute2)")
    done = sealed(sys.executable, "-c", script, photo, *command("serve"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["page"] > 100
    assert found["answer"]["label"]


def test_what_the_sealed_commands_left_is_what_was_asked_for(sealed, out):
    made = {path.name for path in out.iterdir()}
    assert made <= {"proof", "drawn", "heat.png", "kept"}
