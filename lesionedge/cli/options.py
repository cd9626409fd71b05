"""Options that several commands share."""

from __future__ import annotations

import math

import click

RESEARCH_USE = "For research use only: not a diagnosis."


class Normalisation(click.ParamType):  # type: ignore[type-arg]
    """``MEAN,STD``: two numbers."""

    name = "M,S"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Parse ``127.5,127.5``."""
        if isinstance(value, tuple):
            return value
        try:
            mean, std = (float(part) for part in str(value).split(","))
        except ValueError:
            mean = std = math.nan
        if not (math.isfinite(mean) and math.isfinite(std)):
            self.fail(f"{value!r} is not MEAN,STD, such as 127.5,127.5", param, ctx)
        if not std:
            self.fail("STD is 0; pixels are divided by it", param, ctx)
        return mean, std


def _also_here(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Take ``--verbose`` after the command's name as well as before."""
    if value:
        ctx.ensure_object(dict)["verbose"] = True


def is_verbose(ctx: click.Context) -> bool:
    """Tell whether ``--verbose`` was given, before or after the command's name."""
    return bool((ctx.obj or {}).get("verbose"))


model = click.option(
    "-m", "--model", metavar="MODEL",
    help="mobilenetv2 (default), mobilenetv2-float16, cnn, or a .tflite file.",
)  # fmt: skip
threads = click.option(
    "--threads", type=click.IntRange(min=1),
    help="Threads that run the network [default: physical cores, at most 4].",
)  # fmt: skip
labels = click.option(
    "--labels", type=click.Path(dir_okay=False), metavar="FILE",
    help="Labels, one a line in output order, for a model that has none inside.",
)  # fmt: skip
normalize = click.option(
    "--normalize", type=Normalisation(),
    help="The network wants (pixel - M) / S; for a model that does not say.",
)  # fmt: skip
views = click.option(
    "--views", type=click.IntRange(1, 8), default=1, show_default=True, metavar="N",
    help="Answer by the mean over N views of each picture, turned and mirrored: a little more "
    "accurate; the network takes N times as long.",
)  # fmt: skip
check = click.option(
    "--check/--no-check", default=True,
    help="Tell whether a picture is a dermoscopic one, and a good one [default: --check].",
)  # fmt: skip
verbose = click.option(
    "--verbose", is_flag=True, expose_value=False, callback=_also_here,
    help="Show the native library's log lines.",
)  # fmt: skip
