"""The page on plain HTTP from which a phone gets the server's certificate authority."""

from __future__ import annotations

import html
import io
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from lesionedge.web.authority import Certificate

CERTIFICATE_PATH = "/lesionedge-authority.crt"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>lesionedge: certificate</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header><h1>lesionedge</h1></header>
<main>
<h2>Trust this server</h2>
<p>A phone lets a page use the camera only over HTTPS, from a server that it trusts. Install this
server's certificate authority once. It can sign only for this machine's names, for names that
end in .local, and for private addresses.</p>
<p><a class="button primary" href="{certificate}">Download the certificate</a></p>
<p>Before you trust it, compare its SHA-256 fingerprint with the one in the server's terminal:</p>
<p><code>{fingerprint}</code></p>
<h3>Android</h3>
<ol>
<li>Download the certificate.</li>
<li>Open Settings, Security, Encryption &amp; credentials, Install a certificate, CA
certificate.</li>
<li>Choose the file, and confirm.</li>
</ol>
<h3>iPhone and iPad</h3>
<ol>
<li>Download the certificate in Safari, and allow it.</li>
<li>Open Settings, Profile Downloaded, and install it.</li>
<li>Open Settings, General, About, Certificate Trust Settings, and switch it on.</li>
</ol>
<h2>Then open the page</h2>
<p><a href="{address}">{address}</a></p>
{code}
</main>
</body>
</html>
"""


def create_page(certificate: Certificate, address: str) -> Starlette:
    """Make the ASGI application.

    Args:
        certificate: The server's certificate, signed by its own authority.
        address: The HTTPS address to open afterwards, without a token.
    """
    fields = {"fingerprint": certificate.fingerprint, "certificate": CERTIFICATE_PATH}
    page = _PAGE.format(address=html.escape(address), code=qr_svg(address), **fields)
    fresh = {"Cache-Control": "no-cache"}

    async def index(_request: Request) -> Response:
        return HTMLResponse(page, headers=fresh)

    async def authority(_request: Request) -> Response:
        return Response(
            certificate.authority or b"", media_type="application/x-x509-ca-cert", headers=fresh
        )

    async def style(_request: Request) -> Response:
        text = (files("lesionedge.web") / "static" / "style.css").read_text(encoding="utf-8")
        return Response(text, media_type="text/css", headers=fresh)

    routes = (("/", index), (CERTIFICATE_PATH, authority), ("/style.css", style))
    return Starlette(routes=[Route(path, run, methods=["GET"]) for path, run in routes])


def qr_svg(address: str) -> str:
    """Return a QR code as an SVG element."""
    import segno

    out = io.BytesIO()
    segno.make(address, micro=False).save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=True,
        scale=6,
        light="#fff",
        title=f"QR code of {address}",
    )
    return out.getvalue().decode()


def qr_text(address: str) -> str:
    """Return a QR code in block characters, for a terminal."""
    import segno

    out = io.StringIO()
    segno.make(address, micro=False).terminal(out, compact=True)
    return out.getvalue()
