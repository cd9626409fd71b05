"""Does live classification keep up with a camera? It measures MJPEG streams and a video file.

    python benchmarks/camera.py [--size 1280x720] [--rate 30] [--seconds 15] [-m MODEL]
                                [--json FILE]

The model's rate is how many of the same frames a second Classifier.classify can classify, one after
the other, from a frame's bytes to its prediction. Then it measures predictions a second:
- from a stream at --rate and from one at twice the model's rate; another process serves them;
- from an AVI file, at its own speed and as fast as possible.
"Our share" is the part of a frame's time that is neither decoding nor invoking the model:
preprocessing, light, sharpness, motion and averaging. It is also given as a share of all time.
Last comes the processor time of `lesionedge camera --every 1` on the stream, after start-up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from measured_process import cpu_s
from mjpeg_server import images

import lesionedge
from lesionedge import machine
from lesionedge.live import FrameClassifier

SETTLE_S = 4.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("-m", "--model")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    figures = measure(options)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    report(figures)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run every case."""
    classifier = lesionedge.Classifier(options.model)
    width, height = map(int, options.size.split("x"))
    jpegs = images(width, height)
    own = models_rate(classifier, jpegs, options.seconds)
    cases = {}
    for name, rate in {"stream": options.rate, "fast stream": 2 * own}.items():
        with server(options.size, rate) as url:
            cases[name] = {"capture_per_s": rate, **watched(url, classifier, options.seconds)}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/frames.avi"
        write_video(path, jpegs, options)
        for name, realtime in {"file, its own speed": True, "file, no limit": False}.items():
            found = watched(path, classifier, options.seconds, realtime=realtime)
            cases[name] = {"capture_per_s": options.rate if realtime else None, **found}
    with server(options.size, options.rate) as url:
        cpu = processor_share(url, options)
    return {
        "machine": machine.processor().name, "date": time.strftime("%Y-%m-%d"),
        "lesionedge": lesionedge.__version__, "model": classifier.model, "size": options.size,
        "threads": classifier.threads, "model_per_s": own, "cases": cases,
        "every_1_cpu_share": cpu,
    }  # fmt: skip


def models_rate(classifier: lesionedge.Classifier, jpegs: list[bytes], seconds: float) -> float:
    """Return how many frames a second are classified one after the other."""
    for jpeg in jpegs:
        classifier.classify(jpeg)
    begin, count = time.monotonic(), 0
    while time.monotonic() - begin < seconds / 2:
        classifier.classify(jpegs[count % len(jpegs)])
        count += 1
    return count / (time.monotonic() - begin)


def watched(
    source: str, classifier: lesionedge.Classifier, seconds: float, *, realtime: bool = False
) -> dict[str, Any]:
    """Classify a source's frames for a while."""
    watching, ages, ours, shares = FrameClassifier(classifier), [], 0.0, []
    with lesionedge.Camera(source, realtime=realtime) as camera:
        frames = iter(camera)
        watching.look(next(frames))
        begin, first = time.monotonic(), camera.seen
        for frame in frames:
            looked = time.perf_counter()
            observation = watching.look(frame)
            took_ms = (time.perf_counter() - looked) * 1000
            timings = observation.prediction.timings_ms
            ages.append(observation.age_ms)
            own_ms = took_ms - timings["decode"] - timings["invoke"]
            ours += own_ms / 1000
            shares.append(own_ms / took_ms)
            if time.monotonic() - begin > seconds:
                break
        took_s, seen = time.monotonic() - begin, camera.seen - first
    return {
        "predictions_per_s": len(ages) / took_s, "seen_per_s": seen / took_s,
        "age_ms": median(ages), "our_share": median(shares), "our_share_of_time": ours / took_s,
    }  # fmt: skip


def write_video(path: str, jpegs: list[bytes], options: argparse.Namespace) -> None:
    """Write the frames into an AVI file of MJPEG."""
    import av

    from lesionedge.camera.frame import decode

    width, height = map(int, options.size.split("x"))
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=round(options.rate))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        frames = [av.VideoFrame.from_image(decode(jpeg).image) for jpeg in jpegs]
        for number in range(round(4 * options.rate * options.seconds)):
            frame = frames[number % len(frames)]
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@contextmanager
def server(size: str, rate: float, *more: str) -> Iterator[str]:
    """Serve MJPEG from another process."""
    script = str(Path(__file__).with_name("mjpeg_server.py"))
    line = [sys.executable, script, "--size", size, "--rate", str(rate), *more]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{child.stdout.readline().strip()}/"
        finally:
            child.kill()


def processor_share(url: str, options: argparse.Namespace) -> float:
    """Return the share of one core that `lesionedge camera --every 1` takes after start-up."""
    line = [sys.executable, "-m", "lesionedge", "camera", "--source", url, "--every", "1"]
    line += ["-m", options.model] if options.model else []
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        time.sleep(SETTLE_S)
        begin, before_s = time.monotonic(), cpu_s(child.pid)
        time.sleep(2 * options.seconds)
        share = (cpu_s(child.pid) - before_s) / (time.monotonic() - begin)
        child.terminate()
    return share


def report(figures: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(
        f"{figures['model']}, {figures['threads']} threads, {figures['size']} MJPEG, on "
        f"{figures['machine']}, {figures['date']}"
    )
    print(f"the model's rate: {figures['model_per_s']:.1f} frames/s")
    print(
        f"{'':<22}{'frames/s':>10}{'predictions/s':>15}{'age':>10}{'our share':>11}"
        f"{'of all time':>13}"
    )
    for name, case in figures["cases"].items():
        print(
            f"{name:<22}{case['seen_per_s']:>10.1f}{case['predictions_per_s']:>15.1f}"
            f"{case['age_ms']:>7.1f} ms{case['our_share']:>11.1%}"
            f"{case['our_share_of_time']:>13.1%}"
        )
    print(f"--every 1: {figures['every_1_cpu_share']:.1%} of one core")


if __name__ == "__main__":
    main()
