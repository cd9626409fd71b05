"""Classifies what a camera sees, always the newest frame."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lesionedge import image as images
from lesionedge.camera import scene
from lesionedge.camera.frame import Content, counted, decode
from lesionedge.errors import CameraError, ImageError
from lesionedge.prediction import by_class

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.camera.capture import Camera
    from lesionedge.camera.frame import Frame
    from lesionedge.classifier import Classifier
    from lesionedge.notice import Notice
    from lesionedge.prediction import Prediction

MOST_DAMAGED = 100
"""If more frames than this in a row cannot be decoded, a live camera counts as broken."""

_TICK_S = 0.1
_SUCCESSIVE_S = 0.5  # frames further apart than this are not compared for motion
_JUST_BEFORE_S = 0.1  # a classified frame as recent as this stands in for the one just before


@dataclass(frozen=True)
class Observation:
    """A frame and its prediction."""

    frame: Frame
    """The frame from the camera."""
    prediction: Prediction
    """The prediction; with ``smooth``, averaged over the last frames of the same scene."""
    age_ms: float
    """Time from the frame's capture to this prediction."""
    averaged: int
    """How many frames the probabilities are averaged over."""
    window: tuple[float, float, float, float]
    """The part of the frame that was classified: left, top, right, bottom, 0-1 of its sides."""
    abstain: bool = True
    """Whether to show people no diagnosis if the image is not dermoscopic."""

    @property
    def withheld(self) -> bool:
        """Whether to show people ``wording.CANNOT_TELL`` instead of a diagnosis."""
        return self.abstain and self.prediction.reliable is False


class FrameClassifier:
    """Classifies frames one by one and keeps what it needs for the next ones."""

    def __init__(
        self, classifier: Classifier, *, smooth: int = 1, crop: float = 1.0, abstain: bool = True
    ) -> None:
        """Create a classifier of frames.

        Args:
            classifier: The loaded model.
            smooth: How many frames to average.
            crop: Side of the centre square that is classified, as a share of the frame's shorter
                side, above 0, up to 1.
            abstain: Stored in the observations.

        Raises:
            ValueError: A setting is out of range.
        """
        self._abstain = abstain
        if smooth < 1:
            raise ValueError(f"smooth is {smooth}; expected 1 or more")
        if not 0 < crop <= 1:
            raise ValueError(f"crop is {crop}; expected above 0, up to 1")
        self._classifier = classifier
        self._crop = crop
        self._scores: deque[list[float]] = deque(maxlen=smooth)
        self._last: tuple[float, NDArray[np.float32]] | None = None
        wanted = classifier.preprocessing
        self._decoding = replace(
            wanted,
            crop="centre",
            crop_fraction=crop * (wanted.crop_fraction if wanted.crop == "centre" else 1),
        )

    def look(self, frame: Frame) -> Observation:
        """Classify a frame.

        Raises:
            ImageError: The frame is damaged.
        """
        begin = time.perf_counter()
        decoded = frame.decoded(self._decoding)
        decoded_ms = (time.perf_counter() - begin) * 1000
        view = decoded.image.crop(scene.window(decoded.image.size, self._crop))
        seen = scene.luma(view)
        changed = 0.0 if self._last is None else scene.difference(seen, self._last[1])
        moved = self._moved(frame, seen, changed)
        if changed > scene.ANOTHER_SCENE:
            self._scores.clear()
        self._last = frame.captured_s, seen
        prediction = self._classifier.classify(view)
        warnings = (*decoded.warnings, *self._warnings(prediction, seen, moved))
        timings = {**prediction.timings_ms, "decode": prediction.timings_ms["decode"] + decoded_ms}
        width, height = decoded.image.size
        # The model's own preprocessing may crop the view further.
        left, top, right, bottom = scene.window((width, height), self._decoding.crop_fraction)
        return Observation(
            frame=frame,
            prediction=self._averaged(prediction, warnings, timings),
            age_ms=(time.monotonic() - frame.captured_s) * 1000,
            averaged=len(self._scores),
            window=(left / width, top / height, right / width, bottom / height),
            abstain=self._abstain,
        )

    def _warnings(
        self, prediction: Prediction, seen: NDArray[np.float32], moved: float
    ) -> tuple[Notice, ...]:
        """Add motion, and light and sharpness if the classifier did not check them."""
        if self._classifier.checks:
            return (*prediction.warnings, *((scene.MOVING_TEXT,) if moved > scene.MOVING else ()))
        return (*prediction.warnings, *scene.warnings(scene.measure(seen), moved))

    def _averaged(
        self, prediction: Prediction, warnings: tuple[Notice, ...], timings: dict[str, float]
    ) -> Prediction:
        """Return the prediction from the arithmetic mean of the last frames' probabilities."""
        listed = by_class(prediction.top, self._classifier.labels)
        self._scores.append([share for share in listed if share is not None])
        means = [sum(column) / len(column) for column in zip(*self._scores)]
        # Take the gate's verdict from the newest frame alone: older ones may show something else.
        return self._classifier.prediction(
            means, warnings=warnings, timings_ms=timings, reliable=prediction.reliable,
            views=prediction.views, colour=prediction.colour,
        )  # fmt: skip

    def _moved(self, frame: Frame, seen: NDArray[np.float32], changed: float) -> float:
        """Return how much the frame differs from the one just before it."""
        if frame.before is None or frame.captured_s - frame.before[1] > _SUCCESSIVE_S:
            return 0.0
        if self._last is not None and frame.captured_s - self._last[0] <= _JUST_BEFORE_S:
            return changed
        try:
            return scene.difference(seen, self._glance(frame.before[0]))
        except ImageError:
            return 0.0

    def _glance(self, content: Content) -> NDArray[np.float32]:
        small = images.Preprocessing(scene.SIDE_PX, scene.SIDE_PX, crop_fraction=self._crop)
        image = decode(content, small).image
        return scene.luma(image.crop(scene.window(image.size, self._crop)))


def watch(
    camera: Camera, classifier: Classifier, *, every_s: float = 0.0, smooth: int = 1,
    crop: float = 1.0, abstain: bool = True, meanwhile: Callable[[], None] | None = None,
) -> Iterator[Observation]:  # fmt: skip
    """Classify a camera's newest frame, again and again.

    Args:
        camera: Open, as in ``with Camera() as camera``.
        classifier: The loaded model.
        every_s: Least number of seconds from the start of one prediction to the next.
        smooth: Average the probabilities of this many frames (arithmetic mean). When the scene
            changes, the average starts again.
        crop: Side of the centre square that is classified, as a share of the frame's shorter
            side, above 0, up to 1.
        abstain: Show people no diagnosis of an image that is not dermoscopic.
        meanwhile: Called at least ten times a second while there is no frame to classify.

    Returns:
        An iterator of observations. It ends when the camera ends, and skips damaged frames; the
        camera counts those.

    Raises:
        CameraError: The camera went away and did not come back in time, or no frame of it could
            be decoded.
        ValueError: A setting is out of range.
    """
    frame_classifier = FrameClassifier(classifier, smooth=smooth, crop=crop, abstain=abstain)
    return _observations(camera, frame_classifier, every_s, meanwhile or (lambda: None))


def _observations(
    camera: Camera, frame_classifier: FrameClassifier, every_s: float, meanwhile: Callable[[], None]
) -> Iterator[Observation]:
    due_s = time.monotonic()
    count = damaged = 0
    while not camera.ended:
        early_s = due_s - time.monotonic()
        if early_s > 0:
            camera.rest(min(early_s, _TICK_S))
            meanwhile()
            continue
        frame = camera.wait(_TICK_S)
        if frame is None:
            meanwhile()
            continue
        due_s = time.monotonic() + every_s  # not from when it was due: the frame may be late
        try:
            observation = frame_classifier.look(frame)
        except ImageError as error:
            camera.count_damaged(frame, str(error))
            damaged += 1
            if camera.live and damaged > MOST_DAMAGED:
                raise CameraError(
                    f"{camera.description}: {damaged} damaged frames in a row; the last: {error}"
                ) from error
            continue
        count, damaged = count + 1, 0
        yield observation
    if not count and damaged and not camera.closed:
        raise CameraError(
            f"{camera.description}: no frame can be decoded, of {counted(camera.seen)}"
        )
