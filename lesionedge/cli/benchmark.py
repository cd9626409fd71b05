"""``lesionedge benchmark``: measures how fast a model is on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lesionedge.cli import options, printable, say

if TYPE_CHECKING:
    from lesionedge.benchmark import Measurement

DEFAULT_MODELS = ("mobilenetv2", "mobilenetv2-float16")
NOT_COMPARABLE = "quick run: not comparable with others' figures"


class Threads(click.ParamType):  # type: ignore[type-arg]
    """A number of threads, or ``auto``."""

    name = "N|auto"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Parse ``4`` or ``auto``."""
        if value == "auto":
            return "auto"
        try:
            count = int(str(value))
        except ValueError:
            count = 0
        if count < 1:
            self.fail(f"{value!r} is neither a number of threads nor auto", param, ctx)
        return count


@click.command(
    "benchmark",
    epilog=options.examples(
        "lesionedge benchmark --quick", "lesionedge benchmark photo.jpg -m cnn"
    ),
)
@click.argument(
    "images", metavar="[IMAGE...]", nargs=-1, type=click.Path(exists=True, dir_okay=False)
)
@click.option(
    "-m", "--model", "models", type=options.MODEL, metavar="MODEL", multiple=True,
    help="Name or .tflite file; may be repeated [default: mobilenetv2 in int8 and in float16].",
)  # fmt: skip
@click.option(
    "--threads",
    type=Threads(),
    metavar="N|auto",
    help="Threads that run the network; auto tries 1 to all cores [default: as for predict].",
)
@click.option(
    "--quick", is_flag=True, help="Take two seconds per setting; do not compare such figures."
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text",
    show_default=True, cls=options.Renamed,
    former_flags={"--json": "json", "--markdown": "markdown"},
    help="json: one object; markdown: a table.",
)  # fmt: skip
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    metavar="FILE.png",
    help="Draw the time of each step into FILE.png.",
)
def command(
    images: tuple[str, ...], models: tuple[str, ...], threads: int | str | None, quick: bool,
    form: str, plot: str | None,
) -> None:  # fmt: skip
    """Time predictions on this machine, one IMAGE at a time.

    Without IMAGE it uses a drawn 600x450 JPEG. Each setting takes at least 1,024 predictions and
    60 seconds, as in MLPerf's single-stream scenario.
    """
    if plot is not None and not plot.lower().endswith(".png"):
        raise click.UsageError(f"--plot {plot}: expected a name that ends in .png")
    if plot is not None:
        from lesionedge.cli.output import check_place

        check_place(plot)
    found: list[Measurement] = []
    try:
        for one in _measured(images, models or DEFAULT_MODELS, threads, quick=quick):
            found.append(one)
    finally:  # minutes of work, also if a later setting fails or is interrupted
        if found:
            _show(found, form, plot)


def _show(found: list[Measurement], form: str, plot: str | None) -> None:
    """Print what was measured, and draw it if a plot is asked for."""
    if form == "json":
        click.echo(_json(found))
    else:
        for line in _markdown(found) if form == "markdown" else _text(found):
            click.echo(printable(line))
    if plot is not None:
        from lesionedge.benchmark_plot import draw
        from lesionedge.render import save

        save(draw(found), plot)


def _measured(
    images: tuple[str, ...], models: tuple[str, ...], threads: int | str | None, *, quick: bool
) -> Iterator[Measurement]:
    from lesionedge import benchmark

    counts = benchmark.thread_counts() if threads == "auto" else [threads]
    queries, seconds = benchmark.MIN_QUERIES, benchmark.MIN_SECONDS
    if quick:
        queries, seconds = benchmark.QUICK_QUERIES, benchmark.QUICK_SECONDS
    settings = [(model, count) for model in models for count in counts]
    names = benchmark.short_names(models)
    for number, (model, count) in enumerate(settings, start=1):
        threaded = f", --threads {count}" if isinstance(count, int) else ""
        what = f"{names[model]}{threaded}, {seconds:.0f} s or more"
        say(f"measuring {number} of {len(settings)}: {what}")
        yield benchmark.measure_apart(
            list(images) or [benchmark.example_image()], model=model,
            threads=count if isinstance(count, int) else None, queries=queries, seconds=seconds,
        )  # fmt: skip


def _json(found: list[Measurement]) -> str:
    import json
    from dataclasses import asdict

    from lesionedge import benchmark

    rows = [asdict(m) | {"warnings": list(m.warnings)} for m in found]
    return json.dumps({**_about(), "measurements": rows, "advice": benchmark.advice(found)})


def _about() -> dict[str, Any]:
    import platform
    import time
    from dataclasses import asdict

    from lesionedge import __version__, machine
    from lesionedge.interpreter import find_backend

    backend = find_backend()
    return {
        "lesionedge": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": asdict(machine.processor()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "runtime": {"name": backend.name, "version": backend.version},
    }


def _headline(about: dict[str, Any]) -> str:
    cpu = about["machine"]
    parts = [
        cpu["name"], f"hardware threads: {cpu['hardware_threads']}", *cpu["features"],
        f"governor {cpu['governor']}" if cpu["governor"] else "",
        f"Python {about['python']}", f"{about['runtime']['name']} {about['runtime']['version']}",
        f"lesionedge {about['lesionedge']}", about["date"],
    ]  # fmt: skip
    return ", ".join(part for part in parts if part)


def _text(found: list[Measurement]) -> Iterator[str]:
    from lesionedge import benchmark

    yield _headline(_about())
    names = benchmark.short_names([m.model for m in found])
    for m in found:
        yield ""
        yield f"{names[m.model]}, {m.threads} thread{'s' if m.threads > 1 else ''}: {_length(m)}"
        yield f"  load {m.load_ms:.0f} ms, first prediction {m.first_ms:.1f} ms"
        yield f"  {'ms':<12}" + "".join(
            f"{name:>9}" for name in ("mean", "p50", "p90", "p99", "min", "max")
        )
        for stage, t in m.latency_ms.items():
            values = (t.mean, t.p50, t.p90, t.p99, t.min, t.max)
            yield f"  {stage:<12}" + "".join(f"{value:9.2f}" for value in values)
        yield f"  {m.images_per_s:.1f} images/s; memory {_mb(m.peak_bytes)} peak, " + (
            f"{_mb(m.steady_bytes)} steady{_condition(m)}"
        )
        yield from (f"  warning: {warning}" for warning in m.warnings)
    yield ""
    yield from benchmark.advice(found)


def _length(m: Measurement) -> str:
    length = f"{m.queries} images in {m.duration_s:.0f} s"
    return length if m.comparable else f"{length} ({NOT_COMPARABLE})"


def _condition(m: Measurement) -> str:
    parts = []
    if m.before.temperature_c is not None and m.after.temperature_c is not None:
        parts.append(f"{m.before.temperature_c:.0f} to {m.after.temperature_c:.0f} °C")
    if m.after.clock_mhz is not None:
        parts.append(f"{m.after.clock_mhz:.0f} MHz at the end")
    return "; " + ", ".join(parts) if parts else ""


def _mb(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.0f} MB"


def _markdown(found: list[Measurement]) -> Iterator[str]:
    from lesionedge import benchmark

    yield f"{_headline(_about())}."
    yield ""
    yield "| model | threads | load | first | decode | preprocess | invoke | p50 | p90 | p99 |" + (
        " images/s | peak memory |"
    )
    yield "|---|" + "---:|" * 11
    names = benchmark.short_names([m.model for m in found])
    for m in found:
        medians = [f"{m.latency_ms[stage].p50:.2f}" for stage in ("decode", "preprocess", "invoke")]
        whole = m.latency_ms["whole"]
        cells = [
            names[m.model], str(m.threads), f"{m.load_ms:.0f}", f"{m.first_ms:.1f}", *medians,
            f"{whole.p50:.2f}", f"{whole.p90:.2f}", f"{whole.p99:.2f}", f"{m.images_per_s:.1f}",
            _mb(m.peak_bytes),
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Times in ms; stages are medians."
    if not all(m.comparable for m in found):
        yield f"A {NOT_COMPARABLE}."
    for m in found:
        yield from (f"Warning, {names[m.model]}: {warning}." for warning in m.warnings)
    yield from (f"{line}." for line in benchmark.advice(found))
