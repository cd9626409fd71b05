"""From an image to a prediction: ``Classifier``, ``classify``."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lesionedge import image as images
from lesionedge import tta
from lesionedge.cores import default_threads
from lesionedge.description import describe_model, find_model, name_of
from lesionedge.diagnosis import unknown_malignancy
from lesionedge.errors import LesionEdgeError, ModelError
from lesionedge.image import ImageSource
from lesionedge.interpreter import Interpreter
from lesionedge.model_options import ModelOptions, check_views
from lesionedge.normalisation import Normalisation
from lesionedge.notice import MALIGNANT_UNKNOWN
from lesionedge.outputs import BELOW_THRESHOLD
from lesionedge.prediction import Prediction, notice_of_unknown, predict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.card import OperatingPoint
    from lesionedge.notice import Notice
    from lesionedge.profile import Profile
    from lesionedge.reliability import InputCheck

DEFAULT_SENSITIVITY = 0.95
"""Sensitivity of the operating point that predictions are compared with, if the card has it."""

_loading = threading.Lock()


class _Prepared(NamedTuple):
    """An image ready for the model."""

    values: NDArray[Any]
    warnings: tuple[Notice, ...]
    timings_ms: dict[str, float]
    reliable: bool | None
    colour: tuple[float, float, float] | None = None


class Classifier:
    """A loaded model that classifies images.

    It loads the network once. Several threads may call all methods: they decode in parallel, but
    the network takes one image at a time (with ``threads`` threads of its own).
    A prediction depends on the image alone, not on earlier ones. With ``views`` above 1, it is the
    mean of the calibrated probabilities of that many views of the model's input, and takes as many
    times as long; the card's thresholds were chosen on single views.
    Instances pickle as the model's name and options, and load the model again.
    """

    def __init__(
        self, model: str | os.PathLike[str] | None = None, *, threads: int | None = None,
        labels: str | os.PathLike[str] | Sequence[str] | None = None,
        malignant: Sequence[str] | None = None, normalize: tuple[float, ...] | None = None,
        check: bool = True, verbose: bool = False, views: int = 1,
        operating_point: float | None = None,
        profile: str | os.PathLike[str] | Profile | None = None,
    ) -> None:  # fmt: skip
        """Load a model.

        Args:
            model: Name of an embedded model or path of a .tflite file; None for ``mobilenetv2``.
            threads: Threads that run the network; None for the usable physical cores, at most 4.
                With 1, ``classify_many`` decodes in the caller's thread too: one core in all.
            labels: Labels file (one per line) or the labels, in output order. They replace the
                labels inside the model; a model without labels needs them. Numbers in front of
                them (``0 mel``) define their order.
            malignant: The malignant labels, in any spelling; all others are benign (with an empty
                list, all labels). None: the model's card decides, or else what is known about the
                labels (``lesionedge.diagnosis``).
            normalize: (mean, std): the network gets (pixel - mean) / std, pixels 0-255; for a model
                file without this information. Or six numbers: three means, then three stds, of
                red, green and blue.
            check: Check whether each image is dermoscopic and of good quality, if the model is for
                dermoscopic images (``lesionedge.reliability``).
            verbose: Show the native library's log lines.
            views: Average over this many views of an image, 1 to 8: the image itself, turned
                by half, mirrored left-right, mirrored top-bottom, then the same of the transposed
                image (see ``lesionedge.tta``); at most 4 if the model's input is not square. For
                gains and costs see docs/research/accuracy.md.
            operating_point: Sensitivity (0-1) that selects one of the card's operating points, or
                of the profile's; None for 0.95 if there is one.
            profile: A site profile, or its file, as ``lesionedge calibrate`` writes it: its
                probabilities and thresholds take the place of the model file's.

        Raises:
            ModelError: The model is missing, corrupt or not a classifier; or its labels or its
                normalisation are unknown; or an option does not fit the model; or the profile is
                for another one.
            MissingDependencyError: No TFLite runtime works here.
        """
        self.options = ModelOptions(
            model=model, threads=threads, labels=labels, malignant=malignant, normalize=normalize,
            check=check, verbose=verbose, views=views, operating_point=operating_point,
            profile=profile,
        )  # fmt: skip
        self.model = name_of(self.options)
        self.path = find_model(self.model)
        self._interpreter = Interpreter(self.path, threads=threads, verbose=verbose)
        self.threads = self._interpreter.threads
        self.views = self._checked_views(views)
        found = describe_model(
            self.path, self.options, input_info=self._interpreter.input,
            output_info=self._interpreter.output,
        )  # fmt: skip
        self.card = found.card
        self._other_malignant = found.other_malignant
        self.diagnoses = found.diagnoses
        self.preprocessing = found.preprocessing
        self._outputs = found.outputs
        self._normalise = Normalisation.of(
            self._interpreter.input, found.mean, found.std, model=self.path
        )
        self.profile = self._own_profile()
        self.threshold = self._decision(found.decision)
        self._point = self._default_point()
        self._unknown = notice_of_unknown(self.diagnoses)
        self._check = self._make_check(verbose) if check else None

    @classmethod
    def of(cls, options: ModelOptions) -> Classifier:
        """Load a model with these options.

        Raises:
            ModelError: As the constructor.
            MissingDependencyError: As the constructor.
        """
        return cls(**vars(options))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the model's name and options."""
        return Classifier.of, (self.options,)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' codes, in output order."""
        return tuple(diagnosis.label for diagnosis in self.diagnoses)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names, in output order."""
        return tuple(diagnosis.name for diagnosis in self.diagnoses)

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """Thresholds of the malignant probability, of the profile or else of the card; or none."""
        return (self.profile or self.card).operating_points

    @property
    def unknown_notice(self) -> Notice | None:
        """The warning that it is unknown whether some class is malignant; None if all are known."""
        return self._unknown

    @property
    def checks(self) -> bool:
        """Whether each image is checked, so that predictions have a value for ``reliable``."""
        return self._check is not None

    @property
    def interpreter(self) -> Interpreter:
        """The loaded network."""
        return self._interpreter

    def classify(self, image: ImageSource, *, top_k: int | None = None) -> Prediction:
        """Classify one image.

        Args:
            image: Path, bytes, binary file, PIL image or (H, W, 3) uint8 RGB array.
            top_k: How many classes ``top`` lists; None, or more than there are, for all.

        Raises:
            ImageError: The image cannot be read.
        """
        _check_top_k(top_k)
        return self._predict(self._prepare(image), top_k)

    def classify_many(
        self, images: Iterable[ImageSource], *, top_k: int | None = None,
        errors: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Prediction | LesionEdgeError]:  # fmt: skip
        """Classify many images in order; decode the next ones meanwhile.

        With ``threads=1`` nothing is decoded ahead: all work is done in the caller's thread.

        Args:
            images: Images as in ``classify``; taken when needed.
            top_k: As in ``classify``.
            errors: ``raise`` the first error, or ``yield`` it in the image's place.

        Returns:
            An iterator over one Prediction (or LesionEdgeError) per image. It takes a few images
            from ``images`` before the first prediction, in the caller's thread. Its own threads
            end with it, also if it is closed early.
        """
        _check_top_k(top_k)
        if errors not in ("raise", "yield"):
            raise ValueError(f"errors is {errors!r}; expected 'raise' or 'yield'")
        return self._predictions(iter(images), top_k, errors)

    def probabilities(self, image: ImageSource) -> NDArray[np.float32]:
        """Return every class's calibrated probability.

        Args:
            image: As ``classify`` takes it.

        Returns:
            (classes,) float32, 0-1, in the order of ``labels``.

        Raises:
            ImageError: The image cannot be read.
        """
        return self._average(self._prepare(image).values, self.views)

    def classify_decoded(
        self, decoded: images.DecodedImage, *, top_k: int | None = None, views: int | None = None
    ) -> Prediction:
        """Classify an image that is decoded already.

        Args:
            decoded: From ``lesionedge.image.decode``.
            top_k: As in ``classify``.
            views: Over how many views; None for the classifier's own ``views``.
        """
        return self._predict(self._fitted(decoded, 0.0), top_k, views)

    def probabilities_of_inputs(
        self, inputs: Sequence[NDArray[np.uint8]], *, views: int | None = None
    ) -> NDArray[np.float32]:
        """Return every class's calibrated probability for prepared images.

        Args:
            inputs: N arrays as ``model_input`` returns them, (H, W, 3) uint8 RGB.
            views: Over how many views of each; None for the classifier's own ``views``.

        Returns:
            (N, classes) float32, 0-1, in the order of ``labels``.
        """
        import numpy as np

        count = self.views if views is None else self._checked_views(views)
        # One by one: on a CPU, LiteRT is no faster with several at once.
        return np.stack([self._average(self._normalise(pixels), count) for pixels in inputs])

    def model_input(self, image: ImageSource) -> NDArray[np.uint8]:
        """Return the exact pixels that the network gets.

        Args:
            image: As ``classify`` takes it.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: The image cannot be read.
        """
        return images.model_input(image, self.preprocessing)

    def _make_check(self, verbose: bool) -> InputCheck | None:
        from lesionedge import reliability

        if not reliability.is_for_dermoscopy(self.card):
            return None
        return reliability.InputCheck(threads=self.threads, verbose=verbose)

    def _default_point(self) -> OperatingPoint | None:
        from lesionedge.operating import find, nearest

        wanted = self.options.operating_point
        unknown = unknown_malignancy(self.diagnoses)
        if wanted is not None and unknown:
            raise ModelError(
                f"{self.model}: an operating point is a threshold of the malignant probability, "
                f"which is unknown: {unknown}"
            )
        if wanted is not None and self._other_malignant and self.profile is None:
            raise ModelError(
                f"{self.model}: its card's operating points are for other malignant labels; leave "
                "--operating-point out, or --malignant and --labels"
            )
        if wanted is not None:
            profile = None if self.profile is None else self.profile.name
            return find(
                wanted, points=self.operating_points, model=self.model, profile=profile
            )  # fmt: skip
        return nearest(self.operating_points, DEFAULT_SENSITIVITY)

    def _own_profile(self) -> Profile | None:
        """Read the profile, and check that it is for this model and these options."""
        given = self.options.profile
        if given is None:
            return None
        from lesionedge import profile

        found = profile.read(given)
        found.check_owner(profile.Owner(
            self.model, profile.digest(self.path), self.labels,
            tuple(diagnosis.malignant for diagnosis in self.diagnoses), self.views,
            self.options.normalize and tuple(self.options.normalize),
        ))  # fmt: skip
        return found

    def _decision(self, threshold: float | None) -> float | None:
        """Return a two-class model's threshold for the probabilities that it returns."""
        if threshold is None or self.profile is None:
            return threshold
        return float(self.profile.recalibration.apply([1 - threshold, threshold])[1])

    def _checked_views(self, views: int) -> int:
        """Check that the model's input allows this many views."""
        check_views(views)
        _, height, width, _ = self._interpreter.input.shape
        if views > tta.MOST_OBLONG and width != height:
            raise ModelError(
                f"{self.path}: its input is {width}x{height} px, and quarter turns keep only a "
                f"square's shape: views is {views}; expected at most {tta.MOST_OBLONG}"
            )
        return int(views)

    def _prepare(self, source: ImageSource) -> _Prepared:
        begin = time.perf_counter()
        decoded = images.decode(source, self.preprocessing)
        return self._fitted(decoded, (time.perf_counter() - begin) * 1000)

    def _fitted(self, decoded: images.DecodedImage, decoded_ms: float) -> _Prepared:
        begin = time.perf_counter()
        pixels = decoded.fit(self.preprocessing)
        values = self._normalise(pixels)
        end = time.perf_counter()
        timings = {"decode": decoded_ms, "preprocess": (end - begin) * 1000}
        if self._check is None:
            return _Prepared(values, decoded.warnings, timings, None)
        from lesionedge import quality

        thumbnail = self._thumbnail(pixels, decoded)
        reliable, notices = self._check(thumbnail)
        colour = quality.mean_colour(thumbnail)
        timings["check"] = (time.perf_counter() - end) * 1000
        return _Prepared(values, (*decoded.warnings, *notices), timings, reliable, colour)

    def _thumbnail(
        self, pixels: NDArray[np.uint8], decoded: images.DecodedImage
    ) -> NDArray[np.uint8]:
        """Return the input of the check: the part that the model sees, at the check's size."""
        from lesionedge import reliability

        if min(pixels.shape[:2]) >= reliability.SIDE_PX:
            return reliability.thumbnail(pixels)
        # The model's input is too small for the check: prepare the same part of the image again.
        side = reliability.SIDE_PX
        wanted = replace(self.preprocessing, width_px=side, height_px=side)
        return decoded.fit(wanted)

    def _run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        return self._outputs.probabilities(self._interpreter.run(values))

    def _average(self, values: NDArray[Any], views: int) -> NDArray[np.float32]:
        """Return the mean of the probabilities of a prepared image's views, recalibrated."""
        found = self._mean(values, views)
        if self.profile is None:
            return found
        recalibrated: NDArray[np.float32] = self.profile.recalibration.apply(found).astype("f4")
        return recalibrated

    def _mean(self, values: NDArray[Any], views: int) -> NDArray[np.float32]:
        if views == 1:
            return self._run(values)
        import numpy as np

        found = [self._run(view) for view in tta.views(values, views)]
        # In float64, so that the order of the views does not matter.
        mean: NDArray[np.float64] = np.mean(found, axis=0, dtype=np.float64)
        return mean.astype(np.float32)

    def _predict(
        self, prepared: _Prepared, top_k: int | None, views: int | None = None
    ) -> Prediction:
        count = self.views if views is None else self._checked_views(views)
        begin = time.perf_counter()
        scores = self._average(prepared.values, count).tolist()
        took = (time.perf_counter() - begin) * 1000
        timings = {**prepared.timings_ms, "invoke": took}
        return self.prediction(
            scores, top_k=top_k, warnings=prepared.warnings, timings_ms=timings,
            reliable=prepared.reliable, views=count, colour=prepared.colour,
        )  # fmt: skip

    def prediction(
        self, probabilities: Sequence[float], *, top_k: int | None = None,
        warnings: tuple[Notice, ...] = (), timings_ms: Mapping[str, float] | None = None,
        reliable: bool | None = None, views: int = 1,
        colour: tuple[float, float, float] | None = None,
    ) -> Prediction:  # fmt: skip
        """Make a prediction from probabilities, such as the mean of several images.

        Args:
            probabilities: One per class, in the order of ``labels``.
            top_k: How many classes ``top`` lists; None for all.
            warnings: Warnings for people.
            timings_ms: Milliseconds of each stage.
            reliable: The gate's verdict.
            views: Over how many views of each image the probabilities are averaged.
            colour: As ``Prediction.colour``.
        """
        # Those of a mean's last image may include the model's own, which may not fit the mean.
        others = tuple(n for n in warnings if n.code not in (BELOW_THRESHOLD, MALIGNANT_UNKNOWN))
        found = predict(
            probabilities, self.diagnoses, model=self.model, decision=self.threshold,
            point=self._point, top_k=top_k, warnings=others, timings_ms=timings_ms,
            reliable=reliable, views=views, colour=colour,
            profile=None if self.profile is None else self.profile.name,
        )  # fmt: skip
        own = (*self._outputs.notices(found.probability), *filter(None, (self._unknown,)))
        return replace(found, warnings=(*others, *own)) if own else found

    def _predictions(
        self, images: Iterator[ImageSource], top_k: int | None, errors: str
    ) -> Iterator[Prediction | LesionEdgeError]:
        if self.threads == 1:  # the user wants one thread only
            for image in images:
                yield self._finished(functools.partial(self._prepare, image), top_k, errors)
            return
        from contextlib import closing

        from lesionedge.ahead import in_order

        workers = default_threads()
        prepared = in_order(
            self._prepare, images, threads=workers, ahead=2 * workers, name="lesionedge-decode"
        )
        with closing(prepared):
            for result in prepared:
                yield self._finished(result, top_k, errors)

    def _finished(
        self, prepare: Callable[[], _Prepared], top_k: int | None, errors: str
    ) -> Prediction | LesionEdgeError:
        try:
            return self._predict(prepare(), top_k)
        except LesionEdgeError as error:
            if errors == "raise":
                raise
            return error


def _check_top_k(top_k: int | None) -> None:
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; expected 1 or more, or None for all classes")


@functools.lru_cache(maxsize=4)
def _cached(model: str, state: tuple[int, ...]) -> Classifier:
    return Classifier(model)


def shared(model: str | os.PathLike[str] | None = None) -> Classifier:
    """Return the one classifier of a model file; a new one when the file has changed.

    Args:
        model: Name of an embedded model or path of a .tflite file; None for ``mobilenetv2``.

    Raises:
        ModelError: The model cannot be loaded.
    """
    name = name_of(ModelOptions(model))
    status = os.stat(find_model(name))
    state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    with _loading:
        return _cached(name, state)


def classify(
    image: ImageSource, *, model: str | os.PathLike[str] | None = None, top_k: int | None = None
) -> Prediction:
    """Classify one image; the model is loaded once and kept.

    Args:
        image: Path, bytes, binary file, PIL image or (H, W, 3) uint8 RGB array.
        model: Name of an embedded model or path of a .tflite file; None for ``mobilenetv2``.
        top_k: How many classes ``top`` lists; None for all.

    Raises:
        ImageError: The image cannot be read.
        ModelError: The model cannot be loaded.
    """
    return shared(model).classify(image, top_k=top_k)
