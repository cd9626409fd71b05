"""Runs a program and returns how long it took and its peak memory; reads what a process has used.

A small process starts the program. Linux counts the starting process's memory towards the
program's peak, and a benchmark's own process would be larger than the program that it measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAUNCHER = """
import json, os, sys, time
quiet = os.open(os.devnull, os.O_WRONLY)
actions = [(os.POSIX_SPAWN_DUP2, quiet, 1), (os.POSIX_SPAWN_DUP2, quiet, 2)]
begin = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(child, 0)
took = time.perf_counter() - begin
print(json.dumps([os.waitstatus_to_exitcode(status), took * 1000, usage.ru_maxrss / 1024]))
"""


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Run a program; end with an error if it fails.

    Args:
        command: The program's path and its arguments.
        env: Its environment; None for this one.

    Returns:
        Milliseconds from start to end, and its peak memory in MB.
    """
    line = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=env)
    status, took_ms, peak_mb = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return took_ms, peak_mb


def cpu_s(process: int) -> float:
    """Return the processor time that all threads of a process have used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
