"""Queues of trainings: a file of JSON lines, each with the settings of one."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from train import settings
from train.settings import RecipeError

Given = TypeVar("Given")


def read(kind: type[Given], file: Path, *, taken: Collection[str] = ()) -> list[Given]:
    """Read settings.

    Args:
        kind: A dataclass with a ``name``.
        file: JSON lines.
        taken: Names that no training may have.

    Raises:
        RecipeError: A line is no JSON, has settings that will not do, or has another one's name.
    """
    found: dict[str, Given] = {}
    for number, line in enumerate(settings.text(file).splitlines(), start=1):
        where = f"{file}, line {number}"
        try:
            given = settings.section(kind, json.loads(line), where)
        except json.JSONDecodeError as error:
            raise RecipeError(f"{where}: no JSON ({error}); expected an object a line") from None
        name = str(given.name)  # type: ignore[attr-defined]
        if name in taken or name in found:
            raise RecipeError(f"{where}: the name {name} is taken")
        found[name] = given
    return list(found.values())


def plain(given: Any) -> dict[str, Any]:
    """Return settings, a dataclass, as JSON gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(given)))
    return found
