"""Counts the cores that this process may use, and the threads that run a network by default."""

from __future__ import annotations

import os
from collections.abc import Iterator

MAX_THREADS = 4
"""More threads than this make such a small network slower."""


def default_threads() -> int:
    """Count the cores that this process may use, at most ``MAX_THREADS``."""
    return min(MAX_THREADS, usable_cores())


def usable_cores() -> int:
    """Count the physical cores that this process may use.

    Honours CPU affinity and cgroup (container) quotas; two hardware threads of one core count
    once, since the kernels here saturate a core.
    """
    cores = physical_cores(usable_cpus())
    quota = cpu_quota()
    if quota is not None:
        cores = min(cores, max(1, int(quota)))
    return max(1, cores)


def usable_cpus() -> set[int]:
    """Return the numbers of the hardware threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def physical_cores(cpus: set[int], root: str = "/") -> int:
    """Count the cores that these hardware threads belong to.

    Args:
        cpus: Numbers of hardware threads.
        root: Where ``sys`` is mounted.
    """
    cores = set()
    for cpu in cpus:
        siblings = read(f"{root}sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings or str(cpu))
    return len(cores)


def cpu_quota(root: str = "/") -> float | None:
    """Return how many CPUs the container may use; None if there is no limit.

    A limit on any of the control groups around this process holds for it (kernel.org,
    admin-guide/cgroup-v2, "cpu.max"; scheduler/sched-bwc for version 1).

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    quotas = (_quota(folder) for folder in _cgroup_folders(root))
    return min((quota for quota in quotas if quota is not None), default=None)


def _cgroup_folders(root: str) -> Iterator[str]:
    mount = f"{root}sys/fs/cgroup"
    yield mount
    yield f"{mount}/cpu"
    for line in read(f"{root}proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = f"{mount}/cpu" if controllers else mount
        while path not in ("", "/"):
            yield top + path
            path = os.path.dirname(path)


def _quota(folder: str) -> float | None:
    quota, _, period = read(f"{folder}/cpu.max").partition(" ")
    if not quota:
        quota = read(f"{folder}/cpu.cfs_quota_us")
        period = read(f"{folder}/cpu.cfs_period_us")
    # "max" and "-1" stand for no limit.
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return None
    return int(quota) / int(period)


def read(path: str) -> str:
    """Return a small file's text without surrounding white space; empty if there is no file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
