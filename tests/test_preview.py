from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.request

import pytest
from PIL import Image, ImageGrab

import lesionedge
from lesionedge import CameraError, Classifier
from lesionedge.camera.mjpeg import Cutter
from lesionedge.preview.web import MOST_VIEWERS, WebPreview


@pytest.fixture(scope="module")
def observation(int8, draw, tmp_path_factory):
    path = tmp_path_factory.mktemp("preview") / "1.jpg"
    draw(320, 240, seed=1).save(path)
    with lesionedge.Camera(str(path)) as camera:
        return next(iter(lesionedge.watch(camera, Classifier(int8, threads=1), crop=0.8)))


@pytest.fixture
def web():
    preview = WebPreview(port=0)
    yield preview
    preview.close()


def test_it_serves_a_page_and_a_stream(web, observation):
    with urllib.request.urlopen(web.address, timeout=10) as page:
        assert b"not a diagnosis" in page.read()
    assert web.show(observation)
    with urllib.request.urlopen(web.address + "stream.mjpg", timeout=10) as stream:
        cutter, frames = Cutter(), []
        while not frames:
            frames = cutter.feed(stream.read1(512))
    with Image.open(io.BytesIO(frames[0])) as shown:
        assert shown.width == 640 and shown.height > 480
    with pytest.raises(urllib.error.HTTPError, match="404") as error:
        urllib.request.urlopen(web.address + "other", timeout=10)
    error.value.close()


def test_other_names_than_this_machines_are_refused(web):
    request = urllib.request.Request(web.address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="403") as error:
        urllib.request.urlopen(request, timeout=10)
    error.value.close()


def test_a_browser_that_goes_away_prints_nothing(web, observation, capfd):
    port = int(web.address.rstrip("/").rpartition(":")[2])
    web.show(observation)
    for asked in (
        b"GET / HTTP/1.0\r\nHost: ",
        b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port)) as browser:
            browser.sendall(asked)
            # It resets the connection.
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + 20
    while any("process_request" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        web.show(observation)
        time.sleep(0.05)
    assert capfd.readouterr().err == ""


def test_browsers_that_left_before_the_first_image_are_forgotten(web):
    for _ in range(MOST_VIEWERS):
        urllib.request.urlopen(web.address + "stream.mjpg", timeout=10).close()
    for _ in range(MOST_VIEWERS):
        assert web.viewers.acquire(timeout=20)


def test_ipv6():
    try:
        preview = WebPreview("::1", 0)
    except CameraError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with urllib.request.urlopen(preview.address, timeout=10) as page:
        assert page.status == 200
    preview.close()


def test_a_name_that_is_none_is_an_error():
    with pytest.raises(CameraError, match=r"ä\.\.b: is not the name of a machine"):
        WebPreview("ä..b", 0)


def test_a_port_in_use_is_an_error(web):
    port = int(web.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(CameraError, match="cannot be served"):
        WebPreview(port=port)


def test_a_browser_shows_the_live_image(web, observation, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: sudo make tools")
    over = threading.Event()

    def live():
        while not over.wait(0.1):
            web.show(observation)

    thread = threading.Thread(target=live)
    thread.start()
    shot = tmp_path / "page.png"
    line = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--window-size=800,700", f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=2000", f"--screenshot={shot}", web.address]  # fmt: skip
    try:
        done = subprocess.run(line, capture_output=True, timeout=120)
    finally:
        over.set()
        thread.join()
    assert shot.exists(), done.stderr
    with Image.open(shot) as page:
        looks_like(page.convert("RGB").crop((80, 0, 720, 480)), observation)


def looks_like(shown, observation):
    """Check that the frame's colours are in the right places, enlarged to 640x480."""
    frame = observation.frame.image.resize((640, 480))
    # Between the drawn frame and the edge, and in the middle.
    for place in ((40, 240), (600, 240), (320, 240), (250, 200)):
        apart = [abs(a - b) for a, b in zip(shown.getpixel(place), frame.getpixel(place))]
        assert max(apart) < 40, (place, apart)


@pytest.fixture
def display(monkeypatch, tmp_path):
    """A real X server, without a screen."""
    if shutil.which("Xvfb") is None or shutil.which("xdotool") is None:
        pytest.skip("needs an X server (Xvfb, xdotool): sudo make tools")
    ours, theirs = os.pipe()
    line = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "800x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(line, pass_fds=[theirs], stderr=subprocess.DEVNULL) as server:
        os.close(theirs)
        with os.fdopen(ours) as pipe:
            name = f":{pipe.readline().strip()}"
        monkeypatch.setenv("DISPLAY", name)
        yield name
        server.kill()


@pytest.fixture
def window(display):
    pytest.importorskip("tkinter", reason="needs Tk: sudo make tools")
    pytest.importorskip("PIL.ImageTk", reason="needs Pillow with Tk")
    from lesionedge.preview.window import WindowPreview

    preview = WindowPreview()
    yield preview
    preview.close()


def test_a_window_shows_the_image_and_takes_keys(window, display, observation):
    assert window.show(observation)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert window.update()
        screen = ImageGrab.grab(xdisplay=display)
        if screen.getbbox():
            break
    assert screen.getbbox()
    assert screen.getbbox()[3] <= 400  # the image fits a Pi's small display
    assert not window.pressed()
    press(display, "space")
    assert until(window.pressed, window)
    press(display, "q")
    assert until(lambda: not window.update(), window)


def press(display, key):
    found = subprocess.run(
        ["xdotool", "search", "--sync", "--name", "lesionedge camera"], capture_output=True,
        env={**os.environ, "DISPLAY": display}, text=True, timeout=20, check=True,
    ).stdout.split()[0]  # fmt: skip
    line = ["xdotool", "windowfocus", found, "key", key]
    subprocess.run(line, env={**os.environ, "DISPLAY": display}, timeout=20, check=True)


def until(condition, window) -> bool:
    deadline = time.monotonic() + 20
    while not (met := condition()) and time.monotonic() < deadline:
        window.update()
    return met


def test_a_window_without_a_display_is_an_error(cli_run, photo, int8, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    result = cli_run("camera", "--source", photo, "-m", int8, "--preview", "window")
    assert result.exit_code == 1
    assert "--preview web" in result.stderr
