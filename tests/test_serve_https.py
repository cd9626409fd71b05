"""``lesionedge serve --https``: this machine's own certificate authority, for phones."""

from __future__ import annotations

import datetime
import http.client
import os
import re
import select
import shutil
import ssl
import stat
import subprocess
import sys
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
    port = re.search(r"from http://\S+:(\d+)/ first", "".join(server.messages))[1]
    return f"http://127.0.0.1:{port}/"


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


def renamed(name):
    return f"import socket\nsocket.gethostname = lambda: {name!r}"


def waited(server, words):
    for _ in range(1200):
        if any(words in line for line in server.messages):
            return
        time.sleep(0.05)
    pytest.fail(f"no line with {words!r}: {server.messages}")


def test_after_the_machine_is_renamed_clients_still_trust_it(int8, tmp_path):
    environment = {"XDG_DATA_HOME": str(tmp_path)}
    authority.own([], place=str(tmp_path / "lesionedge" / "https"))
    pem = (tmp_path / "lesionedge" / "https" / "ca.pem").read_text()
    options = ("-m", int8, "--jobs", "1", *HTTPS)
    with serving(*options, env=environment, before=renamed("another-name")) as running:
        assert ask(running, "/health", pem)[0] == 200
        assert ask(running, "/health", pem, host="another-name.local")[0] == 200
    leaf = read(tmp_path / "lesionedge" / "https" / "server.pem")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "another-name.local" in names.get_values_for_type(x509.DNSName)
    assert "another-name" not in names.get_values_for_type(x509.DNSName)


def test_a_machine_with_a_full_name_has_its_short_names_too(int8):
    with serving("-m", int8, "--jobs", "1", before=renamed("Pi.example.org")) as running:
        for host in ("pi", "pi.local", "pi.example.org"):
            assert running.request("GET", "/health", Host=host).status == 200, host


def test_files_that_do_not_belong_together_are_made_anew(tmp_path):
    first = authority.own([], place=str(tmp_path / "first"))
    other = authority.own([], place=str(tmp_path / "other"))
    shutil.copy(other.key, first.key)  # the power failed between the two
    again = authority.own([], place=str(tmp_path / "first"))
    authority.given(again.certificate, again.key)
    assert again.fingerprint == first.fingerprint
    shutil.copy(tmp_path / "other" / "ca.key", tmp_path / "first" / "ca.key")
    again = authority.own([], place=str(tmp_path / "first"))
    assert again.fingerprint != first.fingerprint
    read(tmp_path / "first" / "server.pem").verify_directly_issued_by(
        read(tmp_path / "first" / "ca.pem")
    )


def test_after_the_clock_was_ahead_the_certificates_are_valid(tmp_path):
    code = f"""
import datetime
class Ahead(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return super().now(zone) + datetime.timedelta(days=90)
datetime.datetime = Ahead
from lesionedge.web import authority
authority.own([], place={str(tmp_path)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    ahead = read(tmp_path / "ca.pem")
    now = datetime.datetime.now(datetime.timezone.utc)
    assert ahead.not_valid_before_utc > now
    authority.own([], place=str(tmp_path))
    for name in ("ca.pem", "server.pem"):
        assert read(tmp_path / name).not_valid_before_utc < now
    # Phones that trust the former one trust the new one's signatures.
    assert read(tmp_path / "ca.pem").public_key() == ahead.public_key()


def test_a_machine_without_a_route_names_its_interfaces_addresses():
    """A hotspot has no route to other networks."""
    code = "from lesionedge.web.authority import machine_addresses as found; print(*found())"
    begin = (
        "ip link set lo up && ip link add hotspot type bridge && ip link set hotspot up && "
        "ip addr add 10.42.0.1/24 dev hotspot && ip addr add fd12::1/64 dev hotspot"
    )
    alone = ["unshare", "-rn", "sh", "-c"]
    try:
        subprocess.run([*alone, begin], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs unshare and ip, and a kernel that lets users have networks")
    line = [*alone, f'{begin} && exec "$0" -c "$1"', sys.executable, code]
    found = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
    assert found[0] == "10.42.0.1"
    assert "fd12::1" in found


def test_a_renewal_that_fails_is_reported_and_tried_again(int8, tmp_path):
    folder = tmp_path / "lesionedge" / "https"
    soon = "import lesionedge.web.server as server\nserver.RENEWAL_S = 0.1"
    options = ("-m", int8, "--jobs", "1", *HTTPS)
    with serving(*options, env={"XDG_DATA_HOME": str(tmp_path)}, before=soon) as running:
        waited(running, "fingerprint")
        pem = (folder / "ca.pem").read_text()
        (folder / "ca.pem").write_text("no certificate")
        waited(running, "warning: the certificate is not renewed")
        (folder / "ca.pem").write_text(pem)
        (folder / "server.pem").unlink()
        while not (folder / "server.pem").exists():
            time.sleep(0.05)
        assert ask(running, "/health", pem)[0] == 200


def test_the_qr_code_on_a_terminal_holds_any_token(int8, tmp_path):
    from lesionedge.web.install import qr_text

    code = "from lesionedge.cli import main; main(prog_name='lesionedge')"
    options = ["serve", "--port", "0", "-m", str(int8), "--jobs", "1", *HTTPS]
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "LESIONEDGE_TOKEN": "+/&=%#" * 3}
    ours, theirs = os.openpty()
    line = [sys.executable, "-c", code, *options]
    with subprocess.Popen(line, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            said = b""
            while b"fingerprint" not in said or select.select([ours], [], [], 2)[0]:
                said += os.read(ours, 4096)
        finally:
            process.terminate()
            os.close(ours)
    lines = said.decode().splitlines()
    address = re.search(r"at (https://\S+:\d+/) ", lines[0])[1]
    wanted = qr_text(f"{address}#token={'%2B%2F%26%3D%25%23' * 3}").splitlines()
    begin = next(i for i, line in enumerate(lines) if "fingerprint" in line) + 1
    assert lines[begin : begin + 20] == wanted[:20]


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
