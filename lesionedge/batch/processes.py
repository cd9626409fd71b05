"""The engine ``local``: worker processes on this machine, one model and one core each."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from lesionedge.batch.model import Model
from lesionedge.errors import LesionEdgeError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext

AHEAD = 2
"""The most chunks that a worker has: the one that it works on, and the next."""

_FALSE_STARTS = 3


class _Worker:
    """A process that classifies chunks of images."""

    def __init__(self, context: SpawnContext, model: Model) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, model), daemon=True)
        # Ctrl-C reaches every process of the terminal, but only the parent should handle it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        except OSError as error:
            raise LesionEdgeError(
                f"a worker process cannot be started ({error.strerror}): run again with a smaller "
                "--jobs"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()
        self.ready = False
        self.pending = 0

    def end(self) -> None:
        """Stop it, whatever it is doing."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def predictions(
    chunks: Iterable[Sequence[str]], model: Model, *, workers: int
) -> Generator[Any, None, None]:
    """Classify images in worker processes.

    A worker that dies is replaced; its images are left out.

    Args:
        chunks: Names of images, some at a time; taken as workers become free.
        model: The model.
        workers: How many processes.

    Returns:
        A generator of tables (``pyarrow.Table``), in the order in which they are ready. Close it
        if you stop early.

    Raises:
        LesionEdgeError: No worker can be started.
    """
    import multiprocessing

    # Not fork: the native library's threads would not survive it.
    context = multiprocessing.get_context("spawn")
    pool = _Pool(context, model)
    todo = iter(chunks)
    try:
        for chunk in todo:
            if len(pool.workers) < workers:
                pool.start_worker()
            yield from pool.receive(until=workers * AHEAD - 1)
            pool.send(chunk)
        yield from pool.receive(until=0)
    finally:
        pool.end()


class _Pool:
    """The workers, and how many chunks each of them has."""

    def __init__(self, context: SpawnContext, model: Model) -> None:
        self._context, self._model = context, model
        self.workers: dict[Connection, _Worker] = {}
        self._false_starts = 0

    def start_worker(self) -> None:
        """Start one more worker."""
        worker = _Worker(self._context, self._model)
        self.workers[worker.pipe] = worker

    def send(self, chunk: Sequence[str]) -> None:
        """Send images to the worker that has the fewest chunks."""
        while True:
            worker = min(self.workers.values(), key=lambda worker: worker.pending)
            try:
                worker.pipe.send(list(chunk))
            except OSError:
                self._replace(worker)
                continue
            worker.pending += 1
            return

    def receive(self, *, until: int) -> Iterator[Any]:
        """Yield finished tables, until the workers have at most ``until`` chunks left."""
        while sum(worker.pending for worker in self.workers.values()) > until:
            for ready in wait(list(self.workers)):
                yield from self._received(self.workers[ready])  # type: ignore[index]

    def _received(self, worker: _Worker) -> Iterator[Any]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if message is None:
            worker.ready, self._false_starts = True, 0
        elif isinstance(message, LesionEdgeError):
            raise message
        else:
            worker.pending -= 1
            yield message

    def _replace(self, worker: _Worker) -> None:
        del self.workers[worker.pipe]
        worker.end()
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts >= _FALSE_STARTS:
                raise LesionEdgeError(
                    f"worker processes end at once (exit status {worker.process.exitcode}); "
                    "if memory ran out, run again with a smaller --jobs"
                )
        self.start_worker()

    def end(self) -> None:
        """Stop all workers."""
        for worker in self.workers.values():
            worker.process.terminate()
        for worker in self.workers.values():
            worker.end()


def _work(pipe: Connection, model: Model) -> None:
    """Run a worker process."""
    import os
    import threading

    from lesionedge.batch.rows import classified

    chunks: deque[list[str]] = deque()
    waiting = threading.Semaphore(0)

    def listen() -> None:
        # Listen while the worker works, too: the parent then never waits for a full pipe, and a
        # worker ends at once if the parent is killed.
        try:
            while True:
                chunks.append(pipe.recv())
                waiting.release()
        except (EOFError, OSError):
            os._exit(1)

    try:
        classifier = model.load()
    except LesionEdgeError as error:
        pipe.send(error)
        return
    pipe.send(None)
    threading.Thread(target=listen, daemon=True).start()
    while True:
        waiting.acquire()
        pipe.send(classified(chunks.popleft(), classifier, model))
