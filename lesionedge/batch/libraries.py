"""The optional libraries of ``lesionedge[cluster]``, or the command that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from lesionedge.errors import MissingDependencyError


def need(module: str) -> Any:
    """Import a module of the extra ``cluster``.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"lesionedge batch needs {module} ({error}): pip install 'lesionedge[cluster]'"
        ) from error
