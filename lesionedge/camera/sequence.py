"""Image files as a source: a folder, a pattern or a single file."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator

from lesionedge import formats
from lesionedge.camera.frame import Shot
from lesionedge.errors import CameraError
from lesionedge.sources.listing import PassedOver, expand

_MOVING = (".gif", ".apng", ".fli", ".flc", ".avifs", ".heics")  # played, frame by frame
LARGEST_BYTES = 200_000_000
_NUMBER = re.compile(r"%0?\d*d")


def fits(path: str) -> bool:
    """Return whether a path means a sequence of images."""
    if os.path.isdir(path):
        return True
    if formats.is_image_name(path) or formats.unreadable_kind(path) is not None:
        return formats.suffix_of(path) not in _MOVING
    return not os.path.exists(path) and (_NUMBER.search(path) is not None or glob.has_magic(path))


class SequenceSource:
    """Image files in the order of their names; numbers in names are sorted as numbers."""

    live = False
    on_demand = False

    def __init__(self, path: str) -> None:
        """Find the files.

        Args:
            path: Folder, pattern (``frame-%04d.png`` or ``*.jpg``) or file.

        Raises:
            CameraError: There are none.
        """
        passed_over = PassedOver()
        self._paths = sorted(_files(path, passed_over), key=_natural)
        if not self._paths:
            rest = f" that can be read here, but {passed_over}" if len(passed_over) else ""
            raise CameraError(f"{path}: no images there{rest}")
        count = len(self._paths)
        self.description = f"{path}: {count} image{'s' * (count != 1)}"
        if len(passed_over):
            self.description += f", and files that cannot be read: {passed_over}"

    def frames(self) -> Iterator[Shot | None]:
        """Yield one file after the other; a file that cannot be read is a damaged frame."""
        for path in self._paths:
            try:
                with open(path, "rb") as file:
                    content = file.read(LARGEST_BYTES)
            except OSError:
                content = b""
            yield Shot(content or None, time.monotonic(), path=path)

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _files(path: str, passed_over: PassedOver) -> list[str]:
    if _NUMBER.search(path) is None or os.path.exists(path):
        if (kind := formats.unreadable_kind(path)) is not None and os.path.isfile(path):
            passed_over.add(path, kind)
            return []
        _refuse_unlisted(path)
        found = expand([path], recursive=False, passed_over=passed_over)
        return [source.path for source in found if source.error is None]
    # Keep only names with digits between the pattern's start and end.
    head, tail = _NUMBER.split(path, maxsplit=1)
    wanted = re.compile(re.escape(head) + r"\d+" + re.escape(tail))
    matching = glob.glob(glob.escape(head) + "*" + glob.escape(tail))
    return [name for name in matching if wanted.fullmatch(name)]


def _refuse_unlisted(path: str) -> None:
    """Say why a folder's files are not known, which does not mean that there are none."""
    if os.path.isdir(path):
        try:
            os.scandir(path).close()
        except OSError as error:
            raise CameraError(f"{path}: cannot be listed ({error.strerror})") from error


def _natural(path: str) -> list[tuple[int, str]]:
    """Order ``9.jpg`` before ``10.jpg``."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path)
    ]
