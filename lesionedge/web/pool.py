"""Classifiers, one per core, each with its own thread, behind a queue of limited length."""

from __future__ import annotations

import asyncio
import math
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from lesionedge.web import limits
from lesionedge.web.refusal import busy

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier

T = TypeVar("T")
_MEMORY = 0.1  # weight of the newest job's time in the running mean


class Pool:
    """Runs jobs that need a classifier. Use it from the event loop's thread.

    Several requests at a time, with one network thread each, keep all cores busy. That makes more
    predictions a second than one network with all threads, because decoding uses only one thread.
    """

    def __init__(
        self, classifiers: Sequence[Classifier], *, places: int = limits.MAX_WAITING
    ) -> None:
        """Create the pool.

        Args:
            classifiers: One per core, with one network thread each.
            places: How many jobs may run or wait.
        """
        self._free: queue.SimpleQueue[Classifier] = queue.SimpleQueue()
        for classifier in classifiers:
            self._free.put(classifier)
        self.workers = len(classifiers)
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="lesionedge-worker")
        self.places = places
        self.waiting = 0
        """Jobs that run or wait now."""
        self._mean_s = 0.05

    @property
    def full(self) -> bool:
        """Whether a further job would be refused."""
        return self.waiting >= self.places

    def refuse_if_full(self) -> None:
        """Refuse if no place is free.

        Raises:
            Refusal: 503, with the time after which the queue should be empty.
        """
        if self.full:
            wait_s = max(1, math.ceil(self.waiting * self._mean_s / self.workers))
            raise busy(f"{self.waiting} requests are waiting already; try again", wait_s)

    async def run(self, job: Callable[[Classifier, float], T]) -> T:
        """Run a job in a thread.

        Args:
            job: Called with a classifier that no other job uses meanwhile, and the seconds that
                the job waited.

        Raises:
            Refusal: No place is free (503).
        """
        self.refuse_if_full()
        self.waiting += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, self._work, job, time.perf_counter()
        )
        future.add_done_callback(self._left)
        result, took_s = await future
        self._mean_s += _MEMORY * (took_s - self._mean_s)
        return result

    def close(self) -> None:
        """End the threads after their current jobs."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _left(self, _future: object) -> None:
        self.waiting -= 1

    def _work(self, job: Callable[[Classifier, float], T], since_s: float) -> tuple[T, float]:
        classifier = self._free.get()
        begin_s = time.perf_counter()
        try:
            result = job(classifier, begin_s - since_s)
        finally:
            self._free.put(classifier)
        return result, time.perf_counter() - begin_s
