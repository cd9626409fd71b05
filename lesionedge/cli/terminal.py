"""What a command that runs until it is stopped needs of its terminal: signals and single keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Stop as on Ctrl-C when SIGTERM comes, such as from systemd."""
    import signal
    import threading

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A shell's background job ignores SIGINT: whoever sends one all the same means it.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def keys() -> Iterator[Callable[[], bool]]:
    """Return a function that tells whether a key was pressed since it was last asked."""
    if sys.stdin is None or sys.stdin.closed:
        yield lambda: False
        return
    import select

    file = sys.stdin.fileno()
    listening = [True]

    def pressed() -> bool:
        if not listening[0] or not select.select([file], [], [], 0)[0]:
            return False
        listening[0] = bool(got := os.read(file, 1024))  # nothing: its end
        return bool(got)

    with _single_keys(file):
        yield pressed


@contextmanager
def _single_keys(file: int) -> Iterator[None]:
    """Let a terminal give keys as they are pressed, without Enter."""
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
