"""Images through ``lesionedge.image`` once, into memory-mapped uint8 arrays on disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import PIL

from lesionedge import (
    colour,
    encodings,
    icc,
    image,
    image_file,
    jpeg_scan,
    pixels,
    png_scan,
    rgb_space,
    tiff,
)
from lesionedge.atomic import replacing, whole_file
from lesionedge.errors import LesionEdgeError
from lesionedge.image import Preprocessing, model_input

Progress = Callable[[int, int], None]

PREPROCESSING = (
    image, pixels, image_file, jpeg_scan, png_scan, encodings, tiff, colour, icc, rgb_space,
)  # fmt: skip
"""Modules that decide on the pixels of a model's input."""

MOST_BYTES = 20e9
"""What caches may take in a folder before those that were used longest ago are removed: with other
splits, sizes and copies of the images each gets a new one, of gigabytes."""


def prepared(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return every image as the preprocessing makes it, from the cache where it is there.

    The cache's name is a digest of the settings, of the code that decodes and resizes, and of
    each file's path, size and time of change. So it is made anew where one of these has changed; a
    killed run leaves only a ``.part`` file. A new cache makes room for itself (``make_room``).

    Args:
        paths: N image files.
        preprocessing: Size, crop and resampling.
        folder: Where caches lie; made if need be.
        progress: Called with (done, of) as images are prepared.

    Returns:
        (N, height_px, width_px, 3) uint8 RGB, memory-mapped and read-only; and (N,) bool,
        false where an image could not be read (its pixels are zeros).
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_digest(paths, preprocessing)}.npy"
    good = file.with_suffix(".good.npy")
    if not (file.exists() and good.exists()):
        make_room(folder, len(paths) * preprocessing.height_px * preprocessing.width_px * 3)
        _fill(paths, preprocessing, file, good, progress)
    with suppress(OSError):  # somebody else's
        file.touch()
    return np.load(file, mmap_mode="r"), np.load(good)


def derived(
    paths: Sequence[Path], preprocessing: Preprocessing, folder: Path, name: str,
    compute: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Return what is computed of each prepared image, from the cache where it is there.

    Args:
        paths: N image files, which have been prepared.
        preprocessing: Size, crop and resampling.
        folder: Where caches lie.
        name: What the computed values are called in the cache.
        compute: (H, W, 3) uint8 RGB -> an array, of one shape for all.

    Returns:
        (N, …), the arrays stacked.
    """
    file = folder / f"{_digest(paths, preprocessing)}.{name}.npy"
    if file.exists():
        values: np.ndarray = np.load(file)
        return values
    pixels, _ = prepared(paths, preprocessing, folder)
    values = np.array([compute(image) for image in pixels])
    with whole_file(file) as stream:
        np.save(stream, values)
    return values


def make_room(folder: Path, size: int) -> None:
    """Remove what was used longest ago, until with a new cache there are ``MOST_BYTES`` at most.

    A training that has one open, here or in another process, keeps its images: the file's space
    is given back when it ends.

    Args:
        folder: Where caches lie.
        size: Bytes of the new one.
    """
    caches = []
    for file in folder.glob("*.npy"):
        with suppress(FileNotFoundError):  # another process makes room, too
            if not file.name.endswith(".good.npy"):
                status = file.stat()
                caches.append((status.st_mtime, status.st_size, file))
    total = size + sum(each for _, each, _ in caches)
    for _, each, file in sorted(caches):
        if total <= MOST_BYTES:
            return
        with suppress(OSError):  # another process was faster, or a system that keeps open files
            file.unlink()
            file.with_suffix(".good.npy").unlink(missing_ok=True)
            total -= each


def _digest(paths: Sequence[Path], preprocessing: Preprocessing) -> str:
    return digest(paths, json.dumps(asdict(preprocessing), sort_keys=True))


def digest(paths: Sequence[Path], settings: str, code: Sequence[ModuleType] = ()) -> str:
    """Return a name for what is made of files: another where anything that it depends on changes.

    Args:
        paths: The files, of which path, size and time of change count.
        settings: What else it depends on.
        code: Modules that make it, beside those of ``lesionedge`` that decode and resize.
    """
    found = hashlib.sha256(f"{settings}\0{PIL.__version__}\0".encode())
    for module in (*PREPROCESSING, *code):
        found.update(Path(str(module.__file__)).read_bytes())
    for path in paths:
        status = path.stat()
        found.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return found.hexdigest()[:20]


def blank(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """Make a file for a uint8 array, with all its room on the disk.

    A disk that is too full is found out now. Later, the system would kill the process.

    Args:
        file: The file; where there is no room, it is left for the caller to remove.
        shape: The array's.

    Raises:
        OSError: There is no room, or it cannot be written.
    """
    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    if not hasattr(os, "posix_fallocate"):  # macOS
        return array
    with file.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # this disk cannot reserve
                raise OSError(error.errno, error.strerror, str(file)) from error
    return array


def _fill(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    file: Path,
    good_file: Path,
    progress: Progress | None,
) -> None:
    shape = (len(paths), preprocessing.height_px, preprocessing.width_px, 3)
    part = file.with_suffix(f".{os.getpid()}.part")
    with replacing(file, part=part):
        pixels = blank(part, shape)
        good = np.zeros(len(paths), dtype=bool)

        def read(index: int) -> None:
            try:
                pixels[index] = model_input(paths[index], preprocessing)
                good[index] = True
            except LesionEdgeError:
                good[index] = False

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, _ in enumerate(pool.map(read, range(len(paths))), start=1):
                if progress is not None and (done % 500 == 0 or done == len(paths)):
                    progress(done, len(paths))
        pixels.flush()
        np.save(good_file, good)
