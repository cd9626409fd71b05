"""Classifies a list of images; each one gets one row, whatever happens to the workers."""

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
"""The most images that a worker gets at a time, in archives of up to a million."""

MOST_CHUNKS = 20_000
"""Larger archives get larger chunks: a cluster's scheduler holds all of them."""

_ALONE = 2  # further passes, which classify the images that were left out one by one

Engine = Callable[[Iterable[Sequence[str]], Model], Generator[Any, None, None]]
"""Chunks of names -> tables of rows; it may leave out chunks whose workers died."""


def names(found: Iterable[str]) -> Any:
    """Return names in a form that takes little memory, without repetitions.

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

    An image that was left out because its worker died is tried again, alone. If that kills several
    workers, this becomes the image's error.

    Args:
        todo: Names of images (a ``pyarrow`` array), each once.
        output: Where the rows go.
        engine: Classifies chunks of images.
        model: The model.
        workers: About how many workers there are.
        step: Called with the number of new rows.

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
        if len(todo) == count > 4 * workers * size:  # no few images cause it: stop
            break
    if len(todo) == count > 1:
        raise LesionEdgeError("every worker died; run again with --verbose to see why")
    error = f"{1 + _ALONE} worker processes died, one after the other, while classifying it"
    output.add(rows.failed(dict.fromkeys(todo.to_pylist(), error), model))
    step(len(todo))


def _chunk_size(count: int, workers: int) -> int:
    fair = min(CHUNK, count // (4 * workers))
    return max(1, fair, count // MOST_CHUNKS)


def _chunks(todo: Any, size: int) -> Iterator[list[str]]:
    for start in range(0, len(todo), size):
        yield todo.slice(start, size).to_pylist()
