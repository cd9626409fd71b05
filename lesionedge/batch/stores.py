"""Makes pyarrow's object stores and file systems usable as fsspec's."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from lesionedge.batch.libraries import need

PATIENCE_S = 20
"""How long Google's store is tried; its library alone would try for a quarter of an hour."""


def arrow_files(scheme: str, host: str) -> Any:
    """Open a store.

    Args:
        scheme: Such as ``s3``.
        host: Its bucket or server.

    Returns:
        fsspec's ``AbstractFileSystem``.
    """
    fs = need("pyarrow.fs")
    if scheme in ("gs", "gcs"):
        return _wrapped(_google(fs), markers=True)
    return _wrapped(fs.FileSystem.from_uri(f"{scheme}://{host}/")[0], markers=False)


def _google(fs: Any) -> Any:
    options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=PATIENCE_S)}
    stand_in = os.environ.get("STORAGE_EMULATOR_HOST")  # as Google's own libraries do
    if stand_in:
        protocol, _, address = stand_in.rpartition("://")
        options |= {"endpoint_override": address.rstrip("/"), "scheme": protocol or "http"}
        options |= {"anonymous": True}
    return fs.GcsFileSystem(**options)


def _wrapped(files: Any, *, markers: bool) -> Any:
    """Return pyarrow's file system as one of fsspec.

    Args:
        files: pyarrow's.
        markers: Whether the store sees a folder only if an empty object marks it, as few tools
            do. A recursive listing still finds all objects.
    """
    fs = need("pyarrow.fs")

    class Files(need("fsspec.implementations.arrow").ArrowFSWrapper):  # type: ignore[misc]
        """Lists folders recursively with one request."""

        cachable = False

        def find(
            self, path: str, maxdepth: int | None = None, withdirs: bool = False,
            detail: bool = False, **options: Any,
        ) -> Any:  # fmt: skip
            if maxdepth == 1 and not markers:
                return super().find(path, maxdepth, withdirs, detail, **options)
            top = path.rstrip("/")
            found = {}
            for entry in self.fs.get_file_info(fs.FileSelector(top, recursive=True)):
                if entry.type == fs.FileType.File:
                    found[entry.path] = {
                        "name": entry.path, "size": entry.size, "type": "file",
                    }  # fmt: skip
                    if withdirs:
                        found |= _folders(entry.path, top)
            if maxdepth is not None:
                found = {
                    name: info for name, info in found.items()
                    if name[len(top) :].count("/") <= maxdepth
                }  # fmt: skip
            return found if detail else sorted(found)

    return Files(files)


def _folders(path: str, top: str) -> dict[str, dict[str, Any]]:
    """Return the folders between a file and the one that was listed."""
    found = {}
    while len(path := path.rpartition("/")[0]) > len(top):
        found[path] = {"name": path, "size": 0, "type": "directory"}
    return found
