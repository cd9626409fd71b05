"""The live image in a browser: one page, an MJPEG stream, on this machine only by default."""

from __future__ import annotations

import io
import re
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from lesionedge.errors import CameraError, ImageError
from lesionedge.preview.drawing import LEAST_S, draw

if TYPE_CHECKING:
    from lesionedge.live import Observation

HOST, PORT = "127.0.0.1", 8080
LOOPBACK = ("127.0.0.1", "::1")
MOST_VIEWERS = 4
QUALITY = 80
_BOUNDARY = b"lesionedge-frame"
_WAIT_S = 1.0
PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>lesionedge camera</title>
<meta name="viewport" content="width=device-width"><style>
body{margin:0;background:#101218;color:#f0f0f0;font:16px system-ui,sans-serif;text-align:center}
img{max-width:100%;max-height:94vh}</style>
<img src="stream.mjpg" alt="The camera's image, with the prediction below">
<p>For research use only: not a diagnosis.</p></html>
"""


class WebPreview:
    """A small server that shows the newest observation to a few browsers."""

    def __init__(self, host: str = HOST, port: int = PORT) -> None:
        """Start the server.

        Args:
            host: The address to listen on.
            port: The port; 0 for any free one.

        Raises:
            CameraError: The port cannot be used.
        """
        self._changed = threading.Condition()
        self._newest: Observation | None = None
        self._number = 0
        self._closed = False
        self._viewers = threading.BoundedSemaphore(MOST_VIEWERS)
        preview = self

        class Handler(_Handler):
            show = preview

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exc_info()[1], OSError):  # the browser went away
                    super().handle_error(request, client_address)

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise CameraError(
                f"{host}:{port}: the preview cannot be served there ({error.strerror}); is another "
                "program using the port?"
            ) from error
        except (TypeError, UnicodeError) as error:  # Python cannot encode it
            raise CameraError(f"{host}: is not the name of a machine ({error})") from error
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._server.server_address[1]}/"
        self.only_here = self._server.server_address[0] in LOOPBACK
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def show(self, observation: Observation) -> bool:
        """Show an observation until the next one; return True."""
        with self._changed:
            self._newest, self._number = observation, self._number + 1
            self._changed.notify_all()
        return True

    def update(self) -> bool:
        """Return True: there is nothing to do between observations."""
        return True

    def pressed(self) -> bool:
        """Return False: the browser sends no keys."""
        return False

    def close(self) -> None:
        """Stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def next(self, seen: int) -> tuple[int, Observation | None]:
        """Return the newest observation and its number; wait a while if ``seen`` is the newest."""
        with self._changed:
            if self._number == seen and not self._closed:
                self._changed.wait(_WAIT_S)
            return self._number, self._newest

    @property
    def closed(self) -> bool:
        """Whether the preview has ended."""
        return self._closed

    @property
    def viewers(self) -> threading.BoundedSemaphore:
        """Limits the number of browsers."""
        return self._viewers


class _Handler(BaseHTTPRequestHandler):
    """Handles one browser's requests."""

    show: WebPreview
    timeout = 30

    def do_GET(self) -> None:
        """Send the page or the stream."""
        if self.show.only_here and not _is_this_machine(self.headers.get("Host", "")):
            # Otherwise a foreign page could read the images by DNS rebinding.
            self.send_error(403, "the preview is for this machine only")
        elif self.path == "/":
            self._send(PAGE, "text/html; charset=utf-8")
        elif self.path == "/stream.mjpg":
            if not self.show.viewers.acquire(blocking=False):
                self.send_error(503, f"{MOST_VIEWERS} browsers are watching already")
                return
            try:
                self._stream()
            finally:
                self.show.viewers.release()
        else:
            self.send_error(404)

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        self.send_response(200)
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}"
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        seen = 0
        while not self.show.closed:
            number, observation = self.show.next(seen)
            if observation is None or number == seen:
                if self._is_gone():  # without a camera it would keep its place among the viewers
                    return
                continue
            seen = number
            try:
                content = io.BytesIO()
                draw(observation).save(content, "JPEG", quality=QUALITY)
            except ImageError:
                continue
            jpeg = content.getvalue()
            head = f"\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(b"--" + _BOUNDARY + head.encode() + jpeg + b"\r\n")
            time.sleep(LEAST_S)

    def _is_gone(self) -> bool:
        """Return whether the browser has closed the connection; it sends nothing else now."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1024)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: standard error belongs to the command."""


def _is_this_machine(host: str) -> bool:
    """Return whether a request's Host header means this machine."""
    return re.fullmatch(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", host, re.IGNORECASE) is not None
