"""Patterns with ``*``, ``?`` and ``[…]``, as shells have them, on names with slashes."""

from __future__ import annotations

import re

MAGIC = re.compile(r"[*?[]")
_RANGE = re.compile(r"(.)-(.)|(.)", re.DOTALL)
_PART = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|[^*?[]+|\[")


def is_pattern(name: str) -> bool:
    """Return whether a name holds ``*``, ``?`` or ``[``."""
    return MAGIC.search(name) is not None


def compiled(pattern: str, *, magic: str = "*?[") -> re.Pattern[str]:
    """Return the regular expression for whole names; only ``**`` matches slashes.

    Args:
        pattern: Such as ``2019/**/*.jpg``.
        magic: The characters with a special meaning; others stand for themselves.
    """
    return re.compile("".join(_translated(part, magic) for part in _PART.findall(pattern)))


def folder_of(pattern: str) -> str:
    """Return the part of a pattern up to the last slash before a special character."""
    found = MAGIC.search(pattern)
    return pattern[: pattern.rfind("/", 0, found.start() if found else None) + 1]


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
    found = _RANGE.findall(inside[1:] if negated else inside)
    ranges = [
        f"{re.escape(low)}-{re.escape(high)}" for low, high, _ in found if low and low <= high
    ]
    allowed = "".join(ranges + [re.escape(one) for *_, one in found])
    if not allowed:
        return "[^/]" if negated else r"(?!)"
    return f"(?!/)[{'^' * negated}{allowed}]"
