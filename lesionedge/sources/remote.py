"""Fetches images, pages of links and archives from http and https addresses.

It uses the standard library alone. It opens connections only to addresses that the user typed; a
page's links are followed below its address, never elsewhere.
"""

from __future__ import annotations

import functools
import http.client
import io
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import IO, Any
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit, urlunsplit

from lesionedge import __version__, formats
from lesionedge.errors import ImageError
from lesionedge.sources import patterns

MAX_IMAGE_BYTES = 200_000_000
"""A larger image is rejected."""

MAX_ARCHIVE_BYTES = 2_000_000_000
"""A larger archive is refused if its server cannot send parts of it."""

MAX_PAGE_BYTES = 10_000_000
MAX_PAGES = 10_000
"""The most pages of links that are read below one address."""

MAX_REDIRECTS = 5
TIMEOUT_S = 20.0
"""A server that sends nothing for this long counts as gone."""

MAX_S = 300.0
"""A file that takes longer than this is an error."""

_CHUNK_BYTES = 1 << 18
_FAULTS = (OSError, http.client.HTTPException, ValueError)
_HEADERS = {"User-Agent": f"lesionedge/{__version__}", "Accept-Encoding": "identity"}
_SAFE = "%/:=&?~#+!$,;'@()*[]"


def get(address: str) -> bytes:
    """Fetch an image file.

    Raises:
        ImageError: It is missing, too large, too slow, cut short, or a web page.
    """
    with _response(address) as response:
        content = _body(response, address, MAX_IMAGE_BYTES)
        is_page = _is_page(response)
    if is_page and formats.recognise(content) is None and content.lstrip()[:1] == b"<":
        raise ImageError(
            f"{address}: is a web page, not an image; the address of a page of links ends with /"
        )
    return content


def listing(address: str) -> list[str] | None:
    """List the files that a page and the pages below it link to.

    Args:
        address: The address of a folder's page, ending with a slash, or a pattern with ``*``
            (before any query).

    Returns:
        Addresses of files, sorted, without hidden ones (``._a.jpg``). None if the address is a
        file, not a page.

    Raises:
        ImageError: A page cannot be read.
    """
    if not is_pattern(address):
        found = _below(address)
        return None if found is None else sorted(found)
    top = address[: address.rindex("/", 0, address.index("*")) + 1]
    wanted = patterns.compiled(unquote(address), magic="*")
    return sorted(found for found in _below(top) or () if wanted.fullmatch(unquote(found)))


def is_pattern(address: str) -> bool:
    """Return whether an address is a pattern; ``?`` begins a query in it."""
    return "*" in address.partition("?")[0]


def archive_file(address: str) -> IO[bytes]:
    """Open an archive; read it in parts if its server allows that, else fetch it whole.

    Raises:
        ImageError: It cannot be read.
    """
    with _response(address, {"Range": "bytes=0-0"}) as response:
        size = _whole_size(response) if response.status == 206 else None
        if size is None:
            return _fetched(response, address)
        etag = response.headers.get("ETag")
    return io.BufferedReader(_Parts(address, size, etag), _CHUNK_BYTES)


def _fetched(response: http.client.HTTPResponse, address: str) -> IO[bytes]:
    file = tempfile.TemporaryFile(prefix="lesionedge-")  # noqa: SIM115 (its user closes it)
    try:
        for chunk in _chunks(response, address, MAX_ARCHIVE_BYTES):
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    return file


class _Parts(io.RawIOBase):
    """A file at an address that is read in parts."""

    def __init__(self, address: str, size: int, etag: str | None) -> None:
        self._address, self._size = address, size
        self._headers = {"If-Range": etag} if etag and not etag.startswith("W/") else {}
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        wanted = {"Range": f"bytes={self._at}-{self._at + count - 1}", **self._headers}
        with _response(self._address, wanted) as response:
            if response.status != 206:
                raise ImageError(f"{self._address}: has changed while it was read")
            content = _body(response, self._address, count)
        if len(content) != count:
            raise ImageError(f"{self._address}: the server sent another part than requested")
        buffer[:count] = content
        self._at += count
        return count


def _whole_size(response: http.client.HTTPResponse) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


@contextmanager
def _response(
    address: str, headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    """Open an address; any error until the end of the block becomes an ImageError."""
    try:
        with _opener().open(_request(address, headers or {}), timeout=TIMEOUT_S) as response:
            yield response
    except ImageError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise ImageError(f"{address}: {_status(error)}") from error
    except _FAULTS as error:
        raise ImageError(f"{address}: {_why(error)}") from error


def _request(address: str, headers: dict[str, str]) -> urllib.request.Request:
    """Return a request for an address as people type it, with spaces, umlauts or a password."""
    parts = urlsplit(urldefrag(address).url)
    host = (parts.hostname or "").encode("idna").decode()
    if not host:
        raise ImageError(f"{address}: names no server; expected http://SERVER/FILE")
    host = f"[{host}]" if ":" in host else host
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    path, query = quote(parts.path or "/", safe=_SAFE), quote(parts.query, safe=_SAFE)
    request = urllib.request.Request(
        urlunsplit((parts.scheme.lower(), netloc, path, query, "")),
        headers={
            "User-Agent": f"lesionedge/{__version__}",
            "Accept-Encoding": "identity",
            **headers,
        },
    )
    if parts.username is not None:
        import base64

        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        secret = base64.b64encode(login.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects: to web addresses only, and never from https to http."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        """Make the next request."""
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise ImageError(f"{req.full_url}: redirects to {newurl}, which is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if request is not None and login and _server(newurl) == _server(req.full_url):
            request.add_unredirected_header("Authorization", login)
        return request


def _server(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port


@functools.lru_cache(maxsize=1)
def _opener() -> urllib.request.OpenerDirector:
    """Return an opener of http and https addresses only, through the environment's proxies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(), _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _body(response: http.client.HTTPResponse, address: str, most: int) -> bytes:
    return b"".join(_chunks(response, address, most))


def _chunks(response: http.client.HTTPResponse, address: str, most: int) -> Iterator[bytes]:
    """Receive a body within limits of size and time."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ImageError(f"{address}: the server sent it compressed, which was not requested")
    length = response.headers.get("Content-Length", "")
    expected = int(length) if length.isdecimal() else None
    end, count = time.monotonic() + MAX_S, 0
    if expected is not None and expected > most:
        raise _too_large(address, most)
    while chunk := response.read1(_CHUNK_BYTES):
        count += len(chunk)
        if count > most:
            raise _too_large(address, most)
        if time.monotonic() > end:
            raise ImageError(f"{address}: did not arrive in {MAX_S:.0f} s")
        yield chunk
    if expected is not None and count < expected:
        raise ImageError(f"{address}: was cut short ({count} of {expected} bytes arrived)")


def _too_large(address: str, most: int) -> ImageError:
    return ImageError(f"{address}: is larger than {most / 1e6:.0f} MB")


def _below(top: str) -> list[str] | None:
    """Return the files that a page and the pages below it link to; None if there is no page."""
    first = _links(top)
    if first is None:
        return None
    files: dict[str, None] = {}
    seen, todo = {first[0], top}, [first]
    while todo:
        _, links = todo.pop()
        for link in links:
            if not link.startswith(first[0]) or link in seen or link in files:
                continue
            if formats.is_hidden(unquote(link[len(first[0]) :].partition("?")[0])):
                continue
            parts = urlsplit(link)
            if not parts.path.endswith("/"):
                files[link] = None
                continue
            if parts.query:  # the same page, sorted differently
                continue
            seen.add(link)
            if len(seen) > MAX_PAGES:
                raise ImageError(f"{top}: more than {MAX_PAGES} pages of links")
            page = _links(link)
            if page is not None:
                todo.append(page)
    return list(files)


def _links(address: str) -> tuple[str, list[str]] | None:
    """Return a page's own address and its links; None if it is not a page."""
    with _response(address) as response:
        if not _is_page(response):
            return None
        own = _with_login(response.geturl(), address)
        charset = response.headers.get_content_charset() or "utf-8"
        content = _body(response, address, MAX_PAGE_BYTES)
    page = _Page()
    page.feed(_text(content, charset))
    base = own[: own.rindex("/") + 1] if urlsplit(own).path else f"{own}/"
    start = _joined(own, page.base or "") or own
    return base, list(filter(None, (_joined(start, link) for link in page.links)))


def _joined(start: str, link: str) -> str:
    """Return a link's address; empty if it is none, such as ``http://[``."""
    try:
        return urldefrag(urljoin(start, link)).url
    except ValueError:
        return ""


def _with_login(own: str, address: str) -> str:
    """Return a page's address with the typed password, so that its links get it too."""
    typed = urlsplit(address)
    if typed.username is None or _server(own) != _server(address):
        return own
    return urlunsplit(urlsplit(own)._replace(netloc=typed.netloc))


def _text(content: bytes, charset: str) -> str:
    try:
        return content.decode(charset, "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


class _Page(HTMLParser):
    """Collects a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add an anchor's address."""
        target = dict(attrs).get("href")
        if tag == "a" and target:
            self.links.append(target)
        elif tag == "base" and target and self.base is None:
            self.base = target


def _is_page(response: http.client.HTTPResponse) -> bool:
    return response.headers.get_content_type() in ("text/html", "application/xhtml+xml")


def _status(error: urllib.error.HTTPError) -> str:
    if error.code in (404, 410):
        return f"no such file ({error.code} {error.reason})"
    if "is not allowed" in str(error.msg):  # as urllib says of file:// and the like
        return "redirects to an address that is not followed"
    if 300 <= error.code < 400:
        return f"redirects in a loop, or more than {MAX_REDIRECTS} times ({error.code})"
    return f"the server returned {error.code} {error.reason}"


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, BaseException) else error
    if isinstance(cause, TimeoutError):
        return f"no response in {TIMEOUT_S:.0f} s"
    if isinstance(cause, http.client.IncompleteRead):
        return "was cut short"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message})"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return f"cannot be read ({text.splitlines()[0]})"
