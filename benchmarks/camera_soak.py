"""Does a camera that runs for days leak? It classifies many frames of a faulty stream.

    python benchmarks/camera_soak.py [--frames 50000] [-m MODEL] [--json FILE]

Another process serves MJPEG on loopback, 250 frames a second. Every 500th frame is cut short, and
after 9,000 frames the connection is closed. Every hundredth prediction is drawn as a preview, saved
and deleted. The script prints memory (VmRSS), open file descriptors and threads. It exits with 1 if
memory has grown by over 2 MB since the thousandth prediction, or if one of the others has grown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from camera import server
from soak import SETTLED, held, is_looked_at, report

import lesionedge
from lesionedge import machine
from lesionedge.frame_recorder import FrameRecorder
from lesionedge.preview.drawing import draw

SAVED_EVERY = 100
RATE = 250.0


def main() -> int:
    """Watch and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--frames", type=int, default=50_000, help="how many to classify")
    parser.add_argument("-m", "--model")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.frames <= SETTLED:
        parser.error(f"--frames must be over {SETTLED}")
    figures = soak(options.frames, options.model)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    return report(figures)


def soak(count: int, model: str | None) -> dict[str, Any]:
    """Classify ``count`` frames and record what might leak."""
    classifier = lesionedge.Classifier(model)
    rows: list[dict[str, Any]] = []
    begin = time.monotonic()
    with (
        server("320x240", RATE, "--faults") as url,
        tempfile.TemporaryDirectory() as folder,
        FrameRecorder(folder, "always", malignant=frozenset(), report=print) as recorder,
        lesionedge.Camera(url, give_up_s=60, report=lambda text: print(text, file=sys.stderr))
        as camera,
    ):  # fmt: skip
        seen = lesionedge.watch(camera, classifier, smooth=5, crop=0.8)
        for number, observation in enumerate(seen, start=1):
            if number % SAVED_EVERY == 0:
                draw(observation)
                recorder.offer(observation, {})
                for name in os.listdir(folder):
                    if not name.startswith("."):
                        os.unlink(os.path.join(folder, name))
            if is_looked_at(number, count):
                rows.append({"predictions": number, "seconds": time.monotonic() - begin, **held()})
                print(rows[-1], file=sys.stderr)
            if number == count:
                break
        failed = {"damaged": camera.damaged, "times without a camera": camera.outages}
        print(f"{camera.seen} frames seen, {camera.dropped} dropped")
    return {
        "machine": machine.processor().name, "date": time.strftime("%Y-%m-%d"),
        "lesionedge": lesionedge.__version__, "model": classifier.model, "failed": failed,
        "rows": rows,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
