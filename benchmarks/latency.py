"""How much slower this package is than the same steps written by hand, on this machine.

    python benchmarks/latency.py [--json FILE]

It measures five figures. Each is measured in turns with its counterpart, so that a change of the
processor's clock affects both:

- one image in one process: ``Classifier.classify(path)`` against Pillow's open, crop and resize
  and the interpreter's invoke, written by hand with the same number of threads;
- a cold start: ``lesionedge predict one.jpg`` against a bare script that does the same;
- the time of ``import lesionedge``, without the Python interpreter's own start;
- peak memory of ``lesionedge predict``;
- how long the gate and the quality measures take per image (the other figures are without them,
  because the hand-written scripts have none).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measured_process

import lesionedge
from lesionedge import machine
from lesionedge.interpreter import find_backend, quiet

EXAMPLE = Path(__file__).parent.parent / "examples" / "synthetic_lesion.jpg"
BARE = """
import sys
import numpy as np
from PIL import Image
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
network = Interpreter(sys.argv[1], num_threads=int(sys.argv[3]))
network.allocate_tensors()
image = Image.open(sys.argv[2]).convert("RGB")
side = min(image.size)
left, top = (image.width - side) // 2, (image.height - side) // 2
box = (left, top, left + side, top + side)
pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box))[None]
network.set_tensor(network.get_input_details()[0]["index"], pixels)
network.invoke()
print(network.get_tensor(network.get_output_details()[0]["index"])[0])
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Overhead of lesionedge on this machine.")
    parser.add_argument("image", nargs="?", default=str(EXAMPLE))
    parser.add_argument("--rounds", type=int, default=400, help="turns in one process")
    parser.add_argument("--starts", type=int, default=25, help="turns that start a process")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    classifier = lesionedge.Classifier(check=False)
    figures = {
        "machine": about(),
        "threads": classifier.threads,
        "image": os.path.basename(options.image),
        "warm": warm(classifier, options.image, options.rounds),
        "cold": cold(classifier, options.image, options.starts),
        "import": importing(options.starts),
        "check": checking(classifier, options.image, options.rounds),
    }
    print(report(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def about() -> dict[str, str]:
    """Return the machine and the versions that are measured."""
    processor, backend = machine.processor(), find_backend()
    return {
        "cpu": f"{processor.name}, {processor.hardware_threads} hardware threads",
        "python": platform.python_version(),
        "runtime": f"{backend.name} {backend.version}",
        "lesionedge": lesionedge.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def warm(classifier: lesionedge.Classifier, image: str, rounds: int) -> dict[str, float]:
    """Time the classification of an image in one process, both ways in turns."""
    by_hand = hand_written(classifier.path, classifier.threads)
    for _ in range(20):
        classifier.classify(image)
        by_hand(image)
    ours, theirs = in_turns(lambda: classifier.classify(image), lambda: by_hand(image), rounds)
    return compared(ours, theirs)


def hand_written(model: str, threads: int) -> Callable[[str], Any]:
    """Return a function that does the same steps as people write them by hand."""
    import numpy as np
    from PIL import Image

    with quiet():
        network = find_backend().interpreter(model_path=model, num_threads=threads)
        network.allocate_tensors()
    into = network.get_input_details()[0]["index"]
    out = network.get_output_details()[0]["index"]

    def classify(path: str) -> Any:
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box))
        network.set_tensor(into, pixels[None])
        network.invoke()
        return network.get_tensor(out)[0]

    return classify


def cold(classifier: lesionedge.Classifier, image: str, starts: int) -> dict[str, float]:
    """Measure time and peak memory of a process that classifies one image, both ways in turns."""
    ours = [sys.executable, "-m", "lesionedge", "predict", "--no-check", image]
    script = Path(sys.executable).parent / "lesionedge"
    if script.exists():
        ours = [str(script), "predict", "--no-check", image]
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        theirs = [sys.executable, str(bare), classifier.path, image, str(classifier.threads)]
        times, peaks = processes(ours, theirs, starts)
    return compared(*times) | {
        "peak_memory_mb": statistics.median(peaks[0]),
        "bare_peak_memory_mb": statistics.median(peaks[1]),
    }


def importing(starts: int) -> dict[str, float]:
    """Time a process that only imports lesionedge against an empty program."""
    commands = [[sys.executable, "-c", text] for text in ("import lesionedge", "pass")]
    (ours, theirs), _ = processes(*commands, starts)
    return {"extra_ms": statistics.median(a - b for a, b in zip(ours, theirs))}


def checking(bare: lesionedge.Classifier, image: str, rounds: int) -> dict[str, float]:
    """Time the classification of an image with and without the check, in turns."""
    whole = lesionedge.Classifier()
    for _ in range(20):
        whole.classify(image)
    checked, plain = in_turns(lambda: whole.classify(image), lambda: bare.classify(image), rounds)
    own = [whole.classify(image).timings_ms["check"] for _ in range(rounds)]
    return {
        "extra_ms": statistics.median(a - b for a, b in zip(checked, plain)),
        "own_ms": statistics.median(own),
    }


def processes(
    ours: list[str], theirs: list[str], starts: int
) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
    """Run two programs in turns; return each one's milliseconds and peak memory in MB."""
    times: tuple[list[float], list[float]] = ([], [])
    peaks: tuple[list[float], list[float]] = ([], [])
    with compiled() as env:
        for number in range(-2, starts):
            order = ((ours, 0), (theirs, 1)) if number % 2 else ((theirs, 1), (ours, 0))
            for command, which in order:
                took_ms, peak_mb = measured_process.run(command, env)
                if number >= 0:
                    times[which].append(took_ms)
                    peaks[which].append(peak_mb)
    return times, peaks


@contextmanager
def compiled() -> Iterator[dict[str, str]]:
    """Yield environment variables with which Python finds all modules compiled, as pip does it.

    With ``PYTHONDONTWRITEBYTECODE``, Python would compile the modules of a checkout at each start,
    but not those of installed libraries. The first runs, which are not counted, compile them.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        yield {**kept, "PYTHONPYCACHEPREFIX": folder}


def in_turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int
) -> tuple[list[float], list[float]]:
    """Time two functions in turns, in milliseconds; the order changes every time."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        order = ((ours, 0), (theirs, 1)) if number % 2 else ((theirs, 1), (ours, 0))
        for call, which in order:
            begin = time.perf_counter()
            call()
            times[which].append((time.perf_counter() - begin) * 1000)
    return times


def compared(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Return both medians, and the median and quartiles of the pairs' ratios."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "ours_ms": statistics.median(ours), "by_hand_ms": statistics.median(theirs),
        "ratio": middle, "ratio_q1": low, "ratio_q3": high,
    }  # fmt: skip


def report(figures: dict[str, Any]) -> str:
    """Return the figures as text for people."""
    rows = [f"{key}: {value}" for key, value in figures["machine"].items()]
    rows.append(f"{figures['image']}, mobilenetv2, {figures['threads']} threads")
    for name, title in (("warm", "one image, one process"), ("cold", "cold start")):
        f = figures[name]
        rows.append(
            f"{title:<26} {f['ours_ms']:8.2f} ms, by hand {f['by_hand_ms']:8.2f} ms, "
            f"ratio {f['ratio']:.3f} [{f['ratio_q1']:.3f}, {f['ratio_q3']:.3f}]"
        )
    c = figures["cold"]
    rows.append(
        f"{'peak memory of predict':<26} {c['peak_memory_mb']:8.1f} MB, "
        f"by hand {c['bare_peak_memory_mb']:8.1f} MB"
    )
    k = figures["check"]
    rows.append(
        f"{'gate and quality':<26} {k['extra_ms']:8.2f} ms more, {k['own_ms']:8.2f} ms by itself"
    )
    rows.append(f"{'import lesionedge':<26} {figures['import']['extra_ms']:8.2f} ms")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
