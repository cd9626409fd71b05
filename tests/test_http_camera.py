"""http and file addresses as sources, from real servers on loopback."""

from __future__ import annotations

import functools
import io
import itertools
import json
import re
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import lesionedge
from lesionedge import CameraError, Classifier

COUNT = 30


@pytest.fixture(scope="module")
def classifier(int8):
    return Classifier(int8, threads=1)


@pytest.fixture(scope="module")
def jpegs(draw) -> list[bytes]:
    return [encoded(draw(320, 240, seed=seed)) for seed in range(6)]


def encoded(image, form="JPEG", **settings) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **settings)
    return content.getvalue()


@pytest.fixture
def serve():
    """Start servers on loopback: ``serve(handler)`` returns the address."""
    running: list[ThreadingHTTPServer] = []

    def start(handler, *, port=0, wrap=None) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        server.daemon_threads = True
        if wrap is not None:
            server.socket = wrap(server.socket)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        running.append(server)
        return f"http{'s' if wrap else ''}://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def reply(self, data: bytes, *, length=True, **headers) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def files(folder, *, ranges: bool):
    """Two file servers: Python's own, which cannot send parts, and one that can."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            if not ranges:
                super().do_GET()
                return
            with open(self.translate_path(self.path), "rb") as file:
                data = file.read()
            begin, end = 0, len(data) - 1
            part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if part:
                begin, end = int(part[1]), int(part[2] or end)
            self.send_response(206 if part else 200)
            self.send_header("Accept-Ranges", "bytes")
            if part:
                self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
            self.send_header("Content-Length", str(end - begin + 1))
            self.end_headers()
            try:
                self.wfile.write(data[begin : end + 1])
            except OSError:
                pass

    return functools.partial(Handler, directory=str(folder))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, draw):
    """Recordings of COUNT frames in common containers."""
    av = pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("recordings")
    frames = [av.VideoFrame.from_image(draw(320, 240, seed=seed)) for seed in range(3)]

    def record(name, codec, options=None, form="yuv420p"):
        with av.open(str(folder / name), "w", options=options or {}) as out:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 240, form
            for number in range(COUNT):
                frame = frames[number // 10]
                frame.pts = number
                out.mux(stream.encode(frame))
            out.mux(stream.encode())

    record("a.mp4", "libx264")
    record("fast.mp4", "libx264", {"movflags": "faststart"})
    record("fragments.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"})
    record("a.mov", "libx264")
    record("a.mkv", "libx264")
    record("a.ts", "libx264")
    record("a.webm", "libvpx-vp9")
    record("a.avi", "mpeg4")
    record("m.avi", "mjpeg", form="yuvj420p")
    record("a.gif", "gif", form="rgb8")
    (folder / "a b.mp4").write_bytes((folder / "a.mp4").read_bytes())
    return folder


NAMES = ("a.mp4", "fast.mp4", "fragments.mp4", "a.mov", "a.mkv", "a.ts", "a.webm", "a.avi", "m.avi",
         "a.gif")  # fmt: skip


def all_frames(source, classifier, **settings) -> list[int]:
    with lesionedge.Camera(str(source), **settings) as camera:
        assert not camera.live
        seen = list(lesionedge.watch(camera, classifier))
    assert (camera.dropped, camera.damaged, camera.outages) == (0, 0, 0)
    return [observation.frame.number for observation in seen]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_all_frames_of_a_recording_over_http_are_read(serve, recordings, classifier, name, ranges):
    address = serve(files(recordings, ranges=ranges))
    by_path = all_frames(recordings / name, classifier)
    assert len(by_path) == COUNT
    assert all_frames(f"{address}/{name}", classifier) == by_path


@pytest.mark.parametrize("address", ["file://{}", "file://localhost{}", "FILE://{}"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a b.mp4"])
def test_a_recording_by_a_file_address(recordings, classifier, address, name):
    assert len(all_frames(address.format(recordings / name), classifier)) == COUNT
    quoted = str(recordings / name).replace(" ", "%20")
    assert len(all_frames(address.format(quoted), classifier)) == COUNT


def test_a_file_address_of_images_and_of_nothing(tmp_path, jpegs, classifier):
    (tmp_path / "1.jpg").write_bytes(jpegs[0])
    assert all_frames(f"file://{tmp_path}", classifier) == [1]
    assert all_frames(f"file://{tmp_path}/1.jpg", classifier) == [1]
    with pytest.raises(CameraError, match="no such file"):
        lesionedge.Camera(f"file://{tmp_path}/none.mp4").__enter__()
    with pytest.raises(CameraError, match="names the machine far"):
        lesionedge.Camera("file://far/a.mp4").__enter__()


def test_the_command_ends_with_0_after_a_recording(serve, recordings, command, int8):
    address = serve(files(recordings, ranges=True))
    done = command("camera", "--source", f"{address}/a.mp4", "-m", int8, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == COUNT
    assert b"0 dropped, 0 damaged" in done.stderr


def test_a_recording_plays_at_its_own_speed_with_every(serve, recordings, cli_run, int8):
    address = serve(files(recordings, ranges=True))
    result = cli_run("camera", "--source", f"{address}/a.mp4", "-m", int8, "--format", "json",
                     "--every", 0.4)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert 2 <= len(result.stdout.splitlines()) <= 5  # 1.2 s


def test_a_recording_that_breaks_off_is_an_error(serve, recordings, cli_run, int8):
    data = (recordings / "a.ts").read_bytes()

    class Handler(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(data)))
            self.end_headers()
            self.wfile.write(data)

    result = cli_run("camera", "--source", serve(Handler) + "/a.ts", "-m", int8)
    assert result.exit_code == 1
    assert "broke off" in result.stderr and "30 frames seen" in result.stderr


def test_a_file_without_frames_is_an_error(serve, tmp_path, recordings, command, int8):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "empty.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        out.start_encoding()
    address = serve(files(tmp_path, ranges=False))
    (tmp_path / "page.html").write_text("<!doctype html><html>hello</html>")
    (tmp_path / "text.html").write_text("hello")
    (tmp_path / "nothing.mp4").write_bytes(b"")
    for source, words in {
        tmp_path / "empty.mkv": b"ends before its first frame",
        f"{address}/empty.mkv": b"ends before its first frame",
        f"{address}/page.html": b"page.html: is a web page; expected the address of an image",
        f"{address}/text.html": b"no video that FFmpeg can read",
        f"{address}/nothing.mp4": b"the server sends nothing",
        f"{address}/none.mp4": b"the server returned 404",
    }.items():
        done = command("camera", "--source", source, "-m", int8)
        assert done.returncode == 1, (source, done.stderr)
        assert words in done.stderr and b"Traceback" not in done.stderr


def test_a_redirect_that_goes_in_circles_is_one_line(serve):
    class Handler(Quiet):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with pytest.raises(lesionedge.CameraError, match="the server returned 302 [^\n]*$"):
        lesionedge.Camera(f"{serve(Handler)}/a").__enter__()


def test_frames_that_are_all_damaged_are_an_error(tmp_path, jpegs, cli_run, int8):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpegs[0][:2000])
    result = cli_run("camera", "--source", tmp_path, "-m", int8)
    assert result.exit_code == 1
    assert "no frame can be decoded, of 3 frames" in result.stderr
    assert "3 damaged" in result.stderr


def snapshots(contents, kind="image/jpeg", *, length=True, times=None, before=None):
    """A server that sends the next image for each request."""

    class Handler(Quiet):
        count = 0

        def do_GET(self):
            if before is not None and before(self):
                return
            number, Handler.count = Handler.count, Handler.count + 1
            if times is not None:
                times.append(time.monotonic())
            self.reply(contents[number % len(contents)], length=length,
                       **({"Content_Type": kind} if kind else {}))  # fmt: skip

    return Handler


def watched(source, classifier, count, **settings):
    with lesionedge.Camera(source) as camera:
        seen = []
        for observation in lesionedge.watch(camera, classifier, **settings):
            seen.append(observation)
            if len(seen) == count:
                break
        assert camera.live
        return seen, camera


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", ""])
def test_a_snapshot_address_is_requested_repeatedly(serve, jpegs, classifier, kind, length):
    address = serve(snapshots(jpegs, kind, length=length))
    seen, camera = watched(f"{address}/shot", classifier, 5)
    assert [observation.frame.content for observation in seen] == jpegs[:5]
    assert (camera.dropped, camera.damaged, camera.outages) == (0, 0, 0)


def test_the_scheme_in_capitals(serve, jpegs):
    address = serve(snapshots(jpegs)).replace("http://", "Http://")
    with lesionedge.Camera(f"{address}/a.jpg") as camera:
        assert next(iter(camera)).jpeg == jpegs[0]


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_snapshots_of_other_formats(serve, draw, classifier, form):
    image = draw(320, 240, seed=1)
    settings = {"lossless": True} if form == "WEBP" else {}
    for kind in (f"image/{form.lower()}", "application/octet-stream"):
        address = serve(snapshots([encoded(image, form, **settings)], kind))
        seen, _ = watched(address + "/shot", classifier, 3)
        assert np.array_equal(np.asarray(seen[2].frame.image), np.asarray(image))


def test_snapshots_are_requested_when_due_and_are_new(serve, jpegs, classifier):
    times: list[float] = []
    address = serve(snapshots(jpegs, times=times))
    seen, _ = watched(address + "/shot.jpg", classifier, 4, every_s=0.5)
    assert len(times) <= 5
    assert all(late - early > 0.3 for early, late in itertools.pairwise(times[1:]))
    # No image was fetched ahead of time.
    assert all(observation.age_ms < 450 for observation in seen[1:])


def test_snapshots_are_requested_at_most_ten_times_a_second(serve, jpegs, classifier):
    times: list[float] = []
    watched(serve(snapshots(jpegs, times=times)), classifier, 6)
    assert all(late - early > 0.08 for early, late in itertools.pairwise(times))


def test_damaged_snapshots_are_counted_and_the_next_one_is_requested(serve, jpegs, classifier):
    cut, lost = jpegs[1][:3000], jpegs[2][:3000] + jpegs[2][4000:]
    address = serve(snapshots([jpegs[0], cut, lost, jpegs[3]]))
    seen, camera = watched(address, classifier, 3)
    assert [o.frame.content for o in seen] == [jpegs[0], jpegs[3], jpegs[0]]
    assert camera.damaged == 2


def test_it_waits_for_a_snapshot_server_that_goes_away(serve, jpegs, classifier):
    down = [False]

    def refuse(handler) -> bool:
        if down[0]:
            handler.send_error(503)
        return down[0]

    messages: list[str] = []
    address = serve(snapshots(jpegs, before=refuse))
    with lesionedge.Camera(address, give_up_s=30, report=messages.append) as camera:
        assert camera.wait(20) is not None
        down[0] = True
        _wait_until(lambda: messages, camera)
        down[0] = False
        _wait_until(lambda: any("back after" in text for text in messages), camera)
    assert "503" in messages[0] and camera.outages == 1


def _wait_until(condition, camera, limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        camera.wait(0.1)
    assert condition()


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_a_password_in_the_address(serve, jpegs, cli_run, int8, scheme):
    challenge = 'Basic realm="cam"'
    if scheme == "Digest":
        challenge = 'Digest realm="cam", nonce="1", qop="auth", algorithm=MD5'

    def locked(handler) -> bool:
        if handler.headers.get("Authorization", "").startswith(scheme):
            return False
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    host = serve(snapshots(jpegs, before=locked)).removeprefix("http://")
    arguments = ("-m", int8, "--frames", 2, "--format", "json")
    result = cli_run("camera", "--source", f"http://ann:p@s%20cret@{host}/shot", *arguments)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[1])["source"] == f"http://…@{host}/shot"
    assert "cret" not in result.output + result.stderr
    result = cli_run("camera", "--source", f"http://{host}/shot", *arguments)
    assert result.exit_code == 1 and "401" in result.stderr


def parts(jpegs, *, boundary=True, pause_s=0.02, ends=False):
    """A server of MJPEG: in a multipart response, or one JPEG after the other."""

    class Handler(Quiet):
        def do_GET(self):
            self.send_response(200)
            kind = "multipart/x-mixed-replace; boundary=f" if boundary else "video/x-motion-jpeg"
            self.send_header("Content-Type", kind)
            self.end_headers()
            number = 0
            try:
                while number < len(jpegs) or not ends:
                    jpeg = jpegs[number % len(jpegs)]
                    number += 1
                    if boundary:
                        self.wfile.write(b"--f\r\nContent-Type: image/jpeg\r\n\r\n")
                    self.wfile.write(jpeg + b"\r\n" * boundary)
                    time.sleep(pause_s)
            except OSError:
                pass

    return Handler


@pytest.mark.parametrize("boundary", [True, False])
def test_mjpeg_needs_no_video_library(serve, jpegs, classifier, boundary, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    seen, camera = watched(serve(parts(jpegs, boundary=boundary)), classifier, 5, every_s=0.1)
    assert camera.dropped > 0 and camera.damaged == 0
    assert all(observation.frame.content in jpegs for observation in seen)


def test_intact_frames_of_a_damaged_mjpeg_are_classified(serve, jpegs, classifier):
    lost = jpegs[1][:4000] + jpegs[1][5000:]
    seen, camera = watched(serve(parts([jpegs[0], lost, jpegs[2], jpegs[3][:3000]], pause_s=0.1)),
                           classifier, 8)  # fmt: skip
    assert {observation.frame.content for observation in seen} <= {jpegs[0], jpegs[2]}
    assert camera.damaged >= 4


def test_a_recording_of_jpegs_one_after_the_other(serve, tmp_path, jpegs, classifier):
    pytest.importorskip("av")
    (tmp_path / "a.mjpeg").write_bytes(b"".join(jpegs))
    address = serve(files(tmp_path, ranges=False))
    assert all_frames(f"{address}/a.mjpeg", classifier) == list(range(1, 7))
    assert all_frames(tmp_path / "a.mjpeg", classifier) == list(range(1, 7))


def test_a_stream_that_ends_is_requested_again_at_once(serve, jpegs):
    messages: list[str] = []
    address = serve(parts(jpegs * 10, ends=True))
    with lesionedge.Camera(address, report=messages.append) as camera:
        deadline = time.monotonic() + 20
        while (
            not any("back after 0 s" in text for text in messages) and time.monotonic() < deadline
        ):
            camera.wait(0.1)
    assert "the server ended the stream; trying again" in messages[0]
    assert messages[1].endswith("back after 0 s")


class Live:
    """A live MPEG-TS: 25 frames a second in real time, a key frame every 10 s."""

    def __init__(self, draw) -> None:
        import av

        self.pieces: list[bytes] = []
        pending = bytearray()

        class Sink(io.RawIOBase):
            def writable(self):
                return True

            def write(self, data):
                pending.extend(bytes(data))
                return len(data)

        with av.open(Sink(), "w", format="mpegts", buffer_size=2048) as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "250"}
            image = av.VideoFrame.from_image(draw(320, 240, seed=1))
            for number in range(500):
                image.pts = number
                out.mux(stream.encode(image))
                self.pieces.append(bytes(pending))
                pending.clear()

    def handler(self, *, chunked, last=500):
        pieces = self.pieces[:last]

        class Handler(Quiet):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.close_connection = True
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                if chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                begin_s = time.monotonic()
                for number, piece in enumerate(pieces):
                    time.sleep(max(0.0, begin_s + number / 25 - time.monotonic()))
                    try:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked and piece
                                         else piece)  # fmt: skip
                    except OSError:
                        return

        return Handler


@pytest.fixture(scope="module")
def live(draw):
    pytest.importorskip("av")
    return Live(draw)


@pytest.mark.parametrize("chunked", [True, False])
def test_the_first_key_frame_of_a_live_stream_is_classified(serve, live, classifier, chunked):
    """Key frames come every ten seconds: if the first were lost, the next would take that long."""
    source = serve(live.handler(chunked=chunked)) + "/live.ts"
    with lesionedge.Camera(source) as camera:
        assert camera.live
        first = camera.wait(9)
    assert first is not None and first.number <= 3


def test_a_reconnect_loses_as_few_frames_as_possible(serve, live, tmp_path, classifier):
    (tmp_path / "a.ts").write_bytes(b"".join(live.pieces[:40]))
    whole = len(all_frames(tmp_path / "a.ts", classifier))
    messages: list[str] = []
    source = serve(live.handler(chunked=True, last=40)) + "/live.ts"
    with lesionedge.Camera(source, report=messages.append) as camera:
        deadline = time.monotonic() + 30
        while camera.outages < 2 and time.monotonic() < deadline:
            camera.wait(0.2)
        assert camera.seen == 2 * whole and camera.damaged == 0
    assert camera.outages == 2


def test_no_frame_within_the_duration_is_an_error(serve, cli_run, int8):
    class Handler(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
            self.end_headers()
            time.sleep(3)

    result = cli_run("camera", "--source", serve(Handler), "-m", int8, "--duration", 0.5)
    assert result.exit_code == 1
    assert "sent no frame in 0.5 s" in result.stderr


def test_https_with_a_self_signed_certificate(serve, recordings, jpegs, classifier, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
             "/CN=cam", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    wrap = functools.partial(context.wrap_socket, server_side=True)
    address = serve(files(recordings, ranges=True), wrap=wrap)
    assert len(all_frames(f"{address}/a.mp4", classifier)) == COUNT
    seen, _ = watched(serve(snapshots(jpegs), wrap=wrap), classifier, 2)
    assert seen[1].frame.content == jpegs[1]
