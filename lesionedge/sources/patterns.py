"""Patterns with ``*``, ``?`` and ``[…]``, as shells have them, on names with slashes."""

from __future__ import annotations

import re

MAGIC = re.compile(r"[*?[]")
_PART = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|[^*?[]+|\[")


def is_pattern(name: str) -> bool:
    """Return whether a name holds ``*``, ``?`` or ``[``."""
    return MAGIC.search(name) is not None


def compiled(pattern: str, *, magic: str = "*?[") -> re.Pattern[str]:
    """Return the expression that whole names match: only ``**`` goes across slashes.

    Args:
        pattern: Such as ``2019/**/*.jpg``.
        magic: The characters that mean something; others stand for themselves.
    """
    return re.compile("".join(_translated(part, magic) for part in _PART.findall(pattern)))


def folder_of(pattern: str) -> str:
    """Return the part of a pattern up to the last slash before anything special."""
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
    if part == "[":
        return r"\["
    inside = part[1:-1].replace("\\", r"\\")
    return f"(?!/)[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
