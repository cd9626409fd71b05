"""Take the screenshots of the guides to the page and the app, of drawn lesions only.

python docs/screenshots.py

Needs what the tests of the page need: Playwright and a Chromium; and ``make app``.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
APP = ROOT / "dist" / "app"


def main() -> None:
    """Serve, look, keep."""
    draw = runpy.run_path(str(ROOT / "examples" / "synthetic_lesion.py"))["draw"]
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        draw(640, 480, seed=1).save(folder / "0000.jpg")
        for number in range(1, 600):
            shutil.copy(folder / "0000.jpg", folder / f"{number:04}.jpg")
        chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # The newest is on top.
        images = [str(IMAGES / "peers.png"), str(ROOT / "examples" / "synthetic_lesion.jpg")]
        look(browser, "serve", 1000, 1130, "light", images, [])
        look(browser, "serve-narrow", 320, 760, "dark", images[1:], [])
        for name_of_app, scheme in (("app", "light"), ("app-dark", "dark")):
            look(browser, name_of_app, 320, 860, scheme, images[1:], ["--app", str(APP)])
        look(browser, "serve-live", 1000, 700, "light", [], ["--camera", name])
        browser.close()


def warm_up(address: str) -> None:
    """Classify a few times: the first predictions take longer than all later ones."""
    body = (ROOT / "examples" / "synthetic_lesion.jpg").read_bytes()
    asked = Request(f"{address}v1/predict", body, {"Content-Type": "image/jpeg"})
    for _ in range(5):
        urlopen(asked).close()


def look(
    browser: Any, name: str, width: int, height: int, scheme: str, files: list[str],
    arguments: list[str],
) -> None:  # fmt: skip
    """Take one screenshot."""
    line = [sys.executable, "-m", "lesionedge", "serve", "--port", "0", *arguments]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+/", server.stderr.readline())
        assert found is not None
        size = {"width": width, "height": height}
        warm_up(found[0])
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.goto(f"{found[0]}app/" if "--app" in arguments else found[0])
        if files:
            page.set_input_files("#files", files)
        else:
            page.wait_for_selector("#live-result .bars")
        page.wait_for_function(
            "n => document.querySelectorAll('.card .facts > :not(.waiting)').length >= n",
            arg=len(files),
        )
        if name in ("serve-narrow", "app-dark"):
            page.locator(".card").first.scroll_into_view_if_needed()
            page.evaluate("document.querySelector('.card').scrollIntoView()")
        # How long it took depends on what this machine does besides.
        if not files:
            page.click("#live-pause")
        page.wait_for_timeout(500)
        page.evaluate(
            "document.querySelectorAll('.facts .small').forEach(n => n.style.visibility = 'hidden')"
        )
        path = IMAGES / f"{name}.png"
        page.screenshot(path=path)
        page.close()
        server.terminate()
        server.wait()
    with Image.open(path) as image:  # few colours: a third of the size
        image.convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
