"""Lists the images that the user's arguments name, and counts files that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from lesionedge import formats
from lesionedge.errors import ImageError
from lesionedge.sources import names, patterns

if TYPE_CHECKING:
    from lesionedge.sources.archive import Archive

_MOST_NAMES = 3  # the summary names this many files of each kind


class Source(NamedTuple):
    """One image to classify, or a reason why there is none."""

    path: str
    """The path as typed, or found in a folder, archive, page or pattern; ``-``: standard input."""
    error: str | None = None
    """The reason why there is no image; None: there is one."""


class PassedOver:
    """Counts image files in formats that cannot be read."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, path: str, kind: str) -> None:
        """Count a file."""
        self._names.setdefault(kind, []).append(path)

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def line(self) -> str:
        """Return in one line how many files of which kinds there were, and what to do."""
        count = len(self)
        which = "1 file is of a kind" if count == 1 else f"{count} files are of kinds"
        return f"{which} that cannot be read here: {self}"

    def __str__(self) -> str:
        kinds = sorted(self._names, key=lambda kind: -len(self._names[kind]))
        return ", ".join(self._of(kind) for kind in kinds)

    def _of(self, kind: str) -> str:
        paths = self._names[kind]
        named = sorted(map(names.base_name, paths))[:_MOST_NAMES]
        more = ["…"] if len(paths) > _MOST_NAMES else []
        advice = formats.advice(kind)
        return f"{len(paths)} {kind} ({', '.join(named + more)}{'; ' if advice else ''}{advice})"


def expand(
    arguments: Iterable[str], *, recursive: bool, passed_over: PassedOver | None = None
) -> Iterator[Source]:
    """List images: files, folders', archives' and pages' images, patterns, ``-``.

    Patterns are those that the shell has not expanded. Hidden files and system files
    (``._photo.jpg``, ``__MACOSX``) are taken only if they are named themselves.

    Args:
        arguments: As typed.
        recursive: Whether to search subfolders; archives and pages are always searched whole.
        passed_over: Counts image files in formats that cannot be read.
    """
    passed_over = PassedOver() if passed_over is None else passed_over
    for argument in arguments:
        if names.is_member(argument):
            yield from _archive(*names.split(argument)[::-1], passed_over)
        elif names.is_address(argument):
            yield from _address(argument, passed_over)
        elif patterns.is_pattern(argument) and not os.path.lexists(argument):
            yield from _pattern(argument, recursive, passed_over)
        else:
            yield from _named(argument, recursive, passed_over)


def _named(path: str, recursive: bool, passed_over: PassedOver) -> Iterator[Source]:
    if path != "-" and os.path.isdir(path):
        hint = "" if recursive else "; --recursive searches its subfolders too"
        yield from or_none(path, _folder(path, recursive, passed_over), passed_over, hint)
    elif names.is_archive(path):
        yield from _archive(path, "", passed_over)
    else:
        yield Source(path)


def or_none(
    path: str, found: Iterator[Source], passed_over: PassedOver, hint: str = ""
) -> Iterator[Source]:
    """Yield what was found, or one source with the reason why there is nothing."""
    before, empty = len(passed_over), True
    for source in found:
        empty = False
        yield source
    if empty:
        which = " that can be read here" if len(passed_over) > before else ""
        yield Source(path, f"{path}: holds no images{which}{hint}")


def _folder(folder: str, recursive: bool, passed_over: PassedOver) -> Iterator[Source]:
    """Yield a folder's images in the order of their names, then those of its subfolders."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Source(folder, f"{folder}: cannot be listed ({error.strerror})")
        return
    for entry in listed:
        if formats.is_hidden(entry.name):
            continue
        if _is_folder(entry):
            # A link to a folder could lead to an endless loop.
            if not entry.is_symlink():
                folders.append(entry.path)
        elif is_wanted(entry.path, passed_over, _head):
            yield Source(entry.path)
    if recursive:
        for below in folders:
            yield from _folder(below, recursive, passed_over)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # such as a link to itself


def _pattern(pattern: str, recursive: bool, passed_over: PassedOver) -> Iterator[Source]:
    """Yield the images that match: the images of matching folders, and matching files.

    If the pattern fixes no suffix (``scans/**``, ``IMG_*``), files must look like images.
    """
    import glob

    top = patterns.folder_of(pattern)
    rest, chosen = pattern[len(top) :], is_chosen(pattern)
    seen: set[str] = set()
    for path in sorted(glob.glob(pattern, recursive=True)):
        if formats.is_hidden(path[len(top) :]) and not formats.is_hidden(rest):
            continue
        if os.path.isdir(path):
            found = _folder(path, recursive, passed_over)
        elif names.is_archive(path):
            found = _archive(path, "", passed_over)
        else:
            wanted = chosen or is_wanted(path, passed_over, _head)
            found = iter([Source(path)] if wanted else [])
        for source in found:
            if (real := os.path.normpath(source.path)) not in seen:
                seen.add(real)
                yield source
    if not seen:
        yield Source(pattern, f"{pattern}: no image matches")


def is_chosen(pattern: str) -> bool:
    """Return whether a pattern fixes the suffix of its files (``*.jpg``, not ``IMG_*``)."""
    suffix = os.path.splitext(pattern)[1]
    return "*" not in suffix and any(map(str.isalnum, suffix))


def _archive(path: str, pattern: str, passed_over: PassedOver) -> Iterator[Source]:
    """Yield images of a zip archive: all of them, a folder's, a pattern's, or one."""
    from lesionedge.sources import archive

    try:
        packed = archive.opened(path)
    except ImageError as error:
        yield Source(names.member_name(pattern, path) if pattern else path, str(error))
        return
    yield from members(packed, path, pattern, passed_over)


def members(packed: Archive, path: str, pattern: str, passed_over: PassedOver) -> Iterator[Source]:
    """Yield the images of an open archive.

    Args:
        packed: The archive.
        path: The archive's name.
        pattern: One of its files or folders, or a pattern; empty for all.
        passed_over: Counts image files in formats that cannot be read.
    """
    found = packed.names(pattern)
    chosen = found == [pattern] or (patterns.is_pattern(pattern) and is_chosen(pattern))
    images = (
        Source(names.member_name(member, path)) for member in found
        if chosen or is_wanted(member, passed_over, packed.head)
    )  # fmt: skip
    yield from or_none(names.member_name(pattern, path) if pattern else path, images, passed_over)


def _address(address: str, passed_over: PassedOver) -> Iterator[Source]:
    """Yield the image at an address, an archive's images, or the images that a page links to."""
    path = address.partition("#")[0].partition("?")[0]
    if names.is_archive(address):
        yield from _archive(address, "", passed_over)
        return
    from lesionedge.sources import remote

    if not path.endswith("/") and path.count("/") > 2 and not remote.is_pattern(address):
        yield Source(address)
        return
    try:
        links = remote.listing(address)
    except ImageError as error:
        yield Source(address, str(error))
        return
    if links is None:
        yield Source(address)
        return
    found = (Source(link) for link in links if is_wanted(link, passed_over))
    yield from or_none(address, found, passed_over)


def is_wanted(
    path: str, passed_over: PassedOver, head: Callable[[str], bytes] | None = None
) -> bool:
    """Return whether a listed file is an image that can be read; otherwise count it.

    Args:
        path: Its path, member's name or address.
        passed_over: The count.
        head: Reads the first bytes, to recognise files without a suffix.
    """
    name = names.base_name(path)
    if formats.is_image_name(name):
        return True
    kind = formats.unreadable_kind(name)
    if kind is None and head is not None and not formats.suffix_of(name):
        start = head(path)
        if not formats.looks_like_an_image(start):
            return False
        if formats.recognise(start) != "DICOM" or formats.has_extra("DICOM"):
            return True
        kind = "DICOM"
    if kind is not None:
        passed_over.add(path, kind)
    return False


def _head(path: str) -> bytes:
    """Return a regular file's first bytes; empty for a pipe or an unreadable file."""
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(formats.HEAD_BYTES)
    except OSError:
        return b""
