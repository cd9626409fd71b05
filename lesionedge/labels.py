"""Reads a model's labels: one per line, in output order or numbered.

Coral's and Teachable Machine's files number their lines (``0 mel``, ``1: nv``), in any order.
Keras' ``class_indices``, written line by line, has the numbers behind (``mel: 0``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from lesionedge.errors import ModelError

# A number, in brackets or after "class", then a separator, then the label. "3D" has no separator,
# and in "0.76 mm" and "20-29" a digit follows it. Compiled when it is used: few models need it.
_NUMBERED = (
    r"(?i)\s*(?:class\s+)?[\[(#]?(?P<number>[0-9]{1,6})"
    r"(?:[\])]\s*[:.,;=|–-]?\s*|\s*[:;=|]\s*|\s*,\s+|\s*[.,)–-](?![0-9])\s*|_(?=[^\W\d])|\s+)"
    r"(?P<label>\S.*)"
)
# A label, a separator, then a number; "1.5" and "x-ray 3D" do not match.
_NUMBERED_BEHIND = (
    r"(?P<label>\S.*?)(?: ?[:;=|,] ?| (?:[–-] ?)?|_)[\[(#]?(?P<number>[0-9]{1,6})[\])]? ?,?"
)


class OrderedLabels(tuple[str, ...]):
    """Labels that are in output order already, even if they begin with numbers."""

    __slots__ = ()


def read(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read a labels file.

    Args:
        path: A text file in UTF-8.

    Returns:
        The labels in output order, without their numbers.

    Raises:
        ModelError: It cannot be read, or its labels are not numbered without gaps.
    """
    name = os.fsdecode(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            return in_order(split(file.read()), name)
    except OSError as error:
        raise ModelError(f"{name}: labels cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{name}: labels are not UTF-8 text ({error.reason}); save them as UTF-8"
        ) from error


def split(text: str) -> tuple[str, ...]:
    """Split a labels file: one label per line; blank lines at the end are dropped."""
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def in_order(labels: Sequence[str], source: str) -> tuple[str, ...]:
    """Sort labels by the numbers before or behind them and remove the numbers.

    Labels without numbers stay unchanged, also if they begin with a digit: ``3D``, ``2 mm``. If
    such labels look numbered, number them: ``0 2 mm``. Numbers behind labels count only if they
    are a number for each output.

    Args:
        labels: One per class.
        source: Where they come from, for messages.

    Raises:
        ModelError: Some are numbered and others not, or a number is missing or occurs twice, or
            the numbers are in the order of text (1, 10, 2).
    """
    if isinstance(labels, OrderedLabels):
        return labels
    found = [re.fullmatch(_NUMBERED, label) for label in labels]
    numbered = [match for match in found if match]
    rests = {match["label"] for match in numbered}
    if not numbered:
        return _by_numbers_behind(labels, source)
    if len(numbered) > 1 and len(rests) == 1:  # "2 mm", "4 mm": units
        return tuple(labels)
    plain = [n for n, (label, match) in enumerate(zip(labels, found)) if label and not match]
    if plain:
        if len(numbered) < 2 or len(numbered) < len(plain):
            return tuple(labels)
        raise ModelError(
            f"{source}: label {plain[0] + 1} ({labels[plain[0]]!r}) has no number, but others "
            f"have, such as {numbered[0][0].strip()!r}; number all labels, from 0, or none"
        )
    return _sorted(numbered, source)


def _by_numbers_behind(labels: Sequence[str], source: str) -> tuple[str, ...]:
    # With single spaces, the search takes no longer than the label is long.
    spaced = (" ".join(label.split()) for label in labels)
    numbered = [match for label in spaced if (match := re.fullmatch(_NUMBERED_BEHIND, label))]
    numbers = sorted(int(match["number"]) for match in numbered)
    rests = {match["label"] for match in numbered}
    for first in (0, 1):
        # "Class 1", "Class 2" are names.
        if len(rests) == len(labels) > 1 and numbers == list(range(first, first + len(labels))):
            return _sorted(numbered, source)
    return tuple(labels)


def _sorted(numbered: Sequence[re.Match[str]], source: str) -> tuple[str, ...]:
    by_number: dict[int, str] = {}
    for match in numbered:
        number = int(match["number"])
        if number in by_number:
            raise ModelError(
                f"{source}: the number {number} occurs twice ({by_number[number]!r} and "
                f"{match['label']!r}); expected each once"
            )
        by_number[number] = match["label"].strip()
    first = 1 if min(by_number) == 1 else 0
    wanted = range(first, first + len(by_number))
    missing = sorted(set(wanted) - set(by_number))
    if missing:
        raise ModelError(
            f"{source}: its {len(by_number)} labels are numbered up to {max(by_number)}, but the "
            f"number {missing[0]} is missing; expected {wanted[0]} to {wanted[-1]}, each once"
        )
    # The order of text may be that of Keras, which sorts class folders such as "10. Warts" so.
    if list(by_number) == sorted(wanted, key=str) != list(wanted):
        raise ModelError(
            f"{source}: its labels are numbered, but in the order of text "
            f"({', '.join(map(str, list(by_number)[:3]))}, …): the numbers may be those of the "
            "outputs, or parts of class names that are in output order already; list the labels "
            "in output order, without numbers"
        )
    return tuple(by_number[number] for number in wanted)


def distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Return labels as column names; a repeated label gets a number, such as ``mole_2``."""
    taken, seen, names = set(labels), dict.fromkeys(labels, 0), []
    for label in labels:
        name, number = label, seen[label] + 1
        while number > 1 and (name := f"{label}_{number}") in taken:
            number += 1
        seen[label] = number
        taken.add(name)
        names.append(name)
    return tuple(names)
