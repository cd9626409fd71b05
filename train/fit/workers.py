"""Several workers train one model: processes of one machine, of several, or one with several GPUs.

All are synchronous and data-parallel (``tf.distribute``): a step's batch is the recipe's, whatever
the number of workers; each takes its share of it, and gradients are summed before they are clipped.
What TensorFlow's ``TF_CONFIG`` says decides which worker a process is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from train.run import RunError

HOPELESS = 3
"""Exit status of a worker that would fail again: it has said why."""

MOST_RESTARTS = 3
"""So often workers are started anew without an epoch's progress between."""

_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Team:
    """The workers, as one of them sees them."""

    strategy: Any
    """``tf.distribute``'s; the default one where there is one worker."""
    chief: bool
    """Whether this worker writes the run folder."""
    several: bool
    """Whether gradients are summed over more than one replica."""

    def agree(self, value: float = 0.0) -> float:
        """Wait for all workers; return the chief's value."""
        import numpy as np

        if not self.several:
            return value
        return float(self.share([np.float32(value)])[0])

    def agreed(self, found: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
        """Return to every worker what the chief has measured."""
        return {name: self.agree(found.get(name, 0.0)) for name in names}

    def share(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the chief's arrays to all workers; theirs must have the same shapes."""
        import tensorflow as tf

        def first(*own: tf.Tensor) -> list[tf.Tensor]:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return [tf.where(tf.equal(replica, 0), each, tf.zeros_like(each)) for each in own]

        def total(*own: tf.Tensor) -> list[tf.Tensor]:
            every = self.strategy.run(first, own)
            add = tf.distribute.ReduceOp.SUM
            return [self.strategy.reduce(add, each, axis=None) for each in every]

        return [each.numpy() for each in tf.function(total)(*map(tf.constant, arrays))]


def join() -> Team:
    """Join the workers that ``TF_CONFIG`` names, and use all GPUs of this machine.

    To be called before TensorFlow does anything else.

    Raises:
        RunError: ``TF_CONFIG`` cannot be understood.
    """
    import tensorflow as tf

    if _count() > 1:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        return Team(strategy, is_chief(), True)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return Team(tf.distribute.MirroredStrategy(), True, True)
    return alone()


def alone() -> Team:
    """Return a team of this process and one device."""
    import tensorflow as tf

    return Team(tf.distribute.get_strategy(), True, False)


def is_member() -> bool:
    """Return whether this process is one of several workers."""
    return _count() > 1


def failure() -> int:
    """Return the exit status of a process that has said why it cannot go on."""
    try:
        return HOPELESS if is_member() else 1
    except RunError:  # TF_CONFIG itself cannot be understood
        return 1


def go_on_alone() -> None:
    """Replace this process by one that is no longer one of several workers."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    line = [sys.executable, "-m", "train", *sys.argv[1:], "--workers", "1"]  # the last one counts
    sys.stderr.flush()
    os.execve(sys.executable, line, environment)


def launch(arguments: Sequence[str], count: int, *, checkpoint: Path) -> None:
    """Run ``python -m train`` as several workers on this machine, until all have ended.

    When one dies, the others, which could only wait for it, are stopped, and all are started anew:
    they resume from the last epoch.

    Args:
        arguments: Of each worker's command line.
        count: How many.
        checkpoint: A file that changes as they get on.

    Raises:
        RunError: They die again and again.
    """
    failures, before = 0, _changed(checkpoint)
    while True:
        crew = _start(arguments, count)
        try:
            died = _first_death(crew)
        finally:
            _stop(crew)
        if died is None:
            return
        if HOPELESS in (each.returncode for each in crew):
            raise SystemExit(1)
        now = _changed(checkpoint)
        failures = failures + 1 if now == before else 1
        before = now
        if failures > MOST_RESTARTS:
            raise RunError(f"worker {died} of {count} died {failures} times without progress")
        click.echo(f"worker {died} of {count} died: all start again and resume", err=True)


def _start(arguments: Sequence[str], count: int) -> list[subprocess.Popen[bytes]]:
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    crew = []
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {
            "TF_NUM_INTRAOP_THREADS": threads, **os.environ, "TF_CONFIG": json.dumps(config),
        }  # fmt: skip
        crew.append(
            subprocess.Popen(
                [sys.executable, "-m", "train", *arguments],
                env=environment,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - nothing here has threads yet
            )
        )
    return crew


def _end_with_parent() -> None:
    """Leave no orphans that train on when the parent is killed outright."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _first_death(crew: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until a worker fails and return its number, from 1; None when all have ended well."""
    while True:
        states = [each.poll() for each in crew]
        for number, state in enumerate(states, start=1):
            if state not in (None, 0):
                return number
        if None not in states:
            return None
        time.sleep(0.2)


def _stop(crew: Sequence[subprocess.Popen[bytes]]) -> None:
    for each in crew:
        with contextlib.suppress(ProcessLookupError):
            each.kill()  # what is on the disk is whole at any moment
        each.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            ports.append(int(free.getsockname()[1]))
        return ports


def _changed(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG", "{}")
    try:
        config = json.loads(text or "{}")
        return {"cluster": dict(config.get("cluster", {})), "task": dict(config.get("task", {}))}
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"TF_CONFIG is {text!r}; expected JSON with cluster and task") from error


def _count() -> int:
    """Count the workers."""
    cluster = _config()["cluster"]
    return max(1, len(cluster.get("worker", ())) + len(cluster.get("chief", ())))


def is_chief() -> bool:
    """Return whether this process is the worker named chief or, without one, the first."""
    config = _config()
    kind, index = config["task"].get("type"), config["task"].get("index")
    first = kind == "worker" and not index and "chief" not in config["cluster"]
    return kind == "chief" or first
