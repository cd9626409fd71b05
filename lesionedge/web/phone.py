"""Serves the files of the phone's app, which ``make app`` builds; the phone itself classifies."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.types import Scope

PATH = "/app/"
"""URL path of the app."""

NEEDED = ("index.html", "sw.js", "app.webmanifest")
"""Files that every built app has."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Permissions of the app's page: its own scripts, WebAssembly, and requests to its own server."""

_TYPES = {
    ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json",
    ".webmanifest": "application/manifest+json", ".tflite": "application/octet-stream",
}  # fmt: skip
_VERSIONED = re.compile(r"[0-9a-f]{12}[/\\]")


def missing(folder: str) -> str | None:
    """Return a needed file that a folder lacks; None if it is a built app."""
    names = (name for name in NEEDED if not os.path.isfile(os.path.join(folder, name)))
    return next(names, None)


class AppFiles(StaticFiles):
    """The app's files; those that have a gzip beside them are sent as it."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return one file.

        Args:
            path: Below the folder.
            scope: The request's.
        """
        accepted = Headers(scope=scope).get("accept-encoding", "")
        packed = f"{path}.gz"
        if "gzip" in accepted and not path.endswith(".gz") and self.lookup_path(packed)[1]:
            response = await super().get_response(packed, scope)
            response.headers["content-encoding"] = "gzip"
        else:
            response = await super().get_response(path, scope)
        if isinstance(response, FileResponse):
            kind = _TYPES.get(os.path.splitext(path)[1])
            if kind is not None:
                response.headers["content-type"] = kind
        response.headers.update(_cache_headers(path))
        return response


def _cache_headers(path: str) -> dict[str, Any]:
    """Files of a version never change; the page and the service worker name the version."""
    lasting = _VERSIONED.match(path) is not None
    kept = "public, max-age=31536000, immutable" if lasting else "no-cache"
    return {"cache-control": kept, "vary": "Accept-Encoding"}
