"""Compares this package with other runtimes: same images, same network, one run.

    python benchmarks/peers.py [--quick] [--json FILE] [--markdown FILE] [--plot FILE.png]

It makes a virtual environment for each peer (in ``.venv-peers``, 4 GB in all; kept for the next
run). Then it measures, all but the folder in turns, so that a change of the processor's clock
affects all:

- warm: the time from an image's file to its prediction, in a process that has loaded the model; the
  next image follows at once (MLPerf's single stream). The table shows the median and the middle
  half of each turn's ratio to the floor;
- alone: the same for one image after a pause of 20 ms, when threads and caches have gone cold;
- cold: the time from the start of a process to its first prediction, and its peak memory;
- images per second for a folder of 1,000 images, one after the other; each peer once;
- the size of the environment on disk.

The peers are the modules of ``benchmarks/peer``; their docstrings describe them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measured_process

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVIRONMENTS = ROOT / ".venv-peers"
MODEL = ROOT / "lesionedge" / "models" / "mobilenetv2-int8.tflite"
FLOAT_MODEL = ROOT / "lesionedge" / "models" / "mobilenetv2-float16.tflite"
IMAGES = {
    "600x450": {"width": 600, "height": 450},
    "1920x1080": {"width": 1920, "height": 1080},
    # As large a file as a HAM10000 image enlarged to that size: 0.5 to 0.6 MB.
    "4000x3000": {"width": 4000, "height": 3000, "grain": 1.5, "grain_px": 7},
    # 2.3 MB, as of a phone's photo with fine structure all over.
    "4000x3000, grainy": {"width": 4000, "height": 3000},
}
FLOOR, OURS = "LiteRT + Pillow by hand", "lesionedge"
UNCOUNTED, BURST = 2, 6
"""Predictions at the start of a turn that do not count, and those that count."""
PAUSE_S = 0.02
"""The pause before an image alone; after it, no runtime's threads spin."""


@dataclass(frozen=True)
class Peer:
    """One way to classify an image."""

    module: str
    """A module of ``benchmarks/peer``."""
    environment: str
    """The folder of its virtual environment."""
    requirements: tuple[str, ...]
    """The packages that pip installs there."""
    model: str
    """The model for its ``load``."""


LITERT = ("ai-edge-litert>=2,<3", "pillow", "numpy")
KERAS = ("tensorflow>=2.16,<2.22", "pillow", "scipy", "tf2onnx", "onnx")
PEERS = {
    FLOOR: Peer("by_hand", "litert", LITERT, str(MODEL)),
    OURS: Peer("with_lesionedge", "lesionedge", (str(ROOT),), str(MODEL)),
    "MediaPipe ImageClassifier": Peer(
        "with_mediapipe", "mediapipe", ("mediapipe>=1.2,<2",), str(MODEL)
    ),
    "tflite-runtime + Pillow": Peer(
        "by_hand", "tflite", ("tflite-runtime==2.14.0", "numpy<2", "pillow"), str(MODEL)
    ),
    "OpenCV + LiteRT, as in tutorials": Peer(
        "with_opencv", "opencv", (*LITERT, "opencv-python-headless"), str(MODEL)
    ),
    "ONNX Runtime int8": Peer(
        "with_onnxruntime", "onnxruntime", ("onnxruntime", "numpy", "pillow"), "int8.onnx"
    ),
    "ONNX Runtime float": Peer(
        "with_onnxruntime", "onnxruntime", ("onnxruntime", "numpy", "pillow"), "float.onnx"
    ),
    "Keras predict, MobileNetV2": Peer("with_keras", "keras", KERAS, "MobileNetV2"),
    "Keras predict, EfficientNetB3": Peer("with_keras", "keras", KERAS, "EfficientNetB3"),
}


class Worker:
    """A peer's process that has loaded the model."""

    def __init__(self, peer: Peer, threads: int) -> None:
        self._process = subprocess.Popen(
            line(peer, threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment(),
        )  # fmt: skip
        self._read()

    def classify(self, *paths: Path) -> tuple[float, int]:
        """Classify images; return the milliseconds that it took and the last one's best class."""
        assert self._process.stdin is not None
        print("\t".join(map(str, paths)), file=self._process.stdin, flush=True)
        took_ms, best = self._read().split()
        return float(took_ms), int(best)

    def _read(self) -> str:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise SystemExit(f"{' '.join(map(str, self._process.args))} ended")  # type: ignore[arg-type]
        return text

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="few turns; do not publish these")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of peers that allow a choice"
    )
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rounds, starts, folder = (3, 2, 50) if options.quick else (25, 11, 1000)
    with tempfile.TemporaryDirectory() as temporary:
        peers = prepare(options.only, Path(temporary))
        images = draw_images(Path(temporary))
        figures = {
            "machine": about(), "threads": options.threads, "rounds": rounds,
            "image_bytes": {name: path.stat().st_size for name, path in images.items()},
            **in_process(peers, images, options.threads, rounds),
            "cold": cold(peers, images["600x450"], options.threads, starts),
            "folder_per_s": throughput(peers, images["600x450"], options.threads, folder),
            "disk_bytes": {name: disk_bytes(peer) for name, peer in peers.items()},
        }  # fmt: skip
    text = "\n".join(table(figures))
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        plot(figures, options.plot)


def prepare(names: Iterable[str], temporary: Path) -> dict[str, Peer]:
    """Make the environments, and the ONNX models if a peer needs them."""
    peers = {name: PEERS[name] for name in (FLOOR, OURS, *names)}
    for peer in peers.values():
        make_environment(peer)
    for name, source in (("int8.onnx", MODEL), ("float.onnx", FLOAT_MODEL)):
        users = [key for key, peer in peers.items() if peer.model == name]
        if not users:
            continue
        make_environment(PEERS["Keras predict, MobileNetV2"])
        target = temporary / name
        say(f"converting {source.name} for ONNX Runtime")
        run([python("keras"), "-m", "tf2onnx.convert", "--tflite", str(source), "--output",
             str(target), "--opset", "17"])  # fmt: skip
        for key in users:
            old = peers[key]
            peers[key] = Peer(old.module, old.environment, old.requirements, str(target))
    return peers


def make_environment(peer: Peer) -> None:
    """Install a peer's requirements, unless they are installed already."""
    folder = ENVIRONMENTS / peer.environment
    stamp = folder / "requirements.txt"
    wanted = "\n".join(peer.requirements)
    ours = peer.environment == "lesionedge"  # changes with every edit
    if not ours and stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing {', '.join(peer.requirements)}")
    run([sys.executable, "-m", "venv", "--clear", str(folder)])
    run([python(peer.environment), "-m", "pip", "--disable-pip-version-check", "--quiet",
         "install", *peer.requirements])  # fmt: skip
    stamp.write_text(wanted)


def draw_images(folder: Path) -> dict[str, Path]:
    """Draw a JPEG of each size."""
    from lesionedge.benchmark import example_image

    paths = {}
    for number, (name, drawing) in enumerate(IMAGES.items()):
        paths[name] = folder / f"{number}.jpg"
        paths[name].write_bytes(example_image(**drawing))  # type: ignore[arg-type]
    return paths


def in_process(
    peers: dict[str, Peer], images: dict[str, Path], threads: int, rounds: int
) -> dict[str, Any]:
    """Time every peer on every image, in bursts and alone; the order of the turns changes."""
    empty = {size: {name: [] for name in peers} for size in images}
    warm, alone = copy.deepcopy(empty), copy.deepcopy(empty)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(peer, threads)) for name, peer in peers.items()}
        for size, path in images.items():
            say(f"warm, {size}")
            for name in turns(workers, rounds):
                workers[name].classify(*[path] * UNCOUNTED)
                warm[size][name].append(workers[name].classify(*[path] * BURST)[0] / BURST)
            for name in turns(workers, rounds):
                time.sleep(PAUSE_S)
                alone[size][name].append(workers[name].classify(path)[0])
    return {"warm_ms": warm, "alone_ms": alone}


def turns(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Yield every peer's name once a round, in a changing order."""
    order = list(names)
    for turn in range(rounds):
        random.Random(turn).shuffle(order)
        yield from order


def cold(
    peers: dict[str, Peer], image: Path, threads: int, starts: int
) -> dict[str, dict[str, list[float]]]:
    """Measure time and peak memory of processes that classify one image."""
    found: dict[str, dict[str, list[float]]] = {p: {"ms": [], "peak_mb": []} for p in peers}
    for turn in range(-1, starts):
        say(f"cold start {turn + 1} of {starts}")
        for name, peer in peers.items():
            command = [*line(peer, threads), str(image)]
            took_ms, peak_mb = measured_process.run(command, environment())
            if turn >= 0:
                found[name]["ms"].append(took_ms)
                found[name]["peak_mb"].append(peak_mb)
    return found


def throughput(peers: dict[str, Peer], image: Path, threads: int, count: int) -> dict[str, float]:
    """Return each peer's images per second on a folder of images."""
    folder = image.parent / "folder"
    folder.mkdir()
    paths = [Path(shutil.copy(image, folder / f"{number}.jpg")) for number in range(count)]
    found = {}
    for name, peer in peers.items():
        say(f"folder of {count}: {name}")
        with Worker(peer, threads) as worker:
            worker.classify(*paths[:5])
            took_ms, _ = worker.classify(*paths)
            found[name] = count / took_ms * 1000
    return found


def disk_bytes(peer: Peer) -> int:
    """Return the size of an environment's packages on disk, without pip and setuptools."""
    (site,) = (ENVIRONMENTS / peer.environment).glob("lib/python*/site-packages")
    tools = ("pip", "setuptools", "_distutils_hack", "pkg_resources")
    wanted = (entry for entry in site.iterdir() if not entry.name.startswith(tools))
    return sum(_bytes(entry) for entry in wanted)


def _bytes(path: Path) -> int:
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(_bytes(entry) for entry in path.iterdir())


def line(peer: Peer, threads: int) -> list[str]:
    """Return the command that runs a peer."""
    worker = str(HERE / "peer" / "worker.py")
    return [python(peer.environment), worker, peer.module, peer.model, str(threads)]


def environment() -> dict[str, str]:
    """Return the environment variables of every peer; Python may keep compiled modules."""
    ours = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    return {key: value for key, value in os.environ.items() if key not in ours}


def python(name: str) -> str:
    """Return the path of an environment's Python."""
    return str(ENVIRONMENTS / name / "bin" / "python")


def run(command: Sequence[str]) -> None:
    """Run a program; end with an error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


def about() -> dict[str, Any]:
    """Return the machine and the versions that are measured."""
    import platform

    from lesionedge import __version__, machine

    chip = machine.processor()
    return {
        "processor": chip.name, "hardware_threads": chip.hardware_threads,
        "features": list(chip.features), "python": platform.python_version(),
        "lesionedge": __version__, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and the quartiles of the turns' ratios."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs)], n=4)
    return middle, low, high


def table(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the figures' tables, in Markdown."""
    here = figures["machine"]
    yield (
        f"{here['processor']}, {here['hardware_threads']} hardware threads "
        f"({', '.join(here['features'])}), Python {here['python']}, {here['date']}; "
        f"{figures['rounds']} turns, {figures['threads']} threads where a choice is possible."
    )
    yield ""
    yield (
        "Warm, one after the other, file to prediction: median ms, and how many times the floor "
        "[middle half of the turns]"
    )
    yield ""
    yield from times_table(figures["warm_ms"], figures["image_bytes"])
    yield f"The same for one image after a pause of {PAUSE_S * 1000:.0f} ms"
    yield ""
    yield from times_table(figures["alone_ms"], figures["image_bytes"])
    yield from against_us(figures)
    yield "| | cold start | peak memory | folder of images | on disk |"
    yield "|---|---:|---:|---:|---:|"
    for name, start in figures["cold"].items():
        disk_mb = figures["disk_bytes"][name] / 1e6
        yield (
            f"| {name} | {statistics.median(start['ms']):.0f} ms "
            f"| {statistics.median(start['peak_mb']):.0f} MB "
            f"| {figures['folder_per_s'][name]:.0f}/s | {disk_mb:.0f} MB |"
        )


def times_table(
    times_ms: dict[str, dict[str, list[float]]], sizes_bytes: dict[str, int]
) -> Iterator[str]:
    """Yield each peer's median and its ratio to the floor, one column per image."""
    heads = [f"{size} ({sizes_bytes[size] / 1e6:.2f} MB)" for size in times_ms]
    yield f"| | {' | '.join(heads)} |"
    yield "|---|" + "---:|" * len(heads)
    for name in next(iter(times_ms.values())):
        cells = []
        for times in times_ms.values():
            middle, low, high = ratios(times[name], times[FLOOR])
            cells.append(
                f"{statistics.median(times[name]):.2f} · {middle:.2f} [{low:.2f}, {high:.2f}]"
            )
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def against_us(figures: dict[str, Any]) -> Iterator[str]:
    """Yield how many times as long as this package each peer takes, warm, turn by turn."""
    sizes = figures["warm_ms"]
    yield "How many times as long as lesionedge, warm [middle half of the turns]"
    yield ""
    yield f"| | {' | '.join(sizes)} |"
    yield "|---|" + "---:|" * len(sizes)
    for name in next(iter(sizes.values())):
        if name in (FLOOR, OURS):
            continue
        cells = [
            "{:.2f} [{:.2f}, {:.2f}]".format(*ratios(times[name], times[OURS]))
            for times in sizes.values()
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draw the warm times, one panel per image size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = list(reversed(figures["cold"]))
    sizes = figures["warm_ms"]
    drawing, panels = pyplot.subplots(
        1, len(sizes), figsize=(4 * len(sizes) + 1, 4), sharey=True, layout="constrained"
    )
    for panel, (size, times) in zip(panels, sizes.items()):
        medians = [statistics.median(times[name]) for name in names]
        colours = ["#e69f00" if name == OURS else "#56b4e9" for name in names]
        bars = panel.barh(names, medians, color=colours)
        panel.bar_label(bars, [f"{value:.1f}" for value in medians], padding=3)
        panel.set(
            title=f"{size} JPEG", xlabel="ms, file to prediction", xlim=(0, max(medians) * 1.2)
        )
    drawing.savefig(path, dpi=110)
    pyplot.close(drawing)


if __name__ == "__main__":
    main()
