"""The figures of ``lesionedge evaluate`` as text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from lesionedge.cli import printable
from lesionedge.cli.measuring import SPLIT
from lesionedge.wording import RESEARCH_USE, counted


def text(results: dict[str, Any], output: str | None) -> str:
    """Return what people read.

    Args:
        results: What ``metrics.json`` holds.
        output: The folder of the report; None: it is not kept.
    """
    from lesionedge.titles import HEADLINES

    lines = []
    for name, figures in results["models"].items():
        lines += [
            f"{printable(name)}: {counted(figures['images'])}, "
            f"{figures['lesions']} independent ones (by {results['grouped_by']})",
            *_rows(figures, HEADLINES),
            *_points(figures["operating_points"]),
            "",
        ]
    for name, figures in results["comparison"].items():
        lines += [f"{printable(name)}:", *_rows(figures, HEADLINES, sign="+"), ""]
    if results["refused_by_gate"]:
        lines += [f"the gate refuses {counted(results['refused_by_gate'])}", ""]
    if output is not None:
        lines.append(f"{printable(os.path.join(output, 'report.html'))} shows all of it")
    return "\n".join([*lines, "In brackets: 95 % intervals.", RESEARCH_USE]) + "\n"


def _rows(figures: dict[str, Any], titles: dict[str, str], *, sign: str = "") -> Iterator[str]:
    for key, title in titles.items():
        found = figures.get(key)
        if found and found["value"] is not None:
            numbers = [f"{found[part]:{sign}.3f}" for part in ("value", "low", "high")]
            yield f"  {title:<42} {numbers[0]} [{numbers[1]}, {numbers[2]}]"


def _points(points: Sequence[dict[str, Any]]) -> Iterator[str]:
    for point in points:
        found = point[SPLIT]
        wanted = f"{point['sensitivity']:.0%}".replace("%", " %")
        parts = [
            f"{key} {found[key]['value']:.3f} [{found[key]['low']:.3f}, {found[key]['high']:.3f}]"
            for key in ("sensitivity", "specificity")
            if found[key]["value"] is not None
        ]
        of = "" if point.get("of", "malignant") == "malignant" else f" of {point['of']}"
        yield f"  threshold for {wanted}{of}: {', '.join(parts)}"
