"""What the person named on the command line -> pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".jp2", ".avif",
)  # fmt: skip
"""Endings by which a folder's pictures are told from its other files."""


@dataclass(frozen=True)
class Source:
    """One picture to classify, or a reason why there is none."""

    path: str
    """As given, or found in a folder or by a pattern; ``-`` for standard input."""
    error: str | None = None
    """Why this holds no picture."""


def expand(arguments: Iterable[str], *, recursive: bool) -> Iterator[Source]:
    """List pictures: files, folders' pictures, patterns that the shell left alone, ``-``.

    Args:
        arguments: As typed.
        recursive: Whether folders are searched to their depth.
    """
    for argument in arguments:
        if argument == "-" or os.path.isfile(argument):
            yield Source(argument)
        elif os.path.isdir(argument):
            yield from _folder(argument, recursive)
        elif any(c in argument for c in "*?[") and not os.path.lexists(argument):
            yield from _pattern(argument)
        else:
            yield Source(argument)


def _folder(folder: str, recursive: bool) -> Iterator[Source]:
    found = False
    try:
        for path in _files(folder, recursive):
            found = True
            yield Source(path)
    except OSError as error:
        yield Source(folder, f"{folder}: cannot be listed ({error.strerror})")
        return
    if not found:
        hint = "" if recursive else "; --recursive looks into its folders too"
        yield Source(folder, f"{folder}: the folder holds no pictures{hint}")


def _files(folder: str, recursive: bool) -> Iterator[str]:
    """Give a folder's pictures in the order of their names, without holding a whole tree."""
    folders = []
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.is_dir():
            # A link to a folder could lead in a circle.
            if not entry.is_symlink():
                folders.append(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield entry.path
    if recursive:
        for below in folders:
            yield from _files(below, recursive)


def _pattern(pattern: str) -> Iterator[Source]:
    import glob

    paths = sorted(glob.glob(pattern, recursive=True))
    for path in paths:
        if os.path.isfile(path):
            yield Source(path)
    if not paths:
        yield Source(pattern, f"{pattern}: no file matches")
