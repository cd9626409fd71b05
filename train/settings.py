"""Settings that a TOML file gives: typed, bounded, and checked before anything starts.

A setting of another type is an error and is not converted: ``epochs = "20"`` is no number, and
``flip = "no"`` would be true.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from lesionedge.errors import LesionEdgeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""For ``pydantic.dataclasses.dataclass``."""

Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
"""A share below 1."""
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]

_WORDS = {
    "a valid tuple": "a list",
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid dictionary": "a table",
    "a valid mapping": "a table",
}
"""What TOML calls what pydantic expects."""


class RecipeError(LesionEdgeError):
    """A recipe is missing, malformed or names something that does not exist."""


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        RecipeError: It cannot be read, or is no TOML.
    """
    return parse(text(path), str(path))


def text(path: Path) -> str:
    """Return a file's text.

    Raises:
        RecipeError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error


def parse(content: str, where: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        RecipeError: It is none.
    """
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: cannot be read ({error})") from error


def section(kind: type[T], data: object, where: str) -> T:
    """Make a dataclass of a TOML table.

    Args:
        kind: A dataclass of pydantic's, with ``STRICT``.
        data: The table.
        where: Where it stands, for messages.

    Raises:
        RecipeError: It is no table; a name is unknown or missing, or a value will not do.
    """
    if not isinstance(data, Mapping):
        raise RecipeError(f"{where} is {data!r}; expected a table")
    try:
        return kind(**{key: _frozen(value) for key, value in data.items()})
    except ValidationError as error:
        faults = "; ".join(_faults(kind, error))
        raise RecipeError(f"{where}: {faults}") from None
    except LesionEdgeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


def _faults(kind: type, error: ValidationError) -> list[str]:
    """Say what is wrong in the order unknown, missing, of another type or out of bounds."""
    found = error.errors(include_url=False)
    unknown = [_name(e["loc"]) for e in found if e["type"] == "unexpected_keyword_argument"]
    missing = [_name(e["loc"]) for e in found if e["type"] == "missing"]
    known = ", ".join(item.name for item in fields(kind))
    faults = [f"unknown {', '.join(unknown)}; known: {known}"] if unknown else []
    if missing:
        faults.append(f"{', '.join(missing)} missing")
    others = (e for e in found if e["type"] not in ("unexpected_keyword_argument", "missing"))
    return [*faults, *(f"{_name(e['loc'])} is {e['input']!r}; {_expected(e)}" for e in others)]


def _name(places: tuple[int | str, ...]) -> str:
    first, *rest = places
    return str(first) + "".join(f"[{place}]" for place in rest if place != "[key]")


def _expected(fault: Any) -> str:
    if fault["type"] == "literal_error":
        choices = fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"expected one of {choices}"
    if fault["type"] == "string_too_short":
        return "expected some text"
    if fault["type"] in ("too_short", "too_long"):
        least, most = (fault["ctx"].get(name) for name in ("min_length", "max_length"))
        count = f"at most {most}" if least is None else f"at least {least}"
        return f"expected {count} {'value' if 1 in (least, most) else 'values'}"
    wanted = fault["msg"].removeprefix("Input should be ")
    return f"expected {_WORDS.get(wanted, wanted)}"
