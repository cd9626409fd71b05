"""The built app for its tests, and what they ask of its page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

APP = Path(os.environ.get("LESIONEDGE_APP", Path(__file__).parent.parent / "dist" / "app"))
if not (APP / "index.html").is_file():
    pytest.skip(f"needs the app in {APP}: make app (with Node.js and npm)", allow_module_level=True)


def ready(page):
    page.wait_for_function("() => document.body.dataset.ready")
    assert page.evaluate("document.body.dataset.ready") != "failed", page.inner_text("#status")


def kept(page):
    page.wait_for_function("() => document.getElementById('offline').textContent")


def results(page, count=1):
    page.wait_for_function(
        "n => document.querySelectorAll('.card .headline, .card .fault').length === n", arg=count
    )
    return page.locator(".card")
