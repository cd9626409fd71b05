"""Signals and single keys, for commands that run until they are stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Stop on SIGTERM, such as from systemd, as on Ctrl-C."""
    import signal
    import threading

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A shell's background job ignores SIGINT; handle it, because somebody sent it on purpose.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def keys(ended: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Return a function that returns whether a key was pressed since its last call.

    Args:
        ended: Called once if standard input is closed or has ended: then no key can come.
    """
    if sys.stdin is None or sys.stdin.closed:
        ended()
        yield lambda: False
        return
    import select

    file = sys.stdin.fileno()
    listening = [True]

    def pressed() -> bool:
        if not listening[0] or not select.select([file], [], [], 0)[0]:
            return False
        listening[0] = bool(os.read(file, 1024))  # empty at the end of the input
        if not listening[0]:
            ended()
        return listening[0]

    with _single_keys(file):
        yield pressed


@contextmanager
def _single_keys(file: int) -> Iterator[None]:
    """Make a terminal deliver each key at once, without Enter."""
    if not os.isatty(file):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
