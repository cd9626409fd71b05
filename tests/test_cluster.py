"""Ray on loopback, with killed nodes and workers. It takes minutes: run ``make test-cluster``."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

if not os.environ.get("LESIONEDGE_CLUSTER"):
    pytest.skip("minutes long: make test-cluster runs it", allow_module_level=True)

pq = pytest.importorskip("pyarrow.parquet", reason="needs lesionedge[cluster]")
ray = pytest.importorskip("ray", reason="needs lesionedge[cluster]")

COUNT = 500
LONG_COUNT = 1600
# A token for these tests' clusters: their port is open to everyone who reaches this machine.
QUIETLY = {
    **os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory, draw):
    """Images that take half a minute: links to a few large ones, and two broken images."""
    root = tmp_path_factory.mktemp("archive")
    for number in range(4):
        # PNG in spite of the name, because decoding it takes long.
        draw(2400, 1800, seed=number).save(root / f"{number:04d}.jpg", format="PNG")
    for number in range(4, COUNT - 2):
        os.link(root / f"{number % 4:04d}.jpg", root / f"{number:04d}.jpg")
    for number in (COUNT - 2, COUNT - 1):
        (root / f"{number:04d}.jpg").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory, int8):
    """The rows of the engine ``local``."""
    out = tmp_path_factory.mktemp("local")
    run = batch(archive, out, int8, "--engine", "local", "--jobs", 2)
    output, errors = run.communicate()
    assert run.returncode == 1, errors
    assert "2 failed" in output
    return rows(out)


class Nodes:
    """Ray nodes on loopback."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="ray-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        first = [f"--address={self.address}"]
        if not self.started:
            port = self.address.split(":")[1]
            first = ["--head", f"--port={port}", "--include-dashboard=false"]
        line = [
            str(Path(sys.executable).parent / "ray"), "start", "--block", "--num-cpus=1",
            "--object-store-memory=150000000", *first,
        ]  # fmt: skip
        with open(os.path.join(self.folder, f"node{len(self.started)}.log"), "wb") as log:
            node = subprocess.Popen(line, stdout=log, stderr=log, env=QUIETLY)
        self.started.append(node)
        return node

    def stop(self) -> None:
        for node in reversed(self.started):
            node.terminate()
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def nodes():
    found = Nodes()
    try:
        yield found
    finally:
        found.stop()


def wait_for_port(nodes):
    for _ in range(120):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(nodes.address.split(":")[1]))) == 0:
                break
        time.sleep(1)
    time.sleep(10)  # the node is ready some time after its port


def batch(archive, out, model, *arguments, env=QUIETLY):
    line = [sys.executable, "-m", "lesionedge", "batch", archive, "-o", out, "-m", model,
            "--save-every", 0, *arguments]  # fmt: skip
    return subprocess.Popen(
        list(map(str, line)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def rows(out):
    """Return the rows without the times that they took."""
    return pq.read_table(out).drop_columns("timings_ms").sort_by("path")


def saved(out):
    if not os.path.isdir(out):
        return []
    return sorted(name for name in os.listdir(out) if not name.startswith("_"))


def processes():
    """Return pid -> (parent, command line) of all processes."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{name}/stat").read_text().rsplit(")")[-1].split()[1])
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(name)] = (parent, line)
    return found


def below(pid, word):
    """Return a process's descendants that have a word in their command line."""
    everyone = processes()

    def under(each):
        while each in everyone:
            each = everyone[each][0]
            if each == pid:
                return True
        return False

    return [each for each, (_, line) in everyone.items() if word in line and under(each)]


def listens(pid):
    """Return whether a process has a TCP port open."""
    lines = (Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()).splitlines()
    listening = {f"socket:[{words[9]}]" for words in map(str.split, lines) if words[3] == "0A"}
    opened = set()
    for handle in os.listdir(f"/proc/{pid}/fd"):
        try:
            opened.add(os.readlink(f"/proc/{pid}/fd/{handle}"))
        except FileNotFoundError:
            continue
    return bool(listening & opened)


def busy_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(condition, run):
    for _ in range(1800):
        found = condition()
        if found:
            return found
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    raise AssertionError("waited for three minutes")


def test_the_same_rows_as_local_and_a_run_killed_outright_continues(
    archive, expected, int8, tmp_path
):
    run = batch(archive, tmp_path, int8, "--engine", "ray", "--jobs", 2)
    wait_for(lambda: len(saved(tmp_path)) >= 1, run)
    ours = below(run.pid, "")
    run.kill()
    run.communicate()
    left = ours
    for _ in range(180):  # Ray's own processes end one after the other
        left = [pid for pid in ours if processes().get(pid, (0, ""))[1]]  # without zombies
        if not left:
            break
        time.sleep(1)
    assert not left, {pid: processes().get(pid) for pid in left}
    done = rows(tmp_path).num_rows
    assert 0 < done < COUNT
    run = batch(archive, tmp_path, int8, "--engine", "ray", "--jobs", 2)
    _, errors = run.communicate()
    assert f"{done} of {COUNT} images done before" in errors
    assert rows(tmp_path).equals(expected)


def test_a_killed_actor_is_replaced_and_nothing_is_lost(archive, expected, int8, tmp_path):
    run = batch(archive, tmp_path, int8, "--engine", "ray", "--jobs", 2)
    wait_for(lambda: len(saved(tmp_path)) >= 1, run)
    actors = below(run.pid, "MapWorker")
    assert len(actors) == 2
    os.kill(actors[0], signal.SIGKILL)
    wait_for(lambda: len(set(below(run.pid, "MapWorker")) - set(actors)) == 1, run)
    output, errors = run.communicate()
    assert run.returncode == 1, errors
    assert f"{COUNT} images" in output
    assert rows(tmp_path).equals(expected)


def test_a_second_node_joins_takes_work_and_is_killed_and_nothing_is_lost(
    archive, expected, int8, tmp_path, nodes
):
    long, out = tmp_path / "archive", tmp_path / "out"
    long.mkdir()
    for number in range(LONG_COUNT):
        os.link(archive / f"{number % 4:04d}.jpg", long / f"{number:04d}.jpg")
    nodes.start()
    wait_for_port(nodes)
    run = batch(long, out, int8, "--engine", "ray", "--address", nodes.address)
    wait_for(lambda: len(saved(out)) >= 1, run)
    second = nodes.start()
    actor = wait_for(lambda: below(second.pid, "MapWorker"), run)[0]
    wait_for(lambda: busy_s(actor) > 6, run)  # it works: loading alone takes two seconds
    before = rows(out).num_rows
    for raylet in below(second.pid, "raylet"):
        os.kill(raylet, signal.SIGKILL)
    second.kill()
    assert before < LONG_COUNT
    output, errors = run.communicate()
    assert run.returncode == 0, errors
    assert f"{LONG_COUNT} images" in output
    found = rows(out)
    assert max(Counter(found["path"].to_pylist()).values()) == 1
    assert found.num_rows == LONG_COUNT
    columns = [name for name in found.column_names if name != "path"]
    for number, row in enumerate(found.select(columns).to_pylist()):
        assert row == expected.select(columns).slice(number % 4, 1).to_pylist()[0]


def test_a_cluster_that_wants_a_token_says_so(archive, int8, tmp_path, nodes):
    nodes.start()
    wait_for_port(nodes)
    run = batch(
        archive, tmp_path, int8, "--engine", "ray", "--address", nodes.address,
        env={**QUIETLY, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
    )  # fmt: skip
    _, errors = run.communicate()
    assert run.returncode == 1
    assert "RAY_AUTH_MODE=token" in errors
    assert QUIETLY["RAY_AUTH_TOKEN"] not in errors


def test_a_new_ray_needs_a_token(archive, int8, tmp_path):
    long, out = tmp_path / "archive", tmp_path / "out"
    long.mkdir()
    for number in range(10 * LONG_COUNT):
        os.link(archive / f"{number % 4:04d}.jpg", long / f"{number:05d}.jpg")
    unset = {name: value for name, value in QUIETLY.items() if not name.startswith("RAY_AUTH")}
    run = batch(long, out, int8, "--engine", "ray", "--jobs", 1, env=unset)
    started = []
    try:
        wait_for(lambda: len(saved(out)) >= 1, run)
        line = next(line for _, line in map(processes().get, below(run.pid, "--gcs-address=")))
        address = re.search(r"--gcs-address=(\S+)", line)[1]
        for number, env in enumerate((QUIETLY, {**unset, "RAY_AUTH_MODE": "disabled"})):
            words = tmp_path / f"visitor-{number}"
            enter = "import ray, sys; ray.init(sys.argv[1]); print('Unlocked')"
            with open(words, "wb") as said:
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-c", enter, address], stdout=said, stderr=said, env=env
                    )
                )
            # Ray tries for minutes, but reports the reason at once.
            wait_for(lambda words=words: b"Un" in words.read_bytes(), run)
            assert b"Unauthenticated" in words.read_bytes()
            assert b"Unlocked" not in words.read_bytes()
        assert not any(
            map(listens, below(run.pid, "dashboard.py"))
        )  # it would only count statistics
    finally:
        for process in (*started, run):
            process.terminate()
            process.communicate()


def test_no_cluster_at_the_address_is_an_error(archive, int8, tmp_path):
    run = batch(archive, tmp_path, int8, "--engine", "ray", "--address", "127.0.0.1:1")
    _, errors = run.communicate()
    assert run.returncode == 1
    assert "there is no Ray cluster" in errors
    assert "Traceback" not in errors
