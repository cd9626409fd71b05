"""Names of images that are not local files: addresses and members of archives."""

from __future__ import annotations

import itertools
import os
import re
from contextlib import suppress

_SCHEME = "zip://"
_CACHES = ("simplecache", "filecache", "blockcache", "cached")  # fsspec's; they may come between

_URL = r"[A-Za-z][A-Za-z0-9+.-]*://"


def is_address(text: str) -> bool:
    """Return whether a text is an http or https address."""
    return text[:8].lower().startswith(("http://", "https://"))


def is_member(text: str) -> bool:
    """Return whether a text names members of an archive (``zip://…``)."""
    return text.startswith(_SCHEME)


def is_archive(path: str) -> bool:
    """Return whether a path or address has the suffix of a zip archive."""
    if is_address(path):
        path = path.partition("#")[0].partition("?")[0]
    return path.lower().endswith(".zip")


def member_name(member: str, archive: str) -> str:
    """Name a member as fsspec does: ``zip://folder/a.jpg::archive.zip``."""
    return f"{_SCHEME}{member}::{archive}"


def split(name: str) -> tuple[str, str]:
    """Return the member (or folder, or pattern) and the archive of a name.

    Both a member's name and a local archive's path may contain ``::``. So the name is split at
    each ``::``, from the right, until the archive exists; if none exists, the last ``::`` counts.
    fsspec's links between them (``simplecache``, a further ``zip://``) belong to the archive.
    """
    name = name[len(_SCHEME) :]
    ways = [(name[: at.start()], name[at.end() + 2 :]) for at in re.finditer("(?=::)", name)][::-1]
    if not ways:
        return name, ""
    if not re.match(_URL, ways[0][1]):
        for member, where in ways:
            if os.path.isfile(where):
                return member, where
    for way, further in itertools.pairwise(ways):
        if not _is_link(way[0], further[0]):
            return way
    return ways[-1]


def _is_link(before: str, shorter: str) -> bool:
    """Return whether the text between two ways to split is a link of fsspec's chain."""
    link = before[len(shorter) + 2 :]
    return link in _CACHES or re.match(_URL, link) is not None


def base_name(path: str) -> str:
    """Return an image's file name without folders, wherever the image is."""
    if is_member(path):
        path = split(path)[0]
    elif is_address(path):
        from urllib.parse import unquote, urlsplit

        with suppress(ValueError):  # such as http://[, which nothing can read
            path = unquote(urlsplit(path).path)
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
