"""``lesionedge serve``: serves a page and an API until it is stopped."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable
from lesionedge.cli.loading import load

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.model_options import ModelOptions
    from lesionedge.web.live import LiveView

LEAST_TOKEN = 16
"""The least number of characters of a token."""

NEEDED = ("fastapi", "fastapi_offline", "prometheus_client", "python_multipart", "uvicorn")


@click.command(
    "serve",
    epilog=options.examples(
        "lesionedge serve",
        "LESIONEDGE_TOKEN=a-long-secret-word lesionedge serve --host 0.0.0.0",
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
    "--insecure", is_flag=True, help="Serve other machines without a token, so anyone can use it."
)
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME",
    help="A host name of this machine in clients' requests; may be repeated.",
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
    from lesionedge.web.app import Service, create_app
    from lesionedge.web.guard import Access
    from lesionedge.web.server import listen, run

    classifiers = _classifiers(model_options, given["jobs"])
    access = Access(
        token=given["token"], hosts=(*given["hosts"], given["host"]), origins=given["origins"]
    )
    with listen(given["host"], given["port"]) as wire:
        address = _address(given["host"], wire.getsockname()[1])
        service = Service(classifiers, live=_live(given, classifiers[0]))

        def ready() -> None:
            what = f"{service.facts['model']}, {len(classifiers)} at a time"
            _tell(f"serving {what}, at {address} (Ctrl-C ends)")
            if classifiers[0].unknown_notice is not None:
                _tell(f"warning: {classifiers[0].unknown_notice}")

        run(create_app(service, access=access), wire, ready=ready)


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


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _tell(text: str) -> None:
    click.echo(f"lesionedge: {printable(text)}", err=True)
