"""Debian's Firefox for tests of pages, driven over WebDriver BiDi: a page without a window.

Playwright drives only a Firefox of its own.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from contextlib import closing, contextmanager

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
if PROGRAM is None:
    pytest.skip("needs Firefox: sudo make tools", allow_module_level=True)

WAIT_S = 300
# The proxy does not exist: so Firefox reaches only this machine.
PREFERENCES = """user_pref("app.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("intl.accept_languages", "en");
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.no_proxies_on", "127.0.0.1");
"""


class Socket:
    """A WebSocket of text messages (RFC 6455)."""

    def __init__(self, port: int, path: str) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self._wire.sendall(head.encode())
        self._in = self._wire.makefile("rb")
        first = self._in.readline()
        assert b" 101 " in first, first
        while self._in.readline() != b"\r\n":
            pass

    def send(self, text: str) -> None:
        """Send a message."""
        content, mask = text.encode(), os.urandom(4)
        size = len(content)
        if size < 126:
            head = struct.pack(">BB", 0x81, 0x80 | size)
        elif size < 0x10000:
            head = struct.pack(">BBH", 0x81, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ", 0x81, 0x80 | 127, size)
        masked = bytes(map(int.__xor__, content, itertools.cycle(mask)))
        self._wire.sendall(head + mask + masked)

    def receive(self) -> str:
        """Wait for a message."""
        content = b""
        while True:
            kind, length = self._in.read(2)
            if length >= 126:
                form = ">H" if length == 126 else ">Q"
                (length,) = struct.unpack(form, self._in.read(struct.calcsize(form)))
            part = self._in.read(length)
            if kind & 15 in (0, 1):
                content += part
                if kind & 128:
                    return content.decode()

    def close(self) -> None:
        """Close it."""
        self._in.close()
        self._wire.close()


class Page:
    """A page of the browser."""

    def __init__(self, wire: Socket) -> None:
        self._wire, self._numbers = wire, itertools.count(1)
        self._ask("session.new", {"capabilities": {}})
        tree = self._ask("browsingContext.getTree", {})
        self._here = {"context": tree["contexts"][0]["context"]}

    def _ask(self, method: str, given: dict) -> dict:
        number = next(self._numbers)
        self._wire.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            found = json.loads(self._wire.receive())
            if found.get("id") == number:
                assert found["type"] == "success", found
                return found["result"]

    def goto(self, url: str) -> None:
        """Open an address."""
        self._ask("browsingContext.navigate", {**self._here, "url": url, "wait": "complete"})

    def reload(self) -> None:
        """Load the page again."""
        self._ask("browsingContext.reload", {**self._here, "wait": "complete"})

    def _run(self, code: str) -> dict:
        given = {"expression": code, "target": self._here, "awaitPromise": True}
        found = self._ask("script.evaluate", given)
        assert found["type"] == "success", found["exceptionDetails"]["text"]
        return found["result"]

    def evaluate(self, function: str, given: object = None):
        """Return what a function of JavaScript returns."""
        code = f"(async () => JSON.stringify(await ({function})({json.dumps(given)})))()"
        return json.loads(self._run(code).get("value", "null"))

    def wait_for(self, condition: str, *, at_most_s: float = WAIT_S) -> bool:
        """Wait until an expression is true; return whether it is."""
        return self.evaluate(f"""async (end) => {{
            while (!({condition}) && performance.now() < end)
                await new Promise((go) => setTimeout(go, 50));
            return Boolean({condition});
        }}""", at_most_s * 1000)  # fmt: skip

    def choose(self, selector: str, *paths: str) -> None:
        """Choose files in a form."""
        node = self._run(f"document.querySelector({json.dumps(selector)})")
        given = {"element": {"sharedId": node["sharedId"]}, "files": list(map(str, paths))}
        self._ask("input.setFiles", {**self._here, **given})


@contextmanager
def opened(folder, *, preferences=""):
    """Run Firefox with a fresh profile in a folder, and further preferences; yield its page."""
    (folder / "user.js").write_text(PREFERENCES + preferences)
    line = [PROGRAM, "--headless", "--no-remote", "--profile", str(folder)]
    line += ["--remote-debugging-port", "0"]
    environment = {**os.environ, "HOME": str(folder)}
    with (folder / "stderr").open("w") as said:
        process = subprocess.Popen(line, stderr=said, env=environment)
    try:
        with closing(Socket(_port(folder / "stderr"), "/session")) as wire:
            yield Page(wire)
    finally:
        process.terminate()
        process.wait(60)


def _port(said):
    """Wait until Firefox says where it listens."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = re.search(r"listening on ws://\S+:(\d+)", said.read_text())
        if found:
            return int(found[1])
        time.sleep(0.1)
    pytest.fail(f"Firefox does not listen: {said.read_text()}")
