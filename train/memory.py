"""Lets a training keep the memory that it frees."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameters of mallopt(3)."""


def keep() -> None:
    """Let the C library keep what is freed, in one heap; where it is another than glibc, nothing.

    A step's arrays are hundreds of megabytes. By default glibc returns each to the system and
    fetches it again, page by page, which takes a third of the processor time of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in (
        (_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28),
    ):  # fmt: skip
        mallopt(parameter, value)
