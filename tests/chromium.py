"""Debian's Chromium for the tests of pages: no window, and a camera that shows a test pattern."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: make test-device installs it"
)
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="needs axe: make test-device installs it"
)
PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
if PROGRAM is None:
    pytest.skip("needs Chromium: sudo make tools", allow_module_level=True)

FLAGS = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-gpu"]
SEVERE = {"serious", "critical"}
CAMERAS = """() => {
    const open = navigator.mediaDevices.getUserMedia;
    window.tracks = [];
    navigator.mediaDevices.getUserMedia = async function (...given) {
        const stream = await open.apply(this, given);
        tracks.push(...stream.getTracks());
        return stream;
    };
}"""
"""Makes the page keep every track of a camera that it opens in ``tracks``."""


@contextmanager
def launched(*flags, home=None):
    """Run a browser.

    Args:
        flags: More flags of the command line.
        home: The user's folder, with the certificates that the browser trusts.
    """
    environment = {} if home is None else {"env": {**os.environ, "HOME": str(home)}}
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAM, args=[*FLAGS, *sandbox, *flags], **environment
        )
        yield browser
        browser.close()


def severe(page):
    """Return the accessibility faults that axe finds in a page."""
    found = axe.Axe().run(page).response["violations"]
    return [(v["id"], [n["html"] for n in v["nodes"]]) for v in found if v["impact"] in SEVERE]
