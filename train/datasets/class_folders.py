"""Pictures in folders named after their classes, with or without ``train`` and ``test`` above."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from train.datasets.table import (
    Dataset,
    DatasetError,
    finished,
    given_name,
    is_picture,
    pictures_in,
)  # fmt: skip


def fits(root: Path) -> bool:
    """Tell whether a folder is laid out so."""
    return any(len(_classes(folder)) > 1 for folder, _ in _bases(root))


def load(root: Path) -> Dataset:
    """Read class folders.

    Args:
        root: Folder of ``CLASS/picture``, or of ``Train/CLASS/picture`` and
            ``Test/CLASS/picture`` (``validation`` may be there too), whose split is kept.

    Raises:
        DatasetError: There are fewer than two classes.
    """
    rows, skipped = [], 0
    for base, given in _bases(root):
        for folder in _classes(base):
            pictures = list(pictures_in(folder))
            skipped += sum(1 for p in folder.iterdir() if p.is_file() and not is_picture(p))
            rows += [{"path": p, "label": folder.name, "given": given} for p in pictures]
    table = pd.DataFrame(rows, columns=["path", "label", "given"])
    labels = tuple(sorted(table["label"].unique()))
    if len(labels) < 2:
        raise DatasetError(f"{root}: pictures of {len(labels)} classes; expected CLASS/picture")
    reasons = {"file that is no picture": skipped} if skipped else {}
    return Dataset(root.resolve().name, finished(table), labels, reasons)


def _bases(root: Path) -> list[tuple[Path, str | None]]:
    """Give the folders that class folders lie in, each with the split that it stands for."""
    if not root.is_dir():
        return []
    folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir()]
    splits = [(folder, given_name(folder.name)) for folder in folders]
    return [one for one in splits if one[1]] or [(root, None)]


def _classes(base: Path) -> list[Path]:
    folders = sorted(folder for folder in base.iterdir() if folder.is_dir())
    return [folder for folder in folders if any(map(is_picture, folder.iterdir()))]
