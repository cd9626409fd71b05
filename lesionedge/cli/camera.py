"""``lesionedge camera``: classifies a camera's images until it is stopped."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options
from lesionedge.cli.live_output import Json, Tally, Text, as_dict, summary, tell
from lesionedge.cli.loading import load
from lesionedge.cli.terminal import keys, stopped_by_signals
from lesionedge.errors import CameraError
from lesionedge.frame_recorder import WHEN

if TYPE_CHECKING:
    from lesionedge.camera.capture import Camera
    from lesionedge.classifier import Classifier
    from lesionedge.frame_recorder import FrameRecorder
    from lesionedge.live import Observation
    from lesionedge.model_options import ModelOptions
    from lesionedge.preview import Preview


NO_KEYS = "warning: standard input has ended, so no key there can save an image"


@click.command(
    "camera",
    epilog=options.examples(
        "lesionedge camera",
        "lesionedge camera --source 0 --crop 0.6 --smooth 5",
        "lesionedge camera --source rtsp://camera.local/stream --format json",
    ),
)
@click.option(
    "--source", type=options.SOURCE, default="auto", show_default=True, metavar="SOURCE",
    help="auto, picamera2, rpicam, /dev/videoN or its number N, a URL, a video file, or a folder "
    "or pattern of images.",
)  # fmt: skip
@options.camera_size
@click.option(
    "--every", type=options.FloatRange(min=0), default=0.0, metavar="S",
    help="Wait at least S seconds between predictions: less heat, less power.",
)  # fmt: skip
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="End after N predictions.")
@click.option(
    "--duration", type=options.FloatRange(min=0, min_open=True), metavar="S",
    help="End after S seconds.",
)  # fmt: skip
@click.option(
    "--give-up", type=options.FloatRange(min=0), metavar="S",
    help="End after S seconds without a camera [default: 0 at the start, 60 once it has worked].",
)  # fmt: skip
@click.option(
    "--smooth", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Average the probabilities of N frames of one scene.",
)  # fmt: skip
@click.option(
    "--crop", type=options.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
    metavar="F", help="Side of the classified square, as a share of the image's shorter side.",
)  # fmt: skip
@click.option(
    "--save",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Save images and predictions to DIR.",
)
@click.option(
    "--save-when", type=click.Choice(WHEN), default="changed", show_default=True,
    help="Save when the label changes, always, when the label is malignant, or when a key is "
    "pressed.",
)  # fmt: skip
@click.option(
    "--preview", type=click.Choice(["none", "window", "web"]), default="none", show_default=True,
    help="Show the live image: in a window of this device, or as a page.",
)  # fmt: skip
@click.option(
    "--preview-address", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT",
    help="Address for --preview web.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="json: one object per prediction. text: one line per image file. For a camera, stream or "
    "video: on a terminal, one line that each prediction overwrites; elsewhere, a line when the "
    "label or the warnings change.",
)  # fmt: skip
@options.abstain
@options.model_options(without=("views",))
@click.pass_context
def command(ctx: click.Context, /, model_options: ModelOptions, **given: Any) -> None:
    """Classify a camera's images, live, until Ctrl-C.

    It takes the newest frame each time and classifies its centre square. The exit status is 0 if
    you stop it, and 1 if the camera fails.
    """
    _check(ctx, given)
    with stopped_by_signals(), ExitStack() as stack:
        from lesionedge.live import watch

        classifier = load(model_options)
        malignant = _malignant(given, classifier)
        if classifier.unknown_notice is not None:
            tell(f"warning: {classifier.unknown_notice}")
        preview = _preview(given["preview"], given["preview_address"])
        if preview is not None:
            stack.callback(preview.close)
        pressed = _pressed(given, preview, stack)
        camera = stack.enter_context(_camera(given))
        tally, recorder = Tally(), _recorder(given, malignant)
        stack.callback(lambda: tell(summary(camera, tally, recorder)))
        if recorder is not None:
            stack.enter_context(recorder)
        writer = (Json if given["form"] == "json" else Text)()
        stack.callback(writer.close)
        seen = watch(
            camera, classifier, every_s=given["every"], smooth=given["smooth"], crop=given["crop"],
            abstain=given["abstain"], meanwhile=_meanwhile(camera, preview),
        )  # fmt: skip
        for observation in _limited(seen, camera, given["frames"], given["duration"]):
            tally.add(observation.age_ms)
            facts = as_dict(observation, camera.source)
            if recorder is not None:
                facts["saved"] = recorder.offer(
                    observation, facts, key_pressed=pressed(), wait=not camera.live
                )
            writer.write(observation, facts)
            if preview is not None and not preview.show(observation):
                break


def _check(ctx: click.Context, given: dict[str, Any]) -> None:
    """Refuse options that would have no effect, and a closed standard output."""
    needs = {"save_when": given["save"], "preview_address": given["preview"] == "web"}
    needed = {"save_when": "--save DIR", "preview_address": "--preview web"}
    for name, there in needs.items():
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE and not there:
            raise click.UsageError(f"--{name.replace('_', '-')} needs {needed[name]}")
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")


@contextmanager
def _camera(given: dict[str, Any]) -> Iterator[Camera]:
    """Open the camera and describe it."""
    from lesionedge.camera.capture import Camera

    with Camera(
        given["source"], size=given["size"], give_up_s=given["give_up"],
        realtime=given["every"] > 0, report=tell,
    ) as camera:  # fmt: skip
        if camera.is_open:
            tell(camera.description)
        yield camera


def _limited(
    seen: Iterator[Observation], camera: Camera, frames: int | None, duration: float | None
) -> Iterator[Observation]:
    """End after this many predictions or seconds.

    Raises:
        CameraError: No frame arrived in these seconds.
    """
    import threading

    expired = threading.Event()

    def end() -> None:
        expired.set()
        camera.close()

    if duration is not None:
        timer = threading.Timer(min(duration, threading.TIMEOUT_MAX), end)
        timer.daemon = True
        timer.start()
    for number, observation in enumerate(seen, start=1):
        yield observation
        if number == frames:
            return
    if expired.is_set() and not camera.seen:
        raise CameraError(f"{camera.description}: sent no frame in {duration:g} s")


def _malignant(given: dict[str, Any], classifier: Classifier) -> frozenset[str]:
    """Return the malignant labels; they must be known for ``--save-when malignant``.

    Raises:
        ModelError: Such frames should be saved, but the labels are unknown, or there are none.
    """
    if given["save_when"] == "malignant":
        from lesionedge.diagnosis import malignant_of
        from lesionedge.errors import ModelError

        if not any(malignant_of(classifier.diagnoses, model=classifier.model)):
            raise ModelError(
                f"{classifier.model}: none of its labels is malignant, so --save-when malignant "
                "would save nothing; leave it out, or name the labels with --malignant"
            )
    return frozenset(d.label for d in classifier.diagnoses if d.malignant)


def _recorder(given: dict[str, Any], malignant: frozenset[str]) -> FrameRecorder | None:
    if given["save"] is None:
        return None
    from lesionedge.frame_recorder import FrameRecorder

    return FrameRecorder(given["save"], given["save_when"], malignant=malignant, report=tell)


def _pressed(
    given: dict[str, Any], preview: Preview | None, stack: ExitStack
) -> Callable[[], bool]:
    """Return a function that returns whether a key was pressed, in the terminal or the window."""
    if given["save_when"] != "key":
        return lambda: False
    tell("press any key to save an image")
    in_terminal = stack.enter_context(keys(lambda: tell(NO_KEYS)))

    def pressed() -> bool:
        in_window = preview is not None and preview.pressed()
        return in_terminal() or in_window

    return pressed


def _meanwhile(camera: Camera, preview: Preview | None) -> Callable[[], None]:
    def update() -> None:
        if preview is not None and not preview.update():
            camera.close()

    return update


def _preview(kind: str, address: str) -> Preview | None:
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
    tell(f"preview: {preview.address}")
    return preview
