"""RTSP from a real server on loopback, GStreamer's (gir1.2-gst-rtsp-server-1.0 in Debian)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lesionedge
from lesionedge.camera.stream import StreamSource

SERVER = Path(__file__).with_name("rtsp_server.py")
BINDINGS = "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0')"


@pytest.fixture(scope="module")
def python() -> str:
    """A Python with GStreamer's bindings: this one, or else Debian's."""
    for found in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run([found, "-c", BINDINGS], capture_output=True)
        except OSError:
            continue
        if done.returncode == 0:
            return found
    pytest.skip("needs an RTSP server (GStreamer): sudo make tools")


@pytest.fixture(scope="module")
def film(tmp_path_factory, draw) -> Path:
    """A minute of H.264, a key frame a second."""
    av = pytest.importorskip("av", reason="needs lesionedge[camera]")
    path = tmp_path_factory.mktemp("rtsp") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "25"}
        frames = [av.VideoFrame.from_image(draw(320, 240, seed=seed)) for seed in range(3)]
        for number in range(60 * 25):
            frame = frames[number // 25 % 3]
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def serve(python, film):
    running = []

    def start(port: str = "0") -> tuple[subprocess.Popen[str], str]:
        child = subprocess.Popen(
            [python, str(SERVER), str(film), port], stdout=subprocess.PIPE, text=True
        )
        running.append(child)
        return child, child.stdout.readline().strip()

    yield start
    for child in running:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
def test_frames_of_a_stream_are_classified_as_they_come(serve, int8, codec):
    _, port = serve()
    classifier = lesionedge.Classifier(int8, threads=1)
    with lesionedge.Camera(f"rtsp://127.0.0.1:{port}/{codec}") as camera:
        assert camera.live
        assert f"{codec} 320x240" in camera.description
        seen = []
        for observation in lesionedge.watch(camera, classifier, every_s=0.2):
            seen.append(observation)
            if len(seen) == 4:
                break
    assert camera.dropped > 0
    assert [o.frame.number for o in seen] == sorted({o.frame.number for o in seen})


def test_it_catches_up_with_a_stream_that_it_reads_too_slowly(serve):
    _, port = serve()
    source = StreamSource(f"rtsp://127.0.0.1:{port}/h264")
    places = []
    for shot in source.frames():
        if shot is not None and shot.position_s is not None:
            places.append(shot.position_s)
            time.sleep(0.1)  # the stream has 25 frames a second
        if len(places) == 40:
            break
    source.close()
    # Frame by frame it would be at 1.6 s only.
    assert places[-1] - places[0] > 2.5


def test_it_waits_for_a_server_that_ends(serve, capsys):
    child, port = serve()
    messages: list[str] = []
    with lesionedge.Camera(f"rtsp://127.0.0.1:{port}/h264", report=messages.append) as camera:
        assert camera.wait(20) is not None
        child.kill()
        child.wait()
        _wait_until(lambda: messages, camera)
        serve(port)
        _wait_until(lambda: any("back after" in text for text in messages), camera)
    assert camera.outages == 1


def _wait_until(condition, camera, limit_s: float = 40) -> None:
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        camera.wait(0.1)
    assert condition()


def test_no_password_is_written_anywhere(serve, command, int8):
    _, port = serve()
    source = f"rtsp://someone:secret@127.0.0.1:{port}/h264"
    done = command("camera", "--source", source, "-m", int8, "--frames", 2, "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["source"] == f"rtsp://…@127.0.0.1:{port}/h264"
    assert b"secret" not in done.stdout + done.stderr
