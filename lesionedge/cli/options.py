"""Options that several commands share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Command = Callable[..., Any]


class Renamed(click.Option):
    """An option that also accepts its former names, which ``--help`` does not show."""

    def __init__(
        self, *arguments: Any, former: tuple[str, ...] = (),
        former_flags: Mapping[str, str] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """Create the option.

        Args:
            arguments: As for ``click.Option``.
            former: Its former names.
            former_flags: A former flag for one of its values -> that value.
            more: As for ``click.Option``.
        """
        super().__init__(*arguments, **more)
        self._former, self._former_flags = list(former), dict(former_flags or {})

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Add the former names to the parser too."""
        super().add_to_parser(parser, ctx)
        if self._former:
            parser.add_option(obj=self, opts=self._former, dest=self.name, nargs=self.nargs)
        for flag, value in self._former_flags.items():
            parser.add_option(
                obj=self, opts=[flag], dest=self.name, action="store_const", const=value
            )


def examples(*commands: str) -> str:
    """Return the end of a command's ``--help``: examples of its use."""
    return "\n".join(("\b", "Examples:", *(f"  {command}" for command in commands)))


abstain = click.option(
    "--abstain/--no-abstain", default=True, show_default=True,
    help="Show no diagnosis if an image is not dermoscopic. JSON and CSV always hold everything.",
)  # fmt: skip


class Normalisation(click.ParamType):  # type: ignore[type-arg]
    """``MEAN,STD``: two numbers, or three means and three stds."""

    name = "M,S"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Parse ``127.5,127.5``."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            found = ()
        if len(found) not in (2, 6) or not all(map(math.isfinite, found)):
            self.fail(
                f"{value!r} is not MEAN,STD, such as 127.5,127.5, nor three of each", param, ctx
            )
        if 0 in found[len(found) // 2 :]:
            self.fail("STD is 0; pixels are divided by it", param, ctx)
        return found


class FloatRange(click.FloatRange):
    """A number within limits, which ``nan`` is not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse ``0.5``."""
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number", param, ctx)
        return found


class Labels(click.ParamType):  # type: ignore[type-arg]
    """``mel,bcc``: labels; an empty text means no label."""

    name = "LABELS"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Parse ``mel,"Melanoma, NOS"``: a label with a comma is in double quotes."""
        if isinstance(value, tuple):
            return value
        import csv
        import re

        text = re.sub(r'"\s+(?=,|$)', '"', str(value))
        try:
            lines = list(csv.reader([text], skipinitialspace=True, strict=True))
        except csv.Error as error:
            self.fail(f"{value!r} is not a list of labels, such as mel,bcc ({error})", param, ctx)
        labels = (label.strip() for line in lines for label in line)
        return tuple(label for label in labels if label)


class Named(click.ParamType):  # type: ignore[type-arg]
    """One of some names, or a file: the shell completes both. Everything is accepted here."""

    name = "text"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so; where none does, let the shell complete a file."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]


def _models() -> Iterable[str]:
    from lesionedge.description import EMBEDDED

    return EMBEDDED


MODEL = Named(_models)
SOURCE = Named(lambda: ("auto", "picamera2", "rpicam"))


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


def _known_layout(_: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is not None:
        from lesionedge.datasets import LAYOUTS

        if name not in LAYOUTS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(LAYOUTS)}", param=option)
    return name


dataset_layout = click.option(
    "--layout",
    metavar="NAME",
    callback=_known_layout,
    help="How a dataset is laid out, such as ham10000 or folders [default: recognised].",
)
processes = click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Processes that share the images.",
)  # fmt: skip
camera_size = click.option(
    "--size", type=Size(), default="1280x720", show_default=True,
    help="Image size to request from the camera.",
)  # fmt: skip


def _also_here(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Accept ``--verbose`` after the command's name as well as before it."""
    if value:
        ctx.ensure_object(dict)["verbose"] = True


def is_verbose(ctx: click.Context) -> bool:
    """Return whether ``--verbose`` was given, before or after the command's name."""
    return bool((ctx.obj or {}).get("verbose"))


verbose = click.option(
    "--verbose", is_flag=True, expose_value=False, callback=_also_here,
    help="Show the native library's log lines.",
)  # fmt: skip

MODEL_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "model": click.option(
        "-m", "--model", type=MODEL, metavar="MODEL",
        help="mobilenetv2 (default), mobilenetv2-float16, cnn, or a .tflite file.",
    ),
    "threads": click.option(
        "--threads", type=click.IntRange(min=1), metavar="N",
        help="Threads that run the network [default: physical cores, at most 4].",
    ),
    "views": click.option(
        "--views", type=click.IntRange(1, 8), default=1, show_default=True, metavar="N",
        help="Average over N turned and mirrored views of each image. This is a little more "
        "accurate; the network runs N times.",
    ),
    "check": click.option(
        "--check/--no-check", default=True,
        help="Check whether an image is dermoscopic and of good quality [default: --check].",
    ),
    "labels": click.option(
        "--labels", type=click.Path(dir_okay=False), metavar="FILE",
        help="Labels, one per line in output order, for a model file without labels.",
    ),
    "malignant": click.option(
        "--malignant", type=Labels(), metavar="LABELS",
        help="All malignant labels, such as mel,bcc; empty for none [default: as in the model's "
        "card, or as known for these labels].",
    ),
    "operating_point": click.option(
        "--operating-point", type=FloatRange(0, 1, min_open=True), metavar="S",
        help="Use the malignant probability's threshold for this sensitivity (the share of "
        "malignant images above it): 0.9, 0.95 or 0.98 [default: 0.95].",
    ),
    "profile": click.option(
        "--profile", type=click.Path(dir_okay=False), envvar="LESIONEDGE_PROFILE",
        show_envvar=True, metavar="FILE",
        help="Site profile of this model, made by lesionedge calibrate on images of your own.",
    ),
    "normalize": click.option(
        "--normalize", type=Normalisation(), metavar="M,S",
        help="The network's input is (pixel - M) / S, pixels 0-255, for a model file without this "
        "information. Six numbers are M of red, green and blue, then S of each.",
    ),
}  # fmt: skip
"""Field of ``ModelOptions`` -> its command-line option, in the order of ``--help``."""


def model_options(*, without: Container[str] = ()) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of ``ModelOptions``, and ``--verbose``.

    The command receives them as one keyword argument, ``model_options``.

    Args:
        without: Fields that get no option.
    """
    names = [name for name in MODEL_OPTIONS if name not in without]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_options(*arguments: Any, **given: Any) -> Any:
            from lesionedge.model_options import ModelOptions

            values = {name: given.pop(name) for name in names}
            values["profile"] = values.get("profile") or None  # an empty variable is none
            chatty = is_verbose(click.get_current_context())
            return command(
                *arguments, model_options=ModelOptions(**values, verbose=chatty), **given
            )

        decorated: Command = verbose(with_options)
        for name in reversed(names):
            decorated = MODEL_OPTIONS[name](decorated)
        return decorated

    return decorate
