"""How fast is the phone's app in Chromium, beside Python and beside MediaPipe's web runtime?

    make app
    python benchmarks/browser.py [--images 30] [--tasks-vision FOLDER] [--json FILE]

All classify the same drawn images, in turns, so that a busy machine slows all alike. ``FOLDER`` is
an unpacked ``@mediapipe/tasks-vision`` (``python app/build.py --peer`` fetches it and prints its
folder); without it, MediaPipe is left out. It needs Playwright and Chromium, as the tests of the
page do.

Times to the first prediction are of a new page: *cold* with nothing kept, *warm* with what the
browser keeps, *offline* with the server gone. Each is the best of ``--starts``, but the cold one.
Memory is that of the page's process after its first prediction (PSS).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import runpy
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from lesionedge import Classifier

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "lesionedge" / "models" / "mobilenetv2-int8.tflite"
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
}  # fmt: skip
READY = "() => document.body.dataset.ready"
CLASSIFY = """async (encoded) => {
    const base = document.querySelector('script[type=module]').src;
    const engine = await import(new URL('engine.js', base));
    const blob = new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))]);
    const begin = performance.now();
    const found = await engine.classify('mobilenetv2', blob);
    return { ms: performance.now() - begin, stages: found.timings_ms, top: found.top };
}"""
PEER = """<!doctype html><body><script type="module">
import { FilesetResolver, ImageClassifier } from "./vision_bundle.mjs";
const files = await FilesetResolver.forVisionTasks("./wasm");
const options = { baseOptions: { modelAssetPath: "./model.tflite" }, runningMode: "IMAGE" };
const classifier = await ImageClassifier.createFromOptions(files, options);
window.classify = async (encoded) => {
    const blob = new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))]);
    const begin = performance.now();
    const bitmap = await createImageBitmap(blob);
    const side = Math.min(bitmap.width, bitmap.height);
    const square = new OffscreenCanvas(side, side);
    const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
    square.getContext("2d").drawImage(bitmap, -left, -top);
    const found = classifier.classify(await createImageBitmap(square));
    const ms = performance.now() - begin;
    return { ms, top: found.classifications[0].categories.map((one) => (
        { label: one.categoryName, probability: one.score })) };
};
document.body.dataset.ready = "yes";
</script></body>"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--app", type=Path, default=ROOT / "dist" / "app")
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--starts", type=int, default=3, metavar="N")
    parser.add_argument("--tasks-vision", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    found = measure(options.app, options.images, options.tasks_vision, options.starts)
    print("\n".join(table(found)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def measure(app: Path, count: int, peer: Path | None, starts: int) -> dict[str, Any]:
    """Measure all.

    Args:
        app: What ``make app`` built.
        count: How many images.
        peer: MediaPipe's package; None leaves it out.
        starts: How often a page is opened for each time.
    """
    images = jpegs(count)
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise SystemExit("Chromium is not installed: apt install chromium")
        flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        found: dict[str, Any] = {}
        for title, headers in (("without threads", {}), ("with threads", ISOLATED)):
            browser = playwright.chromium.launch(executable_path=program, args=flags)
            found[title] = measure_app(browser, app, headers, starts)
            browser.close()
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        found["browser"] = browser.version
        found["images"] = in_turns(browser, app, peer, images)
        browser.close()
    return found


def jpegs(count: int) -> list[bytes]:
    """Draw images of 600 x 450 pixels."""
    draw = runpy.run_path(str(ROOT / "examples" / "synthetic_lesion.py"))["draw"]
    found = []
    for seed in range(count):
        file = io.BytesIO()
        draw(600, 450, seed=seed).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


@contextmanager
def served(
    folder: Path, headers: dict[str, str], *, sent: list[int] | None = None
) -> Iterator[str]:
    """Serve a folder on loopback, each file as its gzip where there is one."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def translate_path(self, path: str) -> str:
            found = super().translate_path(path)
            self.packed = os.path.isfile(f"{found}.gz")
            return f"{found}.gz" if self.packed else found

        def guess_type(self, path: Any) -> str:
            return super().guess_type(str(path).removesuffix(".gz"))

        def send_header(self, keyword: str, value: str) -> None:
            if keyword == "Content-Length" and sent is not None:
                sent.append(int(value))
            super().send_header(keyword, value)

        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            if getattr(self, "packed", False):
                self.send_header("Content-Encoding", "gzip")
            super().end_headers()

    host = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=host.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{host.server_port}/"
    finally:
        host.shutdown()
        host.server_close()


def measure_app(browser: Any, app: Path, headers: dict[str, str], starts: int) -> dict[str, Any]:
    """Measure the times to the first prediction, and what was asked for."""
    example = base64.b64encode((ROOT / "examples" / "synthetic_lesion.jpg").read_bytes()).decode()
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    found: dict[str, Any] = {}
    sent: list[int] = []
    with served(app, headers, sent=sent) as url:
        found["cold_s"] = first(context, url, example)
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("() => document.getElementById('offline').textContent")
        page.close()
        found["transferred_bytes"] = sum(sent)
        found["warm_s"] = min(first(context, url, example) for _ in range(starts))
    found["offline_s"] = min(first(context, url, example) for _ in range(starts))
    found.update(observed(browser, context, url, example))
    own = (url, f"blob:{url}", "data:")
    found["foreign_requests"] = sum(not one.startswith(own) for one in asked)
    context.close()
    return found


def first(context: Any, url: str, encoded: str) -> float:
    """Return the seconds from opening a page to its first prediction."""
    page = context.new_page()
    page.set_default_timeout(120_000)
    took = predicted(page, url, encoded)
    page.close()
    return took


def predicted(page: Any, url: str, encoded: str) -> float:
    """Open an address in a page and classify; return the seconds."""
    begin = time.perf_counter()
    page.goto(url)
    page.wait_for_function(READY)
    page.evaluate(CLASSIFY, encoded)
    return time.perf_counter() - begin


def observed(browser: Any, context: Any, url: str, encoded: str) -> dict[str, Any]:
    """Return the memory of the page's process, and whether the browser offers WebGPU."""
    page = context.new_page()
    page.set_default_timeout(120_000)
    predicted(page, url, encoded)
    found = {
        "runtime": page.evaluate(READY),
        "memory_mb": max(map(pss_mb, renderers(browser))),  # others only wait for a page
        "webgpu": page.evaluate(
            "async () => Boolean(navigator.gpu && await navigator.gpu.requestAdapter())"
        ),
    }
    page.close()
    return found


def renderers(browser: Any) -> list[int]:
    """Return the numbers of the processes that run pages."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return [int(one["id"]) for one in found if one["type"] == "renderer"]


def pss_mb(process: int) -> float:
    """Return a process's memory; what it shares with others counts in part."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def in_turns(
    browser: Any, app: Path, peer: Path | None, images: list[bytes]
) -> dict[str, dict[str, Any]]:
    """Classify each image by all, one after the other."""
    classifier = Classifier(threads=1)
    by_python(classifier, images[0])  # the first one is slower
    own: list[dict[str, Any]] = []
    found: dict[str, list[dict[str, Any]]] = {"Python, one thread": own}
    with tempfile.TemporaryDirectory() as name:
        pages = {
            "app": opened(browser, app, {}), "app, threads": opened(browser, app, ISOLATED),
        }  # fmt: skip
        if peer is not None:
            folder = peer_page(peer, Path(name))
            pages["MediaPipe tasks-vision"] = opened(browser, folder, {})
        for image in images:
            own.append(by_python(classifier, image))
            encoded = base64.b64encode(image).decode()
            for title, (page, _) in pages.items():
                code = "(encoded) => classify(encoded)" if "MediaPipe" in title else CLASSIFY
                found.setdefault(title, []).append(page.evaluate(code, encoded))
        for page, end in pages.values():
            page.context.close()
            end()
    return {title: summary(many, own) for title, many in found.items()}


def peer_page(package: Path, folder: Path) -> Path:
    """Make a page of MediaPipe's."""
    shutil.copytree(package, folder, dirs_exist_ok=True)
    shutil.copy(MODEL, folder / "model.tflite")
    (folder / "index.html").write_text(PEER)
    return folder


def opened(browser: Any, folder: Path, headers: dict[str, str]) -> tuple[Any, Any]:
    """Open a page of a folder; return it and what ends its server."""
    server = served(folder, headers)
    page = browser.new_context().new_page()
    page.set_default_timeout(120_000)
    page.goto(server.__enter__())
    page.wait_for_function(READY)
    return page, lambda: server.__exit__(None, None, None)


def by_python(classifier: Classifier, content: bytes) -> dict[str, Any]:
    """Classify an image by Python."""
    begin = time.perf_counter()
    prediction = classifier.classify(content)
    took = (time.perf_counter() - begin) * 1000
    top = [one.to_dict() for one in prediction.top]
    return {"ms": took, "stages": prediction.timings_ms, "top": top}


def summary(many: list[dict[str, Any]], own: list[dict[str, Any]]) -> dict[str, Any]:
    """Return median times, and how far the probabilities are from Python's."""
    apart = []
    for one, python in zip(many, own):
        wanted = {entry["label"]: entry["probability"] for entry in python["top"]}
        apart.append(max(abs(e["probability"] - wanted[e["label"]]) for e in one["top"]))
    return {
        "median_ms": statistics.median(one["ms"] for one in many),
        "least_ms": min(one["ms"] for one in many),
        "least_stages_ms": {
            stage: min(one["stages"][stage] for one in many) for stage in many[0].get("stages", ())
        },
        "most_apart": max(apart), "median_apart": statistics.median(apart),
        "same_label": sum(
            one["top"][0]["label"] == python["top"][0]["label"] for one, python in zip(many, own)
        ),
    }  # fmt: skip


def table(found: dict[str, Any]) -> Iterator[str]:
    """Yield Markdown."""
    yield f"Chromium {found['browser']}; WebGPU: {found['with threads']['webgpu']}"
    yield ""
    yield "| app | cold | warm | offline | memory | transferred | foreign requests |"
    yield "|---|---|---|---|---|---|---|"
    for title in ("without threads", "with threads"):
        one = found[title]
        times = " | ".join(f"{one[key]:.1f} s" for key in ("cold_s", "warm_s", "offline_s"))
        yield (
            f"| {title} | {times} | {one['memory_mb']:.0f} MB | "
            f"{one['transferred_bytes'] / 1e6:.1f} MB | "
            f"{one['foreign_requests']} |"
        )
    yield ""
    yield (
        "| JPEG of 600 x 450 | per image | best | best of each stage, summed | best of the network "
        "| most apart from Python | same label |"
    )
    yield "|---|---|---|---|---|---|---|"
    for title, one in found["images"].items():
        stages = one["least_stages_ms"]
        summed = f"{sum(stages.values()):.0f} ms | {stages['invoke']:.0f} ms" if stages else " | "
        yield (
            f"| {title} | {one['median_ms']:.0f} ms | {one['least_ms']:.0f} ms | "
            f"{summed} | "
            f"{one['most_apart']:.4f} | {one['same_label']} |"
        )


if __name__ == "__main__":
    main()
