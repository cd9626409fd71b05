"""The optional libraries of ``lesionedge batch``, or the command that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from lesionedge.errors import MissingDependencyError


def need(module: str) -> Any:
    """Import a module of the extras ``batch`` (pyarrow) and ``cluster`` (all others).

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = "batch" if module.partition(".")[0] == "pyarrow" else "cluster"
        raise MissingDependencyError(
            f"lesionedge batch needs {module} ({error}): pip install 'lesionedge[{extra}]'"
        ) from error
