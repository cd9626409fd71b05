"""The output of ``lesionedge camera``: predictions as text or JSON, and a summary at the end."""

from __future__ import annotations

import array
import random
import sys
import time
from typing import TYPE_CHECKING, Any

from lesionedge.camera.frame import counted as frames
from lesionedge.camera.frame import shown
from lesionedge.cli import printable, say
from lesionedge.wording import CANNOT_TELL, RESEARCH_USE, counted, is_own_name, percent, risk

if TYPE_CHECKING:
    from lesionedge.camera.capture import Camera
    from lesionedge.frame_recorder import FrameRecorder
    from lesionedge.live import Observation

SAMPLES = 10_000
"""Size of the sample of times."""


def as_dict(observation: Observation, source: str) -> dict[str, Any]:
    """Return an observation as one JSON object."""
    frame = observation.frame
    return {
        **({} if frame.path is None else {"path": frame.path}),
        "timestamp": frame.timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "frame": frame.number,
        "age_ms": observation.age_ms,
        "source": shown(source),
        "averaged": observation.averaged,
        **observation.prediction.to_dict(),
    }


class Tally:
    """A random sample of the times from capture to prediction (reservoir sampling; Vitter 1985)."""

    def __init__(self) -> None:
        self.count = 0
        self._sample = array.array("d")
        self._random = random.Random(0)

    def add(self, age_ms: float) -> None:
        """Add a time."""
        self.count += 1
        if len(self._sample) < SAMPLES:
            self._sample.append(age_ms)
        elif (place := self._random.randrange(self.count)) < SAMPLES:
            self._sample[place] = age_ms

    def quantiles(self) -> tuple[float, float, float]:
        """Return p50, p90 and p99."""
        ranked = sorted(self._sample)
        p50, p90, p99 = (
            ranked[min(len(ranked) - 1, int(len(ranked) * q))] for q in (0.5, 0.9, 0.99)
        )
        return p50, p90, p99


def summary(camera: Camera, tally: Tally, recorder: FrameRecorder | None) -> str:
    """Return a run's counts and times as one line."""
    text = (
        f"{frames(camera.seen)} seen, {tally.count} classified, {camera.dropped} dropped, "
        f"{camera.damaged} damaged"
    )
    if camera.outages:
        times = "once" if camera.outages == 1 else f"{camera.outages} times"
        text += f", {times} without a camera"
    if tally.count:
        p50, p90, p99 = tally.quantiles()
        text += (
            f"; capture to prediction: half within {p50:.0f} ms, 90 % within {p90:.0f} ms, "
            f"99 % within {p99:.0f} ms"
        )
    if recorder is not None:
        text += f"; {counted(recorder.saved)} saved, {recorder.failed + recorder.skipped} not saved"
    return text


def tell(text: str) -> None:
    """Write a line to standard error; from any thread."""
    # In one write. On a terminal it replaces the line of the current prediction.
    clear = "\r\x1b[K" if sys.stderr is not None and sys.stderr.isatty() else ""
    say(f"{clear}lesionedge: {printable(text)}")


def line_of(observation: Observation) -> str:
    """Return a prediction as one line, the most important part first: terminals may be narrow."""
    prediction = observation.prediction
    warnings = [f"warning: {text}" for text in prediction.remarks]
    age = f"{observation.age_ms:.0f} ms after capture"
    if observation.withheld:
        return "  ".join((CANNOT_TELL, *warnings, age))
    second = "".join(f"then {c.label} {percent(c.probability)}" for c in prediction.top[1:2])
    own = is_own_name(prediction.label, prediction.name)
    names = [text for text in ("" if own else prediction.name, second) if text]
    return "  ".join((
        f"{prediction.label} {percent(prediction.probability)}",
        risk(prediction),
        *warnings,
        ", ".join(names),
        age,
    ))  # fmt: skip


class Json:
    """Writes one JSON object per prediction."""

    def __init__(self) -> None:
        import json

        self._dumps = json.dumps

    def write(self, _observation: Observation, facts: dict[str, Any]) -> None:
        """Write one prediction."""
        sys.stdout.write(self._dumps(facts) + "\n")
        sys.stdout.flush()  # so that the reader of a pipe does not wait

    def close(self) -> None:
        """Do nothing: nothing follows."""


class Text:
    """Writes a line per image file. For frames it updates one line, or writes only changes."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last: tuple[Any, ...] | None = None
        self._shown_s = 0.0
        self._any = self._open_line = False

    def write(self, observation: Observation, facts: dict[str, Any]) -> None:
        """Write one prediction."""
        self._any = True
        # If the diagnosis is withheld, a change of the label changes nothing.
        state = (None if observation.withheld else facts["label"], facts["warnings"])
        line = printable(line_of(observation))
        if observation.frame.path is not None:
            sys.stdout.write(f"{printable(observation.frame.path)}  {line}\n")
        elif self._terminal:
            now_s = time.monotonic()
            if state == self._last and now_s - self._shown_s < 0.1:
                return
            self._shown_s = now_s
            width = max(20, _columns() - 1)
            sys.stdout.write(f"\r\x1b[K{line[:width]}")
            self._open_line = True
        elif state != self._last:
            sys.stdout.write(f"{facts['timestamp']}  {line}\n")
        self._last = state
        sys.stdout.flush()

    def close(self) -> None:
        """End with the research-use line."""
        if self._any:
            sys.stdout.write(("\n" if self._open_line else "") + RESEARCH_USE + "\n")
            sys.stdout.flush()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
