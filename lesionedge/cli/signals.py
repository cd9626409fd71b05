"""Ends a long command cleanly when a signal stops it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Exit cleanly on SIGTERM, and when the terminal closes (SIGHUP)."""
    import signal
    import threading

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    ours = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Keep a handler that was set before: nohup ignores SIGHUP.
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
