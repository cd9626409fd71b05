from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lesionedge

EXAMPLES = Path(__file__).parent.parent / "examples"
DROP_IN = EXAMPLES / "lesionedge-camera-mqtt.conf"
GUIDE = EXAMPLES.parent / "docs/guides/home-assistant.md"


def run(name, *arguments):
    line = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True)


def test_the_bundled_image_is_what_its_script_draws(tmp_path):
    done = run("synthetic_lesion.py", tmp_path / "again.jpg")
    assert done.returncode == 0, done.stderr
    with (
        Image.open(tmp_path / "again.jpg") as again,
        Image.open(EXAMPLES / "synthetic_lesion.jpg") as kept,
    ):
        assert again.size == kept.size == (600, 450)
        assert np.abs(np.asarray(again).astype(int) - np.asarray(kept)).mean() < 2


def test_other_seeds_and_sizes(tmp_path):
    assert (
        run("synthetic_lesion.py", tmp_path / "a.png", "--seed", 9, "--size", "320x200").returncode
        == 0
    )
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (320, 200)


def test_classify_folder_sorts_by_risk_and_reports_failures(tmp_path):
    for seed in (1, 2, 3):
        run("synthetic_lesion.py", tmp_path / f"{seed}.jpg", "--seed", seed, "--size", "300x200")
    Image.new("RGB", (300, 300), "white").save(tmp_path / "paper.png")
    shutil.copy(EXAMPLES / "synthetic_lesion.py", tmp_path / "broken.jpg")
    done = run("classify_folder.py", tmp_path)
    assert done.returncode == 1
    assert "broken.jpg" in done.stderr
    *lines, refused, last = done.stdout.splitlines()
    risks = {
        path.name: lesionedge.classify(path).malignant_probability
        for path in tmp_path.glob("[123].jpg")
    }
    assert [line.split()[-1] for line in lines] == sorted(risks, key=risks.get, reverse=True)
    assert refused == "Can't tell: not a dermoscopic image: paper.png"
    assert last == "For research use only: not a diagnosis."
    assert " 0.0" not in done.stdout


def test_the_systemd_unit_is_valid(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    unit = (EXAMPLES / "lesionedge-camera.service").read_text()
    program = re.search(r"ExecStart=(\S+)", unit)[1]
    (tmp_path / "camera.service").write_text(unit.replace(program, "/bin/true"))
    (tmp_path / "camera.service.d").mkdir()
    shutil.copy(DROP_IN, tmp_path / "camera.service.d" / "mqtt.conf")
    line = ["systemd-analyze", "verify", str(tmp_path / "camera.service")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_command_exists(cli_run):
    unit = (EXAMPLES / "lesionedge-camera.service").read_text()
    options = re.search(r"ExecStart=\S+ camera (.*)", unit)[1].split()
    result = cli_run("camera", *options, "--source", "none.mp4", "--give-up", 0)
    assert result.exit_code == 1
    assert "none.mp4: no such file" in result.stderr


def test_predictions_reach_an_mqtt_broker(tmp_path, int8):
    """Runs the service's command, which is the guide's, with a real broker."""
    line = re.search(r"ExecStart=/bin/sh -c '(.*)'", DROP_IN.read_text())[1].replace("$$", "$")
    by_hand = line.replace("/opt/lesionedge/bin/", "").replace(" --give-up 30", "")
    assert by_hand.replace("$MQTT", "-h BROKER") in GUIDE.read_text().splitlines()
    if None in map(shutil.which, ("mosquitto", "mosquitto_sub", "mosquitto_pub")):
        pytest.skip("needs an MQTT broker (mosquitto): sudo make tools")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = line.replace("/opt/lesionedge/bin/lesionedge", f"{sys.executable} -m lesionedge")
    line = line.replace("--every 2", "--every 0.1")
    settings = {**os.environ, "MQTT": f"-h 127.0.0.1 -p {port}"}
    for number in range(3):
        run("synthetic_lesion.py", tmp_path / f"{number}.jpg", "--size", "320x240")
    line = line.replace(" | ", f" --source {tmp_path} -m {int8} | ")
    command = ["mosquitto", "-v", "-p", str(port)]
    listen = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "lesionedge/#"]
    listen += ["-C", "3", "-W", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as broker:
        watchdog = threading.Timer(
            120, broker.kill
        )  # otherwise the test would wait for a failed subscriber
        watchdog.start()
        until(broker.stderr, "running")  # it says so shortly before it listens
        connect(port)
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener:
            until(broker.stderr, "Sending SUBACK")
            published = subprocess.run(
                ["/bin/sh", "-c", line], capture_output=True, text=True, env=settings
            )
            got = listener.communicate(timeout=90)[0]
        watchdog.cancel()
        broker.terminate()
    assert published.returncode == 0, published.stderr
    rows = [json.loads(row) for row in got.splitlines()]
    assert [row["frame"] for row in rows] == [1, 2, 3]
    used = set(re.findall(r"value_json\.(\w+)", GUIDE.read_text()))
    assert used <= set(rows[0])


def connect(port: int) -> None:
    """Return as soon as a server listens there."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"nobody listens on port {port}")


def until(lines, words: str) -> None:
    assert any(words in line for line in lines), f"the broker ended without saying {words!r}"


def test_the_synthetic_dataset_has_a_table_and_images(tmp_path):
    done = run("synthetic_dataset.py", tmp_path / "mine", "--lesions", 12)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "mine" / "images.csv").read_text().splitlines()
    assert lines[0] == "path,label,lesion"
    assert len(lines) == 1 + len(list((tmp_path / "mine" / "images").iterdir()))
    for line in lines[1:]:
        path, label, _ = line.split(",")
        assert label in ("plain", "veiled")
        with Image.open(tmp_path / "mine" / path) as image:
            assert image.size == (200, 150)
