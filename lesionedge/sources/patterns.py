"""Patterns with ``*``, ``?`` and ``[…]`` for names with slashes, as in shells."""

from __future__ import annotations

import re

# Compiled when they are used: that takes a millisecond, and most commands have no pattern.
_RANGE = r"(?s)(.)-(.)|(.)"
_PART = r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|[^*?[]+|\["


def is_pattern(name: str) -> bool:
    """Return whether a name holds ``*``, ``?`` or ``[``."""
    return any(c in name for c in "*?[")


def compiled(pattern: str, *, magic: str = "*?[") -> re.Pattern[str]:
    """Return the regular expression for whole names; only ``**`` matches slashes.

    Args:
        pattern: Such as ``2019/**/*.jpg``.
        magic: The characters with a special meaning; others stand for themselves.
    """
    parts = (_translated(part, magic) for part in re.findall(_PART, pattern))
    return re.compile("".join(parts), re.DOTALL)  # names may hold line breaks, too


def folder_of(pattern: str) -> str:
    """Return the part of a pattern up to the last slash before a special character."""
    end = min((pattern.index(c) for c in "*?[" if c in pattern), default=len(pattern))
    return pattern[: pattern.rfind("/", 0, end) + 1]


def _translated(part: str, magic: str) -> str:
    if part[0] not in magic:
        return re.escape(part)
    if part == "**/":
        return "(?:.*/)?"
    if part == "**":
        return ".*"
    if part == "*":
        return "[^/]*"
    if part == "?":
        return "[^/]"
    return _set(part[1:-1]) if len(part) > 2 else re.escape(part)


def _set(inside: str) -> str:
    """Translate a bracket's characters and ranges; ``!`` at the start negates them."""
    negated = inside[0] in "!^"
    found = re.findall(_RANGE, inside[1:] if negated else inside)
    ranges = [
        f"{re.escape(low)}-{re.escape(high)}" for low, high, _ in found if low and low <= high
    ]
    allowed = "".join(ranges + [re.escape(one) for *_, one in found])
    if not allowed:
        return "[^/]" if negated else r"(?!)"
    return f"(?!/)[{'^' * negated}{allowed}]"
