"""Runs the application until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from lesionedge.errors import LesionEdgeError
from lesionedge.web import limits
from lesionedge.web.connection import Connection
from lesionedge.web.guard import Guard

TICK_S = 0.5
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


def run(application: Guard, wire: socket.socket, *, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; then finish the running requests, and return.

    Args:
        application: From ``create_app``.
        wire: From ``listen``.
        ready: Called when the server accepts requests.
    """
    config = uvicorn.Config(
        application,
        http=Connection, ws="none", lifespan="on", loop="asyncio", log_level="error",
        access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=limits.KEEP_ALIVE_S, timeout_graceful_shutdown=limits.DRAIN_S,
        h11_max_incomplete_event_size=limits.MAX_HEAD_BYTES,
    )  # fmt: skip
    server = uvicorn.Server(config)

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve(sockets=[wire]))
        watching = asyncio.ensure_future(_watch(server))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await serving
        watching.cancel()

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _quiet_end():
        asyncio.run(main())


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
