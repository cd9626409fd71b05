"""Labelled images, however they are given: a dataset, class folders, or images and a table."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lesionedge import datasets
from lesionedge.datasets import places, predicted, truth
from lesionedge.datasets.table import DatasetError, UnknownLayoutError, text_as_it_is
from lesionedge.formats import is_image_name
from lesionedge.sources.listing import PassedOver, expand
from lesionedge.sources.names import is_address, is_archive, is_member


@dataclass(frozen=True)
class Labelled:
    """Images and what they show."""

    name: str
    """What they are called."""
    table: pd.DataFrame
    """One row per image, with the columns ``truth.COLUMNS``."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason -> how many were left out."""
    has_labels: bool = True
    """Whether anything says what they show; if not, no image has a label."""
    copies: int = 0
    """How many images are copies of others with the same label, byte for byte."""

    @property
    def paths(self) -> list[str]:
        """The images."""
        return [str(path) for path in self.table["path"]]

    @text_as_it_is()
    def groups(self, *columns: str) -> np.ndarray:
        """Return (N,) numbers of what is independent: by the first of the columns that is known.

        Where each patient has a lesion 1, they are different lesions.

        Args:
            columns: Such as ``patient``, ``lesion``; an image with none of them is alone.
        """
        owners = pd.Series("", index=self.table.index, dtype=object)
        for column in columns:
            known = self.table[column].notna() & (owners == "")
            names = self._lesions() if column == "lesion" else self.table[column].astype(str)
            owners[known] = f"{column} " + names[known]
        alone = owners == ""
        owners[alone] = "image " + self.table.loc[alone, "path"].astype(str)
        _, numbers = np.unique(owners.to_numpy(dtype=str), return_inverse=True)
        return numbers

    def _lesions(self) -> pd.Series[str]:
        """Name lesions; one whose number several patients have is named with its patient."""
        lesions, patients = (self.table[name].astype(str) for name in ("lesion", "patient"))
        both = self.table["lesion"].notna() & self.table["patient"].notna()
        owners = patients[both].groupby(lesions[both]).nunique()
        several = both & lesions.isin(owners.index[owners > 1])
        return lesions.where(~several, patients + " " + lesions)

    def grouped_by(self, *columns: str) -> str:
        """Return the first of the columns that any image has; ``image`` if none has."""
        return next((name for name in columns if self.table[name].notna().any()), "image")


@text_as_it_is()
def gather(source: str, *, truth_file: str | None = None, layout: str | None = None) -> Labelled:
    """Find labelled images.

    Args:
        source: A dataset's folder, class folders or a csv; or, with a truth file, a folder, archive
            or pattern of images.
        truth_file: A table with one row per image; or a dataset whose labels are taken.
        layout: A name of ``datasets.LAYOUTS``; None finds it out.

    Raises:
        UnknownLayoutError: Nothing says what they show.
        DatasetError: There are none, or they cannot be understood.
    """
    _expect(source)
    if predicted.is_predictions(source):
        raise DatasetError(
            f"{source}: holds predictions; expected images, or a table of what they show. Give the "
            "images' folder as SOURCE: with -o DIR, evaluate takes the predictions that it finished"
        )
    if truth_file is None:
        return _of_dataset(source, layout)
    return named(images_of(source), truth_file, layout=layout)


def _expect(source: str) -> None:
    """Refuse a file or folder that does not exist."""
    is_pattern = any(letter in source for letter in "*?[")
    if not (is_pattern or is_address(source) or is_member(source) or os.path.exists(source)):
        raise DatasetError(f"{source}: no such file or folder; expected images")


@text_as_it_is()
def unlabelled(source: str) -> Labelled:
    """Find images that nothing says anything of.

    Args:
        source: A folder, archive, pattern, address or file of images.

    Raises:
        DatasetError: There are none.
    """
    paths = images_of(source)
    table = pd.DataFrame({"path": paths}).reindex(columns=list(truth.COLUMNS))
    return Labelled(Path(source.rstrip("/")).name or source, table, has_labels=False)


def images_of(source: str) -> list[str]:
    """Return the images of a folder to its depth, of an archive or of a pattern.

    Raises:
        DatasetError: There are none.
    """
    found = list(expand((source,), recursive=True, passed_over=PassedOver()))
    errors = [one.error for one in found if one.error is not None]
    if errors:
        raise DatasetError(errors[0])
    return [one.path for one in found]


@text_as_it_is()
def named(images: Sequence[str], truth_file: str, *, layout: str | None = None) -> Labelled:
    """Find the labels of images.

    Args:
        images: Their paths.
        truth_file: As in ``gather``.
        layout: As in ``gather``.

    Raises:
        DatasetError: They cannot be read, or name other images.
    """
    is_table = layout is None and not os.path.isdir(truth_file)
    if is_table:
        rows, skipped = truth.read(Path(truth_file))
    else:
        whole = _of_dataset(truth_file, layout)
        rows, skipped = whole.table, whole.skipped
    joined, left_out = truth.join(rows, images, name=truth_file, by_name=not is_table)
    return Labelled(Path(truth_file).stem, joined, {**skipped, **left_out})


def _of_dataset(source: str, layout: str | None) -> Labelled:
    image = os.path.isfile(source) and is_image_name(source)
    if image or is_address(source) or is_member(source) or is_archive(source):
        raise UnknownLayoutError(
            f"{source}: a table of its labels is needed: give it with --truth FILE (columns path "
            "and label)"
        )
    if layout is None and os.path.isfile(source):
        return _of_table(Path(source))
    try:
        found = datasets.load(Path(source), layout=layout)
    except DatasetError as error:
        raise type(error)(
            f"{error}. A table with the columns path (or id) and label can be given with --truth"
        ) from error
    return Labelled(found.name, truth.of_dataset(found), found.skipped)


def _of_table(file: Path) -> Labelled:
    """Read a csv whose paths are relative to it."""
    rows, skipped = truth.read(file)
    paths = [str(places.beside(file.parent, str(path))) for path in rows["path"]]
    there = np.array([os.path.isfile(path) for path in paths])
    rows = rows.assign(path=paths)[there].reset_index(drop=True)
    if rows.empty:
        raise DatasetError(
            f"{file}: none of its {len(paths)} rows names an image beside it (first: {paths[0]}); "
            "expected paths relative to it, or a folder of images as SOURCE and this as --truth"
        )
    if not there.all():
        skipped["no image"] = int((~there).sum())
    return Labelled(file.stem, rows, skipped)


def counting_copies(labelled: Labelled) -> Labelled:
    """Return images with the number of their copies; refuse one image under two labels.

    Raises:
        DatasetError: There is one.
    """
    paths = labelled.paths  # made anew each time that it is asked for
    by_size: dict[int, list[int]] = defaultdict(list)
    for number, path in enumerate(paths):
        try:
            by_size[os.path.getsize(path)].append(number)
        except OSError:  # it is in an archive, or not there, which is said when it is read
            continue
    labels = labelled.table["label"].tolist()
    seen: dict[bytes, int] = {}
    copies = 0
    by_size.pop(0, None)  # empty files are no image, which is said when they are read
    for numbers in by_size.values():
        for number in numbers if len(numbers) > 1 else ():
            try:
                digest = _digest(paths[number])
            except OSError:  # which is said when it is read
                continue
            other = seen.setdefault(digest, number)
            copies += other != number
            if labels[other] != labels[number]:
                raise DatasetError(
                    f"{paths[other]} ({labels[other]}) and {paths[number]} ({labels[number]}) "
                    "are the same image under two labels; remove the wrong one"
                )
    return replace(labelled, copies=copies)


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).digest()
