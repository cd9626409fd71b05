"""``lesionedge serve``: serves a page and an API until it is stopped."""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable
from lesionedge.cli.loading import load

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.model_options import ModelOptions
    from lesionedge.web.app import Service
    from lesionedge.web.authority import Certificate
    from lesionedge.web.guard import Access
    from lesionedge.web.live import LiveView
    from lesionedge.web.server import Side

LEAST_TOKEN = 16
"""The least number of characters of a token."""

NEEDED = ("fastapi", "fastapi_offline", "prometheus_client", "python_multipart", "uvicorn")


@click.command(
    "serve",
    epilog=options.examples(
        "lesionedge serve",
        "LESIONEDGE_TOKEN=a-long-secret-word lesionedge serve --host 0.0.0.0",
        "LESIONEDGE_TOKEN=a-long-secret-word lesionedge serve --host 0.0.0.0 --https",
    ),
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
    help="Address to listen at; 0.0.0.0 for every network, which needs a token.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, metavar="N",
    help="Port; 0 for any free one.",
)  # fmt: skip
@click.option(
    "--token", envvar="LESIONEDGE_TOKEN", show_envvar=True, metavar="TOKEN",
    help="Secret that clients must send; at least 16 characters.",
)  # fmt: skip
@click.option(
    "--insecure", is_flag=True,
    help="Serve other machines without a token: anyone on the network can use it.",
)  # fmt: skip
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME",
    help="A further name by which clients may address this server; may be repeated.",
)  # fmt: skip
@click.option(
    "--allow-origin", "origins", multiple=True, metavar="ORIGIN",
    help="A web site whose pages may use the API (CORS), such as https://example.org; may be "
    "repeated.",
)  # fmt: skip
@click.option(
    "--camera", type=options.SOURCE, metavar="SOURCE",
    help="Show this device's own camera live: auto, picamera2, rpicam, /dev/videoN, a URL, …",
)  # fmt: skip
@options.camera_size
@click.option(
    "--app", "phone_app", metavar="DIR", type=click.Path(exists=True, file_okay=False),
    help="Also serve the phone's app at /app/: a folder that make app has built.",
)  # fmt: skip
@click.option(
    "--https",
    is_flag=True,
    help="Serve over HTTPS, with a certificate authority of this machine's own. Phones install its "
    "certificate from a page on --http-port.",
)
@click.option(
    "--http-port", type=click.IntRange(0, 65_535), default=8080, show_default=True, metavar="N",
    help="With --https: the port of that page; 0 for any free one.",
)  # fmt: skip
@click.option(
    "--certificate", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
    help="Serve over HTTPS with this certificate (PEM, with its chain); needs --key.",
)  # fmt: skip
@click.option(
    "--key", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
    help="The key of --certificate (PEM, without a password).",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1, 64), metavar="N", cls=options.Renamed, former=("--workers",),
    help="Images to classify at a time [default: physical cores, at most 4].",
)  # fmt: skip
@options.model_options(without=("threads", "views", "check"))
def command(model_options: ModelOptions, **given: Any) -> None:
    """Serve a page and an API that classify images, until Ctrl-C.

    Images stay in memory; nothing is written. The guide "Browser and API" of
    the documentation says how to put it behind TLS, run it as a service or in a container.
    """
    _check_access(given)
    _require()
    _check_app(given["phone_app"])
    from lesionedge.web.app import Service, create_app
    from lesionedge.web.guard import Access
    from lesionedge.web.server import listen, run

    classifiers = _classifiers(model_options, given["jobs"])
    access = Access(
        token=given["token"], hosts=(*given["hosts"], given["host"]), origins=given["origins"]
    )
    secure = _secure(given)
    with listen(given["host"], given["port"]) as wire, _second_wire(given, secure) as second:
        address = _address(given["host"], wire.getsockname()[1], secure)
        service = Service(classifiers, live=_live(given, classifiers[0]))
        application = create_app(service, access=access, phone_app=given["phone_app"])

        def ready() -> None:
            profile = classifiers[0].profile
            model = f"{service.facts['model']}{f' with {profile.name}' if profile else ''}"
            what = f"{printable(model)}, {len(classifiers)} at a time"
            _tell(f"serving {what}, at {address} (Ctrl-C ends)")
            if classifiers[0].unknown_notice is not None:
                _tell(f"warning: {classifiers[0].unknown_notice}")
            if second is not None and secure is not None:
                _tell_phones(given, secure(), wire, second)

        side = None
        if second is not None and secure is not None:
            side = _install_page(given, secure(), wire, second, service, access)
        run(application, wire, ready=ready, secure=secure, side=side)


def _check_access(given: dict[str, Any]) -> None:
    """Refuse options that would not be safe."""
    token = given["token"] = given["token"] or None
    if token is not None and (len(token) < LEAST_TOKEN or not re.fullmatch(r"[!-~]+", token)):
        raise click.UsageError(
            f"--token: expected at least {LEAST_TOKEN} letters, digits and signs, no space: "
            f"{_proposal()}"
        )
    if token is None and not given["insecure"] and not _is_loopback(given["host"]):
        raise click.UsageError(
            f"--host {given['host']}: other machines could use it. Set a token, "
            f"LESIONEDGE_TOKEN={_proposal()}; or add --insecure"
        )
    for origin in given["origins"]:
        if not re.fullmatch(r"https?://[a-z0-9.\[\]:_-]+", origin):
            raise click.UsageError(f"--allow-origin {origin}: expected https://NAME or http://NAME")


def _secure(given: dict[str, Any]) -> Callable[[], Certificate] | None:
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


def _second_wire(
    given: dict[str, Any], secure: Callable[[], Certificate] | None
) -> AbstractContextManager[socket.socket | None]:
    """Listen for phones that fetch the authority's certificate."""
    from lesionedge.web.server import listen

    if secure is None or secure().authority is None:
        return nullcontext()
    return listen(given["host"], given["http_port"])


def _install_page(
    given: dict[str, Any], certificate: Certificate, wire: socket.socket, second: socket.socket,
    service: Service, access: Access,
) -> Side:  # fmt: skip
    from dataclasses import replace

    from lesionedge.web.guard import Guard
    from lesionedge.web.install import create_page
    from lesionedge.web.server import Side

    page = create_page(certificate, _phone_address(given, wire))
    guarded = Guard(page, access=replace(access, token=None), metrics=service.metrics)
    return Side(guarded, second)


def _phone_address(given: dict[str, Any], wire: socket.socket) -> str:
    """Return the address for a phone: a number, because not every phone knows .local names."""
    from lesionedge.web.authority import machine_addresses

    port, host = wire.getsockname()[1], given["host"]
    if _is_any(host):
        outward = [one for one in machine_addresses() if not ipaddress.ip_address(one).is_loopback]
        host = next((one for one in outward if ":" not in one), "127.0.0.1")
    path = "app/" if given["phone_app"] else ""
    return f"https://{f'[{host}]' if ':' in host else host}:{port}/{path}"


def _tell_phones(
    given: dict[str, Any], certificate: Certificate, wire: socket.socket, second: socket.socket
) -> None:
    """Write how to connect a phone. Only the QR code on a terminal has the token, never a log."""
    from lesionedge.web.authority import machine_names
    from lesionedge.web.install import qr_text

    address = _phone_address(given, wire)
    port = second.getsockname()[1]
    host = _host_of(address)
    _tell(f"phones: install the certificate from http://{host}:{port}/ first, then open {address}")
    _tell(f"also called https://{machine_names()[-1]}:{wire.getsockname()[1]}/")
    _tell(f"fingerprint of the authority (SHA-256): {certificate.fingerprint}")
    if sys.stderr.isatty():
        token = f"#token={given['token']}" if given["token"] and not given["phone_app"] else ""
        click.echo(qr_text(address + token), err=True)


def _host_of(address: str) -> str:
    """Return the host of an address; an IPv6 address keeps its brackets."""
    return address.partition("://")[2].rpartition("/")[0].split("/")[0].rpartition(":")[0]


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")


def _check_app(folder: str | None) -> None:
    if folder is None:
        return
    from lesionedge.web.phone import missing

    lacking = missing(folder)
    if lacking is not None:
        raise click.UsageError(
            f"--app {folder}: has no {lacking}; expected a folder that make app has built, such as "
            "dist/app"
        )


def _proposal() -> str:
    import secrets

    return secrets.token_urlsafe(24)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require() -> None:
    from importlib.util import find_spec

    from lesionedge.errors import MissingDependencyError

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"serving needs {', '.join(missing)}: pip install 'lesionedge[web]'"
        )


def _classifiers(model_options: ModelOptions, workers: int | None) -> list[Classifier]:
    from dataclasses import replace

    from lesionedge.cores import default_threads

    each = replace(model_options, threads=1)
    return [load(each) for _ in range(workers or default_threads())]


def _live(given: dict[str, Any], classifier: Classifier) -> LiveView | None:
    if given["camera"] is None:
        return None
    from copy import copy

    from lesionedge.web.live import LiveView

    view = LiveView(given["camera"], given["size"], copy(classifier), report=_tell)
    view.open()
    return view


def _address(host: str, port: int, secure: object) -> str:
    kind = "https" if secure else "http"
    return f"{kind}://[{host}]:{port}/" if ":" in host else f"{kind}://{host}:{port}/"


def _tell(text: str) -> None:
    click.echo(f"lesionedge: {printable(text)}", err=True)
