"""Opens http and https addresses: one request, whose body is read while it arrives."""

from __future__ import annotations

import functools
import http.client
import ssl
import tempfile
import urllib.error
import urllib.request
from typing import IO
from urllib.parse import quote, unquote, urldefrag, urlsplit, urlunsplit

from lesionedge.camera.frame import shown
from lesionedge.errors import CameraError

TIMEOUT_S = 10.0
"""A server that sends nothing for this long counts as disconnected."""

ERRORS = (OSError, http.client.HTTPException, ValueError)
"""The exceptions that reading a body may raise."""

_PORTION_BYTES = 1 << 16
_SAFE = "%/:=&?~#+!$,;'@()*[]"


class Response:
    """A server's response: its headers and its body, which can be read once."""

    def __init__(self, address: str) -> None:
        """Request an address.

        Raises:
            CameraError: There is no such server, or it has no such file.
        """
        self._name = shown(address)
        try:
            self._reply = _opened(address)
        except urllib.error.HTTPError as error:
            error.close()
            why = str(error.msg).partition("\n")[0]  # of a redirect that goes in circles, urllib's
            raise CameraError(f"{self._name}: the server returned {error.code} {why}") from error
        except ERRORS as error:
            raise CameraError(f"{self._name}: cannot be opened ({reason(error)})") from error
        headers = self._reply.headers
        self.content_type: str = headers.get_content_type() if "Content-Type" in headers else ""
        """The body's type: lower case, without parameters; empty if the server sends none."""
        length = headers.get("Content-Length", "")
        self.length: int | None = int(length) if length.isdecimal() else None
        """Length of the body in bytes; None if the server does not send it."""
        self.takes_ranges = headers.get("Accept-Ranges", "").lower() == "bytes"
        """Whether the server can send parts of the body."""
        self._peeked = b""
        self._taken = 0

    def peek(self, size: int) -> bytes:
        """Return the body's next bytes without consuming them: ``size`` bytes, or all."""
        while len(self._peeked) < size and (more := self._receive(size - len(self._peeked))):
            self._peeked += more
        return self._peeked[:size]

    def read(self, size: int = _PORTION_BYTES) -> bytes:
        """Return the bytes that have arrived, at least one; empty at the end.

        Raises:
            OSError: The connection broke, or nothing arrived for ``TIMEOUT_S``.
            http.client.HTTPException: The same.
        """
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        return self._receive(size)

    def close(self) -> None:
        """Close the connection."""
        self._reply.close()

    def _receive(self, size: int) -> bytes:
        data = self._reply.read1(size)
        self._taken += len(data)
        if not data and self.length is not None and self._taken < self.length:
            raise ConnectionError(f"{self._taken} of {self.length} bytes arrived")
        return data


class Seekable:
    """A response's body as a seekable file; the bytes that have arrived are kept on the disk."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="lesionedge-")  # noqa: SIM115
        self._kept = 0
        self._at = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``."""
        self._fetch(self._at + size)
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position; from the end (2) only after everything has arrived."""
        if whence == 2:
            self._fetch(None)
        self._at = max(0, offset + (0, self._at, self._kept)[whence])
        return self._at

    def tell(self) -> int:
        """Return the current position."""
        return self._at

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()
        self._response.close()

    def _fetch(self, end: int | None) -> None:
        """Wait until the bytes before ``end`` have arrived, or all of them."""
        self._file.seek(self._kept)
        while not self._ended and (end is None or self._kept < end):
            data = self._response.read()
            self._ended = not data
            self._file.write(data)
            self._kept += len(data)


def reason(error: BaseException) -> str:
    """Return an error in a few words."""
    cause = getattr(error, "reason", None)
    cause = cause if isinstance(cause, BaseException) else error
    if isinstance(cause, TimeoutError):
        return f"nothing arrived for {TIMEOUT_S:g} s"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return str(text).splitlines()[0]


def _opened(address: str) -> http.client.HTTPResponse:
    parts = urlsplit(urldefrag(address).url)
    host = (parts.hostname or "").encode("idna").decode()
    if not host:
        raise ValueError("it names no server")
    host = f"[{host}]" if ":" in host else host
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    path, query = quote(parts.path or "/", safe=_SAFE), quote(parts.query, safe=_SAFE)
    plain = urlunsplit((parts.scheme.lower(), netloc, path, query, ""))
    login = None
    if parts.username is not None:
        login = unquote(parts.username), unquote(parts.password or "")
    request = urllib.request.Request(plain, headers={"User-Agent": "lesionedge"})
    reply: http.client.HTTPResponse = _opener(login, plain).open(request, timeout=TIMEOUT_S)
    return reply


@functools.lru_cache(maxsize=4)
def _opener(login: tuple[str, str] | None, address: str) -> urllib.request.OpenerDirector:
    """Return an opener that sends the password in the way that the server requests."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(context=_context()),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(), *_logins(login, address),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _logins(login: tuple[str, str] | None, address: str) -> list[urllib.request.BaseHandler]:
    if login is None:
        return []
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, address, *login)
    return [
        urllib.request.HTTPBasicAuthHandler(passwords),
        urllib.request.HTTPDigestAuthHandler(passwords),
    ]


@functools.lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    """Accept any certificate, as FFmpeg does: cameras sign their own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
