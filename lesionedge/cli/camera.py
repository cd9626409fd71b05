"""``lesionedge camera``: answers to what a camera sees, until it is stopped."""

from __future__ import annotations

import array
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable
from lesionedge.keeping import WHEN

if TYPE_CHECKING:
    from lesionedge.live import Observation

SAMPLES = 10_000
"""So many capture-to-answer times, drawn from all, stand for all."""


class Size(click.ParamType):  # type: ignore[type-arg]
    """``WxH`` in pixels."""

    name = "WxH"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse ``1280x720``."""
        if isinstance(value, tuple):
            return value
        width, _, height = str(value).lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            self.fail(f"{value!r} is not WIDTHxHEIGHT, such as 1280x720", param, ctx)
        return int(width), int(height)


@click.command("camera")
@click.option(
    "--source", default="auto", show_default=True, metavar="SOURCE",
    help="auto, picamera2, rpicam, /dev/videoN, a URL, a video, or pictures.",
)  # fmt: skip
@click.option("--size", type=Size(), default="1280x720", show_default=True, help="To ask for.")
@click.option(
    "--every", type=click.FloatRange(min=0), default=0.0, metavar="S",
    help="At most one answer in S seconds: less heat, less power.",
)  # fmt: skip
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="End after N answers.")
@click.option(
    "--duration", type=click.FloatRange(min=0, min_open=True), metavar="S",
    help="End after S seconds.",
)  # fmt: skip
@click.option(
    "--give-up", type=click.FloatRange(min=0), metavar="S",
    help="End after S seconds without a camera [default: at once at the start, 60 later].",
)  # fmt: skip
@click.option(
    "--smooth", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Average the probabilities of N frames of one scene.",
)  # fmt: skip
@click.option(
    "--crop", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
    metavar="F", help="Classify the centre square of this share of the height.",
)  # fmt: skip
@click.option(
    "--save", type=click.Path(file_okay=False), metavar="DIR", help="Save pictures and answers."
)
@click.option(
    "--save-when", type=click.Choice(WHEN), default="changed", show_default=True,
    help="Which: another label than before, all, malignant labels, or when a key is pressed.",
)  # fmt: skip
@click.option(
    "--preview", type=click.Choice(["none", "window", "web"]), default="none", show_default=True
)
@click.option(
    "--preview-address", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT",
    help="Where --preview web is served.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="json: one object an answer.",
)  # fmt: skip
@click.option(
    "--abstain/--no-abstain", default=True,
    help="Show no diagnosis of what is no dermoscopic picture (JSON always does) [default: so].",
)  # fmt: skip
@options.check
@options.model
@options.threads
@options.labels
@options.normalize
@options.verbose
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Classify what a camera sees, always its newest frame, until Ctrl-C.

    The centre square is what is classified. Ends with 0 when stopped, 1 when the camera is gone.
    """
    from lesionedge.camera.capture import Camera
    from lesionedge.classifier import Classifier
    from lesionedge.live import watch

    classifier = Classifier(
        given["model"], threads=given["threads"], labels=given["labels"],
        normalize=given["normalize"], check=given["check"], verbose=options.is_verbose(ctx),
    )  # fmt: skip
    camera = Camera(
        given["source"], size=given["size"], give_up_s=given["give_up"],
        realtime=given["every"] > 0, report=_tell,
    )  # fmt: skip
    with _stopped_by_signals(), ExitStack() as stack:
        keeper = _keeper(given, classifier)
        pressed = stack.enter_context(_keys(wanted=given["save_when"] == "key" and keeper))
        preview = _preview(given["preview"], given["preview_address"])
        if preview is not None:
            stack.callback(preview.close)
        stack.enter_context(camera)
        _tell(camera.description)
        tally = _Tally()
        stack.callback(lambda: _tell(_summary(camera, tally, keeper)))
        writer = (_Json if given["form"] == "json" else _Text)()
        stack.callback(writer.close)
        seen = watch(
            camera,
            classifier,
            every_s=given["every"],
            smooth=given["smooth"],
            crop=given["crop"],
            abstain=given["abstain"],
        )
        for observation in _limited(seen, camera, given["frames"], given["duration"]):
            tally.add(observation.age_ms)
            facts = as_dict(observation, camera.source)
            if keeper is not None:
                facts["saved"] = keeper.offer(observation, facts, asked=pressed())
            writer.write(observation, facts)
            if preview is not None and not preview.show(observation):
                break


def as_dict(observation: Observation, source: str) -> dict[str, Any]:
    """Give an observation as one JSON object."""
    answer, frame = observation.prediction, observation.frame
    return {
        "timestamp": frame.timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "frame": frame.number,
        "age_ms": observation.age_ms,
        "source": source,
        "label": answer.label,
        "name": answer.name,
        "probability": answer.probability,
        "malignant_probability": answer.malignant_probability,
        "probabilities": {c.label: c.probability for c in answer.top},
        "averaged": observation.averaged,
        "reliable": answer.reliable,
        "warnings": list(answer.warnings),
        "warning_codes": [warning.code for warning in answer.warnings],
        "model": answer.model,
        "timings_ms": dict(answer.timings_ms),
    }


def _limited(
    seen: Iterator[Observation], camera: Any, frames: int | None, duration: float | None
) -> Iterator[Observation]:
    """End after so many answers or seconds."""
    import threading

    if duration is not None:
        timer = threading.Timer(duration, camera.close)
        timer.daemon = True
        timer.start()
    for number, observation in enumerate(seen, start=1):
        yield observation
        if number == frames:
            return


def _keeper(given: dict[str, Any], classifier: Any) -> Any:
    if given["save"] is None:
        return None
    from lesionedge.keeping import Keeper

    malignant = frozenset(d.label for d in classifier.diagnoses if d.malignant)
    return Keeper(given["save"], given["save_when"], malignant=malignant, report=_tell)


def _preview(kind: str, address: str) -> Any:
    if kind == "window":
        from lesionedge.preview.window import WindowPreview

        return WindowPreview()
    if kind == "none":
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise click.UsageError(f"--preview-address {address}: expected HOST:PORT")
    from lesionedge.preview.web import WebPreview

    preview = WebPreview(host.strip("[]"), int(port))
    _tell(f"preview: {preview.address}")
    return preview


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """End as by Ctrl-C when told to end, such as by systemd."""
    import signal
    import threading

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A shell's background job ignores SIGINT: whoever sends one all the same means it.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _keys(*, wanted: Any) -> Iterator[Any]:
    """Give a function that tells whether a key was pressed since it was last asked."""
    if not wanted or sys.stdin is None or sys.stdin.closed:
        yield lambda: False
        return
    import os
    import select

    file = sys.stdin.fileno()
    listening = [True]

    def pressed() -> bool:
        if not listening[0] or not select.select([file], [], [], 0)[0]:
            return False
        listening[0] = bool(got := os.read(file, 1024))  # nothing: its end
        return bool(got)

    with _single_keys(file):
        yield pressed


@contextmanager
def _single_keys(file: int) -> Iterator[None]:
    """Let a terminal give keys as they are pressed, without Enter."""
    import os

    if not os.isatty(file):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


class _Tally:
    """Capture-to-answer times: a fair sample of all (reservoir sampling; Vitter 1985)."""

    def __init__(self) -> None:
        self.count = 0
        self._sample = array.array("d")
        self._random = random.Random(0)

    def add(self, age_ms: float) -> None:
        """Take one more."""
        self.count += 1
        if len(self._sample) < SAMPLES:
            self._sample.append(age_ms)
        elif (place := self._random.randrange(self.count)) < SAMPLES:
            self._sample[place] = age_ms

    def quantiles(self) -> tuple[float, float, float]:
        """Give p50, p90 and p99."""
        ranked = sorted(self._sample)
        p50, p90, p99 = (
            ranked[min(len(ranked) - 1, int(len(ranked) * q))] for q in (0.5, 0.9, 0.99)
        )
        return p50, p90, p99


def _summary(camera: Any, tally: _Tally, keeper: Any) -> str:
    text = (
        f"{camera.seen} frames seen, {tally.count} classified, {camera.dropped} dropped, "
        f"{camera.damaged} damaged"
    )
    if camera.outages:
        text += f", {camera.outages} times without a camera"
    if tally.count:
        p50, p90, p99 = tally.quantiles()
        text += f"; capture to answer p50 {p50:.0f}, p90 {p90:.0f}, p99 {p99:.0f} ms"
    if keeper is not None:
        text += f"; {keeper.saved} pictures saved, {keeper.failed} could not be"
    return text


def _tell(text: str) -> None:
    # From a thread as well: one write a line. On a terminal it takes the place of the steady line.
    clear = "\r\x1b[K" if sys.stderr is not None and sys.stderr.isatty() else ""
    click.echo(f"{clear}lesionedge: {printable(text)}", err=True)


class _Json:
    """One object an answer."""

    def __init__(self) -> None:
        import json

        self._dumps = json.dumps

    def write(self, _observation: Observation, facts: dict[str, Any]) -> None:
        """Write one answer."""
        sys.stdout.write(self._dumps(facts) + "\n")
        sys.stdout.flush()  # who reads a pipe need not wait

    def close(self) -> None:
        """Nothing follows."""


class _Text:
    """A steady line on a terminal; elsewhere a line whenever the answer changes."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last: tuple[Any, ...] | None = None
        self._shown_s = 0.0
        self._any = False

    def write(self, observation: Observation, facts: dict[str, Any]) -> None:
        """Write one answer."""
        from lesionedge.preview.picture import lines_of

        self._any = True
        state = (facts["label"], facts["warnings"])
        line = printable("  ".join(lines_of(observation)))
        if self._terminal:
            now_s = time.monotonic()
            if state == self._last and now_s - self._shown_s < 0.1:
                return
            self._shown_s = now_s
            width = max(20, _columns() - 1)
            sys.stdout.write(f"\r\x1b[K{line[:width]}")
        elif state != self._last:
            sys.stdout.write(f"{facts['timestamp']}  {line}\n")
        self._last = state
        sys.stdout.flush()

    def close(self) -> None:
        """End with the research-use line."""
        if self._any:
            sys.stdout.write(("\n" if self._terminal else "") + options.RESEARCH_USE + "\n")
            sys.stdout.flush()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
