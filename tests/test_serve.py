from __future__ import annotations

import base64
import io
import json
import random
import resource
import signal
import socket
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import FORM, JSON, as_form, as_json, encoded, serving

import lesionedge

prometheus = pytest.importorskip("prometheus_client.parser", reason="needs lesionedge[web]")
pytest.importorskip("fastapi", reason="needs lesionedge[web]")

ROOT = Path(__file__).parent.parent
IMPATIENT = "from lesionedge.web import limits; limits.PATIENCE_S = limits.STUCK_S = 1"
TOKEN = "a-token-of-the-tests-0123"


@pytest.fixture(scope="module")
def server(int8):
    with serving("-m", int8) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(int8):
    """A server that waits for a second where others wait for ten or more."""
    with serving("-m", int8, before=IMPATIENT) as running:
        yield running


@pytest.fixture(scope="module")
def jpeg(draw):
    return encoded(draw(300, 200, seed=1))


@pytest.fixture(scope="module")
def slow():
    """An image that takes tens of milliseconds, in a small file."""
    return huge_png(2000, 2000)


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        rest = kind + content
        return struct.pack(">I", len(content)) + rest + struct.pack(">I", zlib.crc32(rest))

    pack = zlib.compressobj()
    rows = b"".join(pack.compress(bytes(width + 1)) for _ in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# --- predictions ---


def test_every_form_gets_the_classifiers_own_prediction(server, jpeg, int8):
    own = lesionedge.Classifier(int8, threads=1).classify(jpeg)
    for response in (
        server.predict(jpeg),
        server.request("POST", "/predict", as_json(jpeg), **JSON),
        server.request("POST", "/predict", as_json(jpeg, prefix=""), **JSON),
        server.request("POST", "/predict", as_form(jpeg), **FORM),
        server.request("POST", "/predict", as_form(jpeg, field="anything"), **FORM),
    ):
        assert response.status == 200
        found = response.json
        shares = [one["prob"] for one in found["predictions"]]
        assert shares == sorted(shares, reverse=True)
        assert shares == pytest.approx([c.probability for c in own.top])
        assert [one["label"] for one in found["predictions"]] == [c.name for c in own.top]
        assert [one["code"] for one in found["predictions"]] == [c.label for c in own.top]
        assert found["malignant_probability"] == pytest.approx(own.malignant_probability)
        assert found["label"] == own.label
        assert set(found["timings_ms"]) == {"wait", "decode", "preprocess", "invoke"}
        assert "/" not in found["model"]


def test_the_paths_of_the_first_release_still_work(server, jpeg):
    old, new = (server.request("POST", f"{prefix}/predict", jpeg, Content_Type="image/jpeg").json
                for prefix in ("", "/v1"))  # fmt: skip
    assert old["predictions"] == new["predictions"]
    assert server.request("POST", "/explain", jpeg, Content_Type="image/jpeg").status == 200


def test_several_images_per_request(server, jpeg, draw, int8):
    other = encoded(draw(90, 80, seed=9))
    own = lesionedge.Classifier(int8, threads=1)
    wanted = [own.classify(jpeg).probability, None, own.classify(other).probability]
    images = [base64.b64encode(one).decode() for one in (jpeg, b"plain text", other)]
    for response in (
        server.request("POST", "/v1/predict", as_form(jpeg, b"plain text", other), **FORM),
        server.request("POST", "/v1/predict", json.dumps({"images": images}).encode(), **JSON),
    ):
        assert response.status == 200, response.body
        results = response.json["results"]
        assert [one.get("probability") for one in results] == pytest.approx(wanted)
        assert "not an image" in results[1]["error"]
    form = server.request("POST", "/v1/predict", as_form(jpeg, jpeg), **FORM).json
    assert [one["path"] for one in form["results"]] == ["a.jpg", "a.jpg"]
    one = server.request("POST", "/v1/predict", json.dumps({"images": images[:1]}).encode(), **JSON)
    assert len(one.json["results"]) == 1


@pytest.mark.parametrize(
    "given",
    [
        "filename*=UTF-8''n%C3%A4vus%20%E5%90%8D.jpg", 'filename="nävus 名.jpg"',
        "filename*=utf-8'de'n%C3%A4vus%20%E5%90%8D.jpg",
    ],
)  # fmt: skip
def test_file_names_in_any_language(server, jpeg, given):
    body = as_form(jpeg).replace(b'filename="a.jpg"', given.encode())
    found = server.request("POST", "/v1/predict", body, **FORM).json
    assert found["path"] == "nävus 名.jpg"


def test_too_many_images_are_refused(server, jpeg):
    response = server.request("POST", "/v1/predict", as_form(*[jpeg] * 17), **FORM)
    assert (response.status, "at most 16" in response.error) == (413, True)
    response = server.request("POST", "/v1/explain", as_form(jpeg, jpeg), **FORM)
    assert (response.status, "expected one" in response.error) == (422, True)


def test_top_k(server, jpeg):
    path = "/v1/predict?top_k=2"
    found = server.request("POST", path, jpeg, Content_Type="image/jpeg").json
    assert len(found["top"]) == len(found["predictions"]) == 2
    for wrong in ("0", "many"):
        path = f"/v1/predict?top_k={wrong}"
        assert server.request("POST", path, jpeg, Content_Type="image/jpeg").status == 422


def test_results_fit_the_schema(server, jpeg):
    jsonschema = pytest.importorskip("jsonschema", reason="validates results")
    schema = json.loads((ROOT / "docs/reference/result.schema.json").read_text())
    validate = jsonschema.Draft202012Validator(schema).validate
    validate(server.predict(jpeg).json)
    several = server.request("POST", "/v1/predict", as_form(jpeg, b"plain text"), **FORM).json
    for one in several["results"]:
        validate(one)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_usual_kinds_of_images(server, draw, kind):
    assert server.predict(encoded(draw(64, 48, seed=2), kind)).status == 200


def heic(image):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs lesionedge[heic]")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=-1, chroma=444)
    return file.getvalue()


def dicom(tmp_path, image):
    pytest.importorskip("pydicom", reason="needs lesionedge[dicom]")
    import numpy as np
    from test_dicom import write

    return write(tmp_path / "a.dcm", np.asarray(image), "RGB").read_bytes()


def test_files_of_phones_and_clinics(server, draw, int8, tmp_path):
    image = draw(64, 48, seed=2)
    for content, kind in (
        (heic(image), "image/heic"), (dicom(tmp_path, image), "application/dicom"),
    ):  # fmt: skip
        own = lesionedge.Classifier(int8, threads=1).classify(content)
        for response in (
            server.request("POST", "/predict", content, Content_Type=kind),
            server.request("POST", "/predict", as_form(content), **FORM),
            server.request("POST", "/predict", as_json(content), **JSON),
        ):
            assert response.status == 200, response.body
            assert response.json["probability"] == pytest.approx(own.probability)
            assert b"Jane" not in response.body


def test_files_of_phones_and_clinics_without_the_extras(int8, draw, tmp_path):
    image = draw(64, 48, seed=2)
    wanted = ((heic(image), "heic"), (dicom(tmp_path, image), "dicom"))
    without = "import sys; sys.modules.update(pillow_heif=None, pydicom=None)"
    with serving("-m", int8, before=without) as server:
        for content, extra in wanted:
            response = server.predict(content)
            assert response.status == 415
            assert f"pip install 'lesionedge[{extra}]'" in response.error


def test_results_have_warnings(server, draw):
    frames = [draw(64, 48, seed=n) for n in range(2)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert "first frame" in server.predict(moving).json["warnings"][0]


def test_the_response_holds_no_position_or_camera(server, draw):
    from PIL import Image

    exif = Image.Exif()
    exif[0x010F], exif[0x8825] = "SecretMaker", {1: "N", 2: (52.0, 31.0, 12.0)}
    response = server.predict(encoded(draw(64, 48, seed=2), exif=exif))
    assert response.status == 200
    assert b"Secret" not in response.body


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"plain text", "image/jpeg", 400, "not an image"),
        (b"", "image/jpeg", 400, "empty"),
        (b"\xff\xd8\xff\xe0 and no more", "image/jpeg", 400, "cannot be read as an image"),
        (b"8BPS" + bytes(40), "image/vnd.adobe.photoshop", 400, "expected JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/jpeg", 400, "not an image"),
        (b"x", "text/plain", 415, "text/plain"),
        (b"{", "application/json", 400, "not JSON"),
        (b"[" * 900, "application/json", 400, "not JSON"),
        (b"[" * 100_000, "application/json", 422, "more than images"),
        (b"{}", "application/json", 422, "no image"),
        (b'{"image": 7}', "application/json", 422, "no image"),
        (b'{"image": "data:image/png;base64,???"}', "application/json", 422, "not base64"),
        (b'{"image": "\xc3\xa4"}', "application/json", 422, "not base64"),
        (b"x", "multipart/form-data", 400, "boundary"),
        (b"x", FORM["Content_Type"], 400, "form"),
        (as_form(), FORM["Content_Type"], 422, "0 files"),
        (as_form(*[b""] * 2000, field="text"), FORM["Content_Type"], 422, "more than images"),
        (as_form(b"\xff\xd8\xff" + bytes(900))[:200], FORM["Content_Type"], 400, "cut short"),
    ],
)
def test_a_body_without_an_image_gets_a_reason(server, body, kind, status, reason):
    response = server.request("POST", "/predict", body, Content_Type=kind)
    assert (response.status, reason in response.error) == (status, True), response.body


def test_sizes_are_checked_before_anything_is_decoded(server, draw):
    too_many = huge_png(20_000, 10_001)
    assert len(too_many) < 1_000_000
    assert (server.predict(too_many).status, server.predict(too_many).error[:11]) == (
        413,
        "20000x10001",
    )
    small = server.predict(encoded(draw(64, 48, seed=1).resize((15, 40)), "PNG"))
    assert (small.status, "16 px" in small.error) == (422, True)


def test_uploads_over_20_mb_are_refused_with_a_reason(server):
    heavy = b"\xff\xd8\xff" + bytes(28_000_000)
    for headers in ({}, {"Transfer_Encoding": "chunked", "chunked": "yes"}):
        body = (heavy[at : at + 65_536] for at in range(0, len(heavy), 65_536))
        response = server.predict(body if headers else heavy, **headers)
        assert (response.status, "at most 20 MB" in response.error) == (413, True)
    assert server.predict(heavy[:20_000_001]).status == 413
    assert server.predict(heavy[:20_000_000]).status == 400


def test_expect_100_continue_is_refused_at_once(server):
    with server.connect() as wire:
        wire.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            b"Content-Length: 99000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert wire.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_broken_images_never_break_the_server(server, draw, kind):
    rng = random.Random(kind)
    whole = encoded(draw(64, 48, seed=3), kind)
    for case in range(60):
        broken = bytearray(whole)
        if case % 3 == 0:
            del broken[rng.randrange(len(broken)) :]
        for _ in range(rng.randrange(1, 12) if case % 3 else 0):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        if case % 3 == 2:
            at = rng.randrange(len(broken))
            broken[at:at] = rng.randbytes(rng.randrange(1, 300))
        response = server.predict(bytes(broken))
        assert response.status in (200, 400, 413, 422), response.body
        assert response.status == 200 or response.error
    assert server.request("GET", "/health").json["queue"] == 0
    assert not server.messages[1:]


def test_model_describes_the_model(server):
    found = server.request("GET", "/model").json
    assert found["card"]["labels"]
    assert {one["label"] for one in found["labels"]} >= {"mel", "nv"}
    assert "research use" in found["note"]
    assert found["camera"] is None


def test_health_and_metrics(server, jpeg):
    assert server.request("GET", "/health").json["ready"] is True
    server.predict(jpeg)
    server.predict(b"not an image")
    response = server.request("GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families = list(prometheus.text_string_to_metric_families(response.body.decode()))
    found = {
        s.name: s.value for family in families for s in family.samples if "_bucket" not in s.name
    }
    assert found["lesionedge_queue_limit"] >= 32
    assert found["lesionedge_queue"] == 0
    assert found["lesionedge_request_seconds_count"] > 0
    samples = [
        s for family in families for s in family.samples if s.name.endswith("requests_total")
    ]
    statuses = {s.labels["status"] for s in samples if s.labels["path"] == "/v1/predict"}
    assert {"200", "400"} <= statuses
    assert any(s.name == "lesionedge_errors_total" for family in families for s in family.samples)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("GET", "/live", 404),
     ("GET", "/assets/../app.py", 404), ("GET", "/assets/%2e%2e/app.py", 404),
     ("GET", "/live?after=x", 422)],
)  # fmt: skip
def test_errors_are_json_everywhere(server, method, path, status):
    response = server.request(method, path)
    assert (response.status, bool(response.error)) == (status, True)


def test_a_broken_request_gets_a_reason(server):
    with server.connect() as wire:
        wire.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        response = wire.recv(4096)
    assert response.startswith(b"HTTP/1.1 400")
    assert b'{"error"' in response


# --- safety ---


@pytest.mark.parametrize("path", ["/", "/health", "/assets/app.js", "/nothing", "/docs", "/model"])
def test_responses_have_security_headers(server, path):
    headers = server.request("GET", path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:8000", 200), ("192.168.7.1", 200),
     ("evil.example", 421), ("localhost.evil.example", 421), ("", 421), ("a b", 421)],
)  # fmt: skip
def test_foreign_host_names_are_refused(server, host, status):
    assert server.request("GET", "/health", Host=host).status == status


def test_pages_of_other_sites_are_refused(server, jpeg):
    assert server.predict(jpeg, Origin="https://evil.example").status == 403
    assert server.predict(jpeg, Origin="null").status == 403
    assert server.predict(jpeg, Origin=server.url.rstrip("/")).status == 200


def test_other_sites_and_names_can_be_allowed(int8, jpeg):
    site = "https://good.example"
    with serving("-m", int8, "--allow-origin", site, "--allow-host", "pi.example") as server:
        assert server.request("GET", "/health", Host="pi.example").status == 200
        response = server.predict(jpeg, Origin=site)
        assert response.headers["access-control-allow-origin"] == site
        response = server.request(
            "OPTIONS", "/predict", Origin=site, Access_Control_Request_Method="POST"
        )
        assert response.status == 200
        assert server.predict(jpeg, Origin="https://evil.example").status == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_need_a_token(cli_run, host):
    done = cli_run("serve", "--host", host)
    assert done.exit_code == 2
    assert "LESIONEDGE_TOKEN=" in done.stderr
    assert "--insecure" in done.stderr


@pytest.mark.parametrize("token", ["short", "with a space in the middle"])
def test_weak_tokens_are_refused(cli_run, token):
    assert cli_run("serve", "--token", token).exit_code == 2


def test_an_unusable_address_is_an_error(cli_run, server, int8):
    done = cli_run("serve", "-m", int8, "--port", server.port)
    assert done.exit_code == 1
    assert "no other program uses the port" in done.stderr


def test_with_a_token_requests_without_it_are_refused(int8, jpeg):
    with serving("-m", int8, "--host", "0.0.0.0", env={"LESIONEDGE_TOKEN": TOKEN}) as server:
        for path in ("/model", "/metrics", "/live"):
            response = server.request("GET", path)
            assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
        assert server.predict(jpeg).status == 401
        assert server.predict(jpeg, Authorization=f"Bearer {TOKEN[:-1]}").status == 401
        assert server.predict(jpeg, Authorization=f"Basic {TOKEN}").status == 401
        assert server.predict(jpeg, Authorization="Bearer \xe4").status == 401
        assert server.predict(jpeg, Authorization=f"Bearer {TOKEN}").status == 200
        for path in ("/", "/health", "/docs", "/openapi.json", "/assets/app.js"):
            assert server.request("GET", path).status == 200
        assert TOKEN not in "".join(server.messages)


def test_insecure_serves_other_machines_without_a_token(int8, jpeg):
    with serving("-m", int8, "--host", "0.0.0.0", "--insecure") as server:
        assert server.predict(jpeg).status == 200


def test_nothing_is_written_and_nothing_of_an_image_is_logged(int8, jpeg, tmp_path):
    def no_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    environment = {"TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    heavy = huge_png(300, 300) + bytes(
        5_000_000
    )  # Starlette's own form parser would write it to a file
    with serving("-m", int8, env=environment, preexec_fn=no_files, cwd=tmp_path) as server:
        assert server.request("POST", "/predict", as_form(heavy), **FORM).status == 200
        assert server.predict(jpeg).status == 200
        assert server.predict(b"secret words").status == 400
        assert server.end() == 0
        assert len(server.messages) == 1
    assert not list(tmp_path.iterdir())


# --- load, and clients that behave badly ---


def test_many_at_once_beside_half_sent_ones(server, jpeg):
    half = [server.connect() for _ in range(50)]
    try:
        for number, wire in enumerate(half):
            head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            wire.sendall(head + (b"Content-Length: 90000\r\n\r\nhalf" if number % 2 else b""))
        with ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(lambda _: server.predict(jpeg).status, range(320)))
        assert statuses == [200] * 320
    finally:
        for wire in half:
            wire.close()


FAULTY = """
from lesionedge.classifier import Classifier
def classify(*given, **options):
    raise RuntimeError("a bug")
Classifier.classify = classify
"""


def test_an_error_in_the_server_is_counted_and_allowed_sites_can_read_it(int8, jpeg):
    site = "https://good.example"
    with serving("-m", int8, "--allow-origin", site, before=FAULTY) as server:
        response = server.predict(jpeg, Origin=site)
        assert (response.status, "its log" in response.error) == (500, True)
        assert response.headers.get_all("access-control-allow-origin") == [site]
        lines = server.request("GET", "/metrics").body.decode().splitlines()
        assert 'lesionedge_errors_total{status="500"} 1.0' in lines
        assert any("RuntimeError: a bug" in line for line in server.messages)


def test_a_model_whose_outputs_are_no_probabilities_is_an_error_of_one_line(models, jpeg, tmp_path):
    (tmp_path / "labels.txt").write_text("".join(f"thing {n}\n" for n in range(7)))
    options = ["--labels", tmp_path / "labels.txt", "--normalize", "127.5,127.5"]
    with serving("-m", models / "end-doubled.tflite", *options) as server:
        response = server.predict(jpeg)
        assert (response.status, "outputs add up to 0.5" in response.error) == (500, True)
        several = server.request("POST", "/v1/predict", as_form(jpeg, jpeg), **FORM).json
        assert ["outputs add up to 0.5" in one["error"] for one in several["results"]] == [True] * 2
        assert not any("Traceback" in line for line in server.messages)


def test_allowed_sites_can_read_that_a_token_is_missing(int8, jpeg):
    site = "https://good.example"
    given = {"env": {"LESIONEDGE_TOKEN": TOKEN}}
    with serving("-m", int8, "--allow-origin", site, **given) as server:
        response = server.predict(jpeg, Origin=site)
        assert (response.status, bool(response.error)) == (401, True)
        assert response.headers.get_all("access-control-allow-origin") == [site]
        assert "Origin" in response.headers["vary"]
        response = server.predict(jpeg, Origin=site, Authorization=f"Bearer {TOKEN}")
        assert response.headers.get_all("access-control-allow-origin") == [site]
        response = server.predict(jpeg, Origin="https://evil.example")
        assert "access-control-allow-origin" not in response.headers


def test_the_queue_has_a_limit(server, slow):
    with ThreadPoolExecutor(120) as pool:
        responses = list(pool.map(lambda _: server.predict(slow), range(120)))
    good = sum(response.status == 200 for response in responses)
    refused = [response for response in responses if response.status != 200]
    assert good >= 32
    assert refused
    for response in refused:
        assert response.status == 503
        assert int(response.headers["retry-after"]) >= 1
        assert "try again" in response.error
    assert server.request("GET", "/health").json["ready"] is True


def test_slow_clients_time_out(impatient, jpeg):
    starts = [
        b"",
        b"GET /health HT",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        b"Content-Length: 90000\r\n\r\nhalf",
    ]
    wires = [impatient.connect() for _ in starts]
    for wire, start in zip(wires, starts):
        wire.sendall(start)
    for wire in wires:
        response = b"".join(iter(lambda wire=wire: wire.recv(4096), b""))
        assert response.startswith(b"HTTP/1.1 408")
        assert b"in time" in response
        wire.close()
    assert impatient.predict(jpeg).status == 200
    assert len(impatient.messages) == 1


def test_a_client_that_sends_too_slowly_times_out(impatient):
    with impatient.connect() as wire:
        wire.sendall(b"GET /health HTTP/1.1\r\n")
        with pytest.raises(OSError):
            for number in range(200):
                wire.sendall(b"X-%d: x\r\n" % number)
                time.sleep(0.1)


def test_a_client_that_reads_nothing_is_disconnected(impatient):
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", impatient.port))
        wire.settimeout(60)
        request = b"GET /docs/swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
        wire.sendall(request * 8)
        deadline = time.monotonic() + 30
        while connections(impatient) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert connections(impatient) <= 1


def connections(server) -> int:
    """Return how many sockets the server has, without its own pair: the listening one, clients'."""
    from pathlib import Path

    port = f":{server.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(line.split()[1].endswith(port) and line.split()[3] == "01" for line in lines) + 1


def test_clients_that_break_off_leave_nothing_behind(server, jpeg):
    for _ in range(100):
        with server.connect() as wire:
            wire.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 9000000\r\n\r\n" + jpeg
            )
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.predict(jpeg).status == 200
    assert server.request("GET", "/health").json["queue"] == 0
    assert not server.messages[1:]


def test_all_bodies_together_have_a_limit(int8, jpeg):
    tight = "from lesionedge.web import limits; limits.MAX_HELD_BYTES = 100_000"
    with serving("-m", int8, before=tight) as server:
        response = server.predict(b"\xff\xd8\xff" + bytes(200_000))
        assert (response.status, bool(response.headers["retry-after"])) == (503, True)
        assert server.predict(jpeg).status == 200


def test_too_many_connections_are_refused(int8):
    few = "from lesionedge.web import limits; limits.MAX_CONNECTIONS = 5"
    with serving("-m", int8, before=few) as server:
        wires = [server.connect() for _ in range(5)]
        with server.connect() as sixth:
            assert sixth.recv(4096).startswith(b"HTTP/1.1 503")
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_when_stopped_it_finishes_open_requests(int8, slow, number):
    with serving("-m", int8) as server:
        with ThreadPoolExecutor(20) as pool:
            requests = [pool.submit(server.predict, slow) for _ in range(20)]
            while server.request("GET", "/health").json["queue"] < 15:
                time.sleep(0.01)
            with server.connect() as half:
                half.sendall(b"GET / HT")
                assert server.end(number) == 0
            assert [one.result().status for one in requests] == [200] * 20
        assert len(server.messages) == 1


# --- the device's own camera ---


@pytest.fixture
def frames(tmp_path, draw):
    for number in range(40):
        draw(320, 240, seed=number % 3).save(tmp_path / f"frame-{number:03}.jpg")
    return tmp_path


def test_the_live_view_returns_frames_with_predictions(int8, frames):
    with serving("-m", int8, "--camera", frames) as server:
        assert server.request("GET", "/model").json["camera"]
        seen = 0
        for _ in range(5):
            found = server.request("GET", f"/live?after={seen}").json
            assert found["number"] > seen
            seen = found["number"]
            assert found["image"].startswith("data:image/jpeg;base64,/9j/")
            assert found["predictions"][0]["prob"] == found["probability"]
            assert found["age_ms"] >= 0
        while (response := server.request("GET", f"/live?after={seen}")).status == 200:
            seen = response.json["number"]
        assert (response.status, "has ended" in response.error) == (503, True)
        assert server.end() == 0


def test_several_clients_can_watch(int8, frames):
    with serving("-m", int8, "--camera", frames) as server:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: server.request("GET", "/live").status, range(4)))
        assert found == [200] * 4


def test_an_absent_camera_is_an_error_at_once(cli_run, int8):
    done = cli_run("serve", "-m", int8, "--port", "0", "--camera", "/nowhere/frames-%d.jpg")
    assert done.exit_code == 1
    assert "/nowhere" in done.stderr


# --- the outside world ---

ALONE = """
import ctypes, fcntl, os, socket, struct, sys
if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
with socket.socket() as wire:  # bring lo up; nothing else is there, and no route
    fcntl.ioctl(wire, 0x8914, struct.pack("16sH14x", b"lo", 0x49))
"""
GUARDED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getnameinfo", "urllib.Request"):
        print("OUTGOING", event, arguments, file=sys.stderr, flush=True)
        os._exit(9)
import os
sys.addaudithook(watch)
"""


def test_it_needs_no_network_and_opens_no_connection(int8, jpeg, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    body = f"""{ALONE}
sys.path.insert(0, {sys.path[0]!r}); sys.path[:0] = {[p for p in sys.path if p.endswith("tests")]!r}
from serving import serving, as_form, FORM
jpeg = open({str(tmp_path / "a.jpg")!r}, "rb").read()
with serving("-m", {int8!r}, before={GUARDED!r}) as server:
    for path in ("/", "/assets/app.js", "/docs", "/openapi.json", "/model", "/health", "/metrics"):
        assert server.request("GET", path).status == 200, path
    assert server.predict(jpeg).status == 200
    assert server.request("POST", "/predict", as_form(jpeg), **FORM).status == 200
    assert server.end() == 0
    assert len(server.messages) == 1, server.messages
print("alone and well")
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, timeout=120)
    if done.stderr.startswith("unshare: "):
        pytest.skip(f"no network namespace can be made here ({done.stderr.strip()})")
    assert done.stdout == "alone and well\n", done.stderr


def test_missing_libraries_are_named(cli_run, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "fastapi" else real(name, *rest),
    )
    done = cli_run("serve")
    assert done.exit_code == 1
    assert "pip install 'lesionedge[web]'" in done.stderr


def test_the_page_and_its_parts_are_small():
    from importlib.resources import files

    parts = list((files("lesionedge.web") / "static").iterdir())
    assert {"index.html", "app.js", "style.css"} <= {part.name for part in parts}
    assert sum(len(part.read_bytes()) for part in parts) < 100_000
