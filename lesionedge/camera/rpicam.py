"""CSI cameras through ``rpicam-vid``: for virtual environments without libcamera's bindings."""

from __future__ import annotations

import functools
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import IO

from lesionedge.camera.frame import Shot
from lesionedge.camera.mjpeg import Cutter
from lesionedge.errors import CameraError, MissingDependencyError

PROGRAMS = ("rpicam-vid", "libcamera-vid")
"""The program's name, and its name before Raspberry Pi OS Bookworm."""

STALL_S = 10.0
"""A camera that sends no frame for this long counts as gone; it needs seconds to start."""
_TICK_S = 0.2
_PIPE_BYTES = 1 << 20
_KEPT_BYTES = 2000  # the end of the program's standard error


def program() -> str:
    """Return the path of the program.

    Raises:
        MissingDependencyError: It is not installed.
    """
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise MissingDependencyError("rpicam-vid is not installed: sudo apt install rpicam-apps-lite")


def find() -> str:
    """Return the path of the program if it sees a camera.

    Raises:
        CameraError: The program sees no camera.
        MissingDependencyError: The program is not installed.
    """
    path = program()
    try:
        listed = subprocess.run(
            [path, "--list-cameras"], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=STALL_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CameraError(f"{path} --list-cameras fails ({error})") from error
    text = (listed.stdout + listed.stderr).decode("utf-8", "replace")
    if listed.returncode or "Available cameras" not in text:
        raise CameraError(f"{os.path.basename(path)} sees no camera")
    return path


class RpicamSource:
    """A running ``rpicam-vid``."""

    live = True
    on_demand = False

    def __init__(self, size: tuple[int, int]) -> None:
        """Start the program.

        Args:
            size: (width, height) in px.

        Raises:
            CameraError: It cannot be run.
            MissingDependencyError: It is not installed.
        """
        path = program()
        width, height = size
        line = [path, "--nopreview", "--timeout", "0", "--codec", "mjpeg", "--flush",
                "--width", str(width), "--height", str(height), "--output", "-"]  # fmt: skip
        try:
            # A new session, so that Ctrl-C reaches only this process, which ends the program.
            self._child = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                bufsize=0, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise CameraError(f"{path}: cannot be run ({error.strerror})") from error
        self._name = os.path.basename(path)
        self._said = b""
        self.description = f"{self._name}: MJPEG {width}x{height}"

    def frames(self) -> Iterator[Shot | None]:
        """Yield frames as the program writes them."""
        cutter = Cutter()
        last_s = time.monotonic()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._stream("stdout"), selectors.EVENT_READ)
            waiting.register(self._stream("stderr"), selectors.EVENT_READ)
            while True:
                shots = cutter.shots(functools.partial(self._read, waiting, cutter))
                yield from shots
                if any(shot.content is not None for shot in shots):
                    last_s = time.monotonic()
                elif time.monotonic() - last_s > STALL_S:
                    raise CameraError(f"{self._name}: sends no frames (none for {STALL_S:g} s)")
                else:
                    yield None

    def close(self) -> None:
        """End the program."""
        self._child.terminate()
        try:
            self._child.wait(0.2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._stream("stdout").close()
        self._stream("stderr").close()

    def _stream(self, name: str) -> IO[bytes]:
        stream: IO[bytes] = getattr(self._child, name)
        return stream

    def _read(self, waiting: selectors.BaseSelector, cutter: Cutter) -> list[bytes]:
        frames = []
        for key, _ in waiting.select(_TICK_S):
            data = os.read(key.fd, _PIPE_BYTES)
            if key.fileobj is self._child.stderr:
                self._said = (self._said + data)[-_KEPT_BYTES:]
                if not data:
                    waiting.unregister(key.fileobj)
            elif data:
                frames += cutter.feed(data)
            else:
                raise CameraError(f"{self._name} ended: {self._reason()}")
        return frames

    def _reason(self) -> str:
        """Return the program's last error line, or its exit status."""
        stderr = self._stream("stderr")
        os.set_blocking(stderr.fileno(), False)
        said = self._said + (stderr.read() or b"")
        lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line]
        errors = [line for line in lines if "error" in line.lower()]
        try:
            status = self._child.wait(0.2)
        except subprocess.TimeoutExpired:
            status = 0
        return (errors or lines or [f"exit status {status}"])[-1].strip("* ")
