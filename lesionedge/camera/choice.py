"""Opens the source that the user names, and chooses among the cameras."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from lesionedge.camera.frame import Source
from lesionedge.errors import CameraError, MissingDependencyError


def open_source(address: str, size: tuple[int, int]) -> Source:
    """Open a source.

    Args:
        address: ``auto``, ``picamera2``, ``rpicam``, ``/dev/videoN`` or its number, a URL, a
            video file, or images: a folder, a file, a pattern such as ``*.jpg`` or
            ``frame-%04d.png``.
        size: (width, height) in px to request from a camera.

    Raises:
        CameraError: It is absent, busy or unusable.
        MissingDependencyError: It needs a library that is not installed.
    """
    if address == "auto":
        address = choose()
    if address == "picamera2":
        from lesionedge.camera.picamera2 import Picamera2Source

        return Picamera2Source(size)
    if address == "rpicam":
        from lesionedge.camera.rpicam import RpicamSource

        return RpicamSource(size)
    if re.fullmatch(r"\d{1,3}", address) and not os.path.exists(address):
        address = f"/dev/video{address}"
    if re.match(r"/dev/(video\d|v4l/)", address):
        from lesionedge.camera.v4l2 import V4L2Source

        return V4L2Source(address, size)
    address = _local(_lower_scheme(address))
    from lesionedge.camera import sequence

    if "://" not in address and sequence.fits(address):
        return sequence.SequenceSource(address)
    if "://" not in address and not os.path.exists(address):
        raise CameraError(
            f"{address}: no such file; expected auto, picamera2, rpicam, /dev/videoN, a URL, "
            "a video file, or a folder or pattern of images"
        )
    if address.startswith(("http://", "https://")):
        from lesionedge.camera.http import open_http

        return open_http(address)
    from lesionedge.camera.stream import StreamSource

    return StreamSource(address)


def _lower_scheme(address: str) -> str:
    """Return a URL with its scheme in lower case, as FFmpeg knows it: phones write ``Rtsp://``."""
    scheme, mark, rest = address.partition("://")
    return scheme.lower() + mark + rest if mark else address


def _local(address: str) -> str:
    """Return the path of a ``file://`` address; any other address unchanged.

    Raises:
        CameraError: It names another machine.
    """
    if not address.startswith("file://"):
        return address
    from urllib.parse import unquote

    host, slash, path = address[len("file://") :].partition("/")
    if host not in ("", "localhost"):
        raise CameraError(f"{address}: names the machine {host}; expected file:///PATH")
    # As FFmpeg takes it, or else as browsers write it.
    path = slash + path
    return path if os.path.exists(path) else unquote(path)


def choose() -> str:
    """Return the address of the first camera found: picamera2's, rpicam's, then V4L2's.

    Raises:
        CameraError: There is none; the message lists what was tried and how to install what is
            missing.
    """
    tried = []
    for name, find in _finders():
        try:
            return find()
        except (CameraError, MissingDependencyError) as error:
            tried.append(f"{name} ({error})")
    raise CameraError(f"no camera found; tried {', '.join(tried)}")


def survey() -> Iterator[tuple[str, bool, str, str]]:
    """Search for every kind of camera.

    Returns:
        For each kind: its name, whether there is a camera, what was found, and what to do if a
        library is missing.
    """
    for name, find in _finders():
        try:
            found = find()
            yield name, True, "a camera" if found == name else found, ""
        except MissingDependencyError as error:
            found, _, fix = str(error).partition(": ")
            yield name, False, found, fix
        except CameraError as error:
            yield name, False, str(error), ""


def _finders() -> Iterator[tuple[str, Callable[[], str]]]:
    from lesionedge.camera import picamera2, rpicam, v4l2

    def listed() -> str:
        try:
            return "picamera2" if picamera2.find() >= 0 else ""
        except picamera2.ERRORS as error:
            raise CameraError(f"picamera2: the cameras cannot be listed ({error})") from error

    yield "picamera2", listed
    yield "rpicam", lambda: "rpicam" if rpicam.find() else ""
    yield "V4L2", v4l2.find
