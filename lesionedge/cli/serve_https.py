"""HTTPS for ``lesionedge serve``, and how phones come to trust it."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from lesionedge.cli import printable

if TYPE_CHECKING:
    from lesionedge.web.app import Service
    from lesionedge.web.authority import Certificate
    from lesionedge.web.guard import Access
    from lesionedge.web.server import Side


def certificates(given: dict[str, Any]) -> Callable[[], Certificate] | None:
    """Return a function that returns the certificate for HTTPS; None for HTTP."""
    certificate, key = given["certificate"], given["key"]
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key are needed together")
    if certificate is None and not given["https"]:
        return None
    from lesionedge.web import authority

    if certificate is not None:
        return lambda: authority.given(certificate, key)
    from importlib.util import find_spec

    if find_spec("cryptography") is None or find_spec("segno") is None:
        from lesionedge.errors import MissingDependencyError

        raise MissingDependencyError(
            "--https needs cryptography and segno: pip install 'lesionedge[web]'"
        )
    names = [name for name in (*given["hosts"], given["host"]) if not _is_any(name)]
    return lambda: authority.own(names)


def second_wire(
    given: dict[str, Any], secure: Callable[[], Certificate] | None
) -> AbstractContextManager[socket.socket | None]:
    """Listen for phones that fetch the authority's certificate."""
    from lesionedge.web.server import listen

    if secure is None or secure().authority is None:
        return nullcontext()
    return listen(given["host"], given["http_port"])


def install_page(
    given: dict[str, Any], certificate: Certificate, wire: socket.socket, second: socket.socket,
    service: Service, access: Access,
) -> Side:  # fmt: skip
    """Return the page on plain HTTP from which phones get the authority's certificate."""
    from dataclasses import replace

    from lesionedge.web.guard import Guard
    from lesionedge.web.install import create_page
    from lesionedge.web.server import Side

    page = create_page(certificate, _phone_address(given, wire))
    guarded = Guard(page, access=replace(access, token=None), metrics=service.metrics)
    return Side(guarded, second)


def _phone_address(given: dict[str, Any], wire: socket.socket) -> str:
    """Return the address for a phone: a number, because not every phone knows .local names."""
    from lesionedge.web.authority import machine_addresses, machine_names

    port, host = wire.getsockname()[1], given["host"]
    if _is_any(host):
        outward = [one for one in machine_addresses() if not ipaddress.ip_address(one).is_loopback]
        host = next((one for one in outward if ":" not in one), machine_names()[-1])
    return f"https://{f'[{host}]' if ':' in host else host}:{port}/{_path(given)}"


def _path(given: dict[str, Any]) -> str:
    return "app/" if given["phone_app"] else ""


def tell_phones(
    given: dict[str, Any], certificate: Certificate, wire: socket.socket, second: socket.socket
) -> None:
    """Write how to connect a phone. Only the QR code on a terminal has the token, never a log."""
    from lesionedge.web.authority import machine_names
    from lesionedge.web.install import qr_text

    address = _phone_address(given, wire)
    port = second.getsockname()[1]
    host = _host_of(address)
    tell(f"phones: install the certificate from http://{host}:{port}/ first, then open {address}")
    tell(f"also called https://{machine_names()[-1]}:{wire.getsockname()[1]}/{_path(given)}")
    tell(f"fingerprint of the authority (SHA-256): {certificate.fingerprint}")
    if sys.stderr.isatty():
        click.echo(qr_text(address + _token_part(given)), err=True)


def _token_part(given: dict[str, Any]) -> str:
    """Return the end of an address that holds the token; browsers send nothing after "#"."""
    if given["phone_app"] or not given["token"]:
        return ""
    return f"#token={quote(given['token'], safe='')}"


def _host_of(address: str) -> str:
    """Return the host of an address; an IPv6 address keeps its brackets."""
    return address.partition("://")[2].rpartition("/")[0].split("/")[0].rpartition(":")[0]


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")


def tell(text: str) -> None:
    """Write a line to standard error."""
    click.echo(f"lesionedge: {printable(text)}", err=True)
