"""Reads a member of an archive or a file at an address."""

from __future__ import annotations

from lesionedge.sources import names


def is_elsewhere(name: str) -> bool:
    """Return whether a name is not a local file: ``zip://…``, ``http://…``."""
    return names.is_member(name) or names.is_address(name)


def content(name: str) -> bytes:
    """Read the image file at such a name.

    Raises:
        ImageError: It cannot be read.
    """
    if names.is_member(name):
        from lesionedge.sources import archive

        member, where = names.split(name)
        return archive.opened(where).read(member)
    from lesionedge.sources import remote

    return remote.get(name)


class DeferredImage:
    """An image elsewhere as a file object; it is read when needed, in any process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._content: bytes | None = None

    def seekable(self) -> bool:
        """Return False: it can only be read whole."""
        return False

    def read(self) -> bytes:
        """Return the whole content; later calls return it again.

        Raises:
            ImageError: It cannot be read.
        """
        if self._content is None:
            self._content = content(self.name)
        return self._content
