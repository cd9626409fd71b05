"""USB cameras, microscopes and dermatoscopes by Video4Linux2: MJPEG or YUYV.

Structures and request numbers are those of videodev2, the Raspberry Pi's own bindings.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import glob
import mmap
import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lesionedge.camera.frame import Content, Shot
from lesionedge.camera.library import load
from lesionedge.camera.yuyv import Layout, to_rgb
from lesionedge.errors import CameraError

FORMATS = ("MJPG", "YUYV")
"""The supported formats; if size and rate are equal, the first one wins."""

BUFFERS = 4
ENOUGH_PER_S = 30.0
"""Frame rates above this count as equal."""
STALL_S = 5.0
"""A camera that sends no frame for this long counts as gone."""
_TICK_S = 0.25
_NOT_CAMERAS = ("bcm2835-isp", "bcm2835-codec", "pispbe", "rpi-hevc-dec")  # parts of the Pi
USUAL_SIZES = ((640, 480), (800, 600), (1280, 720), (1920, 1080))
_LONGEST_LIST = 256  # formats, sizes or rates; a driver that never ends its list is broken


class _Enumerated(ctypes.Structure):
    """The end of an entry in both lists: one value, or limits and a step."""

    _fields_ = (
        ("type", ctypes.c_uint32), ("values", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )  # fmt: skip


# From linux/videodev2.h; videodev2 lacks them.
class _FrameSize(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32), ("pixel_format", ctypes.c_uint32), ("found", _Enumerated),
    )  # fmt: skip


class _FrameInterval(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32), ("pixel_format", ctypes.c_uint32),
        ("width", ctypes.c_uint32), ("height", ctypes.c_uint32), ("found", _Enumerated),
    )  # fmt: skip


_DISCRETE = 1


class Mode(NamedTuple):
    """A format, size and rate that a device offers."""

    fourcc: str
    """``MJPG`` or ``YUYV``."""
    size: tuple[int, int]
    """(width, height) in px."""
    per_s: float
    """Frames per second; 0 if the driver does not report it."""


@dataclass(frozen=True)
class Device:
    """A device node that can capture."""

    path: str
    """The node's path, such as ``/dev/video0``."""
    card: str
    """The camera's own name."""
    driver: str
    """The kernel's driver."""


def find() -> str:
    """Return the path of the first device that can capture.

    Raises:
        CameraError: There is none; the message says why each node was skipped.
        MissingDependencyError: videodev2 is not installed.
    """
    paths = nodes()
    if not paths:
        raise CameraError("there is no /dev/video*")
    reasons = []
    for path in paths:
        try:
            return _probe(path).path
        except CameraError as error:
            reasons.append(str(error))
    raise CameraError(", ".join(reasons))


def nodes() -> list[str]:
    """Return the paths of all V4L2 device nodes, in the order of their numbers."""
    return sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: int(re.sub(r"\D", "", path)))


def _probe(path: str) -> Device:
    """Return a node's device if it is a camera.

    Raises:
        CameraError: It is not a camera.
    """
    file = _opened(path)
    try:
        device = describe(file, path)
        if device.driver.startswith(_NOT_CAMERAS):
            raise CameraError(f"{path}: {device.driver} is not a camera")
        modes(file, path)
        return device
    finally:
        os.close(file)


class V4L2Source:
    """A streaming V4L2 device."""

    live = True
    on_demand = False

    def __init__(self, path: str, size: tuple[int, int]) -> None:
        """Open a device, agree on a format and start it.

        Args:
            path: The device node.
            size: (width, height) in px to request; the camera's nearest size is taken.

        Raises:
            CameraError: It is absent, busy or not a camera.
            MissingDependencyError: videodev2 is not installed.
        """
        self._v4l2 = library()
        self._path = path
        self._maps: list[mmap.mmap] = []
        self._file = _opened(path)
        try:
            device = describe(self._file, path)
            mode = choose(modes(self._file, path), size)
            self._layout = self._agree(mode)
            rate = self._set_rate(mode.per_s)
            self._start()
        except OSError as error:
            self.close()
            raise _fault(path, error) from error
        except CameraError:
            self.close()
            raise
        shape = f"{self._layout.width_px}x{self._layout.height_px}"
        speed = f", {rate:g} frames/s" if rate else ""
        self.description = f"{path} ({device.card}): {self._fourcc} {shape}{speed}"

    def frames(self) -> Iterator[Shot | None]:
        """Yield frames as the device fills its buffers."""
        waiter = select.poll()
        waiter.register(self._file, select.POLLIN | select.POLLPRI)
        last_s = time.monotonic()
        while True:
            try:
                ready = waiter.poll(_TICK_S * 1000)
                shot = self._take() if ready else None
            except OSError as error:
                raise _fault(self._path, error) from error
            if shot is not None:
                last_s = time.monotonic()
            elif time.monotonic() - last_s > STALL_S:
                raise CameraError(f"{self._path}: sends no frames (none for {STALL_S:g} s)")
            yield shot

    def close(self) -> None:
        """Stop and release the device."""
        kind = ctypes.c_int(_capture(self._v4l2))
        _try_request(self._file, self._v4l2.VIDIOC_STREAMOFF, kind)
        for area in self._maps:
            area.close()
        self._maps.clear()
        os.close(self._file)

    def _agree(self, mode: Mode) -> Layout:
        v4l2 = self._v4l2
        wanted = v4l2.v4l2_format(type=_capture(v4l2))
        pix = wanted.fmt.pix
        pix.width, pix.height = mode.size
        pix.pixelformat = v4l2.v4l2_fourcc(*mode.fourcc)
        pix.field = v4l2.V4L2_FIELD_NONE
        _request(self._file, v4l2.VIDIOC_S_FMT, wanted)
        self._fourcc = _text(pix.pixelformat.to_bytes(4, "little"))
        if self._fourcc not in FORMATS:
            raise CameraError(
                f"{self._path}: sends {self._fourcc} instead of the requested {mode.fourcc}"
            )
        row_bytes = max(pix.bytesperline, 2 * pix.width)
        return Layout(
            pix.width, pix.height, row_bytes, _matrix(v4l2, pix), _is_full_range(v4l2, pix)
        )

    def _set_rate(self, per_s: float) -> float:
        """Request a frame rate and return the actual one; 0 if the driver reports none."""
        v4l2 = self._v4l2
        parameters = v4l2.v4l2_streamparm(type=_capture(v4l2))
        if not _try_request(self._file, v4l2.VIDIOC_G_PARM, parameters):
            return 0.0
        interval = parameters.parm.capture.timeperframe
        if per_s:
            interval.numerator, interval.denominator = 1000, round(per_s * 1000)
            _try_request(self._file, v4l2.VIDIOC_S_PARM, parameters)
        return round(interval.denominator / interval.numerator, 2) if interval.numerator else 0.0

    def _start(self) -> None:
        v4l2 = self._v4l2
        wanted = v4l2.v4l2_requestbuffers(
            count=BUFFERS, type=_capture(v4l2), memory=v4l2.V4L2_MEMORY_MMAP
        )
        _request(self._file, v4l2.VIDIOC_REQBUFS, wanted)
        for index in range(wanted.count):
            buffer = self._buffer(index)
            _request(self._file, v4l2.VIDIOC_QUERYBUF, buffer)
            self._maps.append(mmap.mmap(self._file, buffer.length, offset=buffer.m.offset))
            _request(self._file, v4l2.VIDIOC_QBUF, buffer)
        _request(self._file, v4l2.VIDIOC_STREAMON, ctypes.c_int(_capture(v4l2)))

    def _buffer(self, index: int = 0) -> Any:
        v4l2 = self._v4l2
        return v4l2.v4l2_buffer(index=index, type=_capture(v4l2), memory=v4l2.V4L2_MEMORY_MMAP)

    def _take(self) -> Shot | None:
        """Copy the next full buffer and return it to the driver."""
        v4l2 = self._v4l2
        buffer = self._buffer()
        try:
            _request(self._file, v4l2.VIDIOC_DQBUF, buffer)
        except (BlockingIOError, InterruptedError):
            return None
        damaged = buffer.flags & v4l2.V4L2_BUF_FLAG_ERROR
        content = None if damaged else self._content(buffer)
        captured_s = self._captured_s(buffer)
        _request(self._file, v4l2.VIDIOC_QBUF, buffer)
        return Shot(content, captured_s)

    def _content(self, buffer: Any) -> Content | None:
        data = self._maps[buffer.index][: buffer.bytesused]
        if self._fourcc == "MJPG":
            return data or None
        if len(data) < self._layout.size_bytes:
            return None
        return functools.partial(to_rgb, data, self._layout)

    def _captured_s(self, buffer: Any) -> float:
        now_s = time.monotonic()
        kind = buffer.flags & self._v4l2.V4L2_BUF_FLAG_TIMESTAMP_MASK
        stamp_s = float(buffer.timestamp.tv_sec + buffer.timestamp.tv_usec * 1e-6)
        # Some drivers report impossible times; ignore those.
        believable = now_s - STALL_S < stamp_s <= now_s
        if kind == self._v4l2.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC and believable:
            return stamp_s
        return now_s


def library() -> Any:
    """Import videodev2.

    Raises:
        MissingDependencyError: It is not installed.
    """
    return load("videodev2")


def describe(file: int, path: str) -> Device:
    """Query an open node.

    Raises:
        CameraError: It does not capture.
    """
    v4l2 = library()
    found = v4l2.v4l2_capability()
    try:
        _request(file, v4l2.VIDIOC_QUERYCAP, found)
    except OSError as error:
        raise CameraError(f"{path}: is not a video device ({error.strerror})") from error
    able = found.capabilities
    if able & v4l2.V4L2_CAP_DEVICE_CAPS:
        able = found.device_caps
    wanted = v4l2.V4L2_CAP_VIDEO_CAPTURE | v4l2.V4L2_CAP_STREAMING
    # A memory-to-memory device is a codec; one under the media controller is part of a pipeline.
    unwanted = v4l2.V4L2_CAP_VIDEO_M2M | v4l2.V4L2_CAP_IO_MC
    card, driver = _text(bytes(found.card)), _text(bytes(found.driver))
    if able & wanted != wanted or able & unwanted:
        raise CameraError(f"{path}: {card or driver} does not capture")
    return Device(path, card, driver)


def modes(file: int, path: str) -> list[Mode]:
    """Return the modes of an open device in ``FORMATS``.

    Raises:
        CameraError: It has none.
    """
    v4l2 = library()
    offered = [
        _text(entry.pixelformat.to_bytes(4, "little"))
        for entry in _listed(file, v4l2.VIDIOC_ENUM_FMT, v4l2.v4l2_fmtdesc, type=_capture(v4l2))
    ]
    found = [
        Mode(fourcc, size, _rate(file, fourcc, size))
        for fourcc in FORMATS
        if fourcc in offered
        for size in _sizes(file, fourcc)
    ]
    if not found:
        found_formats = ", ".join(offered) or "no format"
        raise CameraError(f"{path}: offers {found_formats}; expected {' or '.join(FORMATS)}")
    return found


def choose(offered: list[Mode], size: tuple[int, int]) -> Mode:
    """Return the mode with the size nearest to the wanted one, then the best rate and format.

    Args:
        offered: At least one mode.
        size: (width, height) in px.
    """

    def worth(mode: Mode) -> tuple[float, float, int]:
        distance = abs(mode.size[0] - size[0]) + abs(mode.size[1] - size[1])
        return distance, -min(mode.per_s, ENOUGH_PER_S), FORMATS.index(mode.fourcc)

    return min(offered, key=worth)


def _sizes(file: int, fourcc: str) -> list[tuple[int, int]]:
    v4l2 = library()
    request = v4l2._IOWR("V", 74, _FrameSize)
    sizes = []
    for entry in _listed(file, request, _FrameSize, pixel_format=v4l2.v4l2_fourcc(*fourcc)):
        values = entry.found.values
        if entry.found.type != _DISCRETE:
            # The driver takes any size within limits: offer some usual ones.
            low_w, high_w, _, low_h, high_h, _ = values
            return [
                (w, h) for w, h in USUAL_SIZES if low_w <= w <= high_w and low_h <= h <= high_h
            ] or [(low_w, low_h)]
        sizes.append((values[0], values[1]))
    # A driver that lists no sizes takes the requested one or the nearest.
    return sizes or list(USUAL_SIZES)


def _rate(file: int, fourcc: str, size: tuple[int, int]) -> float:
    v4l2 = library()
    request = v4l2._IOWR("V", 75, _FrameInterval)
    code = v4l2.v4l2_fourcc(*fourcc)
    best = 0.0
    for entry in _listed(
        file, request, _FrameInterval, pixel_format=code, width=size[0], height=size[1]
    ):
        # The one interval, or the shortest of a range, as a fraction of a second.
        numerator, denominator = entry.found.values[:2]
        if numerator:
            best = max(best, denominator / numerator)
        if entry.found.type != _DISCRETE:
            break
    return best


def _listed(file: int, request: int, structure: Any, **settings: Any) -> Iterator[Any]:
    """Yield the entries of one of the driver's lists."""
    for index in range(_LONGEST_LIST):
        entry = structure(index=index, **settings)
        if not _try_request(file, request, entry):
            return
        yield entry


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _fault(path, error) from error


def _fault(path: str, error: OSError) -> CameraError:
    """Return the CameraError for a system error."""
    if error.errno == errno.ENOENT:
        others = [node for node in nodes() if node != path]
        return CameraError(
            f"{path}: no such device" + (f"; there is {', '.join(others)}" * bool(others))
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return CameraError(
            f"{path}: no permission; sudo usermod -aG video $USER, then log in again"
        )
    if error.errno == errno.EBUSY:
        return CameraError(f"{path}: busy, another program uses it (fuser -v {path} names it)")
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return CameraError(f"{path}: gone; was it unplugged?")
    return CameraError(f"{path}: fails ({error.strerror})")


def _request(file: int, request: int, argument: Any) -> None:
    fcntl.ioctl(file, request & 0xFFFFFFFF, argument)


def _try_request(file: int, request: int, argument: Any) -> bool:
    try:
        _request(file, request, argument)
    except OSError:
        return False
    return True


def _capture(v4l2: Any) -> int:
    return int(v4l2.V4L2_BUF_TYPE_VIDEO_CAPTURE)


def _matrix(v4l2: Any, pix: Any) -> str:
    encoding, colour_space = pix.ycbcr_enc, pix.colorspace
    if encoding == v4l2.V4L2_YCBCR_ENC_DEFAULT:
        # As in the kernel's V4L2_MAP_YCBCR_ENC_DEFAULT.
        return {
            v4l2.V4L2_COLORSPACE_REC709: "709",
            v4l2.V4L2_COLORSPACE_DCI_P3: "709",
            v4l2.V4L2_COLORSPACE_BT2020: "2020",
            v4l2.V4L2_COLORSPACE_SMPTE240M: "240M",
        }.get(colour_space, "601")
    return {
        v4l2.V4L2_YCBCR_ENC_709: "709",
        v4l2.V4L2_YCBCR_ENC_XV709: "709",
        v4l2.V4L2_YCBCR_ENC_BT2020: "2020",
        v4l2.V4L2_YCBCR_ENC_SMPTE240M: "240M",
    }.get(encoding, "601")


def _is_full_range(v4l2: Any, pix: Any) -> bool:
    if pix.quantization == v4l2.V4L2_QUANTIZATION_DEFAULT:
        return bool(pix.colorspace == v4l2.V4L2_COLORSPACE_JPEG)
    return bool(pix.quantization == v4l2.V4L2_QUANTIZATION_FULL_RANGE)


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace").strip()
