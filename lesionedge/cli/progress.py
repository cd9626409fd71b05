"""Shows the progress of a long list of images on standard error."""

from __future__ import annotations

import sys
import time

from lesionedge.cli import say
from lesionedge.wording import counted


class Progress:
    """Updates one line on a terminal; elsewhere, such as in a log, a line from time to time."""

    def __init__(self, count: int) -> None:
        self._count, self._done = count, 0
        self._begin = self._shown = time.monotonic()
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def step(self, count: int = 1) -> None:
        """Count finished images."""
        self._done += count
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._terminal else 10.0):
            self._shown = now
            self._show()

    def clear(self) -> None:
        """Clear the line, so that another one can be printed."""
        if self._terminal:
            say("\r\x1b[K", newline=False)

    def end(self) -> None:
        """Show the final count."""
        self._show()
        if self._terminal:
            say("")

    def _show(self) -> None:
        took = max(1e-9, time.monotonic() - self._begin)
        text = f"{self._done} of {counted(self._count)}, {self._done / took:.3g} a second"
        left = took / self._done * (self._count - self._done)
        if left >= 1:
            text += f", {_span(left)} left"
        if self._terminal:
            say(f"\r\x1b[K{text}", newline=False)
        else:
            say(text)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
