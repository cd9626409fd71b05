"""Does work in threads ahead of time and returns the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], items: Iterator[T], *, threads: int, ahead: int, name: str
) -> Generator[Callable[[], R], None, None]:
    """Work on items in threads, some of them ahead of time.

    Args:
        work: Called with an item, in a thread.
        items: Taken in the caller's thread, when needed.
        threads: Number of threads.
        ahead: How many items are taken before the first result is returned.
        name: Prefix of the threads' names.

    Returns:
        An iterator over one function per item, in order. The function waits for the item's result
        and returns it, or raises the work's error. An error of ``items`` itself is raised after
        the results of the items before it. The threads end with the iterator.
    """
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    pending: deque[Future[R]] = deque()
    fault: Exception | None = None
    try:
        while True:
            try:
                pending.append(pool.submit(work, next(items)))
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - the caller's own, raised below
                fault = error
                break
            if len(pending) > ahead:
                yield pending.popleft().result
        while pending:
            yield pending.popleft().result
        if fault is not None:
            raise fault
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
