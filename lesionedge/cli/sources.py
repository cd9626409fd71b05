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

    Hidden files and folders (``._photo.jpg``, ``.Trash-1000``) are taken only when named.

    Args:
        arguments: As typed.
        recursive: Whether folders are searched to their depth.
    """
    for argument in arguments:
        if any(c in argument for c in "*?[") and not os.path.lexists(argument):
            yield from _pattern(argument, recursive)
        else:
            yield from _named(argument, recursive)


def is_image_name(path: str) -> bool:
    """Tell whether a name ends as pictures' names do."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def _named(path: str, recursive: bool) -> Iterator[Source]:
    if path == "-" or not os.path.isdir(path):
        yield Source(path)
        return
    found = False
    for source in _folder(path, recursive):
        found = True
        yield source
    if not found:
        hint = "" if recursive else "; --recursive looks into its folders too"
        yield Source(path, f"{path}: the folder holds no pictures{hint}")


def _folder(folder: str, recursive: bool) -> Iterator[Source]:
    """Give a folder's pictures in the order of their names, then those of its folders."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Source(folder, f"{folder}: cannot be listed ({error.strerror})")
        return
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            # A link to a folder could lead in a circle.
            if not entry.is_symlink():
                folders.append(entry.path)
        elif is_image_name(entry.name):
            yield Source(entry.path)
    if recursive:
        for below in folders:
            yield from _folder(below, recursive)


def _pattern(pattern: str, recursive: bool) -> Iterator[Source]:
    import glob

    paths = sorted(glob.glob(pattern, recursive=True))
    for path in paths:
        yield from _named(path, recursive)
    if not paths:
        yield Source(pattern, f"{pattern}: no file matches")
