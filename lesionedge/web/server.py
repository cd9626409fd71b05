"""Runs the application until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from lesionedge.errors import LesionEdgeError
from lesionedge.web import limits
from lesionedge.web.authority import Certificate
from lesionedge.web.connection import Connection
from lesionedge.web.guard import Application, Guard

TICK_S = 0.5
RENEWAL_S = 12 * 3600.0
TALKATIVE = ("python_multipart", "PIL")
"""Libraries that log errors of uploads, with parts of the upload."""


class ServeError(LesionEdgeError):
    """The server cannot listen at that address."""


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address.

    Args:
        host: A name or IP address of this machine.
        port: The port; 0 for any free one.

    Raises:
        ServeError: The address cannot be used.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, _, _, _, address = found[0]
        # "::" takes IPv4 too, if the system can.
        both = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            address, family=family, backlog=limits.MAX_CONNECTIONS, dualstack_ipv6=both
        )
    except OSError as error:
        raise ServeError(
            f"{host}:{port}: cannot listen there ({error.strerror or error}); check that it is an "
            "address of this machine and that no other program uses the port"
        ) from error


@dataclass(frozen=True)
class Side:
    """A second application, which has its own address and ends with the first."""

    application: Application
    """The ASGI application."""
    wire: socket.socket
    """From ``listen``."""


def run(
    application: Guard, wire: socket.socket, *, ready: Callable[[], None],
    report: Callable[[str], None], secure: Callable[[], Certificate] | None = None,
    side: Side | None = None,
) -> None:  # fmt: skip
    """Serve until SIGTERM or SIGINT; then finish the running requests, and return.

    Args:
        application: From ``create_app``.
        wire: From ``listen``.
        ready: Called when the server accepts requests.
        report: Called with what a person must know while it runs.
        secure: Returns the certificate for HTTPS, renewed if necessary; called twice a day.
        side: A second application to serve, over HTTP.
    """
    certificate = secure() if secure else None
    config = _config(application, certificate)
    server = uvicorn.Server(config)
    second = None if side is None else _SideServer(_config(side.application, None))

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve(sockets=[wire]))
        watching = [asyncio.ensure_future(_watch(one)) for one in (server, second) if one]
        if secure is not None:
            watching.append(asyncio.ensure_future(_renew(config, secure, report)))
        beside = (
            asyncio.ensure_future(second.serve(sockets=[side.wire])) if second and side else None
        )
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await serving
        if second and beside:
            second.should_exit = True
            await beside
        for task in watching:
            task.cancel()

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _quiet_end():
        asyncio.run(main())


def _config(application: Application, certificate: Certificate | None) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=Connection, ws="none", lifespan="on", loop="asyncio", log_level="error",
        access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=limits.KEEP_ALIVE_S, timeout_graceful_shutdown=limits.DRAIN_S,
        h11_max_incomplete_event_size=limits.MAX_HEAD_BYTES,
        ssl_certfile=None if certificate is None else certificate.certificate,
        ssl_keyfile=None if certificate is None else certificate.key,
    )  # fmt: skip


class _SideServer(uvicorn.Server):
    """A server that leaves signals to the first one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _renew(
    config: uvicorn.Config, secure: Callable[[], Certificate], report: Callable[[str], None]
) -> None:
    """Use a renewed certificate for later connections."""
    while True:
        await asyncio.sleep(RENEWAL_S)
        try:
            certificate = await asyncio.to_thread(secure)
            if config.ssl is not None:
                config.ssl.load_cert_chain(certificate.certificate, certificate.key)
        except (LesionEdgeError, OSError) as error:
            report(f"warning: the certificate is not renewed: {error}")


async def _watch(server: uvicorn.Server) -> None:
    """End connections of clients that are too slow, or that are idle while the server stops."""
    while True:
        await asyncio.sleep(TICK_S)
        now_s = asyncio.get_running_loop().time()
        for connection in list(server.server_state.connections):
            if isinstance(connection, Connection):
                connection.check(now_s, ending=server.should_exit)


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Ignore the signals that stopped the server: uvicorn raises them again after it has ended."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
