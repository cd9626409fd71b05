"""Reads images by their names, on disks and behind URLs.

A name is the value of the column ``path``: the absolute path of a local file, or the URL of any
other file. It identifies an image by itself, from any folder and on any node.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from lesionedge.batch.libraries import need
from lesionedge.errors import ImageError, LesionEdgeError
from lesionedge.sources.names import is_address, is_member, split

if TYPE_CHECKING:
    from concurrent.futures import Future

    from lesionedge.sources.archive import Archive

READ_AHEAD = 16
"""How many images behind URLs a worker reads at a time: stores are fast, but respond late."""

_turn = threading.Lock()  # fsspec has only one connection to an FTP server

_BY_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")  # pyarrow has these built in
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE = "file://"
# Parts of stores' errors that differ every time; without them equal errors can be counted.
_WRAPPED = (
    (r"^When [^:]*? key '.*?' in bucket '[^']*': ", ""),
    (r" \(Request ID: \w*\)|, url='[^']*'", ""),
    (r".*google::cloud::Status\((\w+: )(?:.*?last message of )?(.*?)\s*error_info=.*", r"\1\2"),
)


def is_url(source: str) -> bool:
    """Return whether a source is a URL, not a local path."""
    return bool(_URL.match(source))


def local_name(path: str) -> str:
    """Return a local file's name: its path, or a URL if the path is not UTF-8, as Parquet needs."""
    path = os.path.abspath(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        return _FILE + quote_from_bytes(os.fsencode(path))
    return path


def local_path(name: str) -> str | None:
    """Return the path of a local file's name; None for other URLs."""
    if name.startswith(_FILE):
        return os.fsdecode(unquote_to_bytes(name[len(_FILE) :]))
    return None if is_url(name) else name


def contents(names: Sequence[str]) -> Iterator[str | bytes | ImageError]:
    """Yield each image as a local path, or as bytes, which are read ahead.

    Args:
        names: As in the column ``path``.

    Returns:
        One item per name, in order; an ImageError if the image cannot be read.
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
        return _read(name)
    except ImageError as error:
        return error
    except LesionEdgeError as error:
        return ImageError(str(error))
    except FileNotFoundError:
        return ImageError(f"{name}: no such file")
    except Exception as error:  # noqa: BLE001 (each file system has exceptions of its own)
        return ImageError(f"{name}: cannot be read ({reason(error)})")


def _read(name: str) -> bytes:
    if is_member(name):
        member, where = split(name)
        return archive(where).read(member)
    if is_address(name):
        from lesionedge.sources import remote

        return remote.get(name)
    files, path = opened(name)
    with _turn if name.startswith("ftp://") else nullcontext():
        content: bytes = files.cat_file(path)
    return content


def archive(where: str) -> Archive:
    """Open a zip archive, wherever it is; it stays open for the next member.

    Args:
        where: A path, or a URL that fsspec or pyarrow reads.

    Raises:
        LesionEdgeError: It cannot be read.
    """
    from lesionedge.sources import archive

    path = local_path(where)
    if path is not None or is_address(where):
        return archive.opened(path or where)
    return _stored_archive(where)


@functools.lru_cache(maxsize=4)
def _stored_archive(url: str) -> Archive:
    from lesionedge.sources.archive import Archive

    try:
        files, path = opened(url) if "::" not in url else need("fsspec.core").url_to_fs(url)
        return Archive(files.open(path, "rb"), url)
    except LesionEdgeError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{url}: no such file") from None
    except Exception as error:
        raise ImageError(f"{url}: cannot be opened ({reason(error)})") from error


def opened(url: str) -> tuple[Any, str]:
    """Return the file system of a URL (as in fsspec), and the path in it.

    Raises:
        LesionEdgeError: It cannot be opened.
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
    """Return a file system's error as one line."""
    text = getattr(error, "strerror", None) or str(error) or repr(error)
    for pattern, kept in _WRAPPED:
        text = re.sub(pattern, kept, text, flags=re.DOTALL)
    return textwrap.shorten(text, 300, placeholder=" …")
