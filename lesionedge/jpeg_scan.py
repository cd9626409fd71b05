"""Finds JPEG files with damaged pixels while they are decoded, at no extra cost.

A JPEG has no checksum, and Pillow drops libjpeg's warnings. But after lost bytes the Huffman
decoder finds its way again after some blocks and then has too few: it runs out of data before the
last block. After overwritten bytes it may also have too many, and ends before the data. Both show
in how much the decoder reads. It therefore gets the file in three portions: all but the last bytes
of the scan; then these bytes and a few more that no intact file needs; then the end marker.

A scan cut into intervals by restart marks, or a file of several scans (progressive), resumes at the
next mark. For such files the marks are counted. If something looks wrong, the file is decoded again
with filler before each mark: in an intact file the filler changes no pixel.
(ITU-T T.81, annexes B, F and G.)
"""

from __future__ import annotations

import io
import itertools
import re
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from PIL import ImageFile

from lesionedge.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

TAIL_BYTES = 64
"""How many bytes may be left over: some cameras pad the scan before its end."""

_ONES = b"\xff\x00" * 9
"""Bits that are not a Huffman code: more than a decoder reads ahead, less than a block needs."""
_FILLER = bytes(n * n * n % 251 + 1 for n in range(300))
"""Bits without a pattern: if blocks are missing, these bits decode to visible ones."""
_MARK = re.compile(rb"\xff[^\x00]")
_END = b"\xff\xd9"
_EOI, _SOS, _DRI, _FILL = 0xD9, 0xDA, 0xDD, 0xFF
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_RESTARTS = range(0xD0, 0xD8)
_BARE = (0x00, 0x01, 0xD8, *_RESTARTS)  # markers without a segment
_GREY = 128  # libjpeg's value for pixels without data

SHORT = "damaged or cut short (a part of its coded pixels is missing)"
OVERLONG = "damaged (its coded pixels hold more than the image)"
MARKS = "damaged (restart marks are missing or out of order)"
SCANS = "damaged (some of its scans are missing)"


class _Scan(NamedTuple):
    """One run of coded pixels."""

    header: bytes
    """The content of its start-of-scan segment, after the length."""
    interval: int
    """MCUs between two restart marks, 0 for none."""
    end: int
    """Where in the file it ends."""
    restarts: list[tuple[int, int]]
    """Place and marker of each restart mark in it."""


class _Layout(NamedTuple):
    """The parts of a file that the check needs."""

    kind: int
    """The start-of-frame marker: baseline, progressive, …"""
    frame: bytes
    """The content of its segment, after the length."""
    scans: list[_Scan]
    """Its scans, in their order."""


class _Portions(io.BytesIO):
    """A file that is read in portions and knows how far the reader got."""

    def __init__(
        self, data: bytes, stops: tuple[int, ...], original: IO[bytes] | None = None
    ) -> None:
        super().__init__(data)
        self._stops = stops
        self._original = original
        self.reached = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to the next stop."""
        at = self.tell()
        stop = next((stop for stop in self._stops if stop > at), None)
        if stop is not None and (size is None or size < 0 or at + size > stop):
            size = stop - at
        data = super().read(size)
        self.reached = max(self.reached, at + len(data))
        return data

    def close(self) -> None:
        """Close the original file too."""
        if self._original is not None:
            self._original.close()
        super().close()


def load(image: Image.Image) -> None:
    """Decode a JPEG that Pillow has opened; use it instead of ``image.load()``.

    If the program has set Pillow's ``LOAD_TRUNCATED_IMAGES``, no image is refused.

    Args:
        image: A JPEG or MPO, not loaded yet; ``draft`` may have been called.

    Raises:
        ImageError: Its coded pixels are damaged.
    """
    file: IO[bytes] | None = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None) or ImageFile.LOAD_TRUNCATED_IMAGES:
        image.load()
        return
    file.seek(0)
    data = file.read()
    layout = _parse(data)
    scale = (getattr(image, "decoderconfig", None) or (1,))[0]
    if layout.kind in _SEQUENTIAL and len(layout.scans) == 1:
        _load_sequential(image, file, data, layout)
    else:
        file.seek(0)
        image.load()
    _refuse_gaps(image, data, layout, scale)


def _load_sequential(image: Any, file: IO[bytes], data: bytes, layout: _Layout) -> None:
    """Decode a file of one scan and check how much of it the decoder read."""
    end = layout.scans[0].end
    _refuse_marks(layout)
    owned = file if getattr(image, "_exclusive_fp", False) else None
    stops = max(0, end - TAIL_BYTES), end + len(_ONES)
    portions = _Portions(data[:end] + _ONES + _END, stops, owned)
    image.fp = portions
    image.load()
    if portions.reached > end + len(_ONES):
        raise ImageError(SHORT)
    # The same byte repeated is padding, not part of an image.
    if portions.reached < end and len(set(data[end - TAIL_BYTES : end])) > 1:
        raise ImageError(OVERLONG)


def _refuse_marks(layout: _Layout) -> None:
    """Reject a scan whose restart marks are too few, too many or out of order."""
    scan = layout.scans[0]
    expected = _restarts(layout.frame, scan)
    if expected is None:
        return
    if [mark for _, mark in scan.restarts] != [0xD0 + n % 8 for n in range(expected)]:
        raise ImageError(MARKS)


def _restarts(frame: bytes, scan: _Scan) -> int | None:
    """Count the restart marks that a scan of all components must have; None if not known."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    factors = frame[7::3]
    if not height or not factors or scan.header[:1] != frame[5:6]:
        return None
    across = max(factor >> 4 for factor in factors) if len(factors) > 1 else 1
    down = max(factor & 15 for factor in factors) if len(factors) > 1 else 1
    if not scan.interval:
        return 0
    mcus = -(-width // (8 * across)) * -(-height // (8 * down))
    return -(-mcus // scan.interval) - 1


def _refuse_gaps(image: Image.Image, data: bytes, layout: _Layout, scale: int) -> None:
    """Reject a file in which an interval, or a scan before the last, ran out of data."""
    if layout.kind not in (*_SEQUENTIAL, _PROGRESSIVE) or not layout.scans:
        return  # arithmetic coding, lossless
    if len(layout.scans) == 1 and layout.kind != _PROGRESSIVE:
        if not (layout.scans[0].restarts and _has_grey(image)):
            return
    else:
        _refuse_incomplete(_precisions(layout))
    from PIL.JpegImagePlugin import JpegImageFile

    again = JpegImageFile(io.BytesIO(_filled(data, layout)))
    if scale > 1:
        again.draft(None, (again.width // scale, again.height // scale))
    again.load()
    if again.tobytes() != image.tobytes():
        raise ImageError(SHORT)


def _refuse_incomplete(precisions: dict[int, list[int]]) -> None:
    """Reject a progressive file with missing scans."""
    if any(bits for precision in precisions.values() for bits in precision):
        raise ImageError(SCANS)


def _precisions(layout: _Layout) -> dict[int, list[int]]:
    """Follow the scans of a progressive file.

    Returns:
        For each component, how many low bits of each of its 64 coefficients are still unknown.

    Raises:
        ImageError: A scan builds on one that is missing.
    """
    found = {component: [-1] * 64 for component in layout.frame[6::3]}
    for scan in layout.scans:
        count = scan.header[0]
        first, last, bits = scan.header[1 + 2 * count : 4 + 2 * count]
        for component in scan.header[1 : 1 + 2 * count : 2]:
            known = found.get(component, [])[first : last + 1]
            if not known or any(max(0, value) != bits >> 4 for value in known):
                raise ImageError(SCANS)
            found[component][first : last + 1] = [bits & 15] * len(known)
    return found


def _has_grey(image: Image.Image) -> bool:
    """Return whether pixels have exactly the grey of blocks without data."""
    import numpy as np

    pixels = np.asarray(image)
    grey = pixels == _GREY
    return bool(grey.all(-1).any() if pixels.ndim == 3 else grey.any())


def _filled(data: bytes, layout: _Layout) -> bytes:
    """Put filler before each mark that ends coded pixels."""
    places = sorted(
        place
        for scan in layout.scans
        for place in (scan.end, *(restart for restart, _ in scan.restarts))
    )
    bounds = [0, *places, len(data)]
    return _FILLER.join(data[begin:end] for begin, end in itertools.pairwise(bounds))


def _parse(data: bytes) -> _Layout:
    """Walk the segments as libjpeg does; skip the bytes between them."""
    kind, frame, interval, at = 0, b"", 0, 2
    scans: list[_Scan] = []
    while (found := _MARK.search(data, at)) is not None:
        at, mark = found.start(), data[found.start() + 1]
        if mark == _FILL or mark in _BARE:
            at += 1 if mark == _FILL else 2
            continue
        if mark == _EOI:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : end]
        if _is_frame(mark):
            kind, frame = mark, content
        elif mark == _DRI:
            interval = int.from_bytes(content[:2], "big")
        at = end
        if mark == _SOS and len(content) >= 6:
            scans.append(_scan(data, at, content, interval))
            at = scans[-1].end
    return _Layout(kind, frame, scans)


def _is_frame(mark: int) -> bool:
    """Return whether a marker begins a frame; three of these numbers mean tables."""
    return 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC)


def _scan(data: bytes, at: int, header: bytes, interval: int) -> _Scan:
    """Find the end and the restart marks of the coded pixels that begin at ``at``."""
    restarts: list[tuple[int, int]] = []
    while (found := _MARK.search(data, at)) is not None:
        place, at = found.start(), found.start()
        while data[at + 1 : at + 2] == b"\xff":
            at += 1
        mark = data[at + 1] if at + 1 < len(data) else _EOI
        if mark == 0:  # a fill byte, and then data: no marker
            at += 2
        elif mark in _RESTARTS:
            restarts.append((place, mark))
            at += 2
        else:
            return _Scan(header, interval, place, restarts)
    # Some cameras leave out the end marker and fill the rest of their buffer.
    return _Scan(header, interval, len(data.rstrip(b"\0")), restarts)
