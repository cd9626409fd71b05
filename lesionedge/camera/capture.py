"""Camera: a thread captures frames, and the caller always gets the newest one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from lesionedge.camera.choice import open_source
from lesionedge.camera.frame import Content, Frame, Shot, Source, counted, shown
from lesionedge.errors import CameraError, LesionEdgeError

DEFAULT_SIZE = (1280, 720)
GIVE_UP_S = 60.0
"""Default time to wait for a camera that disconnected while running."""
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 10.0
"""The wait between attempts to reopen the camera doubles from the first of these to the last."""

_LEAVE_S = 0.6  # how long to wait for the thread to end; it may hang in a driver
_TICK_S = 0.25
_log = logging.getLogger("lesionedge.camera")


@dataclass
class _Outage:
    """A time without a camera."""

    since_s: float
    """When the last frame came."""
    retry_s: float
    """How long to wait before the next attempt."""
    reason: str = ""
    """The last message that was reported."""


class Camera:
    """A camera, a stream or a file, read by its own thread.

    ``for frame in camera`` yields the newest frame each time; there is no queue. Frames that are
    not taken in time are counted and dropped. Files and images wait instead, so that none is
    missed. If a camera disconnects, it is opened again as soon as it is back.
    """

    def __init__(
        self, source: str = "auto", *, size: tuple[int, int] = DEFAULT_SIZE,
        give_up_s: float | None = None, realtime: bool = False,
        report: Callable[[str], None] = _log.warning,
    ) -> None:  # fmt: skip
        """Describe a camera; ``with`` opens it.

        Args:
            source: ``auto``, ``picamera2``, ``rpicam``, ``/dev/videoN``, a URL, a video file, or
                images: a folder, a pattern (``*.jpg``, ``frame-%04d.png``) or a file.
            size: (width, height) in px to request; the actual size may differ.
            give_up_s: Raise a CameraError after this many seconds without a frame. None: at once if
                there is no camera at the start, after ``GIVE_UP_S`` later on. A file that breaks
                off raises at once.
            realtime: Play a video file at its own speed, like a camera.
            report: Called with a message when the camera disconnects and when it is back, from the
                capturing thread.
        """
        self.source = source
        self.size = size
        self._give_up_s = give_up_s
        self._realtime = realtime
        self._report = report
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._live = True
        self._slot: Frame | None = None
        self._before: tuple[Content, float] | None = None
        self._error: BaseException | None = None
        self._outage: _Outage | None = None
        self._last_s = 0.0
        self._origin_s: float | None = None
        self._connected_s = 0.0
        self._wanted = self._has_come = False
        self._finished = False
        self.is_open = False
        """Whether the camera was opened; with ``give_up_s`` that may happen later."""
        self.description = shown(source)
        """The source, and its format, size and rate; known once it is open."""
        self.seen = 0
        """Frames that arrived."""
        self.dropped = 0
        """Frames that a newer one replaced before anybody took them."""
        self.damaged = 0
        """Frames that could not be decoded."""
        self.outages = 0
        """How often the camera disconnected."""

    def __enter__(self) -> Camera:
        """Open the camera and start to capture.

        Raises:
            CameraError: It is absent, busy or unusable, and ``give_up_s`` is None or has passed.
            MissingDependencyError: It needs a library that is not installed.
        """
        if self._thread is not None:
            raise CameraError(f"{shown(self.source)}: this Camera was used before; make another")
        self._last_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lesionedge-camera", daemon=True)
        self._thread.start()
        try:
            self._await_opening()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop and release the device."""
        self.close()

    def close(self) -> None:
        """Stop and release the device; iterations end."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(_LEAVE_S)

    @property
    def live(self) -> bool:
        """Whether frames that are not taken in time are dropped; known once it is open."""
        return self._live or self._realtime

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._stop.is_set()

    @property
    def ended(self) -> bool:
        """Whether no more frames will arrive."""
        if self._stop.is_set():
            return True
        return self._finished and self._slot is None and self._error is None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame, again and again, until a file ends or ``close``.

        Raises:
            CameraError: No frame came for ``give_up_s``.
        """
        while not self.ended:
            frame = self.wait(_TICK_S)
            if frame is not None:
                yield frame

    def wait(self, timeout_s: float) -> Frame | None:
        """Return the newest frame that has not been taken yet.

        Args:
            timeout_s: How long to wait for a frame.

        Returns:
            The frame; None if none arrived, or none will (``ended``).

        Raises:
            CameraError: No frame came for ``give_up_s``.
        """
        if self._thread is None:
            raise CameraError(f"{shown(self.source)}: not open; use it in a with statement")
        with self._changed:
            if self._slot is None and self._error is None and not self.ended:
                self._wanted = True
                self._changed.notify_all()
                self._changed.wait(timeout_s)
            frame, self._slot = self._slot, None
            self._changed.notify_all()
            if self._stop.is_set():
                return None
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def rest(self, seconds: float) -> None:
        """Wait; ``close`` ends the wait early."""
        if seconds > 0:
            self._stop.wait(seconds)

    def count_damaged(self, frame: Frame, reason: str) -> None:
        """Count a frame that could not be decoded; if it is an image file, report its name.

        Args:
            frame: The frame.
            reason: What was found in it.
        """
        with self._changed:
            self.damaged += 1
        self._report_file(frame.path, reason)

    def _report_file(self, path: str | None, reason: str) -> None:
        if path is not None:
            self._report(f"{path}: {reason}")

    def _await_opening(self) -> None:
        """Wait until the camera is open or absent. Ctrl-C works here, unlike inside a library.

        Raises:
            CameraError: It cannot be opened.
            MissingDependencyError: It needs a library that is not installed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_open or self._finished or self.outages)
            if not self.is_open and self._error is not None:
                raise self._error

    def _run(self) -> None:
        """Capture until the source ends, the camera gives up, or ``close`` is called."""
        try:
            while not self._stop.is_set():
                try:
                    self._capture()
                    self._check_that_frames_came()
                    return
                except CameraError as error:
                    # A file that breaks off would break off there again.
                    waits = self._live if self.is_open else self._give_up_s is not None
                    if not waits:
                        raise
                    self._wait_for_return(error)
        except BaseException as error:
            # Store any error: otherwise the thread that waits for frames would wait forever.
            self._error = error
            if not isinstance(error, LesionEdgeError):
                raise
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _capture(self) -> None:
        """Publish frames until the source ends or ``close`` is called."""
        source = open_source(self.source, self.size)
        self._connected_s = time.monotonic()
        with self._changed:
            self.description, self._live = source.description, source.live
            self.is_open = True
            self._changed.notify_all()
        self._origin_s = None
        try:
            for shot in self._wanted_of(source):
                if shot is None:
                    continue
                if self._realtime and shot.position_s is not None:
                    self._publish(self._paced(shot, shot.position_s), live=True)
                else:
                    self._publish(shot, live=source.live)
        finally:
            source.close()

    def _wanted_of(self, source: Source) -> Iterator[Shot | None]:
        """Yield a source's frames until ``close``; read an on-demand source only when needed."""
        frames = source.frames()
        while not self._stop.is_set():
            if source.on_demand:
                self._await_demand()
            try:
                shot = next(frames)
            except StopIteration:
                return
            if not self._stop.is_set():
                yield shot

    def _await_demand(self) -> None:
        with self._changed:
            while not self._wanted and not self._stop.is_set():
                self._changed.wait(_TICK_S)
            self._wanted = False
        self._last_s = time.monotonic()  # until now, no frame was missed

    def _check_that_frames_came(self) -> None:
        """Check that a file had a frame before it ended.

        Raises:
            CameraError: It had no frame, or only damaged ones.
        """
        if not self._has_come and not self._stop.is_set():
            found = f", but {counted(self.seen)} that cannot be read" if self.seen else ""
            raise CameraError(f"{self.description}: holds no whole frame{found}")

    def _paced(self, shot: Shot, position_s: float) -> Shot:
        """Wait until a file's frame is due."""
        now_s = time.monotonic()
        if self._origin_s is None:
            self._origin_s = now_s - position_s
        due_s = max(now_s, self._origin_s + position_s)
        self._stop.wait(due_s - now_s)
        return shot._replace(captured_s=due_s)

    def _publish(self, shot: Shot, *, live: bool) -> None:
        """Store a frame for the next caller of ``wait``."""
        self._last_s = time.monotonic()
        self._came_back()
        with self._changed:
            self.seen += 1
            if shot.content is None:
                self.damaged += 1
                self._report_file(shot.path, "cannot be read, or is empty")
                return
            while not live and self._slot is not None and not self._stop.is_set():
                self._changed.wait(_TICK_S)
            now_s = time.monotonic()
            captured_s = shot.captured_s if live else now_s
            age = timedelta(seconds=now_s - captured_s)
            timestamp = datetime.now(timezone.utc) - age
            frame = Frame(
                self.seen, timestamp, captured_s, shot.content, self._before, shot.warnings,
                shot.path,
            )  # fmt: skip
            # Separate images show no motion.
            moving = live or shot.position_s is not None
            self._before = (shot.content, captured_s) if moving else None
            if self._slot is not None:
                self.dropped += 1
            self._slot = frame
            self._wanted, self._has_come = False, True
            self._changed.notify_all()

    def _wait_for_return(self, error: CameraError) -> None:
        """Wait before the next attempt.

        Raises:
            CameraError: No frame came within the time limit.
        """
        outage = self._outage
        if outage is None:
            # A source that was connected for a while is opened again at once.
            connected_s = time.monotonic() - self._connected_s
            outage = self._outage = _Outage(self._last_s, max(0.0, FIRST_RETRY_S - connected_s))
            with self._changed:
                self.outages += 1
                self._changed.notify_all()
            self._report(f"{error}; trying again")
        elif str(error) != outage.reason:
            self._report(str(error))
        outage.reason = str(error)
        limit_s = GIVE_UP_S if self._give_up_s is None else self._give_up_s
        left_s = outage.since_s + limit_s - time.monotonic()
        if left_s <= 0:
            raise CameraError(f"{error}; gave up after {limit_s:g} s without a frame") from error
        self._stop.wait(min(outage.retry_s, left_s))
        outage.retry_s = min(max(2 * outage.retry_s, FIRST_RETRY_S), LAST_RETRY_S)

    def _came_back(self) -> None:
        if self._outage is not None:
            away_s = time.monotonic() - self._outage.since_s
            self._outage = None
            self._report(f"{self.description}: back after {away_s:.0f} s")
