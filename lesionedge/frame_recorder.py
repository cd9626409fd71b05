"""Saves frames and their predictions in another thread, because disks can be slow."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from lesionedge.atomic import whole_file
from lesionedge.camera.mjpeg import with_tables
from lesionedge.errors import CameraError, ImageError

if TYPE_CHECKING:
    from lesionedge.camera.frame import Frame
    from lesionedge.live import Observation

WHEN = ("changed", "always", "malignant", "key")
"""When to save a frame: ``changed``: its label differs from the last one; ``always``;
``malignant``: its label is malignant; ``key``: a key was pressed."""

QUALITY = 92
WAITING = 4
"""How many images may wait for the disk. Above that, a live camera's frames are not saved."""

_REPORT_AGAIN_S = 60.0
_LEAVE_S, _INTERRUPTED_S = 30.0, 0.2


class _Job(NamedTuple):
    """An image to write."""

    frame: Frame
    facts: bytes
    path: str


class FrameRecorder:
    """Writes frames into a folder: ``TIME-NUMBER-LABEL.jpg``, and the prediction as ``.json``.

    Use it in a ``with`` statement: leaving it waits for the images that are not yet written.
    """

    def __init__(
        self, folder: str, when: str, *, malignant: frozenset[str], report: Callable[[str], None]
    ) -> None:
        """Make the folder.

        Args:
            folder: Where to write the images.
            when: One of ``WHEN``.
            malignant: The malignant labels.
            report: Called with a message when saving fails and when it works again.

        Raises:
            CameraError: The folder cannot be made.
        """
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise CameraError(f"{folder}: cannot create this folder ({error.strerror})") from error
        self._folder, self._when, self._malignant = folder, when, malignant
        self._report = report
        self._label: str | None = None
        self._failing = False
        self._next_report_s = 0.0
        self._slow = False
        self._taken = 0
        self._jobs: queue.Queue[_Job | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="lesionedge-recorder", daemon=True)
        self.saved = 0
        """Images saved."""
        self.failed = 0
        """Images that could not be saved."""
        self.skipped = 0
        """Images not saved because the disk was too slow."""

    def __enter__(self) -> FrameRecorder:
        """Start the writing thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        """Wait until all images are written; after Ctrl-C wait only a moment."""
        left_s = _INTERRUPTED_S if kind is KeyboardInterrupt else _LEAVE_S
        end_s = time.monotonic() + left_s
        try:
            self._jobs.put(None, timeout=left_s)
        except queue.Full:
            pass
        else:
            self._thread.join(max(0.0, end_s - time.monotonic()))
        self.skipped += self._taken - self.saved - self.failed

    def offer(
        self, observation: Observation, facts: dict[str, Any], *, key_pressed: bool = False,
        wait: bool = False,
    ) -> str | None:  # fmt: skip
        """Save an observation if ``when`` asks for it.

        Args:
            observation: The frame and its prediction.
            facts: The prediction as a JSON object.
            key_pressed: Whether a key was pressed.
            wait: If too many images wait for the disk, wait too; False: do not save this one.

        Returns:
            The path that the image will have; None if it is not saved.
        """
        label, before = observation.prediction.label, self._label
        changed, self._label = label != before, label
        wanted = {
            "always": True, "changed": changed, "malignant": label in self._malignant,
            "key": key_pressed,
        }  # fmt: skip
        if not wanted[self._when]:
            return None
        frame = observation.frame
        stamp = frame.timestamp.strftime("%Y%m%dT%H%M%S.%fZ")
        name = "".join(c if c.isalnum() else "_" for c in label)
        path = os.path.join(self._folder, f"{stamp}-{frame.number}-{name}.jpg")
        try:
            self._jobs.put(_Job(frame, json.dumps(facts).encode() + b"\n", path), block=wait)
        except queue.Full:
            self._label = before  # so that the next frame of this label is saved in its place
            self._skip()
            return None
        self._taken += 1
        return path

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                _write(job)
            except (OSError, ImageError, MemoryError) as error:
                self._fail(error)
            else:
                self._succeed()

    def _succeed(self) -> None:
        self.saved += 1
        if self._failing:
            self._failing = False
            self._report(f"{self._folder}: saving images again")

    def _fail(self, error: Exception) -> None:
        self.failed += 1
        if not self._failing and time.monotonic() >= self._next_report_s:
            self._failing = True
            self._next_report_s = time.monotonic() + _REPORT_AGAIN_S
            reason = getattr(error, "strerror", None) or error
            self._report(f"{self._folder}: cannot save images ({reason}); the camera continues")

    def _skip(self) -> None:
        self.skipped += 1
        if not self._slow:
            self._slow = True
            self._report(f"{self._folder}: the disk is too slow; some images are not saved")


def _write(job: _Job) -> None:
    # Decode first: if that fails, no .json is left without its image.
    jpeg = job.frame.jpeg
    image = job.frame.image if jpeg is None else None
    with whole_file(job.path) as file:
        if jpeg is not None:
            file.write(with_tables(jpeg))
        elif image is not None:
            image.save(file, "JPEG", quality=QUALITY)
    try:
        with whole_file(os.path.splitext(job.path)[0] + ".json") as file:
            file.write(job.facts)
    except OSError:
        os.unlink(job.path)
        raise
