"""What ``lesionedge batch`` costs on top of bare processes, and how much memory it takes.

    python benchmarks/batch.py speed [--images 6000] [--json FILE]
    python benchmarks/batch.py memory [--images 100000] [--json FILE]
    python benchmarks/batch.py driver [--images 200000] [--json FILE]

``speed``: images per second after start-up, on the same files. It compares two bare processes that
call ``classify_many`` with the engines ``local`` and ``ray`` with two workers each. The engines
also write Parquet.
``memory``: ``cnn`` classifies an archive of links to a few hundred small images, with Ray or with
``--engine local``. The result is the peak memory of the command, its workers and Ray's object store
in each tenth of the run.
``driver``: rows per second that the main process can receive and write if it never has to wait.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from latency import about

import lesionedge
from lesionedge.batch import cluster, processes, rows, run
from lesionedge.batch.model import Model
from lesionedge.batch.output import Output
from lesionedge.model_options import ModelOptions

DRAWN = 300
"""At most this many images are drawn; the others are links to them."""
MOST_LINKS = 1000  # links to one file: file systems have a limit
WARM = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="lesionedge batch on this machine.")
    parser.add_argument("what", choices=["speed", "memory", "driver"])
    parser.add_argument("--images", type=int, help="how many images, or rows of driver")
    parser.add_argument("--engine", choices=["local", "ray"], default="ray", help="for memory")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each way, for speed")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lesionedge-") as folder:
        if options.what == "speed":
            paths = archive(folder, options.images or 6000, (600, 450))
            figures = speed(paths, options.workers, options.rounds)
        elif options.what == "driver":
            figures = driver(folder, options.images or 200_000)
        else:
            archive(folder, options.images or 100_000, (160, 120))
            figures = memory(folder, options.engine, options.workers)
    figures = {"machine": about(), **figures}
    print(json.dumps(figures, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def archive(folder: str, count: int, size: tuple[int, int]) -> list[str]:
    """Make an archive: drawn images, and links to them."""
    script = Path(__file__).parent.parent / "examples" / "synthetic_lesion.py"
    draw = runpy.run_path(str(script))["draw"]
    drawn = max(1, min(DRAWN, count // 10), count // MOST_LINKS)
    paths = [os.path.join(folder, f"{n % 100:02d}", f"{n:07d}.jpg") for n in range(count)]
    for number in range(min(100, count)):
        os.mkdir(os.path.join(folder, f"{number:02d}"))
    for number, path in enumerate(paths):
        if number < drawn:
            draw(*size, seed=number).save(path, quality=92)
        else:
            os.link(paths[number % drawn], path)
    return paths


def speed(paths: list[str], workers: int, rounds: int) -> dict[str, Any]:
    """Time the ways in turns; without Ray, where it is not installed."""
    model = Model.of(ModelOptions())
    ways = {
        "bare": lambda: bare(paths, workers),
        "local": lambda: engine(paths, "local", model, workers),
        "ray": lambda: engine(paths, "ray", model, workers),
    }
    if importlib.util.find_spec("ray") is None:
        print("Ray is not installed: pip install 'lesionedge[cluster]'", file=sys.stderr)
        del ways["ray"]
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, measure in ways.items():
            rates[way].append(measure())
    best = {way: max(found) for way, found in rates.items()}
    return {
        "images": len(paths), "workers": workers, "images_per_s": rates,
        **{f"{way}_over_bare": best[way] / best["bare"] for way in best if way != "bare"},
    }  # fmt: skip


def bare(paths: list[str], workers: int) -> float:
    """Return the images per second of bare processes that share the files."""
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(workers + 1)
    crew = [
        context.Process(target=_bare, args=(paths[number::workers], gate))
        for number in range(workers)
    ]
    for each in crew:
        each.start()
    gate.wait()
    begin = time.perf_counter()
    gate.wait()
    took = time.perf_counter() - begin
    for each in crew:
        each.join()
    return len(paths) / took


def _bare(paths: Sequence[str], gate: Any) -> None:
    try:
        classifier = lesionedge.Classifier(threads=1)
        list(classifier.classify_many(paths[:WARM]))
        gate.wait()
        list(classifier.classify_many(paths))
        gate.wait()
    except BaseException:
        gate.abort()  # else the others wait forever
        raise


def engine(paths: list[str], name: str, model: Model, workers: int) -> float:
    """Return an engine's images per second once all its workers have started."""
    results = {"local": processes.predictions, "ray": cluster.predictions}[name]
    arrived: list[tuple[float, int]] = []

    def step(count: int) -> None:
        arrived.append((time.perf_counter(), count))

    with ExitStack() as stack:
        if name == "ray":
            stack.enter_context(cluster.connected("local", workers=workers, verbose=False))
        out = stack.enter_context(tempfile.TemporaryDirectory(prefix="lesionedge-"))
        output = stack.enter_context(Output(out, model, save_every_s=30))
        run.classify(
            run.names(paths), output, partial(results, workers=workers), model,
            workers=workers, step=step,
        )  # fmt: skip
        output.save()
        end = time.perf_counter()
    start = len(arrived) // 10  # by then all workers have started
    return sum(count for _, count in arrived[start + 1 :]) / (end - arrived[start][0])


def memory(folder: str, name: str, workers: int) -> dict[str, Any]:
    """Watch the command's memory while it classifies an archive."""
    with tempfile.TemporaryDirectory(prefix="lesionedge-") as out:
        line = [sys.executable, "-m", "lesionedge", "batch", folder, "--out", out, "-m", "cnn",
                "--engine", name, "--workers", str(workers)]  # fmt: skip
        begin = time.monotonic()
        command = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        samples: list[dict[str, float]] = []
        watcher = threading.Thread(target=_watch, args=(command, samples))
        watcher.start()
        summary, _ = command.communicate()
        watcher.join()
        took = time.monotonic() - begin
    if command.returncode:
        raise SystemExit(f"{' '.join(line)} ended with {command.returncode}")
    tenths = [samples[n * len(samples) // 10 : (n + 1) * len(samples) // 10] for n in range(10)]
    return {
        "engine": name, "workers": workers, "took_s": round(took, 1),
        "summary": summary.splitlines()[:2],
        "most_mb_by_tenth": {
            what: [round(max((s[what] for s in tenth), default=0)) for tenth in tenths]
            for what in ("command", "workers", "object_store")
        },
    }  # fmt: skip


def driver(folder: str, count: int) -> dict[str, Any]:
    """Time how fast finished rows are written: the limit for all workers together."""
    model = Model.of(ModelOptions())
    names = run.names(f"/archive/{number:07d}.jpg" for number in range(count))
    blank = rows.failed(dict.fromkeys(map(str, range(run.CHUNK)), "none"), model)
    share = [0.1 * number / run.CHUNK for number in range(run.CHUNK)]
    scores = pa.array([dict.fromkeys(model.labels, s) for s in share], blank["probabilities"].type)
    blank = blank.set_column(3, "probabilities", scores)
    ready = [
        blank.slice(0, len(chunk)).set_column(0, "path", chunk)
        for chunk in (names.slice(start, run.CHUNK) for start in range(0, count, run.CHUNK))
    ]
    with Output(folder, model, save_every_s=30) as output:
        begin = time.perf_counter()
        run.classify(
            names, output, lambda chunks, _: (table for _, table in zip(chunks, ready)), model,
            workers=4, step=lambda _: None,
        )  # fmt: skip
        output.save()
        took = time.perf_counter() - begin
    return {"rows": count, "rows_per_s": count / took}


def _watch(command: subprocess.Popen[str], samples: list[dict[str, float]]) -> None:
    while command.poll() is None:
        samples.append(_sample(command.pid))
        time.sleep(1)


def _sample(pid: int) -> dict[str, float]:
    """Return megabytes: the command's and its workers' private memory, and Ray's shared memory."""
    found = {"command": _own_mb(pid), "workers": 0.0, "object_store": 0.0}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if b"MapWorker" in line or b"spawn_main" in line:
            found["workers"] += _own_mb(int(name))
    shared = os.statvfs("/dev/shm")  # where Ray's object store is
    found["object_store"] = (shared.f_blocks - shared.f_bfree) * shared.f_frsize / 1e6
    return found


def _own_mb(pid: int) -> float:
    """Return the memory that a process does not share with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


if __name__ == "__main__":
    main()
