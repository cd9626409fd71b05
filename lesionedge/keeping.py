"""Saves frames with their answers beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lesionedge.atomic import whole_file
from lesionedge.errors import CameraError, ImageError

if TYPE_CHECKING:
    from lesionedge.live import Observation

WHEN = ("changed", "always", "malignant", "key")
"""When a frame is saved: the label is another than before; each; the label is a malignant one; a
key was pressed."""

QUALITY = 92


class Keeper:
    """Writes frames into a folder: ``TIME-NUMBER-LABEL.jpg``, and ``.json`` with the answer."""

    def __init__(
        self, folder: str, when: str, *, malignant: frozenset[str], report: Callable[[str], None]
    ) -> None:
        """Make the folder.

        Args:
            folder: Where pictures go.
            when: One of ``WHEN``.
            malignant: The malignant labels.
            report: Told once when a picture cannot be written, and once when it can again.

        Raises:
            CameraError: The folder cannot be made.
        """
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise CameraError(f"{folder}: cannot be made ({error.strerror})") from error
        self._folder, self._when, self._malignant = folder, when, malignant
        self._report = report
        self._label: str | None = None
        self._failing = False
        self.saved = 0
        """Pictures written."""
        self.failed = 0
        """Pictures that could not be written."""

    def offer(self, observation: Observation, facts: dict[str, Any], *, asked: bool) -> str | None:
        """Save an observation if it is one to be saved.

        Args:
            observation: What was seen.
            facts: The answer, as JSON has it.
            asked: A key was pressed.

        Returns:
            The picture's path, if it was saved.
        """
        label = observation.prediction.label
        changed, self._label = label != self._label, label
        wanted = {
            "always": True, "changed": changed, "malignant": label in self._malignant, "key": asked,
        }  # fmt: skip
        if not wanted[self._when]:
            return None
        frame = observation.frame
        stamp = frame.timestamp.strftime("%Y%m%dT%H%M%S.%fZ")
        name = "".join(c if c.isalnum() else "_" for c in label)
        path = os.path.join(self._folder, f"{stamp}-{frame.number}-{name}.jpg")
        try:
            self._write(observation, facts, path)
        except (OSError, ImageError) as error:
            self._failed(error)
            return None
        self.saved += 1
        if self._failing:
            self._failing = False
            self._report(f"{self._folder}: pictures are saved again")
        return path

    def _write(self, observation: Observation, facts: dict[str, Any], path: str) -> None:
        # Drawn up first: a picture that cannot be made leaves no answer without one.
        jpeg = observation.frame.jpeg
        picture = None if jpeg is not None else observation.frame.image
        with whole_file(path) as file:
            if jpeg is not None:
                file.write(jpeg)
            elif picture is not None:
                picture.save(file, "JPEG", quality=QUALITY)
        with whole_file(os.path.splitext(path)[0] + ".json") as file:
            file.write(json.dumps(facts).encode() + b"\n")

    def _failed(self, error: Exception) -> None:
        self.failed += 1
        if not self._failing:
            self._failing = True
            reason = getattr(error, "strerror", None) or error
            self._report(f"{self._folder}: a picture cannot be saved ({reason}); going on without")
