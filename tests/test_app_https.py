"""The phone's app over HTTPS, in a Chromium in which the server's authority is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import urllib.request

import pytest
from app_page import APP, kept, ready, results
from chromium import launched, sync_api
from serving import serving

for name in ("fastapi", "cryptography", "segno"):
    pytest.importorskip(name, reason="needs lesionedge[web]")


def trust(home, certificate):
    """Install an authority where Chromium looks: in the NSS database of the user."""
    certutil = shutil.which("certutil")
    if certutil is None:
        pytest.skip("needs certutil of libnss3-tools: sudo make tools")
    folder = home / ".pki" / "nssdb"
    folder.mkdir(parents=True)
    line = [certutil, "-d", f"sql:{folder}"]
    subprocess.run([*line, "-N", "--empty-password"], check=True)
    add = ["-A", "-n", "lesionedge", "-t", "C,,", "-i", str(certificate)]
    subprocess.run([*line, *add], check=True)


@pytest.fixture(scope="module")
def https(tmp_path_factory):
    """The app over HTTPS, and the authority's certificate as the page for phones offers it."""
    folder = tmp_path_factory.mktemp("https")
    options = ("--app", APP, "--jobs", "1", "--https", "--http-port", "0")
    with serving(*options, env={"XDG_DATA_HOME": str(folder)}) as running:
        while not any("fingerprint" in line for line in running.messages):
            time.sleep(0.05)
        port = re.search(r"from http://\S+:(\d+)/ first", "".join(running.messages))[1]
        plain = f"http://127.0.0.1:{port}/"
        with urllib.request.urlopen(f"{plain}lesionedge-authority.crt", timeout=60) as response:
            (folder / "authority.crt").write_bytes(response.read())
        yield running, folder / "authority.crt"


def test_with_the_authority_installed_camera_and_service_worker_work(https, tmp_path):
    running, certificate = https
    trust(tmp_path, certificate)
    address = f"https://localhost:{running.port}/app/"
    with launched(home=tmp_path) as browser:
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.goto(address)
        ready(page)
        assert page.evaluate("isSecureContext && crossOriginIsolated")
        page.get_by_role("button", name="Use the camera").click()
        page.wait_for_function("() => document.getElementById('video').videoWidth > 0")
        page.get_by_role("button", name="Take the photo").click()
        assert results(page).first.locator("h3").inner_text().startswith("camera ")
        kept(page)
        page.context.set_offline(True)
        page.reload()
        ready(page)
        assert page.evaluate("navigator.serviceWorker.controller !== null")


def test_both_addresses_are_those_of_the_app(https):
    """Not of the page of the server, which asks for a token."""
    running, _ = https
    words = "".join(running.messages)
    assert re.search(r"then open https://\S+:\d+/app/\n", words)
    assert re.search(r"also called https://\S+\.local:\d+/app/\n", words)


def test_without_the_authority_the_browser_refuses_the_page(https, tmp_path):
    running, _ = https
    with launched(home=tmp_path) as browser:
        page = browser.new_page()
        with pytest.raises(sync_api.Error, match="ERR_CERT_AUTHORITY_INVALID"):
            page.goto(f"https://localhost:{running.port}/app/")
