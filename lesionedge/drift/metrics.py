"""Statistics of images, and how far they are from the reference, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from lesionedge.drift.difference import LEAST_IMAGES, Drift

PREFIX = "lesionedge_drift_"
_HELP = {
    "images": "Images that these figures are of",
    "share": "Share of images that the gate refuses, or that have a quality warning",
    "reference_share": "The same of the model's reference",
    "median": "Median of the images' figures",
    "reference_median": "The same of the model's reference",
    "distance": "Difference of shares, or Kolmogorov-Smirnov distance of distributions",
    "chance": "The distance that chance alone explains",
    "differs": "1 where the difference counts",
}


def text(drift: Drift) -> str:
    """Return the metrics."""
    return "".join(f"{line}\n" for line in _lines(drift))


def _lines(drift: Drift) -> Iterator[str]:
    found = drift.statistics
    yield from _head("images")
    yield f"{PREFIX}images {found.images}"
    if found.images < LEAST_IMAGES:  # a median of few tells what single images show
        return
    compared = {one.name: one for one in drift.differences}
    series: dict[str, dict[str, float]] = {
        "share": dict(found.shares),
        "reference_share": {n: one.reference for n, one in compared.items() if n in found.shares},
        "median": {name: float(column[50]) for name, column in found.values.items()},
        "reference_median": {n: o.reference for n, o in compared.items() if n in found.values},
        "distance": {name: one.distance for name, one in compared.items()},
        "chance": {name: one.chance for name, one in compared.items()},
        "differs": {name: float(one.differs) for name, one in compared.items()},
    }
    for name, values in series.items():
        if values:
            yield from _head(name)
        for of, value in values.items():
            yield f'{PREFIX}{name}{{of="{of}"}} {value:.6g}'


def _head(name: str) -> Iterator[str]:
    yield f"# HELP {PREFIX}{name} {_HELP[name]}"
    yield f"# TYPE {PREFIX}{name} gauge"
