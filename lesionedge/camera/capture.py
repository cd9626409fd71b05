"""Camera: a thread that captures, and always the newest frame for who asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from lesionedge.camera.choice import open_source
from lesionedge.camera.frame import Content, Frame, Shot, shown
from lesionedge.errors import CameraError, LesionEdgeError

DEFAULT_SIZE = (1280, 720)
GIVE_UP_S = 60.0
"""How long a camera that went away while running is waited for, unless said otherwise."""
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 10.0
"""Between attempts to open it again the wait doubles from the first to the last of these."""

_LEAVE_S = 0.6  # for the capturing thread to end; one that hangs in a driver is left behind
_TICK_S = 0.25
_log = logging.getLogger("lesionedge.camera")


@dataclass
class _Outage:
    """A time without a camera."""

    since_s: float
    """When the last frame came."""
    reason: str = ""
    """What was last reported."""
    retry_s: float = FIRST_RETRY_S
    """How long to wait before the next attempt."""


class Camera:
    """A camera, a stream or a file, read by a thread of its own.

    ``for frame in camera`` gives the newest frame each time, never one from a queue; frames that
    nobody took in time are counted and forgotten. Files and images wait instead, so that none
    is missed. A camera that goes away is waited for and opened again.
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
            size: (width, height) in px to ask for; what comes may differ.
            give_up_s: Seconds without a frame after which to end with a CameraError. None: at
                once if there is no camera at the start, ``GIVE_UP_S`` later. A file that breaks
                off is not waited for.
            realtime: Play a video file at its own speed, as a camera would have given it.
            report: Told, from the thread that captures, when the camera goes and comes back.
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
        self._finished = False
        self.is_open = False
        """Whether it has been opened; where ``give_up_s`` is given, that may come later."""
        self.description = shown(source)
        """What delivers, and how; known once it is open."""
        self.seen = 0
        """Frames that came."""
        self.dropped = 0
        """Frames that a newer one replaced before anybody took them."""
        self.damaged = 0
        """Frames that could not be decoded."""
        self.outages = 0
        """How often the camera went away."""

    def __enter__(self) -> Camera:
        """Open the camera and begin to capture.

        Raises:
            CameraError: It is absent, busy or unusable, and ``give_up_s`` says not to wait.
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
        """Stop and let go of the device."""
        self.close()

    def close(self) -> None:
        """Stop and let go of the device; iterations end."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(_LEAVE_S)

    @property
    def live(self) -> bool:
        """Whether frames that nobody takes in time are lost, as a camera's; known once open."""
        return self._live or self._realtime

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""
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
        """Take the newest frame that was not taken yet.

        Args:
            timeout_s: How long to wait for one.

        Returns:
            The frame; None if none came, or none will (``ended``).

        Raises:
            CameraError: No frame came for ``give_up_s``.
        """
        if self._thread is None:
            raise CameraError(f"{shown(self.source)}: not open; use it in a with statement")
        with self._changed:
            if self._slot is None and self._error is None and not self.ended:
                self._changed.wait(timeout_s)
            frame, self._slot = self._slot, None
            self._changed.notify_all()
            if self._stop.is_set():
                return None
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def rest(self, seconds: float) -> None:
        """Let time pass; ``close`` ends it early."""
        if seconds > 0:
            self._stop.wait(seconds)

    def count_damaged(self) -> None:
        """Count a frame that turned out damaged when it was decoded."""
        with self._changed:
            self.damaged += 1

    def _await_opening(self) -> None:
        """Wait until the camera is open or absent; a wait, unlike a library, can be interrupted.

        Raises:
            CameraError: It cannot be opened.
            MissingDependencyError: It needs a library that is not installed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_open or self._finished or self.outages)
            if not self.is_open and self._error is not None:
                raise self._error

    def _run(self) -> None:
        """Capture until the source ends, it is given up, or ``close``."""
        try:
            while not self._stop.is_set():
                try:
                    self._capture()
                    return
                except CameraError as error:
                    # A file that breaks off would break off there again.
                    waits = self._live if self.is_open else self._give_up_s is not None
                    if not waits:
                        raise
                    self._wait_for_return(error)
        except BaseException as error:
            # Whatever it is: the thread that waits for frames would else wait for ever.
            self._error = error
            if not isinstance(error, LesionEdgeError):
                raise
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _capture(self) -> None:
        """Publish frames until the source ends or ``close``."""
        source = open_source(self.source, self.size)
        with self._changed:
            self.description, self._live = source.description, source.live
            self.is_open = True
            self._changed.notify_all()
        self._origin_s = None
        try:
            for shot in source.frames():
                if self._stop.is_set():
                    return
                if shot is None:
                    continue
                if self._realtime and shot.position_s is not None:
                    self._publish(self._paced(shot, shot.position_s), live=True)
                else:
                    self._publish(shot, live=source.live)
        finally:
            source.close()

    def _paced(self, shot: Shot, position_s: float) -> Shot:
        """Hold a frame of a file back until its time has come."""
        now_s = time.monotonic()
        if self._origin_s is None:
            self._origin_s = now_s - position_s
        due_s = max(now_s, self._origin_s + position_s)
        self._stop.wait(due_s - now_s)
        return shot._replace(captured_s=due_s)

    def _publish(self, shot: Shot, *, live: bool) -> None:
        """Put a frame where the next who asks finds it."""
        self._last_s = time.monotonic()
        self._came_back()
        with self._changed:
            self.seen += 1
            if shot.content is None:
                self.damaged += 1
                return
            while not live and self._slot is not None and not self._stop.is_set():
                self._changed.wait(_TICK_S)
            now_s = time.monotonic()
            captured_s = shot.captured_s if live else now_s
            age = timedelta(seconds=now_s - captured_s)
            timestamp = datetime.now(timezone.utc) - age
            frame = Frame(self.seen, timestamp, captured_s, shot.content, self._before)
            # Separate images have nothing to do with each other.
            moving = live or shot.position_s is not None
            self._before = (shot.content, captured_s) if moving else None
            if self._slot is not None:
                self.dropped += 1
            self._slot = frame
            self._changed.notify_all()

    def _wait_for_return(self, error: CameraError) -> None:
        """Wait before the next attempt.

        Raises:
            CameraError: It is time to give up.
        """
        outage = self._outage
        if outage is None:
            outage = self._outage = _Outage(self._last_s)
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
        outage.retry_s = min(2 * outage.retry_s, LAST_RETRY_S)

    def _came_back(self) -> None:
        if self._outage is not None:
            away_s = time.monotonic() - self._outage.since_s
            self._outage = None
            self._report(f"{self.description}: back after {away_s:.0f} s")
