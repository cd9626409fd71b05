"""Reads the images of a request, in memory only and within limits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any

from lesionedge import formats
from lesionedge.web import limits
from lesionedge.web.refusal import Refusal, busy

if TYPE_CHECKING:
    from starlette.requests import Request

KINDS = "JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP, TIFF or DICOM"
FIELDS = ("image", "images", "images[]", "file", "picture")
"""Names of the form's fields for images; if a form has none of them, all its files are taken."""

# The formats' first bytes. Pillow decodes fifty more formats, but cameras do not use these.
_MAGIC = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|BM|II\*\0|MM\0\*|RIFF....WEBP", re.DOTALL)
_TYPES = ("multipart/form-data", "application/json", "application/dicom")
_RECOGNISED = ("AVIF", "HEIC", "DICOM")
_DATA_URL = re.compile(r"data:[\w.+/;=-]*,", re.ASCII)
_JSON_PARTS = (b",", b"[", b"{")


class Uploads:
    """Receives bodies, and limits the memory that all of them take together."""

    def __init__(self) -> None:
        self._held_bytes = 0

    @contextmanager
    def holding(self) -> Iterator[Holding]:
        """Reserve memory for a body until the end of the block."""
        holding = Holding(self)
        try:
            yield holding
        finally:
            self._held_bytes -= holding.size_bytes

    def add(self, size_bytes: int) -> None:
        """Count bytes.

        Raises:
            Refusal: All bodies together are too large (503).
        """
        if self._held_bytes + size_bytes > limits.MAX_HELD_BYTES:
            raise busy("too many large images are being sent at once; try again", 2)
        self._held_bytes += size_bytes


class Holding:
    """One body's share of the memory."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self.size_bytes = 0

    async def read(self, request: Request) -> bytes:
        """Receive a body.

        Raises:
            Refusal: It is too large (413), or there is no memory for it now (503).
            starlette.requests.ClientDisconnect: The client went away.
        """
        refuse_size(request.headers.get("content-length"))
        chunks = []
        async for chunk in request.stream():
            self._uploads.add(len(chunk))
            self.size_bytes += len(chunk)
            if self.size_bytes > limits.MAX_BODY_BYTES:
                raise too_large(None)
            chunks.append(chunk)
        return b"".join(chunks)


def refuse_size(content_length: str | None) -> None:
    """Refuse a body whose ``Content-Length`` is too large.

    Raises:
        Refusal: It is too large (413).
    """
    length = int(content_length) if content_length and content_length.isdecimal() else 0
    if length > limits.MAX_BODY_BYTES:
        raise too_large(length)


def too_large(size_bytes: int | None) -> Refusal:
    """Return the refusal of a file that is too large."""
    found = "more" if size_bytes is None else f"{size_bytes / 1e6:.0f} MB"
    return Refusal(
        413, f"the upload is {found}; expected at most {limits.MAX_UPLOAD_BYTES // 1_000_000} MB"
    )


def refuse_type(content_type: str) -> None:
    """Refuse a body of a type that cannot hold an image.

    Raises:
        Refusal: It is of another type (415).
    """
    kind = _kind(content_type)
    if kind not in _TYPES and not kind.startswith("image/"):
        raise Refusal(
            415,
            f"Content-Type is {kind or 'missing'}; expected multipart/form-data, application/json, "
            "application/dicom or image/*",
        )


@dataclass(frozen=True)
class Upload:
    """One image file of a request."""

    content: bytes
    """The file."""
    name: str | None = None
    """The client's name of it; None if it has none."""


def images_of(body: bytes, content_type: str) -> tuple[list[Upload], bool]:
    """Return the image files in a body.

    Args:
        body: The whole body.
        content_type: Its type; one that ``refuse_type`` lets pass.

    Returns:
        The files in order, and whether the client expects a list of results, because it sent
        several files, or JSON with ``images``.

    Raises:
        Refusal: There is none (422), or there are too many (413).
    """
    kind = _kind(content_type)
    if kind == "application/json":
        found, several = _from_json(body)
    elif kind == "multipart/form-data":
        found = _from_form(body, content_type)
        several = len(found) > 1
    else:
        found, several = [Upload(body)], False
    if len(found) > limits.MAX_IMAGES:
        raise Refusal(413, f"{len(found)} images; expected at most {limits.MAX_IMAGES} per request")
    return found, several


def only(uploads: list[Upload]) -> Upload:
    """Return the image of a request that may hold only one.

    Raises:
        Refusal: There are several (422).
    """
    if len(uploads) != 1:
        raise Refusal(422, f"{len(uploads)} images; expected one")
    return uploads[0]


def check(upload: Upload) -> None:
    """Refuse a file that cannot be a supported image.

    Raises:
        Refusal: It is too large (413), empty or of another format (400).
    """
    content = upload.content
    if len(content) > limits.MAX_UPLOAD_BYTES:
        raise too_large(len(content))
    if not content:
        raise Refusal(400, "the image is empty (0 bytes)")
    if not _MAGIC.match(content) and formats.recognise(content) not in _RECOGNISED:
        raise Refusal(400, f"not an image that can be read; expected {KINDS}")


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _from_json(body: bytes) -> tuple[list[Upload], bool]:
    expected = 'expected {"image": "data:image/jpeg;base64,…"}, or "images" with a list of such'
    if sum(body.count(part) for part in _JSON_PARTS) > limits.MAX_JSON_PARTS:
        raise Refusal(422, f"the JSON holds more than images; {expected}")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, f"the body is not JSON; {expected}") from None
    fields = found if isinstance(found, dict) else {}
    several = "images" in fields
    texts = fields["images"] if several else [fields.get("image")]
    if not isinstance(texts, list) or not texts:
        raise Refusal(422, f"no image in the JSON; {expected}")
    if not several:
        return [Upload(_decoded(texts[0], expected))], False
    return [
        Upload(_decoded(text, expected), f"images[{number}]") for number, text in enumerate(texts)
    ], True


def _decoded(text: object, expected: str) -> bytes:
    """Return the file in a data URL or in plain base64."""
    if not isinstance(text, str) or not text:
        raise Refusal(422, f"no image in the JSON; {expected}")
    prefix = _DATA_URL.match(text[:200])
    encoded = text[prefix.end() if prefix else 0 :]
    try:
        return base64.b64decode(encoded.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError:
        raise Refusal(422, f"the image is not base64; {expected}") from None


def _from_form(body: bytes, content_type: str) -> list[Upload]:
    """Return the files in the fields for images; if there are none, all files."""
    files = _files(body, content_type)
    wanted = [upload for field, upload in files if field in FIELDS]
    found = wanted or [upload for _, upload in files]
    if not found:
        raise Refusal(422, "0 files in the form; expected one or more, in fields named image")
    return found


def _files(body: bytes, content_type: str) -> list[tuple[str, Upload]]:
    """Return a form's files, each with its field.

    All of it stays in memory. Starlette's own parser would write large files to the disk.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    header = _parameters(content_type)
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary.isascii():
        raise Refusal(400, "the form has no boundary in its Content-Type")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise Refusal(400, "the form is not multipart/form-data, or is cut short") from None
    if not parts.ended:
        raise Refusal(400, "the form is cut short")
    return parts.files


def _parameters(header: str) -> Message:
    message = Message()
    message["content-type"] = header
    return message


def _plain(name: Any) -> str | None:
    """Return a file's name; some clients send it encoded, as ``filename*`` (RFC 8187)."""
    if not isinstance(name, tuple):
        return None if name is None else str(name)
    charset, _, text = name
    kind = "latin-1" if str(charset).lower() == "iso-8859-1" else "utf-8"
    return str(text).encode("latin-1", "replace").decode(kind, "replace")


class _Parts:
    """Collects the parts that the parser of forms reports."""

    def __init__(self) -> None:
        self.files: list[tuple[str, Upload]] = []
        self.ended = False
        self._count = 0
        self._field = self._value = b""
        self._disposition = b""
        self._content: list[bytes] = []

    def callbacks(self) -> Any:
        """Return the functions that the parser calls."""
        return {
            "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
            "on_header_field": self._name, "on_header_value": self._text,
            "on_header_end": self._header, "on_end": self._finish,
        }  # fmt: skip

    def _begin(self) -> None:
        self._count += 1
        if self._count > limits.MAX_FORM_PARTS:
            raise Refusal(422, "the form holds more than images; expected fields named image")
        self._content, self._disposition = [], b""

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _text(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end(self) -> None:
        header = _parameters(self._disposition.decode("utf-8", "replace"))
        name = header.get_param("name")
        # A part without a file name is a text field, unless its name is one of ``FIELDS``.
        file_name = _plain(header.get_param("filename"))
        if isinstance(name, str) and (file_name or name in FIELDS):
            self.files.append((name, Upload(b"".join(self._content), file_name or name)))

    def _finish(self) -> None:
        self.ended = True
