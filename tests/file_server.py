"""An HTTP server on loopback for tests; it serves files, and can behave badly."""

from __future__ import annotations

import base64
import contextlib
import html
import http.server
import re
import threading
import urllib.parse
from pathlib import Path
from typing import Any


class FileServer:
    """Serves a folder; ``behaviour`` maps paths to functions that take the handler."""

    def __init__(self, root: Path, *, ranges: bool = False, login: str | None = None) -> None:
        self.root, self.ranges = root, ranges
        self.login = login and "Basic " + base64.b64encode(login.encode()).decode()
        self.behaviour: dict[str, Any] = {}
        self.requested: list[str] = []

    def __enter__(self) -> FileServer:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requested.append(self.path)
                outer.respond(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def respond(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Send the requested file or page."""
        path = urllib.parse.unquote(handler.path.partition("?")[0])
        if self.login and handler.headers.get("Authorization") != self.login:
            self.send(handler, 401, b"who are you?", "text/plain")
        elif path in self.behaviour:
            self.behaviour[path](handler)
        elif (file := self.root / path.strip("/")).is_dir():
            if not path.endswith("/"):
                self.redirect(handler, urllib.parse.quote(path) + "/")
            else:
                self.send(handler, 200, self.page(file), "text/html; charset=utf-8")
        elif file.is_file():
            self.send_file(handler, file.read_bytes())
        else:
            self.send(handler, 404, b"<html>nothing here</html>", "text/html")

    @staticmethod
    def page(folder: Path) -> bytes:
        """List a folder as Apache does, with links that sort it and one to its parent."""
        names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
        links = "".join(
            f'<li><a href="{urllib.parse.quote(name)}">{html.escape(name)}</a></li>'
            for name in names
        )
        return (
            '<html><a href="?C=N;O=D">Name</a> <a href="../">Parent</a> '
            f'<a href="http://elsewhere.invalid/x.jpg">x</a><ul>{links}</ul></html>'
        ).encode()

    def send_file(self, handler: Any, content: bytes) -> None:
        """Send a file, or the requested part of it."""
        kind = "application/octet-stream"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if not (self.ranges and wanted):
            self.send(handler, 200, content, kind)
            return
        start, end = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        self.send(
            handler, 206, content[start : end + 1], kind,
            {"Content-Range": f"bytes {start}-{end}/{len(content)}", "ETag": '"1"'},
        )  # fmt: skip

    @staticmethod
    def send(
        handler: Any, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        """Send a response."""
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        with contextlib.suppress(OSError):  # the client may have gone
            handler.wfile.write(content)

    @staticmethod
    def redirect(handler: Any, where: str) -> None:
        """Redirect to another address."""
        handler.send_response(302)
        handler.send_header("Location", where)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
