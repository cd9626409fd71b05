"""Names of pictures, on disks and behind URLs, and what they hold.

A name is what the column ``path`` has: the absolute path of a local file or the URL of any other.
It alone identifies a picture, from whatever folder or node it is read.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from lesionedge.batch.libraries import need
from lesionedge.errors import ImageError, LesionEdgeError

if TYPE_CHECKING:
    from concurrent.futures import Future

READ_AHEAD = 16
"""Pictures behind URLs that a worker reads at a time: their answers come late, not slowly."""

_turn = threading.Lock()  # fsspec has one connection to an FTP server, which answers in order

_BY_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")  # pyarrow has these built in
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE = "file://"
# What stores' errors say besides why; with it no two would be of one kind.
_WRAPPED = (
    (r"^When [^:]*? key '.*?' in bucket '[^']*': ", ""),
    (r" \(Request ID: \w*\)|, url='[^']*'", ""),
    (r".*google::cloud::Status\((\w+: )(?:.*?last message of )?(.*?)\s*error_info=.*", r"\1\2"),
)


def is_url(source: str) -> bool:
    """Tell a URL of another file system from a local path."""
    return bool(_URL.match(source))


def by_arrow(name: str) -> bool:
    """Tell whether pyarrow itself opens a path or URL."""
    return not is_url(name) or name.partition("://")[0] in (*_BY_ARROW, "file")


def local_name(path: str) -> str:
    """Name a local file; one whose name is not UTF-8 by its URL, which Parquet can hold."""
    path = os.path.abspath(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        return _FILE + quote_from_bytes(os.fsencode(path))
    return path


def local_path(name: str) -> str | None:
    """Give the path of a local file's name; None for other URLs."""
    if name.startswith(_FILE):
        return os.fsdecode(unquote_to_bytes(name[len(_FILE) :]))
    return None if is_url(name) else name


def find(url: str, *, wanted: Callable[[str], bool]) -> list[str]:
    """List the pictures behind a URL: one file, a folder to its depth, or a pattern's matches.

    Args:
        url: Any that fsspec or pyarrow reads, such as ``s3://bucket/folder`` or
            ``gs://bucket/2019/*.jpg``; credentials are taken from where their libraries look.
        wanted: Tells pictures from a folder's other files by their names.

    Raises:
        LesionEdgeError: It cannot be listed.
    """
    scheme, _, rest = url.partition("://")
    before, chain, behind = rest.partition("::")
    try:
        files, path = opened(url)
        tops = files.glob(path) if _is_pattern(path) else [path]
        found = [file for top in sorted(tops) for file in _below(files, top, wanted)]
    except Exception as error:  # each file system has exceptions of its own
        if not chain and wanted(before) and not _is_pattern(url):
            return [url]  # one picture: it cannot be read, and its row says why
        if isinstance(error, LesionEdgeError):
            raise
        raise LesionEdgeError(f"{url}: cannot be listed ({reason(error)})") from error
    host = "" if chain else _host(files, scheme, before)
    return [f"{scheme}://{host}{file.partition('://')[2] or file}{chain}{behind}" for file in found]


def _host(files: Any, scheme: str, path: str) -> str:
    """Give the server, where it is no part of the file system's paths, as in ``ftp://``."""
    host = path.partition("/")[0]
    return host if files._get_kwargs_from_urls(f"{scheme}://{host}/").get("host") else ""


def _is_http(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _is_pattern(path: str) -> bool:
    if _is_http(path):  # where ? begins a query
        return "*" in path.partition("?")[0]
    return any(c in path for c in "*?[")


def _below(files: Any, top: str, wanted: Callable[[str], bool]) -> list[str]:
    if not top.endswith("/") if _is_http(top) else files.isfile(top):
        return [top]
    found = (file for file in sorted(files.find(top)) if wanted(file))
    start = len(top)
    return [file for file in found if "/." not in file[start:]]


def contents(names: Sequence[str]) -> Iterator[str | bytes | ImageError]:
    """Give what to classify of each picture: a local path, or bytes that were read ahead.

    Args:
        names: As in the column ``path``.

    Returns:
        One a name, in their order; an ImageError where it cannot be read.
    """
    from concurrent.futures import ThreadPoolExecutor

    paths = [local_path(name) for name in names]
    if all(path is not None for path in paths):
        yield from (path for path in paths if path is not None)
        return
    ahead: deque[Future[str | bytes | ImageError]] = deque()
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="lesionedge-read") as pool:
        for name in names:
            ahead.append(pool.submit(_content, name))
            if len(ahead) >= 2 * READ_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _content(name: str) -> str | bytes | ImageError:
    path = local_path(name)
    if path is not None:
        return path
    try:
        files, path = opened(name)
        with _turn if name.startswith("ftp://") else nullcontext():
            content: bytes = files.cat_file(path)
    except LesionEdgeError as error:
        return ImageError(str(error))
    except FileNotFoundError:
        return ImageError(f"{name}: no such file")
    except Exception as error:  # noqa: BLE001 (each file system has exceptions of its own)
        return ImageError(f"{name}: cannot be read ({reason(error)})")
    return content


def opened(url: str) -> tuple[Any, str]:
    """Give the file system of a URL (fsspec's kind), and the path in it.

    Raises:
        LesionEdgeError: There is none.
    """
    scheme, _, rest = url.partition("://")
    path, chain, behind = rest.partition("::")
    if scheme in _BY_ARROW and not chain:
        return _by_arrow(scheme, path.partition("/")[0]), path
    try:
        files = _by_fsspec(scheme, chain + behind if chain else path.partition("/")[0] + "/")
    except Exception as error:
        raise LesionEdgeError(f"{url}: cannot be opened ({reason(error)})") from error
    return files, files._strip_protocol(f"{scheme}://{path}")


@functools.lru_cache(maxsize=64)
def _by_arrow(scheme: str, host: str) -> Any:
    from lesionedge.batch.stores import arrow_files

    try:
        return arrow_files(scheme, host)
    except LesionEdgeError:
        raise
    except Exception as error:
        raise LesionEdgeError(f"{scheme}://{host}: cannot be opened ({reason(error)})") from error


@functools.lru_cache(maxsize=64)
def _by_fsspec(scheme: str, chain: str) -> Any:
    return need("fsspec.core").url_to_fs(f"{scheme}://{chain}")[0]


def reason(error: BaseException) -> str:
    """Give one line that says why a file system could not."""
    text = getattr(error, "strerror", None) or str(error) or repr(error)
    for pattern, kept in _WRAPPED:
        text = re.sub(pattern, kept, text, flags=re.DOTALL)
    return textwrap.shorten(text, 300, placeholder=" …")
