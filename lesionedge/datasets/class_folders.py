"""Images in folders named after their classes, with or without ``train`` and ``test`` above."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from lesionedge import formats
from lesionedge.datasets import files, predicted
from lesionedge.datasets.table import (
    Dataset,
    DatasetError,
    add,
    finished,
    given_name,
    header,
    read_csv,
    tables,
)  # fmt: skip
from lesionedge.diagnosis import describe

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_CONTAINERS = frozenset((
    "image", "images", "img", "imgs", "part", "parts", "input", "inputs", "data", "dataset",
    "train", "training", "val", "valid", "validation", "test", "testing", "mask", "masks",
))  # fmt: skip
"""Words that say what a folder holds; the rest of its name is a class only if it is a known one."""
_ALONE = frozenset((
    "picture", "pictures", "photo", "photos", "pics", "fold", "folds", "split", "splits", "batch",
    "jpeg", "jpg", "png", "segmentation", "segmentations", "superpixels", "groundtruth",
    "thumbnails", "thumbs",
))  # fmt: skip
"""Words that do so where nothing else is in the name, unlike in DermNet's ``Eczema Photos``."""
_COLLECTIONS = frozenset(
    ("ham", "isic", "isbi", "ph", "bcn", "pad", "ufes", "milk", "task", "v")
)  # fmt: skip
_MASK = re.compile(r"(.+)_(segmentation|superpixels|mask)", re.IGNORECASE)


def fits(root: Path) -> bool:
    """Return whether a folder is laid out so."""
    return any(len(_classes(folder)) > 1 for folder, _ in _bases(root))


def load(root: Path) -> Dataset:
    """Read class folders.

    Args:
        root: Folder of ``CLASS/image``, or of ``Train/CLASS/image`` and ``Test/CLASS/image``
            (``validation`` may be there too), whose split is kept.

    Raises:
        DatasetError: There are fewer than two classes, the folders' names are none of classes, or
            two files of a class have one name.
    """
    rows: list[dict[str, object]] = []
    skipped: dict[str, int] = {}
    classes: set[Path] = set()
    for base, given in _bases(root):
        folders = _classes(base)
        _check_names(base, folders)
        classes |= set(folders)
        for folder in folders:
            chosen, left_out = _images(folder)
            add(skipped, left_out)
            rows += [{"path": path, "label": folder.name, "given": given} for path in chosen]
    outside = sum(classes.isdisjoint(path.parents) for path in files.images_below(root))
    add(skipped, {"image in no class's folder": outside} if outside else {})
    table = pd.DataFrame(rows, columns=["path", "label", "given"])
    labels = tuple(sorted(table["label"].unique()))
    if len(labels) < 2:
        raise DatasetError(f"{root}: images of {len(labels)} classes; expected CLASS/image")
    return Dataset(root.resolve().name, finished(table), labels, skipped)


def refuse_table(root: Path) -> None:
    """Refuse to take folders for classes where a table names their images.

    Raises:
        DatasetError: There is such a table.
    """
    bases = [base for base, _ in _bases(root)]
    stems = {path.stem for base in bases for f in _classes(base) for path in files.images_in(f)}
    for file in tables(root, depth=2):
        if predicted.is_predictions(str(file)):
            continue
        columns = header(file)
        rows, _ = read_csv(file, (), columns=[str(number) for number in range(len(columns))])
        named = [name for _, column in rows.head(200).items() for name in _names_of(column, stems)]
        if named:
            raise DatasetError(
                f"{file}: names the images (such as {named[0]}), in no layout that is known; its "
                f"columns are {', '.join(columns[:12])}. Write a csv with the columns path and "
                "label, or give --layout folders if the folders are the classes"
            )


def _names_of(column: pd.Series, stems: set[str]) -> list[str]:
    """Return the images that a column names, if that is what most of its cells do."""
    cells = [Path(cell.replace("\\", "/")) for cell in column.dropna()]
    found = [path.name for path in cells if path.name in stems or path.stem in stems]
    return found if 2 * len(found) >= len(cells) else []


def _images(folder: Path) -> tuple[list[Path], dict[str, int]]:
    """Choose a class's images, and count what is none of them."""
    found = files.by_stem(files.images_in(folder))
    masks = {stem for stem in found if (m := _MASK.fullmatch(stem)) and m[1] in found}
    chosen = [
        files.only(f"two images of the class are called {stem}", paths)
        for stem, paths in found.items()
        if stem not in masks
    ]
    present = [p for p in folder.iterdir() if p.is_file() and not formats.is_hidden(p.name)]
    below = sum(path.parent != folder for path in files.images_below(folder))
    counts = {
        "file that is no image": sum(not files.is_image(path) for path in present),
        "mask of another image": len(masks),
        "copy of another image": sum(
            len(paths) - 1 for s, paths in found.items() if s not in masks
        ),
        "image in a folder below its class's": below,
    }
    return [path for path in chosen if path], {why: n for why, n in counts.items() if n}


def _check_names(base: Path, folders: list[Path]) -> None:
    """Refuse folders that are no classes: images, train, ``HAM10000_images_part_1``.

    Raises:
        DatasetError: There are such.
    """
    rest = {folder.name: _class_of(folder.name) for folder in folders}
    often = Counter(rest.values())
    bad = [name for name, found in rest.items() if not found or often[found] > 1]
    if bad:
        raise DatasetError(
            f"{base}: the folders with images are called {', '.join(rest)}; "
            f"{', '.join(bad)} is no name of a class. Expected CLASS/image, with the name of one "
            "class for each folder; or a dataset with its table, complete as published; or a csv "
            "with the columns path and label"
        )


def _class_of(name: str) -> str:
    """Return what a folder's name says of the class; empty if it only says what it holds.

    ``melanoma_images`` leaves melanoma, ``images_2`` and ``ISIC-2017_Training_Data`` nothing.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    rest = " ".join(w for w in words if w not in _CONTAINERS | _ALONE | _COLLECTIONS)
    if _CONTAINERS & set(words):
        return rest if describe(rest).code else ""
    return name if rest or not _ALONE & set(words) else ""


def _bases(root: Path) -> list[tuple[Path, str | None]]:
    """Return the folders that class folders lie in, each with the split that it stands for."""
    if not root.is_dir():
        return []
    folders = _folders(root)
    splits = [(folder, given_name(folder.name)) for folder in folders]
    return [one for one in splits if one[1]] or [(root, None)]


def _folders(base: Path) -> list[Path]:
    found = (folder for folder in base.iterdir() if folder.is_dir())
    return sorted(folder for folder in found if not formats.is_hidden(folder.name))


def _classes(base: Path) -> list[Path]:
    return [folder for folder in _folders(base) if any(files.images_in(folder))]
