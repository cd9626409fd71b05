"""Signals that stop a long command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Stop as on Ctrl-C when a signal says so or the terminal closes."""
    import signal
    import threading

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    ours = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            # What was set before (nohup ignores SIGHUP) is respected.
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
