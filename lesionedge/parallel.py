"""Shares work among several processes: results in order, little memory, clear errors.

Each process loads its model once. No process is left running when a worker is killed, the parent is
killed or the user presses Ctrl-C.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lesionedge.errors import LesionEdgeError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.process import BaseProcess

KILLED = (
    "this image and those after it were not classified. If memory ran out, run again with fewer "
    "--jobs"
)
"""What follows from a killed process, for people."""

MOST_AT_A_TIME = 8
"""The most jobs that a worker process gets at a time."""

Job = TypeVar("Job")
Result = TypeVar("Result")
_Job_contra = TypeVar("_Job_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)


class Task(Protocol[_Job_contra, _Result_co]):
    """What the processes do; it is pickled and sent to them."""

    def load(self) -> Any:
        """Return what a process needs, such as a model. Called once in each process.

        Raises:
            LesionEdgeError: It cannot be loaded.
        """

    def run(self, loaded: Any, job: _Job_contra) -> _Result_co:
        """Do one job with the result of ``load``."""

    def name(self, job: _Job_contra) -> str:
        """Name a job for messages."""


def in_processes(
    work: Iterator[Job], task: Task[Job, Result], *, processes: int, count: int,
    killed: str = KILLED,
) -> Generator[Result, None, None]:  # fmt: skip
    """Do jobs in worker processes.

    Args:
        work: The jobs; a few are taken ahead of the results.
        task: What to do.
        processes: How many processes.
        count: How many jobs there are.
        killed: What follows if a process was killed.

    Returns:
        One result per job, in order. Close the generator if you stop early.

    Raises:
        LesionEdgeError: No process can be started, or one was killed.
    """
    from concurrent.futures.process import BrokenProcessPool
    from itertools import islice

    at_a_time = max(1, min(MOST_AT_A_TIME, count // (2 * processes)))
    ahead: deque[tuple[str, Future[list[Result]]]] = deque()
    workers: set[BaseProcess] = set()
    pool = _pool(processes, task)
    try:
        while True:
            while len(ahead) < 4 * processes and (chunk := list(islice(work, at_a_time))):
                ahead.append((task.name(chunk[0]), _submit(pool, chunk, workers)))
            if not ahead:
                return
            yield from ahead[0][1].result()
            ahead.popleft()
    except BrokenProcessPool as error:
        pool.shutdown(wait=True)
        first = ahead[0][0] if ahead else task.name(chunk[0])
        by = _signal_of(workers)
        raise LesionEdgeError(f"{first}: a worker process was killed{by}; {killed}") from error
    except BaseException:
        for worker in workers:  # their results are no longer needed
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(processes: int, task: Task[Any, Any]) -> ProcessPoolExecutor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Not fork: the native library's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    try:
        return ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(task,))
    except OSError as error:
        raise LesionEdgeError(
            f"worker processes cannot be started here ({error.strerror})"
        ) from error


def _submit(
    pool: ProcessPoolExecutor, chunk: list[Any], workers: set[BaseProcess]
) -> Future[list[Any]]:
    import multiprocessing

    # Ctrl-C reaches every process of the terminal, but only the parent should handle it. Block the
    # signal before starting a worker, so that the worker never gets it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        future = pool.submit(_work, chunk)
        workers.update(multiprocessing.active_children())
    except OSError as error:
        raise LesionEdgeError(
            f"a worker process cannot be started ({error.strerror}): run again with fewer --jobs"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return future


def _signal_of(workers: Iterable[BaseProcess]) -> str:
    """Return by which signal a worker was killed (the pool ends the others by SIGTERM)."""
    signals = {-(worker.exitcode or 0) for worker in workers}
    killers = sorted(number for number in signals if number > 0)
    others = [number for number in killers if number != signal.SIGTERM] or killers
    return f" by {signal.Signals(others[0]).name}" if others else ""


_worker: list[Any] = []


def _start_worker(task: Task[Any, Any]) -> None:
    import threading

    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.append(task)


def _end_with_parent() -> None:
    """End this process when the parent ends, even if the parent was killed."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(chunk: list[Any]) -> list[Any]:
    task = _worker[0]
    if len(_worker) == 1:  # load here: the initializer could not report an error
        _worker.append(task.load())
    return [task.run(_worker[1], job) for job in chunk]
