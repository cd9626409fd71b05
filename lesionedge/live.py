"""Classifies what a camera sees, always the newest frame."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lesionedge import image as images
from lesionedge.camera import scene
from lesionedge.camera.frame import Content, decode
from lesionedge.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.camera.capture import Camera
    from lesionedge.camera.frame import Frame
    from lesionedge.classifier import Classifier
    from lesionedge.notice import Notice
    from lesionedge.prediction import Prediction

_TICK_S = 0.1
_SUCCESSIVE_S = 0.5  # frames further apart than this say nothing of motion
_JUST_BEFORE_S = 0.1  # the frame answered last is as good as the one just before, and decoded


@dataclass(frozen=True)
class Observation:
    """A frame and the answer to it."""

    frame: Frame
    """What the camera gave."""
    prediction: Prediction
    """The answer, averaged over the last frames of the same scene where that was asked for."""
    age_ms: float
    """From the frame's capture to this answer."""
    averaged: int
    """Over how many frames the probabilities are averaged."""
    window: tuple[float, float, float, float]
    """The part of the frame that was classified: left, top, right, bottom, 0-1 of its sides."""
    abstain: bool = True
    """Whether people are shown no diagnosis of an image that is not dermoscopic."""

    @property
    def withheld(self) -> bool:
        """Whether people are to read ``wording.CANNOT_TELL`` in place of a diagnosis."""
        return self.abstain and self.prediction.reliable is False


class FrameClassifier:
    """Looks at one frame after the other and remembers what the last answers need."""

    def __init__(
        self, classifier: Classifier, *, smooth: int = 1, crop: float = 1.0, abstain: bool = True
    ) -> None:
        """Begin.

        Args:
            classifier: The loaded model.
            smooth: Frames that an answer averages.
            crop: Side of the centre square that is classified, as a share of the frame's shorter
                side, above 0, up to 1.
            abstain: Goes into the observations.

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
        """Answer a frame.

        Raises:
            ImageError: It is damaged.
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
        # A model may itself leave out a margin of what it is given.
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
        """Add motion, and light and sharpness where the classifier did not look at them."""
        if self._classifier.checks:
            return (*prediction.warnings, *((scene.MOVING_TEXT,) if moved > scene.MOVING else ()))
        return (*prediction.warnings, *scene.warnings(scene.measure(seen), moved))

    def _averaged(
        self, prediction: Prediction, warnings: tuple[Notice, ...], timings: dict[str, float]
    ) -> Prediction:
        """Average the probabilities of the last frames: their arithmetic mean."""
        by_label = {candidate.label: candidate.probability for candidate in prediction.top}
        self._scores.append([by_label[label] for label in self._classifier.labels])
        means = [sum(column) / len(column) for column in zip(*self._scores)]
        # The verdict is on the newest frame: the mean may hold older ones of another kind.
        return self._classifier.prediction(
            means, warnings=warnings, timings_ms=timings, reliable=prediction.reliable,
            views=prediction.views,
        )  # fmt: skip

    def _moved(self, frame: Frame, seen: NDArray[np.float32], changed: float) -> float:
        """Return how much the frame differs from one that the camera gave just before it."""
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
    """Answer a camera's newest frame, again and again.

    Args:
        camera: Open, as in ``with Camera() as camera``.
        classifier: The loaded model.
        every_s: Seconds from one answer's begin to the next one's, at least.
        smooth: Average the probabilities of so many frames (arithmetic mean); when the scene
            changes, the average begins anew.
        crop: Side of the centre square that is classified, as a share of the frame's shorter
            side, above 0, up to 1.
        abstain: Whether those who show the observations withhold a diagnosis of an image that is
            not dermoscopic.
        meanwhile: Called often, at least ten times a second, while a frame is waited for.

    Returns:
        An iterator of observations that ends with the camera. Damaged frames are counted by the
        camera and passed over.

    Raises:
        CameraError: The camera went away and did not come back in time.
        ValueError: A setting is out of range.
    """
    frame_classifier = FrameClassifier(classifier, smooth=smooth, crop=crop, abstain=abstain)
    return _observations(camera, frame_classifier, every_s, meanwhile or (lambda: None))


def _observations(
    camera: Camera, frame_classifier: FrameClassifier, every_s: float, meanwhile: Callable[[], None]
) -> Iterator[Observation]:
    due_s = time.monotonic()
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
        due_s = max(due_s + every_s, time.monotonic())
        try:
            observation = frame_classifier.look(frame)
        except ImageError:
            camera.count_damaged()
            continue
        yield observation
