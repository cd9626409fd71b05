"""HTTP connections with time limits, which uvicorn's own connections do not have."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from lesionedge.web import limits
from lesionedge.web.refusal import error_body


class Connection(H11Protocol):
    """A client's connection. ``check``, called regularly, ends it if the client is too slow."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._began_s = self.loop.time()
        self._received_bytes = 0
        self._stuck_since_s: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a client, or refuse it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > limits.MAX_CONNECTIONS:
            self._refuse(503, "too many connections; try again", "Retry-After: 5\r\n")
            return
        wire = transport.get_extra_info("socket")
        with suppress(AttributeError, OSError):  # Linux only; not for Unix sockets
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.STUCK_S * 1000))

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        if not self._received_bytes:
            self._began_s = self.loop.time()
        self._received_bytes += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Start counting again for the next request."""
        self._received_bytes = 0
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client has stopped reading."""
        self._stuck_since_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._stuck_since_s = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Respond to a broken request with JSON, like every error."""
        self._refuse(400, msg)

    def check(self, now_s: float, *, ending: bool) -> None:
        """End the connection if the client is too slow, or is idle while the server stops."""
        if self.transport.is_closing():
            return
        if ending:
            self.shutdown()
        if self._stuck_since_s is not None and now_s - self._stuck_since_s > limits.STUCK_S:
            self.transport.abort()
        elif self._incomplete() and now_s - self._began_s > self._allowed_s():
            self._refuse(408, "the request did not arrive in time")

    def _incomplete(self) -> bool:
        cycle = self.cycle
        if cycle is None:
            return True
        if cycle.response_complete:  # idle (which uvicorn times), or a next request has begun
            return self._received_bytes > 0
        return cycle.more_body and not cycle.response_started

    def _allowed_s(self) -> float:
        return limits.PATIENCE_S + self._received_bytes / limits.SLOWEST_BYTES_PER_S

    def _refuse(self, status: int, reason: str, header: str = "") -> None:
        if self.transport.is_closing():
            return
        body = error_body(reason)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n{header}\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
