from __future__ import annotations

import dataclasses
import io
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from cards import with_card
from PIL import Image

import lesionedge
from lesionedge import CameraError, Classifier, frame_recorder, live
from lesionedge.camera import choice, scene
from lesionedge.camera.mjpeg import Cutter
from lesionedge.camera.yuyv import Layout, to_rgb

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def jpegs(draw) -> list[bytes]:
    found = []
    for seed in range(6):
        content = io.BytesIO()
        draw(320, 240, seed=seed).save(content, "JPEG", quality=90)
        found.append(content.getvalue())
    return found


@pytest.fixture
def folder(tmp_path, jpegs):
    path = tmp_path / "images"
    path.mkdir()
    for number, content in enumerate(jpegs, start=8):
        (path / f"{number}.jpg").write_bytes(content)
    return path


@pytest.fixture(scope="module")
def classifier(int8):
    return Classifier(int8, threads=1)


@pytest.fixture
def server(jpegs):
    """An MJPEG-over-HTTP server on loopback: 50 frames a second, in turns."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
            self.end_headers()
            number = 0
            while not self.server.stopped.is_set():
                jpeg = jpegs[number % len(jpegs)]
                number += 1
                head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:
                    return
                time.sleep(0.02)

        def log_message(self, *arguments):
            pass

    def start(port=0):
        found = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        found.stopped = threading.Event()
        threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
        running.append(found)
        return found

    def stop(found):
        found.stopped.set()
        found.shutdown()
        found.server_close()
        running.remove(found)

    running: list[ThreadingHTTPServer] = []
    start.stop = stop
    yield start
    for one in list(running):
        stop(one)


def url(server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def video(path, draw, *, codec: str, frames: int = 12):
    av = pytest.importorskip("av", reason="needs lesionedge[camera]")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 320, 240
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for seed in range(frames):
            image = av.VideoFrame.from_image(draw(320, 240, seed=seed))
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def test_jpegs_are_cut_out_of_a_stream_in_any_portions(jpegs):
    stream = b"--x\r\n\r\n".join([b"", *jpegs, b""])
    for portion in (1, 7, 1000, len(stream)):
        cutter = Cutter()
        frames = []
        for start in range(0, len(stream), portion):
            frames += cutter.feed(stream[start : start + portion])
        assert frames == jpegs
        assert cutter.damaged == 0


def filled(jpeg: bytes, count: int = 3) -> bytes:
    """Put fill bytes before the second marker, as the standard allows."""
    return jpeg[:2] + b"\xff" * count + jpeg[2:]


@pytest.mark.parametrize("portion", [1, 1000])
def test_fill_bytes_before_a_marker_belong_to_the_frame(jpegs, portion):
    cutter = Cutter()
    frames = []
    stream = b"".join(map(filled, jpegs))
    for start in range(0, len(stream), portion):
        frames += cutter.feed(stream[start : start + portion])
    assert frames == [filled(jpeg) for jpeg in jpegs]
    assert cutter.damaged == 0


def test_metadata_behind_fill_bytes_are_noticed(tmp_path, draw):
    exif = Image.Exif()
    exif[0x010F] = "Jane's camera"
    content = io.BytesIO()
    draw(320, 240, seed=1).save(content, "JPEG", exif=exif)
    (tmp_path / "1.jpg").write_bytes(filled(content.getvalue()))
    with lesionedge.Camera(str(tmp_path)) as camera:
        (frame,) = camera
    assert frame.jpeg is None


def test_a_jpeg_that_breaks_off_is_counted_and_the_next_is_whole(jpegs):
    cutter = Cutter()
    frames = cutter.feed(jpegs[0][:3000] + jpegs[1] + jpegs[2])
    assert frames[-1] == jpegs[2]
    assert cutter.damaged >= 1


def test_yuyv_is_converted_back_to_the_original_image(draw):
    import numpy as np

    whole = np.asarray(draw(64, 48, seed=1).convert("YCbCr"), np.uint8)
    pairs = np.empty((48, 32, 4), np.uint8)
    pairs[..., 0], pairs[..., 2] = whole[:, 0::2, 0], whole[:, 1::2, 0]
    pairs[..., 1], pairs[..., 3] = whole[:, 0::2, 1], whole[:, 0::2, 2]
    layout = Layout(64, 48, 128, full_range=True)
    made = np.asarray(to_rgb(pairs.tobytes(), layout, None), int)
    assert abs(made - np.asarray(draw(64, 48, seed=1), int)).mean() < 6


def test_images_come_in_the_order_of_their_numbers_and_none_is_missed(folder, jpegs):
    with lesionedge.Camera(str(folder)) as camera:
        frames = list(camera)
    assert [frame.jpeg for frame in frames] == jpegs
    assert [frame.number for frame in frames] == list(range(1, 7))
    assert (camera.seen, camera.dropped, camera.damaged) == (6, 0, 0)


def test_digits_that_are_no_numbers(folder, jpegs):
    (folder / "8.jpg").rename(folder / "1²1.jpg")
    with lesionedge.Camera(str(folder)) as camera:
        assert [frame.jpeg for frame in camera] == jpegs


def test_a_folder_that_cannot_be_listed(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    camera = lesionedge.Camera(str(folder))
    with (
        pytest.raises(CameraError, match=r"images: cannot be listed \(Permission denied\)"),
        camera,
    ):
        pass


def test_a_pattern_and_a_broken_image(folder, classifier):
    (folder / "10.jpg").write_bytes(b"\xff\xd8\xffbroken")
    with lesionedge.Camera(str(folder / "%d.jpg")) as camera:
        seen = list(lesionedge.watch(camera, classifier))
    assert len(seen) == 5
    assert camera.damaged == 1


def test_a_folder_as_systems_leave_it(folder, jpegs, classifier):
    """Hidden files are skipped, unusual suffixes are found, other kinds are reported."""
    for name in ("._8.jpg", "Thumbs.db", "__MACOSX/._9.jpg", ".trash/1.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(jpegs[0])
    (folder / "8.jpg").rename(folder / "8.MPO")
    (folder / "9.jpg").rename(folder / "9.jfif")
    (folder / "x.cr2").write_bytes(b"raw")
    with lesionedge.Camera(str(folder)) as camera:
        assert "6 images, and files that cannot be read: 1 camera raw (x.cr2" in camera.description
        assert [frame.jpeg for frame in camera] == jpegs
    raw = lesionedge.Camera(str(folder / "x.cr2"))
    with pytest.raises(lesionedge.CameraError, match="no images there .*1 camera raw"), raw:
        pass


def test_images_of_the_extras(folder, draw, classifier):
    heif = pytest.importorskip("pillow_heif")
    for path in folder.iterdir():
        path.unlink()
    heif.from_pillow(draw(320, 240, seed=1)).save(folder / "1.heic", quality=-1, chroma=444)
    with lesionedge.Camera(str(folder)) as camera:
        (seen,) = lesionedge.watch(camera, classifier)
    assert seen.prediction.label == classifier.classify(folder / "1.heic").label
    with lesionedge.Camera(str(folder / "1.heic")) as camera:
        assert len(list(lesionedge.watch(camera, classifier))) == 1


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mjpeg"), ("a.mp4", "mpeg4")])
def test_every_frame_of_a_video_is_classified(tmp_path, draw, classifier, name, codec):
    path = video(tmp_path / name, draw, codec=codec)
    with lesionedge.Camera(str(path)) as camera:
        seen = list(lesionedge.watch(camera, classifier))
    assert len(seen) == camera.seen == 12
    assert all(0 <= o.prediction.probability <= 1 for o in seen)


@pytest.mark.parametrize("name", ["a.ts", "a.mjpeg"])
def test_every_frame_of_a_pipe_is_classified(tmp_path, draw, jpegs, classifier, name):
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    content = b"".join(jpegs)
    if name == "a.ts":
        content = video(tmp_path / name, draw, codec="mpeg4", frames=6).read_bytes()
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    threading.Thread(target=(tmp_path / name).write_bytes, args=(content,), daemon=True).start()
    with lesionedge.Camera(str(tmp_path / name)) as camera:
        assert len(list(lesionedge.watch(camera, classifier))) == 6


def test_a_stream_gives_its_newest_frames(server, classifier):
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    with lesionedge.Camera(url(server())) as camera:
        seen = []
        for observation in lesionedge.watch(camera, classifier, every_s=0.1):
            seen.append(observation)
            if len(seen) == 5:
                break
    assert camera.dropped > 0
    numbers = [o.frame.number for o in seen]
    assert numbers == sorted(set(numbers))
    assert all(o.age_ms < 5000 for o in seen)


def test_it_waits_for_a_camera_that_disconnects(server, classifier):
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    first = server()
    port, messages = first.server_address[1], []
    with lesionedge.Camera(url(first), give_up_s=60, report=messages.append) as camera:
        assert camera.wait(20) is not None
        server.stop(first)
        deadline = time.monotonic() + 20
        while not messages and time.monotonic() < deadline:
            camera.wait(0.1)
        assert messages, "the loss was not reported"
        server(port)
        deadline = time.monotonic() + 30
        while not any("back after" in text for text in messages) and time.monotonic() < deadline:
            camera.wait(0.1)
        assert any("back after" in text for text in messages)
        assert camera.outages == 1


def test_an_absent_camera_is_an_error_at_once(tmp_path):
    with pytest.raises(CameraError, match="no such file"):
        lesionedge.Camera(str(tmp_path / "none.mp4")).__enter__()


def test_a_file_that_is_not_a_video_is_an_error_at_once(tmp_path):
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    (tmp_path / "text.mp4").write_text("text" * 1000)
    with pytest.raises(CameraError, match="no video that FFmpeg can read"):
        lesionedge.Camera(str(tmp_path / "text.mp4")).__enter__()


def test_a_camera_can_be_used_once_and_only_while_open(folder, classifier):
    camera = lesionedge.Camera(str(folder))
    with pytest.raises(CameraError, match="not open"):
        next(lesionedge.watch(camera, classifier))
    with camera:
        assert len(list(camera)) == 6
    with pytest.raises(CameraError, match="used before"):
        camera.__enter__()


def test_an_absent_device_is_an_error_at_once():
    pytest.importorskip("videodev2", reason="needs lesionedge[camera]")
    with pytest.raises(CameraError, match="no such device"):
        lesionedge.Camera("/dev/video99").__enter__()


def test_it_gives_up_after_a_while(tmp_path, classifier):
    camera = lesionedge.Camera(str(tmp_path / "none.mp4"), give_up_s=0.3, report=print)
    with camera, pytest.raises(CameraError, match=r"gave up after 0\.3 s"):
        list(lesionedge.watch(camera, classifier))


def test_rpicam_is_a_child_process_that_writes_mjpeg(tmp_path, jpegs, monkeypatch, classifier):
    (tmp_path / "frames.mjpeg").write_bytes(b"".join(jpegs))
    program = tmp_path / "rpicam-vid"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, time\n"
        "if '--list-cameras' in sys.argv:\n"
        "    print('Available cameras\\n0 : imx219')\n"
        "    sys.exit()\n"
        f"data = open({str(tmp_path / 'frames.mjpeg')!r}, 'rb').read()\n"
        "while True:\n"
        "    sys.stdout.buffer.write(data)\n"
        "    sys.stdout.flush()\n"
        "    time.sleep(0.05)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert choice.choose() == "rpicam"
    with lesionedge.Camera("auto", size=(320, 240)) as camera:
        assert "rpicam-vid: MJPEG 320x240" in camera.description
        seen = []
        for observation in lesionedge.watch(camera, classifier):
            seen.append(observation)
            if len(seen) == 3:
                break
    assert seen[0].frame.jpeg in jpegs


def test_predictions_are_averaged_until_the_scene_changes(tmp_path, classifier, draw):
    same, other = draw(320, 240, seed=1), Image.linear_gradient("L").resize((320, 240))
    for number in range(3):
        same.save(tmp_path / f"{number}.png")
    for number in range(3, 5):
        other.convert("RGB").save(tmp_path / f"{number}.png")
    with lesionedge.Camera(str(tmp_path)) as camera:
        seen = list(lesionedge.watch(camera, classifier, smooth=2))
    assert [o.averaged for o in seen] == [1, 2, 2, 1, 2]
    alone = classifier.classify(same)
    assert seen[2].prediction.probability == pytest.approx(alone.probability, abs=0.02)


def test_only_the_cropped_part_is_classified(tmp_path, classifier, draw):
    image = draw(400, 300, seed=3)
    image.save(tmp_path / "1.png")
    with lesionedge.Camera(str(tmp_path)) as camera:
        (seen,) = lesionedge.watch(camera, classifier, crop=0.5)
    by_hand = classifier.classify(image.crop((125, 75, 275, 225)))
    assert seen.prediction.top == by_hand.top
    assert seen.window == (125 / 400, 75 / 300, 275 / 400, 225 / 300)


def test_a_label_that_occurs_twice_keeps_both_probabilities(folder, int8):
    own = ["mel", "nv", "bcc", "other", "other", "other", "df"]
    classifier = Classifier(int8, threads=1, labels=own, malignant=["mel", "bcc"])
    with lesionedge.Camera(str(folder)) as camera:
        for observation in lesionedge.watch(camera, classifier):
            alone = classifier.classify(observation.frame.image)
            found = [c.probability for c in observation.prediction.top]
            assert sum(found) == pytest.approx(1, abs=0.02)
            assert found == pytest.approx([c.probability for c in alone.top], abs=0.02)


@pytest.mark.parametrize("settings", [{"smooth": 0}, {"crop": 0.0}, {"crop": 1.5}])
def test_settings_out_of_range(classifier, settings):
    with pytest.raises(ValueError, match="expected"):
        lesionedge.watch(lesionedge.Camera("x"), classifier, **settings)


def test_light_sharpness_and_motion_are_measured(draw):
    from PIL import ImageFilter

    image = draw(300, 300, seed=2)
    seen = scene.luma(image)
    assert scene.warnings(scene.measure(seen), 0.0) == ()
    dark = scene.luma(image.point(lambda value: value * 0.2))
    assert scene.warnings(scene.measure(dark), 0.0) == (scene.DARK_TEXT,)
    blurred = scene.luma(image.filter(ImageFilter.GaussianBlur(6)))
    assert scene.warnings(scene.measure(blurred), 0.0) == (scene.BLURRED_TEXT,)
    assert scene.warnings(scene.measure(seen), 20.0) == (scene.MOVING_TEXT,)
    white = scene.luma(Image.new("RGB", (300, 300), "white"))
    assert scene.BRIGHT_TEXT in scene.warnings(scene.measure(white), 0.0)
    brighter = scene.luma(image.point(lambda value: min(255, value + 20)))
    assert scene.difference(seen, brighter) < 3  # more light is not motion


def test_json_is_one_object_a_frame(cli_run, folder, int8):
    result = cli_run("camera", "--source", folder, "-m", int8, "--format", "json", "--frames", 3)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["frame"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["timestamp"].endswith("Z")
        assert row["age_ms"] >= 0
        assert sum(c["probability"] for c in row["top"]) == pytest.approx(1, abs=0.02)
    assert "3 classified" in result.stderr


def test_json_names_the_file_of_a_folder(cli_run, folder, int8):
    result = cli_run("camera", "--source", folder, "-m", int8, "--format", "json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(folder / f"{n}.jpg") for n in range(8, 14)]
    assert {row["source"] for row in rows} == {str(folder)}


def test_text_is_a_line_for_each_file_of_a_folder(cli_run, folder, int8):
    for name in ("14.jpg", "15.jpg"):  # the same image again is not skipped
        (folder / name).write_bytes((folder / "13.jpg").read_bytes())
    result = cli_run("camera", "--source", folder, "-m", int8)
    *lines, last = result.stdout.splitlines()
    names = [str(folder / f"{n}.jpg") for n in range(8, 16)]
    assert [line.partition("  ")[0] for line in lines] == names
    assert last == "For research use only: not a diagnosis."


def test_files_that_cannot_be_read_are_named(cli_run, folder, int8):
    (folder / "9.jpg").write_bytes(b"\xff\xd8\xffbroken")
    (folder / "10.jpg").write_bytes(b"")
    result = cli_run("camera", "--source", folder, "-m", int8)
    assert f"{folder / '9.jpg'}: " in result.stderr
    assert f"{folder / '10.jpg'}: cannot be read, or is empty" in result.stderr
    assert "6 frames seen, 4 classified, 0 dropped, 2 damaged" in result.stderr


def test_text_of_a_video_is_a_line_a_change_when_piped(cli_run, tmp_path, draw, int8):
    path = video(tmp_path / "a.avi", draw, codec="mjpeg")
    result = cli_run("camera", "--source", path, "-m", int8)
    *lines, last = result.stdout.splitlines()
    columns = [line.split("  ")[1:] for line in lines]
    states = [(c[0].split()[0], [w for w in c if w.startswith("warning")]) for c in columns]
    assert last == "For research use only: not a diagnosis."
    assert 1 <= len(lines) < 12
    assert all(a != b for a, b in pairwise(states))
    assert "\x1b" not in result.stdout


def test_one_frame_is_counted_in_the_singular(cli_run, folder, int8, tmp_path):
    result = cli_run("camera", "--source", folder / "8.jpg", "-m", int8,
                     "--save", tmp_path / "out")  # fmt: skip
    assert ": 1 frame seen, 1 classified" in result.stderr
    assert "1 image saved" in result.stderr


@pytest.mark.parametrize(("when", "least"), [("always", 6), ("changed", 1), ("malignant", 0)])
def test_images_are_saved_with_their_predictions(cli_run, folder, int8, tmp_path, when, least):
    out = tmp_path / "saved"
    result = cli_run("camera", "--source", folder, "-m", int8, "--format", "json",
                     "--save", out, "--save-when", when)  # fmt: skip
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    saved = [row["saved"] for row in rows if row["saved"]]
    assert len(saved) >= least
    assert sorted(map(str, out.glob("*.jpg"))) == sorted(saved)
    for path in out.glob("*.json"):
        facts = json.loads(path.read_text())
        assert facts["label"] in path.name
        assert path.with_suffix(".jpg").read_bytes()[:2] == b"\xff\xd8"
    malignant = {"mel", "bcc", "akiec"}
    if when == "malignant":
        assert all(bool(row["saved"]) == (row["label"] in malignant) for row in rows)


def recorder_of(folder, messages, when="always"):
    return frame_recorder.FrameRecorder(
        str(folder), when, malignant=frozenset(), report=messages.append
    )


def observations(folder, classifier):
    with lesionedge.Camera(str(folder)) as camera:
        return list(lesionedge.watch(camera, classifier))


def test_a_failing_disk_is_reported_once_and_no_partial_file_is_left(
    folder, classifier, tmp_path, monkeypatch
):
    messages: list[str] = []
    seen = observations(folder, classifier)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with recorder_of(tmp_path / "out", messages) as recorder:
            for observation in seen[:3]:
                recorder.offer(observation, {})
    assert len(messages) == 1 and "No space left" in messages[0]
    assert (recorder.saved, recorder.failed) == (0, 3)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk(folder, int8, tmp_path):
    """A real disk of 16 kB, in its own namespace."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=16k none {disk}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    line = (
        f"{mount} && {sys.executable} -m lesionedge camera --source {folder} -m {int8} "
        f"--format json --save {disk}/seen --save-when always && ls -A {disk}/seen >&2"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", line], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert done.stderr.count("No space left on device") == 1
    names = [name for name in done.stderr.splitlines() if name.endswith((".jpg", ".json"))]
    assert not [name for name in done.stderr.splitlines() if name.startswith(".lesionedge")]
    assert len(names) < 12 and len(names) % 2 == 0


def test_a_slow_disk_delays_no_prediction(folder, classifier, tmp_path, monkeypatch):
    messages: list[str] = []
    seen = observations(folder, classifier)
    go_on, synchronise = threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        go_on.wait(30)
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with recorder_of(tmp_path / "out", messages) as recorder:
        paths = [recorder.offer(observation, {}) for observation in seen * 2]
        go_on.set()
    kept = [path for path in paths if path]
    assert frame_recorder.WAITING <= len(kept) <= frame_recorder.WAITING + 1
    assert (recorder.saved, recorder.skipped) == (len(kept), 12 - len(kept))
    assert all(os.path.exists(path) for path in kept)
    assert len(messages) == 1 and "too slow" in messages[0]


def test_a_new_label_is_saved_when_a_slow_disk_is_ready_again(
    folder, classifier, tmp_path, monkeypatch
):
    first = observations(folder, classifier)[0]
    go_on, synchronise = threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        go_on.wait(30)
        synchronise(descriptor)

    def labelled(label):
        return replace(first, prediction=replace(first.prediction, label=label))

    monkeypatch.setattr(os, "fsync", slow)
    with recorder_of(tmp_path / "out", [], "changed") as recorder:
        labels = iter("abcdefghij")
        label = next(label for label in labels if recorder.offer(labelled(label), {}) is None)
        go_on.set()
        path = recorder.offer(labelled(label), {}, wait=True)
        assert recorder.offer(labelled(label), {}, wait=True) is None
    assert path is not None and os.path.exists(path)


def test_files_wait_for_a_slow_disk_so_that_no_image_is_missed(folder, classifier, tmp_path):
    seen = observations(folder, classifier)
    with recorder_of(tmp_path / "out", []) as recorder:
        paths = [recorder.offer(o, {"label": o.prediction.label}, wait=True) for o in seen]
    assert all(os.path.exists(path) for path in paths)
    assert recorder.saved == 6


def test_mjpeg_without_huffman_tables_is_classified_and_saved_with_them(
    tmp_path, classifier, jpegs
):
    """Many USB cameras send it so."""
    head, scan = jpegs[0].index(b"\xff\xc4"), jpegs[0].index(b"\xff\xda")
    bare = jpegs[0][:head] + jpegs[0][scan:]
    (tmp_path / "1.jpg").write_bytes(bare)
    (seen,) = observations(tmp_path, classifier)
    assert seen.prediction.top == classifier.classify(jpegs[0]).top
    with recorder_of(tmp_path / "out", []) as recorder:
        path = recorder.offer(seen, {})
    with open(path, "rb") as file:
        assert file.read() == jpegs[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_a_signal_it_ends_with_a_summary(server, int8, number):
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    line = [sys.executable, "-m", "lesionedge", "camera", "--source", url(server()), "-m", int8,
            "--format", "json"]  # fmt: skip
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        json.loads(child.stdout.readline())
        child.send_signal(number)
        _, messages = child.communicate(timeout=20)
    assert child.returncode == 0
    assert b"classified" in messages
    assert b"Traceback" not in messages


def test_it_ends_after_the_duration(cli_run, server, int8):
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    result = cli_run("camera", "--source", url(server()), "-m", int8, "--duration", 1.0)
    assert result.exit_code == 0
    assert "classified" in result.stderr


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_duration_without_end(cli_run, folder, int8):
    arguments = ("--source", folder, "-m", int8, "--duration", "inf", "--every", "0.1")
    assert cli_run("camera", *arguments).exit_code == 0


def test_a_missing_camera_is_one_line(cli_run, int8, tmp_path):
    result = cli_run("camera", "--source", tmp_path / "none.mp4", "-m", int8)
    assert result.exit_code == 1
    assert "none.mp4: no such file" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--size", "big"], ["--crop", "0"], ["--crop", "nan"], ["--every", "nan"], ["--smooth", "0"],
     ["--preview-address", "x", "--preview", "web"]],
)  # fmt: skip
def test_wrong_usage(cli_run, folder, int8, arguments):
    assert cli_run("camera", "--source", folder, "-m", int8, *arguments).exit_code == 2


def running(*arguments, **options):
    """Start ``lesionedge camera`` in a new process."""
    line = [sys.executable, "-m", "lesionedge", "camera", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, **{**pipes, **options})


def test_a_signal_ends_it_while_it_connects(int8):
    """The server accepts the connection and sends nothing."""
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with running("--source", address, "-m", int8) as child:
            accepted, _ = silent.accept()
            child.send_signal(signal.SIGINT)
            _, messages = child.communicate(timeout=20)
            accepted.close()
    assert child.returncode == 0
    assert b"nothing arrived" not in messages and b"Traceback" not in messages


def test_a_terminal_gets_one_line_that_is_updated(tmp_path, draw, int8):
    path = video(tmp_path / "a.avi", draw, codec="mjpeg")
    got = on_a_terminal("--source", path, "-m", int8)
    assert got.count("\r\x1b[K") >= 2
    assert got.splitlines()[-1] == "For research use only: not a diagnosis."
    assert got.count("\n") == 2


def test_a_key_saves_the_image(server, int8, tmp_path):
    pytest.importorskip("av", reason="needs lesionedge[camera]")
    on_a_terminal("--source", url(server()), "-m", int8, "--duration", 20,
                  "--save", tmp_path / "out", "--save-when", "key",
                  press=(b" ", tmp_path / "out"))  # fmt: skip
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 1
    assert len(list((tmp_path / "out").glob("*.json"))) == 1


def on_a_terminal(*arguments, press=None) -> str:
    """Run it on a terminal; press a key until a folder has a file, then Ctrl-C."""
    ours, theirs = pty.openpty()
    with running(*arguments, stdin=theirs, stdout=theirs) as child:
        os.close(theirs)
        got = b""
        while True:
            try:
                got += os.read(ours, 1 << 16)
            except OSError:  # the other side has closed it
                break
            if press is None or b"malignant" not in got:
                continue
            key, folder = press
            if not any(folder.glob("*.json")):
                if b"pressed" not in got:
                    os.write(ours, key)
                    got += b"pressed"
            else:
                child.send_signal(signal.SIGINT)
                press = None
        child.communicate(timeout=20)
    os.close(ours)
    assert child.returncode == 0
    return got.decode()


def test_closed_standard_streams(folder, int8):
    line = f"{sys.executable} -m lesionedge camera --source {folder} -m {int8}"
    options = {"shell": True, "capture_output": True, "text": True, "cwd": ROOT}
    without_input = subprocess.run(f"{line} --save-when key --save {folder}/out <&-", **options)
    assert without_input.returncode == 0, without_input.stderr
    assert without_input.stderr.count("no key there can save an image") == 1
    at_its_end = f"{line} --save-when key --save {folder}/out </dev/null"
    ended = subprocess.run(at_its_end, **options)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("no key there can save an image") == 1
    without_output = subprocess.run(f"{line} >&-", **options)
    assert without_output.returncode == 1
    assert "cannot be written (it is closed)" in without_output.stderr
    assert "Traceback" not in without_input.stderr + without_output.stderr


def test_a_video_that_breaks_off_is_classified_once_and_ends(tmp_path, draw, classifier):
    whole = video(tmp_path / "a.mkv", draw, codec="mjpeg", frames=10).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    with lesionedge.Camera(str(tmp_path / "cut.mkv")) as camera:
        seen = list(lesionedge.watch(camera, classifier))
    assert 0 < len(seen) < 10
    assert camera.outages == 0


def test_the_frame_shown_is_what_a_model_with_a_margin_sees(folder, models, draw):
    classifier = Classifier(models / "int8.tflite", threads=1)
    classifier.preprocessing = dataclasses.replace(classifier.preprocessing, crop_fraction=0.5)
    observation = observations(folder, classifier)[0]
    assert observation.window == (100 / 320, 60 / 240, 220 / 320, 180 / 240)


@pytest.mark.parametrize(("margin", "height_px"), [(None, 240), (1.4, 240), (1.0, 120)])
def test_the_card_says_how_far_a_jpeg_frame_is_reduced(tmp_path, draw, int8, margin, height_px):
    # The model looks at the middle 72 px in 32: half as many are enough for 1.0, not for 1.4.
    (tmp_path / "frames").mkdir()
    draw(320, 240, seed=3).save(tmp_path / "frames" / "a.jpg")
    section = {"width_px": 32, "height_px": 32, "crop_fraction": 0.3}
    if margin is not None:
        section["decode_margin"] = margin
    classifier = Classifier(with_card(int8, tmp_path / "m.tflite", input=section), threads=1)
    with lesionedge.Camera(str(tmp_path / "frames")) as camera:
        frame = next(iter(camera))
    assert frame.decoded(classifier.preprocessing).image.height == height_px


def test_the_time_between_predictions_is_passed_on(folder, classifier):
    times = []
    with lesionedge.Camera(str(folder)) as camera:
        seen = lesionedge.watch(
            camera, classifier, every_s=0.3, meanwhile=lambda: times.append(time.monotonic())
        )
        assert len([next(seen) for _ in range(3)]) == 3
    assert len(times) >= 4


def test_it_goes_on_if_nobody_reads_standard_error(folder, int8, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", "lesionedge", "camera", "--source", folder, "-m", int8, "--save",
            tmp_path / "saved", "--save-when", "always", "--format", "json"]  # fmt: skip
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=writer, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 6)
    assert len(list((tmp_path / "saved").glob("*.jpg"))) == 6


def test_a_late_frame_does_not_shorten_the_time_to_the_next_prediction(monkeypatch):
    now_s, seen_s = 0.0, []

    class Slow:
        """A camera without frames until the sixth second."""

        live, closed, seen, description = True, False, 1, "slow"

        @property
        def ended(self):
            return now_s > 20

        def rest(self, seconds):
            nonlocal now_s
            now_s += seconds

        def wait(self, seconds):
            self.rest(seconds)
            return None if now_s < 6 else object()

    class Looked:
        def look(self, frame):
            seen_s.append(now_s)

    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now_s))
    assert len(list(live._observations(Slow(), Looked(), 5.0, lambda: None))) == 3
    assert all(b - a >= 5.0 - 1e-9 for a, b in pairwise(seen_s))


def test_options_without_effect_are_refused(cli_run, folder, int8):
    for option in (["--save-when", "key"], ["--preview-address", "127.0.0.1:0"]):
        result = cli_run("camera", "--source", folder, "-m", int8, *option)
        assert result.exit_code == 2 and "needs" in result.stderr
