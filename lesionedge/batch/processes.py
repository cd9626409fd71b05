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
"""Chunks that a worker has been given: the one it works on, and the next."""

_FALSE_STARTS = 3


class _Worker:
    """A process that classifies the chunks that it gets."""

    def __init__(self, context: SpawnContext, model: Model) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, model), daemon=True)
        # Ctrl-C reaches every process of the terminal, and the parent alone decides.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        except OSError as error:
            raise LesionEdgeError(
                f"a worker process cannot be started ({error.strerror}): run again with fewer "
                "--workers"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()
        self.ready = False
        self.given = 0

    def end(self) -> None:
        """Stop it, whatever it does."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def predictions(
    chunks: Iterable[Sequence[str]], model: Model, *, workers: int
) -> Generator[Any, None, None]:
    """Classify images in worker processes.

    A worker that dies is replaced; the images that it had been given are left out.

    Args:
        chunks: Names of images, some at a time; taken as workers become free.
        model: What classifies.
        workers: How many processes.

    Returns:
        An iterator of tables (``pyarrow.Table``), in the order in which they are ready; to be
        closed when it is left early.

    Raises:
        LesionEdgeError: No worker can be started.
    """
    import multiprocessing

    # Not fork: the native library's threads would not survive it.
    context = multiprocessing.get_context("spawn")
    crew = _Crew(context, model)
    todo = iter(chunks)
    try:
        for chunk in todo:
            if len(crew.workers) < workers:
                crew.hire()
            yield from crew.take_in(until=workers * AHEAD - 1)
            crew.give(chunk)
        yield from crew.take_in(until=0)
    finally:
        crew.end()


class _Crew:
    """The workers, and what they were given."""

    def __init__(self, context: SpawnContext, model: Model) -> None:
        self._context, self._model = context, model
        self.workers: dict[Connection, _Worker] = {}
        self._false_starts = 0

    def hire(self) -> None:
        """Start one more."""
        worker = _Worker(self._context, self._model)
        self.workers[worker.pipe] = worker

    def give(self, chunk: Sequence[str]) -> None:
        """Send images to the worker that has the fewest."""
        while True:
            worker = min(self.workers.values(), key=lambda worker: worker.given)
            try:
                worker.pipe.send(list(chunk))
            except OSError:
                self._replace(worker)
                continue
            worker.given += 1
            return

    def take_in(self, *, until: int) -> Iterator[Any]:
        """Return the tables that come, until at most so many chunks are under way."""
        while sum(worker.given for worker in self.workers.values()) > until:
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
            worker.given -= 1
            yield message

    def _replace(self, worker: _Worker) -> None:
        del self.workers[worker.pipe]
        worker.end()
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts >= _FALSE_STARTS:
                raise LesionEdgeError(
                    f"worker processes end as they start (exit status {worker.process.exitcode}); "
                    "if memory ran out, run again with fewer --workers"
                )
        self.hire()

    def end(self) -> None:
        """Stop all."""
        for worker in self.workers.values():
            worker.process.terminate()
        for worker in self.workers.values():
            worker.end()


def _work(pipe: Connection, model: Model) -> None:
    """Be a worker."""
    import os
    import threading

    from lesionedge.batch.rows import classified

    given: deque[list[str]] = deque()
    some = threading.Semaphore(0)

    def listen() -> None:
        # Also while the worker works: the parent never waits for a full pipe, and no orphan
        # works on when the parent is killed.
        try:
            while True:
                given.append(pipe.recv())
                some.release()
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
        some.acquire()
        pipe.send(classified(given.popleft(), classifier, model))
