"""``lesionedge serve``: serves a page and an API until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable, serve_access, serve_https
from lesionedge.cli.loading import load
from lesionedge.cli.serve_https import tell

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.model_options import ModelOptions
    from lesionedge.web.live import LiveView

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
    serve_access.check(given)
    _require()
    _check_app(given["phone_app"])
    from lesionedge.web.app import Service, create_app
    from lesionedge.web.guard import Access
    from lesionedge.web.server import listen, run

    classifiers = _classifiers(model_options, given["jobs"])
    access = Access(
        token=given["token"], hosts=(*given["hosts"], given["host"]), origins=given["origins"]
    )
    secure = serve_https.certificates(given)
    listening = listen(given["host"], given["port"])
    with listening as wire, serve_https.second_wire(given, secure) as second:
        address = _address(given["host"], wire.getsockname()[1], secure)
        service = Service(classifiers, live=_live(given, classifiers[0]))
        application = create_app(service, access=access, phone_app=given["phone_app"])

        def ready() -> None:
            profile = classifiers[0].profile
            model = f"{service.facts['model']}{f' with {profile.name}' if profile else ''}"
            what = f"{printable(model)}, {len(classifiers)} at a time"
            tell(f"serving {what}, at {address} (Ctrl-C ends)")
            if classifiers[0].unknown_notice is not None:
                tell(f"warning: {classifiers[0].unknown_notice}")
            if second is not None and secure is not None:
                serve_https.tell_phones(given, secure(), wire, second)

        side = None
        if second is not None and secure is not None:
            side = serve_https.install_page(given, secure(), wire, second, service, access)
        run(application, wire, ready=ready, report=tell, secure=secure, side=side)


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

    view = LiveView(given["camera"], given["size"], copy(classifier), report=tell)
    view.open()
    return view


def _address(host: str, port: int, secure: object) -> str:
    kind = "https" if secure else "http"
    return f"{kind}://[{host}]:{port}/" if ":" in host else f"{kind}://{host}:{port}/"
