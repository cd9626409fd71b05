"""Work in threads ahead of who takes the results, in order."""

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
    """Do the work of items in threads, some of it before it is asked for.

    Args:
        work: Called with an item, in a thread.
        items: Taken in the caller's thread, as they are needed.
        threads: How many threads work.
        ahead: How many items are taken before the first result is given.
        name: Of the threads.

    Returns:
        An iterator of one function an item, in order, that waits for its result and returns it or
        raises what the work raised. An error of ``items`` itself comes after the results of what
        it gave before. The threads end with the iterator.
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
