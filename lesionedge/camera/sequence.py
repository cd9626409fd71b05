"""Pictures one after the other: a folder, a pattern, a single file."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator

from lesionedge import formats
from lesionedge.camera.frame import Shot
from lesionedge.errors import CameraError

FILMS = (".apng", ".avifs", ".flc", ".fli", ".gif")
"""What Pillow reads too, but is played as a video where it is named."""

LARGEST_BYTES = 200_000_000
_NUMBER = re.compile(r"%0?\d*d")


def fits(path: str) -> bool:
    """Tell whether a path means a sequence of pictures."""
    if os.path.isdir(path):
        return True
    if formats.is_image_name(path) and not path.lower().endswith(FILMS):
        return True
    return not os.path.exists(path) and (_NUMBER.search(path) is not None or glob.has_magic(path))


class SequenceSource:
    """Picture files in the order of their names, numbers counted as numbers."""

    live = False
    on_demand = False

    def __init__(self, path: str) -> None:
        """Find the files.

        Args:
            path: Folder, pattern (``frame-%04d.png`` or ``*.jpg``) or file.

        Raises:
            CameraError: There are none.
        """
        self._paths = sorted(_files(path), key=_natural)
        if not self._paths:
            raise CameraError(f"{path}: no images there; expected .jpg, .png, .tif or the like")
        count = len(self._paths)
        self.description = f"{path}: {count} picture{'s' * (count != 1)}"

    def frames(self) -> Iterator[Shot | None]:
        """Read file after file; one that cannot be read is a damaged frame."""
        for path in self._paths:
            try:
                with open(path, "rb") as file:
                    content = file.read(LARGEST_BYTES)
            except OSError:
                content = b""
            yield Shot(content or None, time.monotonic())

    def close(self) -> None:
        """Nothing is held."""


def _files(path: str) -> list[str]:
    if os.path.isdir(path):
        names = (name for name in os.listdir(path) if formats.is_image_name(name))
        return [os.path.join(path, name) for name in names if not formats.is_hidden(name)]
    if os.path.exists(path):
        return [path]
    if _NUMBER.search(path) is None:
        return glob.glob(path)
    # Of what the pattern's begin and end would let through, what has digits in between.
    head, tail = _NUMBER.split(path, maxsplit=1)
    wanted = re.compile(re.escape(head) + r"\d+" + re.escape(tail))
    found = glob.glob(glob.escape(head) + "*" + glob.escape(tail))
    return [name for name in found if wanted.fullmatch(name)]


def _natural(path: str) -> list[tuple[int, str]]:
    """Order ``9.jpg`` before ``10.jpg``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
