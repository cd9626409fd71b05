"""``lesionedge serve --https``: this machine's own certificate authority, for phones."""

from __future__ import annotations

import datetime
import http.client
import os
import re
import ssl
import stat
import time
import urllib.request

import pytest
from serving import serving

from lesionedge.web import authority

pytest.importorskip("fastapi", reason="needs lesionedge[web]")
x509 = pytest.importorskip("cryptography.x509", reason="needs lesionedge[web]")
pytest.importorskip("segno", reason="needs lesionedge[web]")
TOKEN = "a-token-of-the-tests-0123"
HTTPS = ("--https", "--http-port", "0")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(int8, home):
    environment = {"XDG_DATA_HOME": str(home)}
    options = ("-m", int8, "--host", "0.0.0.0", "--token", TOKEN, "--jobs", "1")
    with serving(*options, *HTTPS, env=environment) as running:
        while not any("fingerprint" in line for line in running.messages):
            time.sleep(0.05)
        yield running


def trusting(pem):
    return ssl.create_default_context(cadata=pem)


def ask(server, path, pem, name="localhost", **headers):
    wire = http.client.HTTPSConnection(name, server.port, timeout=60, context=trusting(pem))
    try:
        wire.request("GET", path, headers=headers)
        found = wire.getresponse()
        return found.status, found.read()
    finally:
        wire.close()


def install_page(server):
    return re.search(r"from (http://\S+/) first", "".join(server.messages))[1]


def fetched(address):
    with urllib.request.urlopen(address, timeout=60) as response:
        return response.read(), response.headers


def test_a_client_that_trusts_the_authority_trusts_the_server(server):
    der, headers = fetched(f"{install_page(server)}lesionedge-authority.crt")
    assert headers["content-type"] == "application/x-x509-ca-cert"
    pem = ssl.DER_cert_to_PEM_cert(der)
    for name in ("localhost", "127.0.0.1"):
        assert ask(server, "/health", pem, name)[0] == 200
    assert ask(server, "/model", pem)[0] == 401
    assert ask(server, "/model", pem, authorization=f"Bearer {TOKEN}")[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        http.client.HTTPSConnection("localhost", server.port).request("GET", "/health")


def test_plain_http_serves_only_the_certificate_page(server, home):
    address = install_page(server)
    page, headers = fetched(address)
    text = page.decode()
    certificate = authority.own([], place=str(home / "lesionedge" / "https"))
    assert certificate.fingerprint in text
    assert certificate.fingerprint in "".join(server.messages)
    assert "Android" in text
    assert "iPhone" in text
    assert "<svg" in text
    assert "script" not in text
    assert "default-src 'none'" in headers["content-security-policy"]
    for path in ("model", "app/", "assets/app.js", "v1/predict"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(address + path)


def test_the_token_is_neither_in_the_output_nor_in_a_page(server):
    page, _ = fetched(install_page(server))
    assert TOKEN not in page.decode()
    assert TOKEN not in "".join(server.messages)


def test_only_the_owner_can_read_the_keys(server, home):
    place = home / "lesionedge" / "https"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_authority_can_sign_only_for_this_machine(server, home):
    found = read(home / "lesionedge" / "https" / "ca.pem")
    constraints = found.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = [one.value for one in constraints.value.permitted_subtrees]
    assert "localhost" in permitted
    names = [one for one in permitted if isinstance(one, str)]
    assert all("." not in one or one.endswith(".local") for one in names)
    networks = [one for one in permitted if not isinstance(one, str)]
    assert networks
    assert not any(one.is_global for one in networks)
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)


def test_the_certificate_is_for_a_year_and_is_renewed(tmp_path, monkeypatch):
    place = str(tmp_path / "https")
    first = authority.own([], place=place)
    leaf = read(tmp_path / "https" / "server.pem")
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == datetime.timedelta(days=366)
    again = authority.own([], place=place)
    assert read(tmp_path / "https" / "server.pem") == leaf
    assert again.fingerprint == first.fingerprint
    authority.own(["10.1.2.3"], place=place)
    renewed = read(tmp_path / "https" / "server.pem")
    assert renewed != leaf
    monkeypatch.setattr(authority, "RENEWAL_DAYS", 364.9)
    assert authority.own(["10.1.2.3"], place=place).fingerprint == first.fingerprint
    monkeypatch.setattr(authority, "RENEWAL_DAYS", 366)
    authority.own(["10.1.2.3"], place=place)
    assert read(tmp_path / "https" / "server.pem") != renewed
    os.chmod(tmp_path / "https", 0o755)
    authority.own([], place=place)
    assert stat.S_IMODE((tmp_path / "https").stat().st_mode) == 0o700


def test_it_does_not_sign_for_public_names(tmp_path):
    for name in ("pi.example.org", "8.8.8.8"):
        with pytest.raises(authority.CertificateError, match="--certificate and --key"):
            authority.own([name], place=str(tmp_path / "https"))


def test_broken_files_are_an_error_that_says_what_to_do(tmp_path):
    authority.own([], place=str(tmp_path))
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(authority.CertificateError, match="delete the folder"):
        authority.own([], place=str(tmp_path))


def test_the_users_own_certificate(int8, tmp_path, cli_run):
    own = authority.own([], place=str(tmp_path / "one"))
    other = authority.own([], place=str(tmp_path / "other"))
    pair = ("--certificate", own.certificate, "--key", own.key)
    pem = (tmp_path / "one" / "ca.pem").read_text()
    with serving("-m", int8, "--jobs", "1", *pair) as running:
        assert ask(running, "/health", pem)[0] == 200
        assert running.url.startswith("https://")
    done = cli_run("serve", "-m", int8, "--certificate", own.certificate, "--key", other.key)
    assert done.exit_code == 1
    assert "cannot be used together" in done.stderr
    done = cli_run("serve", "-m", int8, "--certificate", own.certificate)
    assert done.exit_code == 2
    assert "--certificate and --key are needed together" in done.stderr


def test_https_refuses_what_http_refuses(int8, cli_run):
    done = cli_run("serve", "-m", int8, "--host", "0.0.0.0", *HTTPS)
    assert done.exit_code == 2
    assert "other machines could use it" in done.stderr
