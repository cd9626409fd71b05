"""Names of pictures, on disks and behind URLs, and what they hold.

A name is what the column ``path`` has: the absolute path of a local file or the URL of any other.
It alone identifies a picture, from whatever folder or node it is read.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from lesionedge.batch.libraries import need
from lesionedge.errors import ImageError, LesionEdgeError

if TYPE_CHECKING:
    from concurrent.futures import Future

READ_AHEAD = 16
"""Pictures behind URLs that a worker reads at a time: their answers come late, not slowly."""

_BY_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")  # pyarrow has these built in
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE = "file://"


def is_url(source: str) -> bool:
    """Tell a URL of another file system from a local path."""
    return bool(_URL.match(source))


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
    files, path = opened(url)
    try:
        tops = files.glob(path) if _is_pattern(path) else [path]
        found = [file for top in sorted(tops) for file in _below(files, top, wanted)]
    except Exception as error:
        raise LesionEdgeError(f"{url}: cannot be listed ({reason(error)})") from error
    scheme, _, rest = url.partition("://")
    _, chain, behind = rest.partition("::")
    return [f"{scheme}://{file.partition('://')[2] or file}{chain}{behind}" for file in found]


def _is_pattern(path: str) -> bool:
    if path.startswith(("http://", "https://")):  # where ? begins a query
        return "*" in path.partition("?")[0]
    return any(c in path for c in "*?[")


def _below(files: Any, top: str, wanted: Callable[[str], bool]) -> list[str]:
    if files.isfile(top) and not top.endswith("/"):  # to HTTP a folder is a file, too
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
        content: bytes = files.cat_file(path)
    except LesionEdgeError as error:
        return ImageError(str(error))
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
        files = _by_fsspec(scheme, chain + behind)
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
    return textwrap.shorten(text, 300, placeholder=" …")
