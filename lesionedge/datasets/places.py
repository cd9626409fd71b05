"""Finds the image that a table's path stands for: with folders, without, or from elsewhere."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lesionedge.formats import is_image_name
from lesionedge.sources.names import is_address, is_archive, is_member, split

_ABSOLUTE = re.compile(r"/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")

Parts = tuple[str, ...]


def plain(name: str) -> str:
    """Return a name with composed accents: a Mac's files have ``u`` and dots, tables have ``ü``."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def parts_of(name: str) -> Parts:
    """Return the folders and the name of a table's path, whichever slashes part it."""
    whole = posixpath.normpath(plain(name).replace("\\", "/"))
    return tuple(part for part in whole.split("/") if part not in ("", ".."))


def stem(name: str) -> str:
    """Return a path's last part without an image's suffix; a dot within a name is no suffix."""
    base = plain(name).replace("\\", "/").rpartition("/")[2]
    return os.path.splitext(base)[0] if is_image_name(base) else base


def beside(folder: Path, name: str) -> Path:
    """Return the place of a path in a folder, with the slashes and accents that its file has."""
    ways = [name, name.replace("\\", "/")]
    if not name.isascii():
        ways += [unicodedata.normalize(form, way) for way in ways for form in ("NFC", "NFD")]
    return next((path for way in ways if (path := folder / way).is_file()), folder / ways[1])


def image_parts(image: str) -> Parts:
    """Return the folders and the name of an image, in an archive or at an address too."""
    if is_member(image):
        member, archive = split(image)
        folder = archive[: -len(".zip")] if is_archive(archive) else archive
        return (*parts_of(folder), *parts_of(member))
    if is_address(image):
        from urllib.parse import unquote, urlsplit

        return parts_of(unquote(urlsplit(image).path))
    return parts_of(os.path.abspath(image))


def rows_of(names: Sequence[str], images: Iterable[str]) -> dict[str, int]:
    """Find the row of each image among rows that name folders.

    A relative path must be the end of the image's path. Of an absolute one, which may come from
    another machine, the last folder and the name must be; where more of it is in some image's
    path, so much must be in all.

    Args:
        names: The rows' paths; those without a folder stand for no image.
        images: The images' paths.

    Returns:
        Image -> number of its row, for those that have one.
    """
    keys = [parts_of(name) for name in names]
    absolute = [_ABSOLUTE.match(name.replace("\\", "/")) is not None for name in names]
    ends = [_ends(keys, absolute, last) for last in (str, stem)]
    found: dict[str, tuple[int, int]] = {}
    for image in images:
        row = next(filter(None, (_longest(image_parts(image), one, keys) for one in ends)), None)
        if row is not None:
            found[image] = row
    least = min((rest for row, rest in found.values() if absolute[row]), default=0)
    return {image: row for image, (row, rest) in found.items() if rest <= least}


def _ends(
    keys: Sequence[Parts], absolute: Sequence[bool], last: Callable[[str], str]
) -> tuple[Callable[[str], str], Mapping[Parts, int]]:
    """Map ends of the rows' paths to their numbers; those of several rows to -1."""
    found: dict[Parts, int] = {}
    for number, key in enumerate(keys):
        if len(key) < 2:
            continue
        whole = (*key[:-1], last(key[-1]))
        for start in range(len(key) - 1 if absolute[number] else 1):
            end = whole[start:]
            found[end] = number if end not in found else -1
    return last, found


def _longest(
    image: Parts, ends: tuple[Callable[[str], str], Mapping[Parts, int]], keys: Sequence[Parts]
) -> tuple[int, int] | None:
    """Return the row that shares most of an image's path, and how many parts it has besides."""
    last, found = ends
    whole = (*image[:-1], last(image[-1]))
    for start in range(len(image) - 1):
        row = found.get(whole[start:])
        if row is not None:
            return None if row < 0 else (row, len(keys[row]) - len(whole) + start)
    return None
