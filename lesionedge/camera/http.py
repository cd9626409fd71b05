"""Opens an http address: single images, MJPEG, a recording or a live stream."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

from lesionedge import formats
from lesionedge.camera import fetch
from lesionedge.camera.fetch import Response, Seekable
from lesionedge.camera.frame import Shot, Source, shown
from lesionedge.camera.mjpeg import Cutter
from lesionedge.camera.stream import STALL_S, StreamSource
from lesionedge.errors import CameraError

LARGEST_IMAGE_BYTES = 200_000_000
"""A larger image counts as damaged."""
MOST_PER_S = 10.0
"""The most requests for images per second."""
MOST_DAMAGED = 100
"""After this many damaged images in a row, give up."""

_JPEG = b"\xff\xd8\xff"
# Formats that formats.recognise() does not know: PNG, BMP, TIFF, WebP, JPEG 2000, PNM.
_STARTS = (
    b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51",
    b"P5", b"P6",
)  # fmt: skip
_PLAYLISTS = (b"#EXTM3U", b"<?xml", b"<MPD", b"v=0")
_MOVIE_BEGINS = (b"ftyp", b"wide", b"free", b"skip", b"mdat", b"pnot")
_PAGES = ("text/html", "application/xhtml+xml")
_LARGEST_HEAD_BYTES = 4096


def open_http(address: str) -> Source:
    """Request an address once and choose the source by the response.

    Raises:
        CameraError: There is no such address, or its content cannot be read.
        MissingDependencyError: It needs PyAV, which is not installed.
    """
    response = Response(address)
    try:
        return _source(address, response)
    except fetch.ERRORS as error:
        response.close()
        raise CameraError(f"{shown(address)}: broke off ({fetch.reason(error)})") from error
    except BaseException:
        response.close()
        raise


def _source(address: str, response: Response) -> Source:
    kind = response.content_type
    if kind.startswith("multipart/"):
        return HttpImages(address, response)
    head = response.peek(formats.HEAD_BYTES)
    if not head:
        raise CameraError(f"{shown(address)}: the server sends nothing")
    if _is_image(kind, head) and not _holds_more(kind, response):
        return HttpImages(address, response)
    if head.lstrip().startswith(_PLAYLISTS):
        response.close()
        return StreamSource(address)
    if kind in _PAGES and head.lstrip().startswith(b"<"):
        raise CameraError(
            f"{shown(address)}: is a web page; expected the address of an image, a video or a "
            "stream, as the camera's manual names it"
        )
    if response.takes_ranges:
        response.close()
        return StreamSource(address, ends=response.length is not None)
    body = Seekable(response) if _needs_seeking(response) else response
    return StreamSource(address, body=body, ends=response.length is not None)


def _is_image(kind: str, head: bytes) -> bool:
    """Return whether a body is an image; a GIF is a video."""
    if head.startswith(b"GIF8"):
        return False
    known = (_JPEG, *_STARTS)
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return (
        head.startswith(known)
        or is_webp
        or formats.recognise(head) in ("HEIC", "AVIF", "DICOM")
        or (kind.startswith("image/") and kind != "image/gif")
    )


def _holds_more(kind: str, response: Response) -> bool:
    """Return whether a body of known length that begins as a JPEG is an MJPEG recording."""
    if response.length is None or kind.startswith("image/"):
        return False
    cutter, data = Cutter(), b""
    if not response.peek(3).startswith(_JPEG):
        return False
    while len(data) < response.length:
        size = min(max(2 * len(data), 1 << 16), response.length)
        more = response.peek(size)[len(data) :]
        data += more
        if (frames := cutter.feed(more)) or not more:
            end = len(frames[0]) if frames else len(data)
            return response.peek(end + 3)[end:] == _JPEG
    return False


def _needs_seeking(response: Response) -> bool:
    """Return whether an MP4 or MOV has its table of contents after the frames, as cameras write it.

    If its server cannot send parts of it, the whole file has to arrive first.
    """
    if response.peek(8)[4:] not in _MOVIE_BEGINS:
        return False
    head, at = response.peek(_LARGEST_HEAD_BYTES), 0
    while at + 8 <= len(head):
        kind, size = head[at + 4 : at + 8], int.from_bytes(head[at : at + 4], "big")
        if kind == b"moov":
            return False
        if kind == b"mdat" or size < 8:
            break
        at += size
    return True


class HttpImages:
    """Images from a server: an endless MJPEG stream, or one image per request."""

    live = True

    def __init__(self, address: str, response: Response) -> None:
        """Start with a response.

        Args:
            address: The address of further requests.
            response: The first response.
        """
        self._address, self._response = address, response
        self._name = shown(address)
        self.on_demand = _comes_whole(response)
        kind = response.content_type or "image"
        self.description = (
            f"{self._name}: {kind}, {'one per request' if self.on_demand else 'MJPEG'}"
        )

    def frames(self) -> Iterator[Shot | None]:
        """Yield frames when they arrive; if a response holds one image, repeat the request."""
        damaged = 0
        while True:
            requested_s, count = time.monotonic(), 0
            for shot in self._images(requested_s):
                damaged = damaged + 1 if shot.content is None else 0
                if damaged > MOST_DAMAGED:
                    raise CameraError(f"{self._name}: {damaged} damaged images in a row")
                count += 1
                yield shot
            self._response.close()
            # An image file may hold a second one, such as a depth map.
            if count != 1 and not (count and self._response.content_type.startswith("image/")):
                raise CameraError(f"{self._name}: the server ended the stream")
            self.on_demand = True
            yield None
            time.sleep(max(0.0, requested_s + 1 / MOST_PER_S - time.monotonic()))
            self._response = Response(self._address)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def _images(self, requested_s: float) -> Iterator[Shot]:
        """Yield the images of one response."""
        try:
            if _comes_whole(self._response):
                yield Shot(_body(self._response), requested_s)
            else:
                yield from self._cut()
        except fetch.ERRORS as error:
            raise CameraError(f"{self._name}: broke off ({fetch.reason(error)})") from error

    def _cut(self) -> Iterator[Shot]:
        """Yield a response's JPEGs, each when it is complete."""
        cutter, last_s = Cutter(), time.monotonic()
        while data := self._response.read():
            shots = cutter.shots(functools.partial(cutter.feed, data))
            yield from shots
            if any(shot.content is not None for shot in shots):
                last_s = time.monotonic()
            elif time.monotonic() - last_s > STALL_S:
                raise CameraError(f"{self._name}: sends no JPEG (none for {STALL_S:g} s)")


def _comes_whole(response: Response) -> bool:
    """Return whether a response is a single image."""
    if response.content_type.startswith("multipart/"):
        return False
    return response.length is not None or not response.peek(3).startswith(_JPEG)


def _body(response: Response) -> bytes | None:
    """Read an image; None if it is cut short or too large."""
    data = bytearray()
    try:
        while len(data) <= LARGEST_IMAGE_BYTES and (more := response.read()):
            data += more
    except TimeoutError:
        raise
    except fetch.ERRORS:
        return None
    return bytes(data) if 0 < len(data) <= LARGEST_IMAGE_BYTES else None
