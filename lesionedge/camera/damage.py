"""Finds the frames that depend on a damaged one: all until the next key frame."""

from __future__ import annotations

from typing import Any

MOST_FRAMES = 250
"""After this many frames without a key frame, trust the stream again."""

_DOUBTFUL_PACKETS = 2  # lost bytes may be the end of one packet and the beginning of the next


class Damage:
    """Follows a stream's packets and the frames that are decoded from them."""

    def __init__(self) -> None:
        self._left = 0
        self._packets = 0
        self._places: set[Any] = set()

    def take(self, packet: Any) -> None:
        """Note a packet before it is decoded."""
        if packet.is_corrupt:
            self._packets = _DOUBTFUL_PACKETS
        if self._packets:
            self._packets -= 1
            self._places.add(packet.pts)
            self._left = MOST_FRAMES

    def failed(self) -> None:
        """Note that a packet could not be decoded."""
        self._left = MOST_FRAMES

    def holds(self, frame: Any) -> bool:
        """Return whether a frame is or may be damaged."""
        if frame.is_corrupt or frame.pts in self._places:
            self._places.discard(frame.pts)
            self._left = MOST_FRAMES
            return True
        self._left = 0 if frame.key_frame else max(0, self._left - 1)
        return self._left > 0
