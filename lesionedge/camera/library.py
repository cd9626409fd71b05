"""Loads the libraries that only some cameras need."""

from __future__ import annotations

import importlib
from typing import Any

from lesionedge.errors import MissingDependencyError

EXTRA = "pip install 'lesionedge[camera]'"
"""The command that installs the libraries for V4L2, files and streams."""


def load(name: str, install: str = EXTRA) -> Any:
    """Import a library.

    Args:
        name: The module's name.
        install: The command that installs it.

    Raises:
        MissingDependencyError: It is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise MissingDependencyError(f"{name} cannot be loaded ({error}): {install}") from error
        raise MissingDependencyError(f"{name} is not installed: {install}") from error
    except (ImportError, ValueError, OSError) as error:  # ValueError: built for another numpy
        raise MissingDependencyError(f"{name} cannot be loaded ({error}): {install}") from error
