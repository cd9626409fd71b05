"""Says in words how far images are from a model's reference."""

from __future__ import annotations

from collections.abc import Iterator

from lesionedge.drift.difference import LEAST_IMAGES, Difference, Drift
from lesionedge.drift.statistics import PROBABILITIES, VALUES, WARNINGS, Statistics
from lesionedge.wording import counted, percent

MEDIAN = ", median"
NO_REFERENCE = "the model has no reference to compare them with"


def lines(drift: Drift) -> Iterator[str]:
    """Yield a table, one line a figure, and what follows from it."""
    if drift.reference is None:
        yield from _alone(drift.statistics)
        yield f"These are the figures of {counted(drift.statistics.images)}; {NO_REFERENCE}."
        return
    yield f"  {'':<33} {'these images':>12} {'reference':>12}"
    for one in drift.differences:
        numbers = [shown(one.name, number) for number in (one.value, one.reference)]
        yield f"  {title(one):<33} {numbers[0]:>12} {numbers[1]:>12}  {one.verdict}"
    yield ""
    yield f"The reference: {drift.reference.images}."
    yield summary(drift)


def _alone(found: Statistics) -> Iterator[str]:
    titles = {"refused": "refused by the gate", **WARNINGS}
    for name, share in found.shares.items():
        yield f"  {titles[name]:<33} {shown(name, share):>12}"
    for name, column in found.values.items():
        yield f"  {VALUES[name] + MEDIAN:<33} {shown(name, float(column[50])):>12}"


def title(one: Difference) -> str:
    """Return what a figure is called."""
    return one.title + MEDIAN if one.name in VALUES else one.title


def shown(name: str, number: float) -> str:
    """Return a figure as people read it."""
    if name in VALUES and name not in PROBABILITIES:
        return f"{number:.1f}"
    return "0 %" if number == 0 else percent(number)


def summary(drift: Drift) -> str:
    """Say in one or two sentences how far the images are from the reference."""
    if drift.reference is None:
        return f"{NO_REFERENCE[0].upper()}{NO_REFERENCE[1:]}."
    if drift.statistics.images < LEAST_IMAGES:
        return f"Fewer than {LEAST_IMAGES} images are too few to say how far they are from others."
    if not drift.differing:
        return "No figure of these images differs from the reference in a way that counts."
    return (
        f"These images {differing(drift)[len(IMAGES) :]}. Expect other figures than the model "
        "card's, and measure on labelled images."
    )


IMAGES = "the images "


def differing(drift: Drift) -> str:
    """Say in which figures the images differ from the reference."""
    named = "; ".join(f"{one.title} {one.verdict}" for one in drift.differing)
    return f"{IMAGES}differ from those of the model's reference: {named}"
