"""Video files and network streams (RTSP, MPEG-TS, HLS, …), through PyAV."""

from __future__ import annotations

import functools
import http.client
import time
from collections.abc import Iterator
from typing import Any, Protocol

from lesionedge.camera import video
from lesionedge.camera.damage import Damage
from lesionedge.camera.frame import Content, Shot, shown
from lesionedge.camera.library import load
from lesionedge.errors import CameraError

OPEN_S = 10.0
"""A server that does not respond for this long counts as disconnected."""
STALL_S = 10.0
"""A stream that sends nothing for this long counts as gone."""
MOST_DAMAGED = 100
"""After this many damaged frames in a row, give up."""
LATE_S, ON_TIME_S = 0.5, 0.1
"""If a live stream lags by the first value, decode key frames only, until it lags by the second."""

_FILE_BUFFER_BYTES = 1 << 18
_NO_LATENESS_S = 30.0  # a larger delay means that the sender's clock was set
_DRIFT = 1e-3  # above the difference in pace of any two clocks
_READ_ERRORS = (OSError, ValueError, http.client.HTTPException)
# Packets that are read to recognise the stream are kept: they may hold the only key frame for long.
_PROBING = {"analyzeduration": "500000", "fpsprobesize": "0"}


class Body(Protocol):
    """A source of bytes; it is seekable if it has ``seek`` and ``tell``, and is no pipe."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes; empty at the end."""

    def close(self) -> None:
        """Release the source."""


class _Drained:
    """A body that ends at an error; the error is raised later, after the frames before it."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.error: Exception | None = None
        seekable: Any = body
        if hasattr(seekable, "seek") and getattr(seekable, "seekable", lambda: True)():
            self.seek, self.tell = seekable.seek, seekable.tell

    def read(self, size: int) -> bytes:
        """Return the next bytes; empty at the end or after an error."""
        try:
            return b"" if self.error else self._body.read(size)
        except _READ_ERRORS as error:
            self.error = error
            return b""

    def close(self) -> None:
        """Release the body."""
        self._body.close()


class StreamSource:
    """An open file or stream."""

    on_demand = False

    def __init__(self, address: str, *, body: Body | None = None, ends: bool = False) -> None:
        """Open a file or connect to a server.

        Args:
            address: Path or URL.
            body: The source of its bytes; None: FFmpeg fetches them itself.
            ends: Whether it is a recording of known length; False: FFmpeg decides.

        Raises:
            CameraError: It is absent, unreadable or has no video.
            MissingDependencyError: PyAV is not installed.
        """
        self._av = load("av")
        self._name = shown(address)
        self._remote = "://" in address
        self._body = None if body is None else _Drained(body)
        self._errors = (*_READ_ERRORS, self._av.error.FFmpegError)
        try:
            self._container = self._opened(address)
        except self._errors as error:
            raise CameraError(f"{self._name}: cannot be opened ({self._reason(error)})") from error
        if not self._container.streams.video:
            self.close()
            raise CameraError(f"{self._name}: has no video")
        self._stream = self._container.streams.video[0]
        # Threads that decode several frames at once would delay the frames.
        self._stream.thread_type = "SLICE" if self._remote else "AUTO"
        # RTSP sends even a recording at its own pace, without waiting for the reader.
        ends = ends or self._container.duration is not None
        self.live = self._remote and (address.startswith("rtsp") or not ends)
        self._codec = self._stream.codec_context.name
        self._lateness = _Lateness()
        self._damage, self._failed = Damage(), 0
        self.description = self._described()
        self._display = self._display_of_jpegs() if self._codec == "mjpeg" else video.Display()

    def frames(self) -> Iterator[Shot | None]:
        """Yield frames when they arrive; MJPEG undecoded."""
        try:
            for packet in self._container.demux(self._stream):
                yield from self._shots(packet)
            if self._body is not None and self._body.error is not None:
                raise self._body.error
        except self._errors as error:
            raise CameraError(f"{self._name}: broke off ({self._reason(error)})") from error
        if self.live:
            raise CameraError(f"{self._name}: the server ended the stream")

    def close(self) -> None:
        """Disconnect."""
        self._container.close()
        if self._body is not None:
            self._body.close()

    def _opened(self, address: str) -> Any:
        """Open the source of the bytes. A path is opened here, so that none can name a protocol."""
        settings: dict[str, Any] = {"metadata_errors": "ignore"}
        if not self._remote:
            self._body = _Drained(open(address, "rb"))  # noqa: SIM115 - as long as the container
            settings["buffer_size"] = _FILE_BUFFER_BYTES
        else:
            settings |= {"options": _options(address), "timeout": (OPEN_S, STALL_S)}
        try:
            return self._av.open(address if self._body is None else self._body, **settings)
        except BaseException:
            if self._body is not None:
                self._body.close()
            raise

    def _described(self) -> str:
        context, rate = self._stream.codec_context, self._stream.average_rate
        size = f" {context.width}x{context.height}" if context.width else ""
        speed = f", {float(rate):g} frames/s" if rate else ""
        return f"{self._name}: {context.name}{size}{speed}"

    def _reason(self, error: Exception) -> str:
        if isinstance(error, (self._av.error.ExitError, TimeoutError)):
            return f"nothing arrived for {STALL_S:g} s"
        if self._body is not None and self._body.error is not None:
            error = self._body.error
        if isinstance(error, self._av.error.InvalidDataError):
            return "no video that FFmpeg can read"
        if isinstance(error, self._av.error.EOFError):
            return "it ends before its first frame"
        return getattr(error, "strerror", None) or str(error).splitlines()[0]

    def _shots(self, packet: Any) -> Iterator[Shot]:
        if self._codec == "mjpeg":
            if packet.size:
                place = packet.pts * packet.time_base if packet.pts is not None else None
                yield Shot(self._jpeg(bytes(packet)), time.monotonic(), _seconds(place))
            return
        self._damage.take(packet)
        try:
            decoded = packet.decode()
        except self._av.error.FFmpegError:
            self._damage.failed()
            self._failed += 1
            if self._failed > MOST_DAMAGED:
                raise CameraError(f"{self._name}: {self._failed} damaged frames in a row") from None
            yield Shot(None, time.monotonic())
            return
        self._failed = 0
        for frame in decoded:
            place_s = _seconds(frame.time)
            tags = video.Tags.of(frame, self._stream.codec_context)
            content = None if self._damage.holds(frame) else self._content(frame, tags)
            yield Shot(content, self._sent_s(place_s), place_s, tags.notices)
        if self.live:
            self._catch_up(packet)

    def _jpeg(self, data: bytes) -> Content:
        """Return a JPEG unchanged, or a function that decodes it as a player shows it."""
        if self._display == video.Display():
            return data
        return functools.partial(video.shown_jpeg, data, self._display)

    def _display_of_jpegs(self) -> video.Display:
        """Return how a player shows the stream's JPEGs; decode a blank one to find their turn."""
        context, oblong = self._stream.codec_context, video.oblong_of(self._stream)
        blank = video.blank_jpeg((context.width or 16, context.height or 16))
        try:
            frames = context.decode(self._av.Packet(blank))
        except self._av.error.FFmpegError:
            return video.Display(oblong=oblong)
        return video.Display(video.turn_of(frames[0]) if frames else None, oblong)

    def _content(self, frame: Any, tags: video.Tags) -> Content:
        display = video.Display.of(frame, self._stream)
        return functools.partial(video.to_rgb, frame, tags, display)

    def _sent_s(self, place_s: float | None) -> float:
        """Return the monotonic time at which a frame that was just decoded was sent."""
        now_s = time.monotonic()
        if not self.live or place_s is None:
            return now_s
        return now_s - self._lateness.take(place_s, now_s)

    def _catch_up(self, packet: Any) -> None:
        """Skip frames if decoding is slower than the stream, so that no queue builds up."""
        context = self._stream.codec_context
        if self._lateness.now_s > LATE_S:
            context.skip_frame = "NONKEY"
        elif self._lateness.now_s < ON_TIME_S and packet.is_keyframe:
            # Only from a key frame on: other frames need some that were skipped.
            context.skip_frame = "DEFAULT"


class _Lateness:
    """How late frames arrive, compared with the one that arrived with the least delay."""

    def __init__(self) -> None:
        self.now_s = 0.0
        """The last frame's lateness."""
        self._least_s: float | None = None
        self._before_s = 0.0

    def take(self, place_s: float, now_s: float) -> float:
        """Return a frame's lateness from its place in the stream and its time of arrival."""
        offset_s = now_s - place_s
        if self._least_s is not None:
            # Clocks differ in pace; without this, that would look like lateness after days.
            self._least_s += _DRIFT * (now_s - self._before_s)
        if self._least_s is None or not 0 <= offset_s - self._least_s < _NO_LATENESS_S:
            self._least_s = offset_s
        self._before_s = now_s
        self.now_s = offset_s - self._least_s
        return self.now_s


def _options(address: str) -> dict[str, str]:
    """Return FFmpeg's options for an address."""
    options = dict(_PROBING)
    if address.startswith("rtsp"):
        # UDP loses packets, and each lost packet damages frames until the next key frame.
        options["rtsp_transport"] = "tcp"
    if address.startswith("http"):
        # Continue a recording where the connection broke.
        options |= {"reconnect": "1", "reconnect_delay_max": "5"}
    if address.startswith("https"):
        options["tls_verify"] = "0"  # cameras sign their own certificates
    return options


def _seconds(place: Any) -> float | None:
    return None if place is None else float(place)
