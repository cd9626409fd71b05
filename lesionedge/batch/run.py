"""From a list of images to rows: each gets one row, whatever happens to the workers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from lesionedge.batch import rows
from lesionedge.batch.libraries import need
from lesionedge.batch.model import Model
from lesionedge.batch.output import Output
from lesionedge.errors import LesionEdgeError

CHUNK = 64
"""Images that a worker is given at a time, at most, in archives of up to a million."""

MOST_CHUNKS = 20_000
"""Larger archives get larger chunks: a cluster's scheduler holds all of them."""

_ALONE = 2  # passes in which images that were left out are given one by one

Engine = Callable[[Iterable[Sequence[str]], Model], Generator[Any, None, None]]
"""Chunks of names -> tables of rows; it may leave chunks out whose workers died."""


def names(found: Iterable[str]) -> Any:
    """Put a list of names, however long, where it takes little memory, without repetitions.

    Returns:
        A ``pyarrow.ChunkedArray``.
    """
    from itertools import islice

    pa = need("pyarrow")
    found, chunks = iter(found), []
    while some := list(islice(found, 1 << 16)):
        chunks.append(pa.array(some, pa.string()))
    return pa.chunked_array(chunks, pa.string()).unique()


def without(listed: Any, done: Any) -> Any:
    """Return the names of a list that are not in another (``pyarrow`` arrays)."""
    compute = need("pyarrow.compute")
    return listed.filter(compute.invert(compute.is_in(listed, value_set=done)))


def classify(
    todo: Any, output: Output, engine: Engine, model: Model, *, workers: int,
    step: Callable[[int], None],
) -> None:  # fmt: skip
    """Classify images into a folder.

    An image that is left out, since its worker died, is given again, alone; when that kills
    worker after worker, this is its error.

    Args:
        todo: Names of images (a ``pyarrow`` array), each once.
        output: Where the rows go.
        engine: Where they are classified.
        model: What classifies.
        workers: How many work at a time, about.
        step: Called with the number of rows that came.

    Raises:
        LesionEdgeError: The engine cannot work.
    """
    count = len(todo)
    for size in (_chunk_size(count, workers), *(1,) * _ALONE):
        done = [need("pyarrow").array([], need("pyarrow").string())]
        with closing(engine(_chunks(todo, size), model)) as tables:
            for table in tables:
                output.add(table)
                done += table["path"].chunks
                step(len(table))
        todo = without(todo, need("pyarrow").chunked_array(done))
        if len(todo) == 0:
            return
        if len(todo) == count > 4 * workers * size:  # not by some kills: there is no use
            break
    if len(todo) == count > 1:
        raise LesionEdgeError("every worker died; run again with --verbose to see why")
    fate = f"each of {1 + _ALONE} worker processes that were given it died"
    output.add(rows.failed(dict.fromkeys(todo.to_pylist(), fate), model))
    step(len(todo))


def _chunk_size(count: int, workers: int) -> int:
    fair = min(CHUNK, count // (4 * workers))
    return max(1, fair, count // MOST_CHUNKS)


def _chunks(todo: Any, size: int) -> Iterator[list[str]]:
    for start in range(0, len(todo), size):
        yield todo.slice(start, size).to_pylist()
