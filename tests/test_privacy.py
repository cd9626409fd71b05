"""Nothing leaves the machine, and only the requested files are written.

Each command runs in new namespaces: without a network, and every file system read-only except
one folder. A first program tries to break both limits and must fail; this proves that they hold.
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
    assert done.returncode == 0, done.stderr  # the limits hold
    return run


@pytest.fixture(scope="module")
def photo(tmp_path_factory, draw):
    """An image whose metadata says who, when and where."""
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
    with Image.open(path) as image:
        assert not image.getexif()
        assert not {"exif", "comment", "xmp", "photoshop"} & image.info.keys()
    content = path.read_bytes()
    assert b"Jane Doe" not in content
    assert b"Exif" not in content


def test_predict(sealed, out, photo):
    done = sealed(*command("predict", photo, "--format", "json", "--annotate", out / "drawn"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"]
    assert_anonymous(out / "drawn" / "photo.jpg")


def test_predict_on_files_of_phones_and_clinics(sealed, out, draw, tmp_path_factory):
    """An archive is not unpacked, decoders write no files, and no patient is named."""
    pillow_heif, _ = pytest.importorskip("pillow_heif"), pytest.importorskip("pydicom")
    import zipfile

    import numpy as np
    from test_dicom import PATIENT, write

    folder = tmp_path_factory.mktemp("handed")
    image = draw(120, 80, seed=4)
    exif = Image.Exif()
    exif[0x010F] = "Jane Doe's phone"
    pillow_heif.from_pillow(image).save(folder / "a.heic", exif=exif.tobytes())
    write(folder / "b.dcm", np.asarray(image), "RGB")
    with zipfile.ZipFile(folder / "c.zip", "w") as file:
        file.write(folder / "a.heic", "inner/a.heic")
        file.write(folder / "b.dcm", "inner/b.dcm")
    done = sealed(
        *command("predict", folder, folder / "c.zip", "--format", "json", "--annotate",
                 out / "handed")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["path"][-6:] for line in done.stdout.splitlines()] == [
        "a.heic", "/b.dcm", "/c.zip", "/c.zip"
    ]  # fmt: skip
    made = sorted((out / "handed").iterdir())
    assert [path.name for path in made] == ["a-2.png", "a.png", "b-2.png", "b.png"]
    for path in made:
        assert_anonymous(path)
        assert PATIENT.encode() not in path.read_bytes()
    assert PATIENT not in done.stdout + done.stderr


WATCHED = """
import sys
seen = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        seen.append(arguments[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        seen.append(arguments[0])
sys.addaudithook(watch)
from lesionedge.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(seen)
print("socket" in sys.modules, "urllib.request" in sys.modules)
"""


def watched(*arguments):
    """Run a command; return its output, its sockets, and whether it loaded socket modules."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, arguments)], capture_output=True, text=True
    )
    *output, seen, loaded = done.stdout.splitlines()
    return "\n".join(output) + done.stderr, seen, loaded


def test_a_socket_opens_only_where_an_address_was_typed(photo, tmp_path, int8):
    import zipfile

    from file_server import FileServer

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(photo, "http:::www.example.org:a.jpg")
    output, seen, loaded = watched("predict", photo, photo.parent, tmp_path / "a.zip", "-m", int8)
    assert output.count("Melanoma") >= 3, output
    assert (seen, loaded) == ("[]", "False False")
    with FileServer(photo.parent) as server:  # its page links to another server
        output, seen, _ = watched("predict", f"{server.url}/", "-m", int8)
        assert "Melanoma" in output
        assert b"elsewhere.invalid" in server.page(photo.parent)
        assert set(eval(seen)) == {"127.0.0.1", ("127.0.0.1", server.port)}


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
    image = open(sys.argv[1], "rb").read()
    request = urllib.request.Request(
        "http://127.0.0.1:8471/predict", image, {"Content-Type": "image/jpeg"}
    )
    print(json.dumps({"page": len(page), "response": json.load(urllib.request.urlopen(request))}))
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
    assert found["response"]["label"]


def test_the_sealed_commands_wrote_only_the_requested_files(sealed, out):
    made = {path.name for path in out.iterdir()}
    assert made <= {"proof", "drawn", "handed", "heat.png", "kept"}
