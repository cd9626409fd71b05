"""Splits a stream of JPEG files into frames."""

from __future__ import annotations

import functools
import io
import re
import time
from collections.abc import Callable

from lesionedge.camera.frame import Shot

LARGEST_BYTES = 32_000_000
"""A frame that does not end within this size is dropped."""

_START = b"\xff\xd8\xff"
# In the coded image, 0 or a restart marker follows 0xFF; anything else ends it.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FILLED = b"\xff\xff"  # any number of these may stand before a marker (ITU-T T.81, B.1.1.2)
_SCAN, _END, _BEGIN = 0xDA, 0xD9, 0xD8
_TABLES, _START_OF_SCAN = b"\xff\xc4", b"\xff\xda"


class Cutter:
    """Finds the frames in bytes that arrive in pieces of any size.

    It skips each segment by its length, so a thumbnail inside one does not count as a frame.
    """

    def __init__(self) -> None:
        self.damaged = 0
        """Frames that broke off or had no end."""
        self._held = bytearray()
        self._at = 0
        self._in_scan = False

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes and return the frames that are now complete."""
        self._held += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        if len(self._held) > LARGEST_BYTES:
            self.damaged += 1
            self._drop(len(self._held))
        return frames

    def shots(self, feed: Callable[[], list[bytes]]) -> list[Shot]:
        """Return the frames that a piece completes, and an empty shot for each damaged frame.

        Args:
            feed: Feeds the piece to this cutter and returns the complete frames.
        """
        before = self.damaged
        frames = feed()
        now_s = time.monotonic()
        damaged = [Shot(None, now_s)] * (self.damaged - before)
        return damaged + [Shot(frame, now_s) for frame in frames]

    def _next(self) -> bytes | None:
        """Continue where the bytes ran out; return None when they run out again."""
        while self._at or self._find_start():
            mark = self._next_mark()
            if mark is None:
                return None
            if mark == _END:
                frame = bytes(self._held[: self._at])
                self._drop(self._at)
                return frame
            if mark == _BEGIN:
                # The last frame broke off; a new one begins here.
                self.damaged += 1
                self._drop(self._at - 2)
            elif mark < 0:
                self.damaged += 1
                self._drop(2)
        return None

    def _find_start(self) -> bool:
        start = self._held.find(_START)
        if start < 0:
            # Drop the headers between frames, but keep bytes that may begin a start marker.
            del self._held[: max(0, len(self._held) - 2)]
            return False
        self._drop(start)
        self._at = 2
        return True

    def _next_mark(self) -> int | None:
        """Skip one segment or scan and return its marker; -1 if there is none."""
        held = self._held
        if self._in_scan:
            found = _END_OF_SCAN.search(held, self._at)
            if found is None:
                self._at = max(self._at, len(held) - 1)
                return None
            self._at, self._in_scan = found.start(), False
        while held[self._at : self._at + 2] == _FILLED:
            self._at += 1
        if len(held) < self._at + 2:
            return None
        mark = held[self._at + 1]
        if held[self._at] != 0xFF:
            return -1
        if mark in (_END, _BEGIN):
            self._at += 2
            return mark
        if len(held) < self._at + 4:
            return None
        self._at += 2 + int.from_bytes(held[self._at + 2 : self._at + 4], "big")
        self._in_scan = mark == _SCAN
        return mark

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._at, self._in_scan = 0, False


def with_tables(jpeg: bytes) -> bytes:
    """Return a frame that every program can open.

    Many cameras leave out the Huffman tables, as MJPEG in AVI does; the standard ones apply (ITU-T
    T.81, annex K.3). Video decoders know that, but image programs may not.
    """
    scan = jpeg.find(_START_OF_SCAN)
    if scan < 0 or _TABLES in jpeg[:scan]:
        return jpeg
    return jpeg[:scan] + _usual_tables() + jpeg[scan:]


@functools.lru_cache(maxsize=1)
def _usual_tables() -> bytes:
    """Return the standard tables, taken from a JPEG that Pillow writes."""
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG")
    jpeg = content.getvalue()
    return jpeg[jpeg.index(_TABLES) : jpeg.index(_START_OF_SCAN)]
