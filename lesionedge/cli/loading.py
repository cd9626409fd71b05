"""Loads a model for a command, fast: without a search for garbage meanwhile."""

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
    with _uncollected():
        from lesionedge.classifier import Classifier

        return Classifier.of(options)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's garbage collector from what is made meanwhile, for good.

    Numpy, LiteRT and the model make some 20,000 objects, which all stay until the process ends.
    Searched for garbage again and again, they cost a tenth of a short command's time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
