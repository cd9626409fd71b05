"""The device's own camera on the page: the newest classified frame, while somebody watches."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lesionedge.camera.capture import Camera
from lesionedge.errors import ImageError, LesionEdgeError
from lesionedge.live import FrameClassifier
from lesionedge.preview.drawing import draw
from lesionedge.preview.web import QUALITY
from lesionedge.web.predictions import dumps, prediction_of
from lesionedge.web.refusal import Refusal, busy

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.live import Observation

WATCHED_S = 10.0
"""How long after the last request frames are still classified."""
WAIT_S = 10.0
"""How long a request waits for a new frame."""
MOST_WATCHERS = 16
_TICK_S = 0.25


class LiveView:
    """Captures all the time, classifies while somebody watches, keeps the newest prediction."""

    def __init__(
        self, source: str, size: tuple[int, int], classifier: Classifier, *,
        report: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Create the view; ``open`` opens the camera.

        Args:
            source: As in ``Camera``.
            size: (width, height) in px to request from the camera.
            classifier: A classifier that is used for nothing else.
            report: Called with a message when the camera disconnects and when it is back.
        """
        self._source, self._size, self._classifier = source, size, classifier
        self._report = report
        self._camera = self._camera_of(give_up_s=None)
        self._stopped = threading.Event()
        self._requested_s = -math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._watchers = 0
        self._newest: tuple[int, bytes] = (0, b"")
        self._fault = ""
        self._thread = threading.Thread(target=self._run, name="lesionedge-live", daemon=True)

    @property
    def description(self) -> str:
        """The camera, and its format, size and rate."""
        return self._camera.description

    def open(self) -> None:
        """Open the camera.

        Raises:
            CameraError: It is absent, busy or unusable.
            MissingDependencyError: It needs a library that is not installed.
        """
        self._camera.__enter__()

    def start(self) -> None:
        """Start to classify; call it in the event loop of the requests."""
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        self._thread.start()

    def close(self) -> None:
        """Release the camera."""
        self._stopped.set()
        self._camera.close()
        if self._changed is not None:
            self._changed.set()

    async def next(self, after: int) -> bytes | None:
        """Return the newest ``LivePredictionBody`` as JSON, once its number is not ``after``.

        Raises:
            Refusal: The camera does not work, or too many clients are watching (503).
        """
        self._requested_s = time.monotonic()
        if self._watchers >= MOST_WATCHERS:
            raise busy(f"{MOST_WATCHERS} browsers are watching already", 5)
        self._watchers += 1
        try:
            return await self._other_than(after)
        finally:
            self._watchers -= 1

    async def _other_than(self, after: int) -> bytes | None:
        end_s = time.monotonic() + WAIT_S
        while not self._stopped.is_set():
            number, content = self._newest
            if content and number != after:
                return content
            if self._fault:
                raise Refusal(503, self._fault, headers={"Retry-After": "5"})
            changed, left_s = self._changed, end_s - time.monotonic()
            if changed is None or left_s <= 0:
                return None
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), left_s)
        return None

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._watch(self._camera)
            except LesionEdgeError as error:
                self._fail(f"the camera: {error}")
                self._report(str(error))
            if self._camera.ended and not self._stopped.is_set() and not self._fault:
                self._fail(f"{self._source}: has ended")
                return
            # The camera gave up, but a server continues to wait for it.
            self._camera.close()
            self._stopped.wait(1)
            if not self._stopped.is_set():
                self._camera = self._camera_of(give_up_s=math.inf)
                self._camera.__enter__()

    def _watch(self, camera: Camera) -> None:
        frame_classifier, number = FrameClassifier(self._classifier), self._newest[0]
        while not camera.ended and not self._stopped.is_set():
            if time.monotonic() - self._requested_s > WATCHED_S:
                self._stopped.wait(_TICK_S)
                continue
            frame = camera.wait(_TICK_S)
            if frame is None:
                continue
            try:
                observation = frame_classifier.look(frame)
                content = self._content(number + 1, observation)
            except ImageError as error:
                camera.count_damaged(frame, str(error))
                continue
            number += 1
            self._fault = ""
            self._publish((number, content))

    def _content(self, number: int, observation: Observation) -> bytes:
        jpeg = io.BytesIO()
        draw(observation, prediction=False).save(jpeg, "JPEG", quality=QUALITY)
        image = base64.b64encode(jpeg.getvalue()).decode()
        found: dict[str, Any] = prediction_of(self._classifier, observation.prediction)
        found.update(
            number=number, image=f"data:image/jpeg;base64,{image}",
            timestamp=observation.frame.timestamp.isoformat(timespec="milliseconds"),
            age_ms=observation.age_ms,
        )  # fmt: skip
        return dumps(found)

    def _fail(self, reason: str) -> None:
        self._fault = reason
        self._publish((self._newest[0], b""))

    def _publish(self, newest: tuple[int, bytes]) -> None:
        def announce() -> None:
            self._newest = newest
            if self._changed is not None:
                self._changed.set()
            self._changed = asyncio.Event()

        with suppress(RuntimeError):  # the loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(announce)

    def _camera_of(self, *, give_up_s: float | None) -> Camera:
        return Camera(
            self._source, size=self._size, give_up_s=give_up_s, realtime=True, report=self._report
        )
