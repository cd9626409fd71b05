"""Finds a dataset's images: which files are some, and which one a table's name stands for."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from lesionedge import formats
from lesionedge.datasets import places
from lesionedge.datasets.table import DatasetError


def is_image(path: Path) -> bool:
    """Return by its name whether a file is an image; hidden files (``._a.jpg``) are not."""
    return formats.is_image_name(path.name) and not formats.is_hidden(path.name)


def images_in(folder: Path) -> Iterator[Path]:
    """Return the images that lie in a folder itself, by name."""
    return (path for path in sorted(folder.iterdir()) if is_image(path))


def images_below(folder: Path) -> Iterator[Path]:
    """Return the images anywhere below a folder, by name."""
    for path in sorted(folder.rglob("*")):
        if is_image(path) and not formats.is_hidden(str(path.relative_to(folder))):
            yield path


def by_stem(images: Iterable[Path]) -> dict[str, list[Path]]:
    """Group images by their names without suffix."""
    found: dict[str, list[Path]] = {}
    for path in images:
        found.setdefault(places.plain(path.stem), []).append(path)
    return found


def find(names: pd.Series, folders: Sequence[Path]) -> pd.Series:
    """Find the image that each name of a table stands for.

    Args:
        names: Names with or without suffix; missing ones stand for none.
        folders: Where the images are, at any depth.

    Returns:
        A Path a name, None where there is no such image.

    Raises:
        DatasetError: There are no images, or a name stands for two of them: a mask, a thumbnail
            or a resized copy beside the image would silently take its place.
    """
    found = by_stem(path for folder in folders for path in images_below(folder))
    if not found:
        raise DatasetError(f"{folders[0]}: holds no images{_zipped(folders[0])}")
    chosen = {
        name: _one(name, found.get(places.stem(name), [])) for name in names.dropna().unique()
    }  # fmt: skip
    return names.map(chosen).astype(object).where(names.notna(), None)


def _one(name: str, files: list[Path]) -> Path | None:
    parts = places.parts_of(name)
    if len(parts) > 1:
        files = [path for path in files if places.rows_of([name], [str(path)])]
    exact = [path for path in files if places.plain(path.name) == parts[-1]]
    return only(f"two images are called {name}", exact or files)


def only(fault: str, files: Sequence[Path]) -> Path | None:
    """Return the one of several files; copies with the same content are one.

    Args:
        fault: What it is called if they differ.
        files: None or more.

    Raises:
        DatasetError: They differ.
    """
    if not files:
        return None
    for other in files[1:]:
        if not filecmp.cmp(files[0], other, shallow=False):
            raise DatasetError(
                f"{fault}: {files[0]} and {other}; move what is no image of the dataset (masks, "
                "thumbnails, resized copies) out of its folder"
            )
    return files[0]


def _zipped(folder: Path) -> str:
    """Say what may still be packed."""
    archives = sorted(path.name for path in folder.glob("*.zip"))
    return f"; unpack {', '.join(archives)} first" if archives else ""
