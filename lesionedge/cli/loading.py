"""Loads a model for a command, with Python's garbage collector off to save time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionedge.classifier import Classifier
    from lesionedge.model_options import ModelOptions


def load(options: ModelOptions) -> Classifier:
    """Load a model.

    Args:
        options: Which model, and how it is used.

    Raises:
        ModelError: It cannot be used.
        MissingDependencyError: No TFLite runtime works here.
    """
    with _without_garbage_collection():
        from lesionedge.classifier import Classifier

        return Classifier.of(options)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Turn the garbage collector off, and exclude the new objects from all its later searches.

    Numpy, LiteRT and the model make some 20,000 objects, which all stay until the process ends.
    Searching them again and again would take a tenth of a short command's time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
