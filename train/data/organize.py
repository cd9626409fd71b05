"""Copy or link a dataset's images into ``organized_train`` and ``organized_test`` by class."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd

from lesionedge.atomic import replacing
from lesionedge.datasets.table import DatasetError


def organize(table: pd.DataFrame, folder: Path, *, how: str) -> dict[str, int]:
    """Lay images out as ``organized_train/CLASS/`` and ``organized_test/CLASS/``.

    Validation and calibration images are parts of train, from which fit takes them. An image
    that is there already is left as it is, so that a killed run can be repeated.

    Args:
        table: ``split.csv``: columns path, label, split.
        folder: Where the two folders are made.
        how: ``copy`` or ``link`` (symbolic).

    Returns:
        Folder below ``folder`` -> how many images it was given.

    Raises:
        DatasetError: Two images of a class have one name, or a file cannot be written.
    """
    counts: dict[str, int] = {}
    sources: dict[Path, Path] = {}
    for path, label, split in zip(table["path"], table["label"], table["split"]):
        part = "organized_test" if split == "test" else "organized_train"
        target = folder / part / _folder_name(label) / Path(path).name
        source = Path(path).resolve()
        if sources.setdefault(target, source) != source:
            raise DatasetError(f"{source} and {sources[target]}: both would become {target}")
        below = str(target.parent.relative_to(folder))
        counts[below] = counts.get(below, 0) + 1
    for target, source in sources.items():
        try:
            _place(source, target, how)
        except OSError as error:
            raise DatasetError(f"{target}: cannot be written ({error.strerror})") from error
    return dict(sorted(counts.items()))


def _folder_name(label: str) -> str:
    """Keep a label with a slash, or one that names a folder above, in its place."""
    name = label.replace(os.sep, "_").strip()
    return name if name not in ("", ".", "..") else "_"


def _place(source: Path, target: Path, how: str) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # a link whose image has gone
    if how == "link":
        target.symlink_to(source)
        return
    with replacing(target) as part:
        shutil.copyfile(source, part)
