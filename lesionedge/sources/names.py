"""How images are named that are no files of this machine: addresses, and members of archives."""

from __future__ import annotations

import os

_SCHEME = "zip://"
_CACHES = ("simplecache", "filecache", "blockcache", "cached")  # fsspec's; they may come between


def is_address(text: str) -> bool:
    """Return whether a text is an http or https address."""
    return text[:8].lower().startswith(("http://", "https://"))


def is_member(text: str) -> bool:
    """Return whether a text names members of an archive (``zip://…``)."""
    return text.startswith(_SCHEME)


def is_archive(path: str) -> bool:
    """Return whether a path or address ends as zip archives' do."""
    if is_address(path):
        path = path.partition("#")[0].partition("?")[0]
    return path.lower().endswith(".zip")


def member_name(member: str, archive: str) -> str:
    """Name a member as fsspec does: ``zip://folder/a.jpg::archive.zip``."""
    return f"{_SCHEME}{member}::{archive}"


def split(name: str) -> tuple[str, str]:
    """Return the member (or folder, or pattern) and the archive of a name.

    A member's own name may hold ``::``, and so may the path of a local archive: of all ways to
    split, the first from the right is taken whose archive is there, else the last ``::`` counts.
    What fsspec puts between them (``simplecache``) belongs to the archive.
    """
    parts = name[len(_SCHEME) :].split("::")
    last = len(parts) - 1
    while last > 1 and (parts[last - 1] in _CACHES or "://" in parts[last - 1]):
        last -= 1
    if last == len(parts) - 1 and "://" not in parts[-1]:
        there = (n for n in range(last, 0, -1) if os.path.isfile("::".join(parts[n:])))
        last = next(there, last)
    return "::".join(parts[:last]), "::".join(parts[last:])


def base_name(path: str) -> str:
    """Return the name of an image's file, wherever it is, without folders."""
    if is_member(path):
        path = split(path)[0]
    elif is_address(path):
        from urllib.parse import unquote, urlsplit

        path = unquote(urlsplit(path).path)
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
