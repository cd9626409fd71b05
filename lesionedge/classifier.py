"""From a picture to an answer: ``Classifier``, ``Prediction``, ``classify``."""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lesionedge import image as images
from lesionedge import metadata, normalisation, outputs, tta
from lesionedge.diagnosis import Diagnosis, describe
from lesionedge.errors import LesionEdgeError, ModelError
from lesionedge.image import ImageSource, Preprocessing
from lesionedge.interpreter import Interpreter, default_threads, quantise
from lesionedge.notice import Notice

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from lesionedge.operating import OperatingPoint
    from lesionedge.reliability import InputCheck

EMBEDDED = {
    "mobilenetv2": "mobilenetv2-int8.tflite",
    "mobilenetv2-float16": "mobilenetv2-float16.tflite",
    "cnn": "cnn-int8.tflite",
}
"""Name of an embedded model -> its file in ``lesionedge/models``."""

DEFAULT_MODEL = "mobilenetv2"

_loading = threading.Lock()


@dataclass(frozen=True)
class Candidate:
    """One class and how likely it is."""

    label: str
    """The short code, such as ``mel``."""
    name: str
    """What people read, such as ``Melanoma``."""
    probability: float
    """Calibrated, 0-1."""


@dataclass(frozen=True)
class Prediction:
    """A model's answer to one picture."""

    label: str
    """Code of the most likely class; of two, the one that the card's threshold decides for."""
    name: str
    """Its name."""
    probability: float
    """Its calibrated probability, 0-1."""
    malignant_probability: float
    """Sum of the probabilities of the malignant classes, 0-1."""
    top: tuple[Candidate, ...]
    """The most likely classes, best first; where a threshold decides, the decided one first."""
    warnings: tuple[Notice, ...]
    """What the reader should know of the picture: texts, each with a ``code``."""
    timings_ms: Mapping[str, float]
    """Milliseconds of ``decode``, ``preprocess``, ``check`` (where there was one) and ``invoke``
    (with the wait for its turn)."""
    model: str
    """Name or path of the model that answered."""
    reliable: bool | None = None
    """Whether the picture is one that the model may speak about, by the gate alone; None where
    nothing was checked: ``check=False``, or a model that is not for dermoscopic pictures."""
    views: int = 1
    """Over how many views of the picture the probabilities are averaged."""


class _Prepared(NamedTuple):
    """A picture ready for the model."""

    values: NDArray[Any]
    warnings: tuple[Notice, ...]
    timings_ms: dict[str, float]
    reliable: bool | None


class Classifier:
    """A loaded model that answers pictures.

    One interpreter, reused. All methods may be called from several threads: decoding runs side
    by side, the network answers one picture at a time (with ``threads`` threads of its own).
    An answer depends on the picture alone, never on what was asked before. With ``views`` above 1
    it is the mean of the calibrated probabilities of that many views of the model's input, which
    take that many times as long; the card's thresholds were chosen on single views.
    Instances pickle as the model's name and options and load it again.
    """

    def __init__(
        self, model: str | os.PathLike[str] | None = None, *, threads: int | None = None,
        labels: str | os.PathLike[str] | Sequence[str] | None = None,
        normalize: tuple[float, float] | None = None, check: bool = True, verbose: bool = False,
        views: int = 1,
    ) -> None:  # fmt: skip
        """Load a model.

        Args:
            model: Name of an embedded model or path of a .tflite file; None for ``mobilenetv2``.
            threads: Threads that run the network; None for the usable physical cores, at most 4.
                With 1, ``classify_many`` decodes in the caller's thread, too: one core in all.
            labels: Labels file (one a line) or the labels, in output order, for a model that
                has none inside; they take the place of those inside.
            normalize: (mean, std): the network is fed (pixel - mean) / std, pixels 0-255; for a
                model that does not say.
            check: Tell whether each picture is a dermoscopic one, and a good one, where the model
                says that it is for those (``lesionedge.reliability``).
            verbose: Let the native library's log lines through.
            views: Answer by the mean over this many views of a picture, 1 to 8: as it is, turned
                by half, mirrored left-right, mirrored top-bottom, then the same of the transposed
                picture (``lesionedge.tta`` says why these); up to 4 where the model's input
                is not square. What it gains and costs is in docs/research/accuracy.md.

        Raises:
            ModelError: The model is missing, corrupt, not a classifier, or does not say its labels
                or its normalisation; or its input has no such views.
            MissingDependencyError: No TFLite runtime works here.
        """
        self._options = (model, threads, labels, normalize, check, verbose, views)
        _check_views(views)
        self.model = DEFAULT_MODEL if model is None else os.fsdecode(model)
        self.path = find_model(self.model)
        _check_normalisation(normalize)
        found = metadata.read(self.path)
        self._interpreter = Interpreter(self.path, threads=threads, verbose=verbose)
        self._outputs = outputs.read(self.path, self._interpreter.output.shape[-1], found)
        self.threads = self._interpreter.threads
        self.views = self._possible(views)
        self.card: Mapping[str, Any] = found.card or {}
        self._demand(
            labels=labels is None and found.labels is None,
            normalize=normalize is None and found.mean is None,
        )
        self.diagnoses = self._read_labels(labels, found.labels or ())
        self.threshold = self._read_threshold()
        self.preprocessing = self._read_preprocessing()
        mean, std = ((normalize[0],), (normalize[1],)) if normalize else (found.mean, found.std)
        self._mean, self._std = self._per_channel(mean), self._per_channel(std)
        self._table = self._stored_levels()
        self._check = self._make_check(verbose) if check else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the model's name and options."""
        return _rebuild, self._options

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
        """The card's thresholds of the malignant probability; empty where it has none.

        Raises:
            ModelError: They are malformed.
        """
        from lesionedge.operating import points

        return points(self.card, self.model)

    @property
    def checks(self) -> bool:
        """Whether answers say if their picture is a dermoscopic one."""
        return self._check is not None

    @property
    def interpreter(self) -> Interpreter:
        """The loaded network."""
        return self._interpreter

    def classify(self, image: ImageSource, *, top_k: int | None = None) -> Prediction:
        """Answer one picture.

        Args:
            image: Path, bytes, binary file, PIL image or (H, W, 3) uint8 RGB array.
            top_k: How many classes ``top`` lists; None, or more than there are, for all.

        Raises:
            ImageError: The picture cannot be read.
        """
        _check_top_k(top_k)
        return self._predict(self._prepare(image), top_k)

    def classify_many(
        self, images: Iterable[ImageSource], *, top_k: int | None = None,
        errors: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Prediction | LesionEdgeError]:  # fmt: skip
        """Answer many pictures, in their order, while the next ones are decoded ahead.

        (With ``threads=1`` nothing runs ahead: the one thread is the caller's.)

        Args:
            images: Pictures as ``classify`` takes them; read as they are needed.
            top_k: As in ``classify``.
            errors: ``raise`` the first error, or ``yield`` it in the picture's place.

        Returns:
            An iterator of one Prediction (or LesionEdgeError) a picture. It takes a few pictures
            from ``images`` before it gives the first answer, in the caller's thread; its own
            threads end with it, also when it is closed early.
        """
        _check_top_k(top_k)
        if errors not in ("raise", "yield"):
            raise ValueError(f"errors is {errors!r}; expected 'raise' or 'yield'")
        return self._predictions(iter(images), top_k, errors)

    def probabilities(self, image: ImageSource) -> NDArray[np.float32]:
        """Give every class's calibrated probability.

        Args:
            image: As ``classify`` takes it.

        Returns:
            (classes,) float32, 0-1, in the order of ``labels``.

        Raises:
            ImageError: The picture cannot be read.
        """
        return self._average(self._prepare(image).values, self.views)

    def classify_decoded(
        self, decoded: images.DecodedImage, *, top_k: int | None = None, views: int | None = None
    ) -> Prediction:
        """Answer a picture that is decoded already.

        Args:
            decoded: From ``lesionedge.image.decode``.
            top_k: As in ``classify``.
            views: Over how many views; None for the classifier's own ``views``.
        """
        return self._predict(self._fitted(decoded, 0.0), top_k, views)

    def probabilities_of_inputs(
        self, inputs: Sequence[NDArray[np.uint8]], *, views: int | None = None
    ) -> NDArray[np.float32]:
        """Give every class's calibrated probability for prepared pictures.

        Args:
            inputs: N arrays as ``model_input`` gives them, (H, W, 3) uint8 RGB.
            views: Over how many views of each; None for the classifier's own ``views``.

        Returns:
            (N, classes) float32, 0-1, in the order of ``labels``.
        """
        import numpy as np

        count = self.views if views is None else self._possible(views)
        # One after the other: LiteRT on a processor is no faster with several at once.
        return np.stack([self._average(self._normalise(pixels), count) for pixels in inputs])

    def model_input(self, image: ImageSource) -> NDArray[np.uint8]:
        """Give the exact pixels that the network is fed.

        Args:
            image: As ``classify`` takes it.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: The picture cannot be read.
        """
        return images.model_input(image, self.preprocessing)

    def _make_check(self, verbose: bool) -> InputCheck | None:
        from lesionedge import reliability

        if not reliability.is_for_dermoscopy(self.card):
            return None
        return reliability.InputCheck(threads=self.threads, verbose=verbose)

    def _possible(self, views: int) -> int:
        """Check that the model's input has so many views."""
        _check_views(views)
        _, height, width, _ = self._interpreter.input.shape
        if views > tta.MOST_OBLONG and width != height:
            raise ModelError(
                f"{self.path}: its input is {width}x{height} px, and quarter turns keep only a "
                f"square's shape: views is {views}; expected at most {tta.MOST_OBLONG}"
            )
        return int(views)

    def _demand(self, *, labels: bool, normalize: bool) -> None:
        """Ask for what the model does not say of itself; nothing is guessed."""
        wanted = []
        if labels:
            count = self._interpreter.output.shape[-1]
            wanted.append(f"its labels: give --labels FILE (one a line, for its {count} outputs)")
        if normalize:
            fits = normalisation.fitting(self._interpreter.input)
            wanted.append(
                "how pixels are normalised: give --normalize MEAN,STD "
                "(127.5,127.5 for a network that wants -1 to 1; 0,255 for 0 to 1"
                + (f"; {fits} fits its input)" if fits else ")")
            )
        if wanted:
            raise ModelError(f"{self.path}: does not say {'; nor '.join(wanted)}")

    def _read_labels(
        self, given: str | os.PathLike[str] | Sequence[str] | None, inside: tuple[str, ...]
    ) -> tuple[Diagnosis, ...]:
        labels, source = inside, "its metadata"
        if isinstance(given, (str, os.PathLike)):
            labels, source = _labels_file(given), os.fsdecode(given)
        elif given is not None:
            labels, source = tuple(given), "the list given"
        outputs = self._interpreter.output.shape[-1]
        classes = 2 if outputs == 1 else outputs
        if len(labels) != classes:
            raise ModelError(
                f"{self.path}: {source} has {len(labels)} labels; its output needs {classes}"
                + (" (negative, positive)" if outputs == 1 else "")
            )
        entries = self._card_entries()
        return tuple(_diagnosis(label, entries.get(label, {})) for label in labels)

    def _card_entries(self) -> dict[str, Mapping[str, Any]]:
        """Give the card's labels section by label."""
        try:
            return {str(entry["label"]): dict(entry) for entry in self.card.get("labels", ())}
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(
                f"{self.path}: the labels in its card are unusable ({error!r})"
            ) from None

    def _read_threshold(self) -> float | None:
        """Give the probability from which a two-class model's card names the second class."""
        points = self.card.get("operating_points") or ()
        try:
            found = [p["threshold"] for p in points if p.get("name") == "decision"]
            threshold = float(found[0]) if found and len(self.diagnoses) == 2 else None
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{self.path}: the operating points in its card are unusable ({error!r})"
            ) from None
        if threshold is not None and not 0 <= threshold <= 1:
            raise ModelError(f"{self.path}: its card's threshold is {threshold}; expected 0 to 1")
        return threshold

    def _read_preprocessing(self) -> Preprocessing:
        _, height, width, _ = self._interpreter.input.shape
        if "input" not in self.card:
            # What other programs do for a model that does not say: the whole picture, squeezed.
            return Preprocessing(width, height, crop="stretch")
        preprocessing = Preprocessing.from_card(self.card["input"])
        if (preprocessing.width_px, preprocessing.height_px) != (width, height):
            raise ModelError(
                f"{self.path}: its card says "
                f"{preprocessing.width_px}x{preprocessing.height_px} px, "
                f"its input is {width}x{height} px"
            )
        return preprocessing

    def _per_channel(self, values: Sequence[float] | None) -> NDArray[np.float32]:
        import numpy as np

        if values is None or len(values) not in (1, 3):
            raise ModelError(f"{self.path}: normalisation by {values}; expected 1 or 3 numbers")
        return np.asarray(values, np.float32)

    def _stored_levels(self) -> NDArray[Any] | None:
        """Give what a quantised input stores for each pixel value: (256, 3); None: that value."""
        import numpy as np

        info = self._interpreter.input
        table = normalisation.stored_levels(info, self._mean, self._std, model=self.path)
        if info.dtype.startswith("float"):
            return None
        levels = np.arange(256)[:, None]
        # A scale that holds the normalisation, as our own files have: only rounding is between
        # them, and the camera's bytes go in untouched.
        if info.dtype == "uint8" and np.abs(table.astype(int) - levels).max() <= 1:
            return None
        return table

    def _prepare(self, source: ImageSource) -> _Prepared:
        begin = time.perf_counter()
        decoded = images.decode(source, self.preprocessing)
        return self._fitted(decoded, (time.perf_counter() - begin) * 1000)

    def _fitted(self, decoded: images.DecodedImage, decoded_ms: float) -> _Prepared:
        begin = time.perf_counter()
        pixels = images.fit(decoded.image, self.preprocessing, full_size=decoded.size)
        values = self._normalise(pixels)
        end = time.perf_counter()
        timings = {"decode": decoded_ms, "preprocess": (end - begin) * 1000}
        if self._check is None:
            return _Prepared(values, decoded.warnings, timings, None)
        reliable, notices = self._check(self._thumbnail(pixels, decoded))
        timings["check"] = (time.perf_counter() - end) * 1000
        return _Prepared(values, (*decoded.warnings, *notices), timings, reliable)

    def _thumbnail(
        self, pixels: NDArray[np.uint8], decoded: images.DecodedImage
    ) -> NDArray[np.uint8]:
        """Give what the check looks at: the part that the model sees, at the check's size."""
        from lesionedge import reliability

        if min(pixels.shape[:2]) >= reliability.SIDE_PX:
            return reliability.thumbnail(pixels)
        # The model's input is too small to see by: the same part of the picture again.
        side = reliability.SIDE_PX
        wanted = replace(self.preprocessing, width_px=side, height_px=side)
        return images.fit(decoded.image, wanted, full_size=decoded.size)

    def _normalise(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        import numpy as np

        info = self._interpreter.input
        if info.dtype.startswith("float"):
            real = np.subtract(pixels, self._mean, dtype=np.float32)
            real /= self._std
            return quantise(real, info)
        if self._table is None:
            return pixels
        return np.stack([self._table[:, c][pixels[..., c]] for c in range(3)], axis=-1)

    def _run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        return self._outputs.probabilities(self._interpreter.run(values))

    def _average(self, values: NDArray[Any], views: int) -> NDArray[np.float32]:
        """Give the mean of the probabilities of a prepared picture's views."""
        if views == 1:
            return self._run(values)
        import numpy as np

        found = [self._run(view) for view in tta.views(values, views)]
        # In float64, so that their order leaves no trace.
        mean: NDArray[np.float64] = np.mean(found, axis=0, dtype=np.float64)
        return mean.astype(np.float32)

    def _predict(
        self, prepared: _Prepared, top_k: int | None, views: int | None = None
    ) -> Prediction:
        count = self.views if views is None else self._possible(views)
        begin = time.perf_counter()
        scores = self._average(prepared.values, count).tolist()
        took = (time.perf_counter() - begin) * 1000
        timings = {**prepared.timings_ms, "invoke": took}
        return self.prediction(
            scores, top_k=top_k, warnings=prepared.warnings, timings_ms=timings,
            reliable=prepared.reliable, views=count,
        )  # fmt: skip

    def prediction(
        self, scores: Sequence[float], *, top_k: int | None = None,
        warnings: tuple[Notice, ...] = (), timings_ms: Mapping[str, float] | None = None,
        reliable: bool | None = None, views: int = 1,
    ) -> Prediction:  # fmt: skip
        """Make an answer of probabilities, such as the mean of several pictures'.

        Args:
            scores: A probability a class, in the order of ``labels``.
            top_k: How many classes ``top`` lists; None for all.
            warnings: What the reader should know.
            timings_ms: What it took.
            reliable: The gate's verdict.
            views: Over how many views of each picture the probabilities are averaged.
        """
        ranking = rank(scores)
        if self.threshold is not None:
            ranking = [1, 0] if scores[1] >= self.threshold else [0, 1]
        top = tuple(
            Candidate(self.diagnoses[i].label, self.diagnoses[i].name, scores[i])
            for i in ranking[:top_k]
        )
        best = self.diagnoses[ranking[0]]
        malignant = sum(p for d, p in zip(self.diagnoses, scores) if d.malignant)
        return Prediction(
            label=best.label, name=best.name, probability=scores[ranking[0]],
            malignant_probability=min(malignant, 1.0), top=top,
            warnings=(*warnings, *self._outputs.notices(scores[ranking[0]])),
            timings_ms=timings_ms or {}, model=self.model, reliable=reliable, views=views,
        )  # fmt: skip

    def _predictions(
        self, images: Iterator[ImageSource], top_k: int | None, errors: str
    ) -> Iterator[Prediction | LesionEdgeError]:
        if self.threads == 1:  # whoever asks for one thread gets one
            for image in images:
                yield self._finished(functools.partial(self._prepare, image), top_k, errors)
            return
        from collections import deque
        from concurrent.futures import ThreadPoolExecutor

        workers = default_threads()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="lesionedge-decode")
        ahead: deque[Future[_Prepared]] = deque()
        fault: Exception | None = None
        try:
            while True:
                try:
                    ahead.append(pool.submit(self._prepare, next(images)))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - the caller's own, raised below
                    fault = error  # after the answers to what was given before
                    break
                if len(ahead) > 2 * workers:
                    yield self._finished(ahead.popleft().result, top_k, errors)
            while ahead:
                yield self._finished(ahead.popleft().result, top_k, errors)
            if fault is not None:
                raise fault
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _finished(
        self, prepare: Callable[[], _Prepared], top_k: int | None, errors: str
    ) -> Prediction | LesionEdgeError:
        try:
            return self._predict(prepare(), top_k)
        except LesionEdgeError as error:
            if errors == "raise":
                raise
            return error


def _rebuild(
    model: Any, threads: Any, labels: Any, normalize: Any, check: Any, verbose: Any, views: Any
) -> Classifier:
    return Classifier(
        model, threads=threads, labels=labels, normalize=normalize, check=check, verbose=verbose,
        views=views,
    )  # fmt: skip


def rank(scores: Sequence[float]) -> list[int]:
    """Give class numbers, the most likely first; equal ones in the model's order."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def find_model(model: str) -> str:
    """Give the file of an embedded model's name, or the path itself.

    Raises:
        ModelError: There is neither.
    """
    if model in EMBEDDED:
        path = os.path.join(os.path.dirname(__file__), "models", EMBEDDED[model])
        if not os.path.exists(path):
            raise ModelError(f"{path}: no such file; install lesionedge again to have {model}")
        return path
    if not os.path.exists(model):
        raise ModelError(
            f"{model}: no such model; expected a .tflite file or one of {', '.join(EMBEDDED)}"
        )
    return model


def _labels_file(path: str | os.PathLike[str]) -> tuple[str, ...]:
    name = os.fsdecode(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            return metadata.split_labels(file.read())
    except OSError as error:
        raise ModelError(f"{name}: labels cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{name}: labels are not UTF-8 text ({error.reason})") from error


def _diagnosis(label: str, entry: Mapping[str, Any]) -> Diagnosis:
    """Say what a label means: what the card says, else what is known of it."""
    known = describe(label)
    return Diagnosis(
        label, str(entry.get("name", known.name)), bool(entry.get("malignant", known.malignant))
    )


def _check_top_k(top_k: int | None) -> None:
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; expected 1 or more, or None for all classes")


def _check_views(views: int) -> None:
    if views not in range(1, tta.MOST + 1):
        raise ValueError(f"views is {views}; expected 1 to {tta.MOST}")


def _check_normalisation(given: tuple[float, float] | None) -> None:
    if given is None:
        return
    if len(given) != 2 or not all(map(math.isfinite, given)) or given[1] == 0:
        raise ValueError(f"normalize is {given}; expected (mean, std), std not 0")


@functools.lru_cache(maxsize=4)
def _cached(model: str, state: tuple[int, ...]) -> Classifier:
    return Classifier(model)


def shared(model: str | os.PathLike[str] | None = None) -> Classifier:
    """Give the one classifier of a model file; a new one when the file has changed.

    Args:
        model: Name of an embedded model or path of a .tflite file; None for ``mobilenetv2``.

    Raises:
        ModelError: The model cannot be loaded.
    """
    name = DEFAULT_MODEL if model is None else os.fsdecode(model)
    status = os.stat(find_model(name))
    state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    with _loading:
        return _cached(name, state)


def classify(
    image: ImageSource, *, model: str | os.PathLike[str] | None = None, top_k: int | None = None
) -> Prediction:
    """Answer one picture; the model is loaded once and kept.

    Args:
        image: Path, bytes, binary file, PIL image or (H, W, 3) uint8 RGB array.
        model: Name of an embedded model or path of a .tflite file; None for ``mobilenetv2``.
        top_k: How many classes ``top`` lists; None for all.

    Raises:
        ImageError: The picture cannot be read.
        ModelError: The model cannot be loaded.
    """
    return shared(model).classify(image, top_k=top_k)
