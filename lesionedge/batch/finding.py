"""Finds the images that sources name: on disks, in archives, at addresses, in object stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from lesionedge import formats
from lesionedge.batch.reading import archive, is_url, local_name, local_path, opened, reason
from lesionedge.errors import LesionEdgeError
from lesionedge.sources import listing, names, patterns
from lesionedge.sources.listing import PassedOver, Source


def found(sources: Iterable[str], errors: dict[str, str], passed_over: PassedOver) -> Iterator[str]:
    """Yield the names of the images of sources, as in the column ``path``.

    Args:
        sources: Folders (with their subfolders), patterns, files, zip archives, and URLs that
            fsspec or pyarrow reads, such as ``s3://bucket/folder`` or
            ``zip://2019/*.jpg::archive.zip``. Their libraries find the credentials.
        errors: Receives the sources that cannot be listed: name -> reason.
        passed_over: Counts image files in formats that cannot be read.

    Raises:
        LesionEdgeError: A store cannot be listed.
    """
    for source in sources:
        for image in _listed(source, passed_over):
            if image.error is None:
                yield _name(image.path)
            else:
                errors[_name(image.path)] = image.error


def _listed(source: str, passed_over: PassedOver) -> Iterator[Source]:
    path = local_path(source)
    if path is not None and not os.path.lexists(path) and not patterns.is_pattern(path):
        yield Source(source, f"{source}: no such file")
    elif path is not None or names.is_address(source):
        yield from listing.expand([path or source], recursive=True, passed_over=passed_over)
    elif names.is_member(source):
        pattern, where = names.split(source)
        yield from listing.members(archive(where), where, pattern, passed_over)
    elif names.is_archive(source):
        yield from listing.members(archive(source), source, "", passed_over)
    else:
        yield from _stored(source, passed_over)


def _name(path: str) -> str:
    """Return an image's name, which is valid from any folder."""
    if names.is_member(path):
        member, where = names.split(path)
        return names.member_name(member, where if is_url(where) else local_name(where))
    return path if is_url(path) else local_name(path)


def _stored(url: str, passed_over: PassedOver) -> Iterator[Source]:
    """Yield the images behind a URL: one file, a folder with its subfolders, or a pattern's."""
    scheme, _, rest = url.partition("://")
    before, chain, behind = rest.partition("::")
    try:
        files, path = opened(url)
        host = "" if chain else _host(files, scheme, before)
        inside = list(dict.fromkeys(_inside(files, path)))  # ** matches folders, and their files
    except Exception as error:  # each file system has exceptions of its own
        if not chain and formats.is_image_name(before) and not patterns.is_pattern(url):
            yield Source(url)  # one image: it cannot be read, and its row says why
            return
        if isinstance(error, LesionEdgeError):
            raise
        raise LesionEdgeError(f"{url}: cannot be listed ({reason(error)})") from error
    chosen = inside == [path] or listing.is_chosen(path)
    wanted = (
        Source(f"{scheme}://{host}{file.partition('://')[2] or file}{chain}{behind}")
        for file in inside if chosen or listing.is_wanted(file, passed_over)
    )  # fmt: skip
    yield from listing.or_none(url, wanted, passed_over)


def _host(files: Any, scheme: str, path: str) -> str:
    """Return the server if the file system's paths do not contain it, as with ``ftp://``."""
    host = path.partition("/")[0]
    return host if files._get_kwargs_from_urls(f"{scheme}://{host}/").get("host") else ""


def _inside(files: Any, path: str) -> Iterator[str]:
    """Yield the files of a path or pattern, sorted, without hidden ones."""
    if not patterns.is_pattern(path):
        yield from _below(files, path, path)
        return
    top = patterns.folder_of(path)
    for match in sorted(files.glob(path)):
        if not formats.is_hidden(match[len(top) :]):
            yield from _below(files, match, match)


def _below(files: Any, top: str, shown: str) -> Iterator[str]:
    if files.isfile(top):
        yield top
        return
    for file in sorted(files.find(top)):
        if not formats.is_hidden(os.path.relpath(file, shown)):
            yield file
