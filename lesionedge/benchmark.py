"""Measures how fast a model classifies on this machine, one image at a time.

This is MLPerf's single-stream scenario (Reddi et al. 2020, arXiv:1911.02549, section 4): each query
begins when the last one has ended, for at least 1,024 queries and 60 seconds. The result is the
90th percentile. Every setting runs in a process of its own, so that it has its own memory and its
own first prediction.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Union

from lesionedge import machine
from lesionedge.classifier import Classifier
from lesionedge.cores import usable_cores
from lesionedge.description import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_QUERIES, MIN_SECONDS = 1024, 60.0
"""MLPerf's minimum for results that may be compared."""

QUICK_QUERIES, QUICK_SECONDS = 64, 2.0
STAGES = ("decode", "preprocess", "invoke", "whole")
WARM_UP_QUERIES = 20
CLOSE = 1.05
"""Settings within this ratio of the fastest count as equal; the one with fewer threads wins."""

BUSY_THREADS = 0.2
"""Warn if other programs keep more hardware threads busy than this."""

EncodedImage = Union[str, bytes]


@dataclass(frozen=True)
class Latency:
    """A distribution of times, in milliseconds."""

    mean: float
    p50: float
    p90: float
    p99: float
    min: float
    max: float


@dataclass(frozen=True)
class Measurement:
    """One model with one number of threads."""

    model: str
    """Its name or path."""
    threads: int
    """How many threads ran the network."""
    queries: int
    """How many images were classified."""
    duration_s: float
    """How long that took."""
    comparable: bool
    """Whether it ran as long as MLPerf requires."""
    load_ms: float
    """Time to load the model, including the import of the libraries."""
    first_ms: float
    """Time of the first prediction, which allocates memory and finds cold caches."""
    latency_ms: dict[str, Latency]
    """Stage -> its times: decode, preprocess, invoke, and the whole call."""
    images_per_s: float
    """Predictions per second."""
    peak_bytes: int | None
    """The process's peak memory (VmHWM); None if the system does not report it."""
    steady_bytes: int | None
    """Its memory at the end (VmRSS)."""
    before: machine.Condition
    """The machine's condition at the start."""
    after: machine.Condition
    """The machine's condition at the end."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to trust the figures less."""
        found = [f"the machine: {text}" for text in machine.throttled(self.after.throttle_flags)]
        busy = machine.others_share(self.before, self.after)
        if busy is not None and busy > BUSY_THREADS:
            found.append(f"other programs kept {busy:.1f} hardware threads busy")
        return tuple(found)


def example_image(
    width: int = 600, height: int = 450, *, grain: float = 4.0, grain_px: int = 1, seed: int = 0
) -> bytes:
    """Return a JPEG of a synthetic lesion, with grain: grain makes a JPEG slow to decode.

    Args:
        width: In pixels.
        height: In pixels.
        grain: Standard deviation of the grain, in levels of 255.
        grain_px: Size of a grain in px: 1 for independent pixels; more for images without such
            fine detail.
        seed: Seed of the grain.
    """
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1.3 : 1.3 : width * 1j]
    lesion = 1 / (1 + np.exp(12 * (np.hypot(x, y * 1.1) - 0.55 - 0.1 * np.sin(5 * x + 3 * y))))
    skin, mole = np.array([215, 170, 150]), np.array([95, 60, 50])
    noise = rng.normal(0, grain, (-(-height // grain_px), -(-width // grain_px)))
    if grain_px > 1:
        coarse = Image.fromarray(noise.astype(np.float32))
        noise = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    colours = skin + lesion[..., None] * (mole - skin) + noise[..., None]
    pixels: NDArray[np.uint8] = colours.clip(0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=90)
    return content.getvalue()


def measure(
    images: Sequence[EncodedImage], *, model: str | None = None, threads: int | None = None,
    queries: int = MIN_QUERIES, seconds: float = MIN_SECONDS,
) -> Measurement:  # fmt: skip
    """Classify images one after the other in this process and measure the times.

    Args:
        images: Paths or contents of images, used in turn.
        model: Name of an embedded model or path of a .tflite file.
        threads: Threads that run the network; None for the default.
        queries: Least number of predictions.
        seconds: Least duration.

    Raises:
        LesionEdgeError: The model or an image cannot be used.
        ValueError: There are no images.
    """
    if not images:
        raise ValueError("no images to classify; expected at least one")
    begin = time.perf_counter()
    classifier = Classifier(model, threads=threads, check=False)  # without the gate
    loaded = time.perf_counter()
    classifier.classify(images[0])
    first = time.perf_counter()
    for number in range(WARM_UP_QUERIES):
        classifier.classify(images[number % len(images)])
    before = machine.condition()
    times = _timed(classifier, images, queries, seconds)
    after = machine.condition()
    duration = after.time_s - before.time_s
    return Measurement(
        model=classifier.model,
        threads=classifier.threads,
        queries=len(times["whole"]),
        duration_s=duration,
        comparable=queries >= MIN_QUERIES and seconds >= MIN_SECONDS,
        load_ms=(loaded - begin) * 1000,
        first_ms=(first - loaded) * 1000,
        latency_ms={stage: _summary(values) for stage, values in times.items()},
        images_per_s=len(times["whole"]) / duration,
        peak_bytes=machine.memory_bytes("VmHWM"),
        steady_bytes=machine.memory_bytes("VmRSS"),
        before=before,
        after=after,
    )


def _timed(
    classifier: Classifier, images: Sequence[EncodedImage], queries: int, seconds: float
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    begin = now = time.perf_counter()
    while len(times["whole"]) < queries or now - begin < seconds:
        image = images[len(times["whole"]) % len(images)]
        start = time.perf_counter()
        prediction = classifier.classify(image)
        now = time.perf_counter()
        times["whole"].append((now - start) * 1000)
        for stage, value in prediction.timings_ms.items():
            times[stage].append(value)
    return times


def _summary(values: Iterable[float]) -> Latency:
    import numpy as np

    found = np.fromiter(values, np.float64)
    p50, p90, p99 = np.percentile(found, (50, 90, 99))
    return Latency(
        float(found.mean()), float(p50), float(p90), float(p99),
        float(found.min()), float(found.max()),
    )  # fmt: skip


def measure_apart(
    images: Sequence[EncodedImage], *, model: str | None = None, threads: int | None = None,
    queries: int = MIN_QUERIES, seconds: float = MIN_SECONDS,
) -> Measurement:  # fmt: skip
    """Run ``measure`` in a new process.

    Raises:
        LesionEdgeError: The model or an image cannot be used, or the process was killed.
        ValueError: There are no images.
    """
    from contextlib import closing

    from lesionedge.parallel import in_processes

    setting = _Setting(images, model, threads, queries, seconds)
    killed = "it was not measured. If memory ran out, close other programs"
    with closing(
        in_processes(iter([setting]), _Apart(), processes=1, count=1, killed=killed)
    ) as found:
        return next(found)


class _Setting(NamedTuple):
    """The arguments of ``measure``."""

    images: Sequence[EncodedImage]
    model: str | None
    threads: int | None
    queries: int
    seconds: float


class _Apart:
    """What the other process does (``parallel.Task``)."""

    def load(self) -> None:
        """Load nothing: loading is measured, too."""

    def run(self, _loaded: None, job: _Setting) -> Measurement:
        """Measure a setting."""
        return measure(
            job.images, model=job.model, threads=job.threads, queries=job.queries,
            seconds=job.seconds,
        )  # fmt: skip

    def name(self, job: _Setting) -> str:
        """Return the model's name."""
        return job.model or DEFAULT_MODEL


def thread_counts() -> list[int]:
    """List the numbers of threads worth trying here: 1, 2, ... up to the usable cores."""
    cores = usable_cores()
    counts = [n for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) if n < cores]
    return [*counts, cores]


def best(measurements: Sequence[Measurement]) -> Measurement:
    """Return the setting with the lowest 90th percentile, or an equal one with fewer threads."""
    fastest = min(m.latency_ms["whole"].p90 for m in measurements)
    good = [m for m in measurements if m.latency_ms["whole"].p90 <= fastest * CLOSE]
    return min(good, key=lambda m: (m.threads, m.latency_ms["whole"].p90))


def short_names(models: Iterable[str]) -> dict[str, str]:
    """Return the name that people read for each model: a file's without its folder, if unique."""
    paths = dict.fromkeys(models)
    files = [os.path.basename(path) for path in paths]
    return {p: p if files.count(file) > 1 else file for p, file in zip(paths, files)}


def advice(measurements: Sequence[Measurement]) -> list[str]:
    """Return lines of advice: which model and how many threads to use here."""
    lines = []
    models = list(dict.fromkeys(m.model for m in measurements))
    names = short_names(models)
    choice = {model: best([m for m in measurements if m.model == model]) for model in models}
    for model, chosen in choice.items():
        if sum(m.model == model for m in measurements) > 1:
            lines.append(f"{names[model]}: use --threads {chosen.threads} here")
    ranked = sorted(choice.values(), key=lambda m: m.latency_ms["whole"].p90)
    if len(ranked) > 1:
        first, second = ranked[0], ranked[1]
        ratio = second.latency_ms["whole"].p90 / first.latency_ms["whole"].p90
        lines.append(
            f"{names[first.model]} is {ratio:.2f} times as fast as {names[second.model]} here"
        )
    return lines
