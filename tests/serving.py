"""Runs a real ``lesionedge serve`` on loopback for its tests."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

BOUNDARY = "a-boundary"
ROOT = Path(__file__).parent.parent


class Response:
    """A response of the server."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json"
        return self.json["error"]


class Server:
    """The server's process, and the lines of its standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.messages = [process.stderr.readline()]
        found = re.search(r"https?://\S+:(\d+)/", self.messages[0])
        assert found, self.messages[0] + process.stderr.read()
        self.url, self.port = found[0], int(found[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stderr:
            self.messages.append(line)

    def request(
        self, method: str, path: str, body: Any = None, *, host: str = "127.0.0.1", **headers: str
    ) -> Response:
        wire = http.client.HTTPConnection(host, self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            wire.request(method, path, body, named, encode_chunked=named.get("chunked") == "yes")
            response = wire.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            wire.close()

    def predict(self, content: bytes, **headers: str) -> Response:
        return self.request("POST", "/v1/predict", content, Content_Type="image/jpeg", **headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def measured() -> dict[str, str]:
    """Return environment variables that measure a process's coverage, if the tests' is measured."""
    coverage = sys.modules.get("coverage")
    if coverage is None or coverage.Coverage.current() is None:
        return {}
    return {
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
        "COVERAGE_FILE": str(ROOT / ".coverage"),
    }


@contextmanager
def serving(*arguments: Any, before: str = "", **options: Any) -> Any:
    """Run a server; ``before`` is Python that runs first in its process."""
    # A process that may not write files cannot report its coverage.
    measuring = {} if "preexec_fn" in options else measured()
    start = "import coverage\ncoverage.process_startup()" if measuring else ""
    code = f"{start}\n{before}\nfrom lesionedge.cli import main\nmain(prog_name='lesionedge')"
    line = [sys.executable, "-c", code, "serve", "--port", "0", *map(str, arguments)]
    environment = {**os.environ, **measuring, **options.pop("env", {})}
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, text=True, env=environment, **options
    ) as process:
        try:
            yield Server(process)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def static(folder):
    """Serve a folder as any static host does, without special headers."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    host = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    host.daemon_threads = True
    thread = threading.Thread(target=host.serve_forever, daemon=True)
    thread.start()
    try:
        yield host, f"http://127.0.0.1:{host.server_port}/"
    finally:
        host.shutdown()
        host.server_close()
        thread.join()


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def as_json(content: bytes, prefix: str = "data:image/jpeg;base64,") -> bytes:
    return json.dumps({"image": prefix + base64.b64encode(content).decode()}).encode()


def as_form(*contents: bytes, field: str = "image") -> bytes:
    parts = b"".join(
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; '
            'filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        ).encode()
        + content
        + b"\r\n"
        for content in contents
    )
    return parts + f"--{BOUNDARY}--\r\n".encode()


JSON = {"Content_Type": "application/json"}
FORM = {"Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}
