"""Checks requests before they reach the application, and adds headers for browsers."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from lesionedge.web import authority, limits, phone
from lesionedge.web.metrics import Metrics
from lesionedge.web.refusal import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json", "/favicon.ico", phone.PATH.rstrip("/"))
OPEN_FOLDERS = ("/assets/", "/docs/", phone.PATH)
"""Paths that need no token: the page, its files, and whether the server is ready."""

BODY = "lesionedge.body"
"""Key of a request's scope under which ``Guard`` stores the body."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""Headers of every response, besides the content policy."""

_POLICIES = {
    True: [
        (b"content-security-policy", phone.CONTENT_POLICY.encode()),
        (b"cross-origin-embedder-policy", b"require-corp"),  # so that it may use threads
    ],
    False: [(b"content-security-policy", CONTENT_POLICY.encode())],
}

_ALLOWED = b"access-control-allow-origin"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Access:
    """Who may send requests."""

    token: str | None = None
    """The token that clients must send as ``Authorization: Bearer``; None: no token is needed."""
    hosts: Sequence[str] = ()
    """Host names of the server, besides those that it always has."""
    origins: Sequence[str] = ()
    """Other web sites, such as ``https://example.org``, whose pages may send requests."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, application: Application, *, access: Access, metrics: Metrics) -> None:
        """Wrap an application.

        Args:
            application: Receives the requests that are allowed.
            access: Who may send requests.
            metrics: Counts the responses.
        """
        self._application = application
        self._token = access.token
        self._hosts = frozenset(map(str.lower, (*access.hosts, *_own_names())))
        self._origins = frozenset(access.origins)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        begin_s, status = time.perf_counter(), 0
        scope[BODY] = _Body(receive)

        async def send_out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._completed(scope, message.get("headers", ()))
            await send(message)

        try:
            await self._respond(scope, send_out)
        finally:  # after an error in the server, too, which passes on to uvicorn
            if status:  # otherwise the client has gone
                took_s = time.perf_counter() - begin_s
                self._metrics.responded(scope["path"], scope["method"], status, took_s)

    async def _respond(self, scope: Scope, send: Send) -> None:
        try:
            self._check(scope, _headers(scope))
        except Refusal as refusal:
            await refuse(refusal, scope, send)
        else:
            await self._application(scope, scope[BODY], send)

    def _completed(self, scope: Scope, given: Iterable[tuple[bytes, bytes]]) -> list[Any]:
        """Return a response's headers with those of every response."""
        headers = [*given, *_POLICIES[scope["path"].startswith(phone.PATH)], *HEADERS]
        origin = _headers(scope).get(b"origin")
        # Allowed sites may read errors, too; the middleware for CORS does not see all of them.
        if origin in self._origins and _ALLOWED not in dict(headers):
            headers += [(_ALLOWED, origin.encode()), (b"vary", b"Origin")]
        return headers

    def _check(self, scope: Scope, headers: dict[bytes, str]) -> None:
        host = headers.get(b"host", "").lower()
        if not self._is_own(host):
            raise Refusal(
                421,
                f"this server's name is not {host[:100]!r}; if it is, start the server with "
                "--allow-host NAME",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._is_allowed(origin, host):
            raise Refusal(403, "pages of other sites may not send requests; see --allow-origin")
        if self._token is None or scope["method"] == "OPTIONS" or _is_open(scope["path"]):
            return
        kind, _, token = headers.get(b"authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(), self._token.encode())
        if kind.lower() != "bearer" or not right:
            raise Refusal(
                401, "expected the header Authorization: Bearer TOKEN, with the server's token",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    def _is_own(self, host: str) -> bool:
        """Return whether a host name is the server's own.

        A foreign site can make its own name point here (DNS rebinding), but not an IP address.
        """
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]").rstrip(".")
        return name in self._hosts or name.endswith(".localhost") or is_address(name)

    def _is_allowed(self, origin: str, host: str) -> bool:
        return origin.partition("://")[2].lower() == host or origin in self._origins


class _Body:
    """A request's body as it arrives, and whether its end has arrived."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        """Return the next part."""
        message = await self._receive()
        self.ended = not message.get("more_body", False)
        return message


async def refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    """Send a refusal after the rest of the request has arrived.

    Sent earlier, the client would see a broken connection without a reason. No part is kept.

    Args:
        refusal: The refusal.
        scope: The request's, with ``BODY``.
        send: The application's.
    """
    body: _Body = scope[BODY]
    left = 2 * limits.MAX_BODY_BYTES
    # A client that waits for permission (Expect: 100-continue) sends no body.
    while left > 0 and not body.ended and b"expect" not in _headers(scope):
        left -= len((await body()).get("body", b""))
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **refusal.headers}
    headers["Content-Length"] = str(len(refusal.body))
    lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": lines})
    await send({"type": "http.response.body", "body": refusal.body})


def is_address(name: str) -> bool:
    """Return whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _headers(scope: Scope) -> dict[bytes, str]:
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def _own_names() -> tuple[str, ...]:
    return *authority.machine_names(), socket.gethostname()
