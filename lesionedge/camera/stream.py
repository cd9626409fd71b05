"""Video files and network streams (MJPEG over HTTP, RTSP, …), through PyAV."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from lesionedge import image as images
from lesionedge.camera.frame import Shot, reduction, shown
from lesionedge.camera.library import load
from lesionedge.errors import CameraError

if TYPE_CHECKING:
    from PIL import Image

OPEN_S = 10.0
"""A server that does not answer for this long is given up for now."""
STALL_S = 10.0
"""A stream that sends nothing for this long is taken for gone."""
MOST_DAMAGED = 100
"""So many frames that cannot be decoded, one after the other, are no video."""
LATE_S, ON_TIME_S = 0.5, 0.1
"""A live stream decoded so much later than it was sent skips to key frames, until it is on time."""

_FILE_BUFFER_BYTES = 1 << 18
_NO_LATENESS_S = 30.0  # more than this is no delay: the sender's clock has been set
_DRIFT = 1e-3  # more than any two clocks differ in pace


class StreamSource:
    """An open file or stream."""

    def __init__(self, address: str) -> None:
        """Open a file or connect to a server.

        Args:
            address: Path or URL.

        Raises:
            CameraError: It is absent, unreadable or has no video.
            MissingDependencyError: PyAV is not installed.
        """
        self._av = load("av")
        self._name = shown(address)
        self._remote = "://" in address
        self._file: BinaryIO | None = None
        try:
            self._container = self._connect(address) if self._remote else self._read(address)
        except (OSError, ValueError, self._av.error.FFmpegError) as error:
            raise CameraError(f"{self._name}: cannot be opened ({self._reason(error)})") from error
        if not self._container.streams.video:
            self.close()
            raise CameraError(f"{self._name}: has no video")
        self._stream = self._container.streams.video[0]
        # Threads that decode several frames at once hold frames back.
        self._stream.thread_type = "SLICE" if self._remote else "AUTO"
        # Over RTSP, a recording too is sent at its own pace, whoever reads it or not.
        paced = address.startswith("rtsp") or self._container.duration is None
        self.live = self._remote and paced
        codec = self._stream.codec_context
        self._codec = codec.name
        self._lateness = _Lateness()
        rate = (
            f", {float(self._stream.average_rate):g} frames/s" if self._stream.average_rate else ""
        )
        self.description = f"{self._name}: {codec.name} {codec.width}x{codec.height}{rate}"

    def frames(self) -> Iterator[Shot | None]:
        """Yield frames as they come; MJPEG undecoded."""
        damaged = 0
        try:
            for packet in self._container.demux(self._stream):
                for shot in self._shots(packet):
                    damaged = damaged + 1 if shot.content is None else 0
                    if damaged > MOST_DAMAGED:
                        raise CameraError(f"{self._name}: {damaged} damaged frames, one by one")
                    yield shot
        except (OSError, self._av.error.FFmpegError) as error:
            raise CameraError(f"{self._name}: broke off ({self._reason(error)})") from error
        if self.live:
            raise CameraError(f"{self._name}: the server ended it")

    def close(self) -> None:
        """Disconnect."""
        self._container.close()
        if self._file is not None:
            self._file.close()

    def _connect(self, address: str) -> Any:
        options = {"fflags": "nobuffer", "analyzeduration": "2000000", "fpsprobesize": "0"}
        if address.startswith("rtsp"):
            # UDP loses packets, and every one lost damages frames until the next key frame.
            options["rtsp_transport"] = "tcp"
        return self._av.open(
            address, options=options, timeout=(OPEN_S, STALL_S), metadata_errors="ignore"
        )

    def _read(self, path: str) -> Any:
        # Opened here, so that no name is taken for one of FFmpeg's protocols.
        file = open(path, "rb")  # noqa: SIM115 - as long as the container
        try:
            found = self._av.open(file, buffer_size=_FILE_BUFFER_BYTES, metadata_errors="ignore")
        except BaseException:
            file.close()
            raise
        self._file = file
        return found

    def _reason(self, error: Exception) -> str:
        if isinstance(error, self._av.error.ExitError):
            return f"nothing came for {STALL_S:g} s"
        if isinstance(error, self._av.error.InvalidDataError):
            return "no video that FFmpeg can read"
        return getattr(error, "strerror", None) or str(error).splitlines()[0]

    def _shots(self, packet: Any) -> Iterator[Shot]:
        if self._codec == "mjpeg":
            if packet.size:
                place = packet.pts * packet.time_base if packet.pts is not None else None
                yield Shot(bytes(packet), time.monotonic(), _seconds(place))
            return
        try:
            decoded = packet.decode()
        except self._av.error.FFmpegError:
            yield Shot(None, time.monotonic())
            return
        for frame in decoded:
            content = None if frame.is_corrupt else functools.partial(_to_rgb, frame)
            place_s = _seconds(frame.time)
            yield Shot(content, self._sent_s(place_s), place_s)
        if self.live:
            self._catch_up(packet)

    def _sent_s(self, place_s: float | None) -> float:
        """Return the moment, on the monotonic clock, when a frame just decoded was sent."""
        now_s = time.monotonic()
        if not self.live or place_s is None:
            return now_s
        return now_s - self._lateness.take(place_s, now_s)

    def _catch_up(self, packet: Any) -> None:
        """Where decoding is slower than the stream, skip: the newest frame, never a queue."""
        context = self._stream.codec_context
        if self._lateness.now_s > LATE_S:
            context.skip_frame = "NONKEY"
        elif self._lateness.now_s < ON_TIME_S and packet.is_keyframe:
            # In between, frames would be decoded from others that were skipped.
            context.skip_frame = "DEFAULT"


class _Lateness:
    """How much later than they were sent frames come: later than the one that came earliest."""

    def __init__(self) -> None:
        self.now_s = 0.0
        """Of the last frame."""
        self._least_s: float | None = None
        self._before_s = 0.0

    def take(self, place_s: float, now_s: float) -> float:
        """Take a frame's place in the stream and the time when it came; give its lateness."""
        offset_s = now_s - place_s
        if self._least_s is not None:
            # Clocks differ in pace: without this, days of that would look like lateness.
            self._least_s += _DRIFT * (now_s - self._before_s)
        if self._least_s is None or not 0 <= offset_s - self._least_s < _NO_LATENESS_S:
            self._least_s = offset_s
        self._before_s = now_s
        self.now_s = offset_s - self._least_s
        return self.now_s


def _to_rgb(frame: Any, preprocessing: images.Preprocessing | None) -> Image.Image:
    from PIL import Image

    divisor = reduction((frame.width, frame.height), preprocessing)
    if divisor > 1:
        size = -(-frame.width // divisor), -(-frame.height // divisor)
        frame = frame.reformat(*size, format="rgb24", interpolation="AREA")
    return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _seconds(place: Any) -> float | None:
    return None if place is None else float(place)
