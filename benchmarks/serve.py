"""How close does ``lesionedge serve`` come to a plain loop? Many clients at once, some of them bad.

    python benchmarks/serve.py [--clients 32] [--seconds 20] [--form json|form|raw] [--json FILE]
    python benchmarks/serve.py --soak 50000

The clients run in one process on the same machine. All requests are made beforehand; a client sends
the next one when it has the last response (a closed loop). The clients' processor time is reported
apart, but the server's rate is not corrected for it. Meanwhile other connections stay open that
never finish a request (``--half-sent``), and ten times a second an upload breaks off.

The server is compared with ``Classifier.classify`` in a plain loop, in one process with all
threads, on the same files in memory; both run in turns. The exit status is 1 if a form reaches less
than three quarters of the loop's rate, or a request fails.

``--soak N`` sends N requests, a ninth of them broken images, and watches the server's memory. The
exit status is 1 if it has grown by over 5 MB since a tenth of the requests, or if a request has
another end than a prediction or the refusal of a broken image.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measured_process import cpu_s

from lesionedge import machine
from lesionedge.benchmark import example_image

FORMS = ("json", "form", "raw")
TARGET = 0.75
"""The least share of the loop's rate: with it, the exit status is 0."""
SOAK_GROWTH_BYTES = 5_000_000
SOAK_STEPS = 20
"""How often a soak looks at the server's memory."""
SETTLED = 0.1  # the share of a soak's requests after which memory may not grow
REFUSED = ("400", "422")
"""Statuses of a request whose image is broken (docs/guides/browser.md)."""


@dataclass
class Load:
    """The clients' counts and times."""

    classified: int = 0
    """Responses of status 200."""
    others: dict[str, int] = field(default_factory=dict)
    """Other statuses, and broken connections."""
    latencies_ms: list[float] = field(default_factory=list)
    """From the first byte sent to the last one received."""
    seconds: float = 0.0
    """From the first request to the last response."""
    cpu_s: float = 0.0
    """Processor time of the clients."""


def main() -> int:
    """Start the server, send requests and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--half-sent", type=int, default=50)
    parser.add_argument("--form", choices=FORMS, nargs="+", default=list(FORMS))
    parser.add_argument("--soak", type=int, metavar="N", help="send N requests, watch the memory")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.soak is not None and options.soak < SOAK_STEPS:
        parser.error(f"--soak must be {SOAK_STEPS} or more")
    images = [drawn(seed) for seed in range(8)]
    with serving() as (port, process):
        if options.soak:
            figures = soak(port, process.pid, images, options)
        else:
            figures = measure(port, process.pid, images, options)
        figures["drained"] = ends(process)
    figures |= {"machine": machine.processor().name, "date": time.strftime("%Y-%m-%d")}
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    return report_soak(figures) if options.soak else report(figures)


def drawn(seed: int) -> bytes:
    """Draw a 600x450 JPEG; the quality, and so the file size, grows with the seed."""
    from PIL import Image

    content = io.BytesIO()
    with Image.open(io.BytesIO(example_image())) as image:
        turned = image.rotate(180) if seed % 2 else image
        turned.save(content, "JPEG", quality=88 + seed)
    return content.getvalue()


@contextmanager
def serving() -> Any:
    """Run the server as a user would."""
    line = [sys.executable, "-m", "lesionedge", "serve", "--port", "0"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r":(\d+)/", said)
        if found is None:
            raise SystemExit(f"the server did not start: {said}")
        try:
            yield int(found[1]), process
        finally:
            process.kill()


def ends(process: subprocess.Popen[str]) -> bool:
    """Stop the server; return whether it ended without an error."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(60) == 0
    return False


def measure(port: int, server: int, images: Sequence[bytes], options: Any) -> dict[str, Any]:
    """Measure in turns: the plain loop, then each form of request."""
    from lesionedge import Classifier

    classifier = Classifier()
    rows: dict[str, list[dict[str, Any]]] = {"loop": []} | {form: [] for form in options.form}
    loop_rate(classifier, images, 1.0)
    for _ in range(options.turns):
        rows["loop"].append({"rate": loop_rate(classifier, images, options.seconds)})
        for form in options.form:
            requests = [request(form, content, port) for content in images]
            before, whole = cpu_s(server), machine.condition()
            load = in_a_process(port, requests, options, until_s=options.seconds)
            took_s = cpu_s(server) - before
            rows[form].append(row(load, took_s) | {"others_cpu": others(whole, took_s, load)})
    return {"clients": options.clients, "half_sent": options.half_sent, "rows": rows}


def loop_rate(classifier: Any, images: Sequence[bytes], seconds: float) -> float:
    """Return the predictions a second of a plain loop."""
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        classifier.classify(images[count % len(images)])
        count += 1
    return count / (time.perf_counter() - begin)


def others(before: machine.Condition, server_cpu_s: float, load: Load) -> float | None:
    """Return how many cores other programs kept busy meanwhile; the server could not use these."""
    after = machine.condition()
    if before.busy_s is None or after.busy_s is None:
        return None
    busy_s = after.busy_s - before.busy_s - server_cpu_s - load.cpu_s
    return max(0.0, busy_s / (after.time_s - before.time_s))


def row(load: Load, server_cpu_s: float) -> dict[str, Any]:
    """Summarise a turn.

    Raises:
        SystemExit: No request was successful.
    """
    if not load.classified:
        raise SystemExit(f"no image was classified: {load.others}")
    ranked = sorted(load.latencies_ms)
    return {
        "rate": load.classified / load.seconds,
        "p50_ms": ranked[len(ranked) // 2],
        "p99_ms": ranked[int(len(ranked) * 0.99)],
        "classified": load.classified,
        "others": load.others,
        "clients_cpu": load.cpu_s / load.seconds,
        "server_cpu": server_cpu_s / load.seconds,
    }


def request(form: str, content: bytes, port: int) -> bytes:
    """Return a whole request."""
    if form == "json":
        url = "data:image/jpeg;base64," + base64.b64encode(content).decode()
        kind, body = "application/json", json.dumps({"image": url}).encode()
    elif form == "form":
        kind = "multipart/form-data; boundary=lesionedge-benchmark"
        head = (
            b'--lesionedge-benchmark\r\nContent-Disposition: form-data; name="image"; '
            b'filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        )
        body = head + content + b"\r\n--lesionedge-benchmark--\r\n"
    else:
        kind, body = "image/jpeg", content
    head_lines = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head_lines.encode() + body


def in_a_process(port: int, requests: Sequence[bytes], options: Any, **until: Any) -> Load:
    """Run the clients in another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, port, requests, options.clients, options.half_sent, until)
    process = context.Process(target=_clients, args=arguments)
    process.start()
    theirs.close()
    load: Load = ours.recv()
    process.join()
    return load


def _clients(
    pipe: Any, port: int, requests: Sequence[bytes], clients: int, half_sent: int,
    until: dict[str, Any],
) -> None:  # fmt: skip
    pipe.send(asyncio.run(send_all(port, requests, clients, half_sent, **until)))


async def send_all(
    port: int, requests: Sequence[bytes], clients: int, half_sent: int, *,
    until_s: float | None = None, until_count: int | None = None,
) -> Load:  # fmt: skip
    """Run many clients at once.

    Args:
        port: The server's.
        requests: Made beforehand; the clients send them in turns.
        clients: How many at once.
        half_sent: How many connections send half a request and wait.
        until_s: End after this many seconds.
        until_count: End after this many requests.
    """
    load = Load()
    loop = asyncio.get_running_loop()
    idle = [asyncio.ensure_future(_half(port, requests[0])) for _ in range(half_sent)]
    rude = asyncio.ensure_future(_breaks_off(port, requests[0])) if half_sent else None
    begin, before = loop.time(), time.process_time()
    left = iter(range(until_count)) if until_count else None

    def more() -> bool:
        if left is not None:
            return next(left, None) is not None
        return loop.time() - begin < (until_s or 0)

    each = itertools.cycle(requests)  # shared, so that all are sent equally often
    await asyncio.gather(*(_client(port, each, load, more) for _ in range(clients)))
    load.seconds, load.cpu_s = loop.time() - begin, time.process_time() - before
    for task in (*idle, *([rude] if rude else ())):
        task.cancel()
    return load


class _Wire(asyncio.Protocol):
    """A connection that waits for one response at a time; cheaper than any HTTP library."""

    def __init__(self) -> None:
        self.transport: Any = None
        self._response = b""
        self.done: asyncio.Future[int] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._response += data
        head, found, body = self._response.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length and self.done is not None and not self.done.done():
            self._response = b""
            self.done.set_result(int(head[9:12]))

    def connection_lost(self, _exc: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_exception(ConnectionError("the server closed the connection"))


async def _client(port: int, requests: Iterator[bytes], load: Load, more: Any) -> None:
    loop = asyncio.get_running_loop()
    wire: _Wire | None = None
    while more():
        if wire is None:
            _, wire = await loop.create_connection(_Wire, "127.0.0.1", port)
        begin, wire.done = loop.time(), loop.create_future()
        wire.transport.write(next(requests))
        try:
            status = str(await wire.done)
        except ConnectionError:
            status, wire = "broken connection", None
        if status == "200":
            load.classified += 1
            load.latencies_ms.append((loop.time() - begin) * 1000)
        else:
            load.others[status] = load.others.get(status, 0) + 1
    if wire is not None:
        wire.transport.close()


async def _half(port: int, whole: bytes) -> None:
    """Send half a request and wait; start again when the server closes the connection."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole[: random.choice((20, len(whole) // 2))])
        await reader.read()
        writer.close()


async def _breaks_off(port: int, whole: bytes) -> None:
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole[: len(whole) // 2])
        await asyncio.sleep(0.1)
        writer.transport.abort()


def soak(port: int, server: int, images: Sequence[bytes], options: Any) -> dict[str, Any]:
    """Send many requests, a ninth of them broken, and record the server's resources."""
    whole = [request(form, content, port) for content in images for form in FORMS]
    broken = [request("raw", content[: len(content) // 3], port) for content in images[:3]]
    rows, others, expected = [], {}, 0
    requests = [*whole, *broken]
    sent_each = options.soak // SOAK_STEPS
    for _ in range(SOAK_STEPS):
        load = in_a_process(port, requests, options, until_count=sent_each)
        expected += sum(number % len(requests) >= len(whole) for number in range(sent_each))
        others = {
            key: others.get(key, 0) + load.others.get(key, 0) for key in {*others, *load.others}
        }
        sent = (rows[-1]["requests"] if rows else 0) + load.classified + sum(load.others.values())
        rows.append({"requests": sent, "rss_bytes": rss_bytes(server), **held(server)})
        print(rows[-1], file=sys.stderr)
    return {"rows": rows, "others": others, "broken_images": expected}


def rss_bytes(process: int) -> int:
    """Return how much memory a process uses."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def held(process: int) -> dict[str, int]:
    """Return how many descriptors and threads a process has."""
    return {
        "descriptors": len(os.listdir(f"/proc/{process}/fd")),
        "threads": len(os.listdir(f"/proc/{process}/task")),
    }


def report(figures: dict[str, Any]) -> int:
    """Print a table; return 1 if the target is missed."""
    rows, good = figures["rows"], figures["drained"]
    loop = statistics.median(one["rate"] for one in rows["loop"])
    print(f"plain loop, all threads: {loop:.0f} images/s")
    for form in (name for name in rows if name != "loop"):
        turns = rows[form]
        middle = {
            key: statistics.median(one[key] for one in turns)
            for key in ("rate", "p50_ms", "p99_ms", "clients_cpu", "server_cpu")
        }
        failed = sum(sum(one["others"].values()) for one in turns)
        ratio = middle["rate"] / loop
        good = good and ratio >= TARGET and not failed
        print(
            f"{form:<5} {middle['rate']:5.0f}/s, {ratio:.2f} of the loop; "
            f"p50 {middle['p50_ms']:.0f}, p99 {middle['p99_ms']:.0f} ms; {failed} errors; "
            f"cores: server {middle['server_cpu']:.2f}, clients {middle['clients_cpu']:.2f}, "
            f"others {' '.join(format(one['others_cpu'] or 0, '.2f') for one in turns)}"
        )
    print(f"{figures['clients']} clients, {figures['half_sent']} half-sent connections beside them")
    print(f"on {figures['machine']}, {figures['date']}; ended on SIGTERM: {figures['drained']}")
    print(f"{'as' if good else 'NOT as'} wanted: {TARGET} of the loop or more, and no error")
    return int(not good)


def report_soak(figures: dict[str, Any]) -> int:
    """Print the growth; return 1 if it is too much, or if requests failed."""
    rows = figures["rows"]
    first = next(row for row in rows if row["requests"] >= rows[-1]["requests"] * SETTLED)
    growth = rows[-1]["rss_bytes"] - first["rss_bytes"]
    refused = sum(figures["others"].get(status, 0) for status in REFUSED)
    good = refused == sum(figures["others"].values()) == figures["broken_images"]
    print(
        f"{rows[-1]['requests']} requests, {figures['broken_images']} of them broken images; not "
        f"200: {figures['others']}, {'as' if good else 'NOT as'} expected"
    )
    print(
        f"memory after {first['requests']}: {first['rss_bytes'] / 1e6:.1f} MB, at the end "
        f"{growth / 1e6:+.1f} MB; descriptors {rows[-1]['descriptors'] - first['descriptors']:+d}"
    )
    print(f"on {figures['machine']}, {figures['date']}; ended on SIGTERM: {figures['drained']}")
    return int(growth > SOAK_GROWTH_BYTES or not good or not figures["drained"])


if __name__ == "__main__":
    sys.exit(main())
