"""Reads which image shows what, and joins it with a list of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from lesionedge.datasets import isic_truth, places, predicted
from lesionedge.datasets.table import (
    FACTS,
    Dataset,
    DatasetError,
    drop,
    expect_rows,
    header,
    once,
    read_csv,
    with_facts,
    with_known_ids,
)
from lesionedge.sources.names import base_name

KEYS = (
    "path", "file", "filename", "file_name", "image", "image_id", "image_name", "isic_id",
    "img_id", "bcn_filename", "derm", "id", "name",
)  # fmt: skip
"""Columns that name an image, the first that is there."""
LABELS = (
    "label", "dx", "diagnosis", "diagnostic", "class", "truth", "diagnosis_3", "diagnosis_2",
    "benign_malignant", "diagnosis_1",
)  # fmt: skip
"""Columns that say what it shows."""
MARKS = {"melanoma": ("not melanoma", "melanoma"), "malignant": ("benign", "malignant"),
         "target": ("benign", "malignant")}  # fmt: skip
"""Columns of 0 and 1 -> what these mean."""
COLUMNS = ("path", "label", *FACTS)
"""Columns of a table of labelled images."""

_MARKED = {"0": 0, "0.0": 0, "false": 0, "no": 0, "1": 1, "1.0": 1, "true": 1, "yes": 1}


def read(file: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read a table with one row per image: what names it, its label, and what else is known.

    Args:
        file: A csv (or of tabs or semicolons); or a challenge's ``…GroundTruth.csv``.

    Returns:
        Columns ``COLUMNS``, ``path`` being what the table calls an image; and reason -> how many
        rows were left out.

    Raises:
        DatasetError: It cannot be read or understood, holds predictions, or has one image under
            two labels.
    """
    predicted.refuse(str(file))
    rows, faults, malformed = _rows(file)
    missing = {"image or label is missing": rows["path"].isna() | rows["label"].isna()}
    rows, skipped = drop(rows, {**missing, **faults})
    if malformed:
        skipped["malformed line"] = malformed
    expect_rows(rows, file, skipped)
    rows, left_out = once(rows, "path", file)
    rows = with_known_ids(with_facts(rows).reindex(columns=list(COLUMNS)))
    return rows.reset_index(drop=True), {**skipped, **left_out}


def _rows(file: Path) -> tuple[pd.DataFrame, dict[str, pd.Series[bool]], int]:
    challenge = isic_truth.reader(file)
    if challenge is not None:
        rows, own, malformed = challenge(file)
        return rows.rename(columns={"image": "path"}), own, malformed
    cells = {cell.lower(): cell for cell in header(file)}
    key = next((cells[one] for one in KEYS if one in cells), None)
    labels = [cells[one] for one in LABELS if one in cells]
    mark = next((one for one in MARKS if one in cells), None)
    if key is None or not (labels or mark):
        raise DatasetError(
            f"{file}: expected a table with a column path (or id) and a column label; found "
            f"{_found(list(cells.values()))}"
        )
    rows, malformed = read_csv(file, (key,))
    faults: dict[str, pd.Series[bool]] = {}
    if labels:
        rows["label"] = label_of(rows, labels)
    elif mark:
        values = rows[cells[mark]].map(lambda cell: _MARKED.get(str(cell).lower()))
        rows["label"] = values.map(dict(enumerate(MARKS[mark])))
        faults[f"{mark} is neither 0 nor 1"] = values.isna() & rows[cells[mark]].notna()
    return rows.assign(path=rows[key]), faults, malformed


def _found(columns: Sequence[str]) -> str:
    if not columns:
        return "an empty file"
    if any(letter < " " for column in columns for letter in column):
        return "no text; save a workbook as csv"
    return f"the columns {', '.join(columns[:12])}"


def label_of(rows: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Return each row's label, from the first column that has one.

    The archive's ``diagnosis_3`` is empty where ``diagnosis_2`` says all.
    """
    return rows[list(columns)].bfill(axis=1).iloc[:, 0]


def of_dataset(dataset: Dataset) -> pd.DataFrame:
    """Return a dataset's images as a table with the columns ``COLUMNS``."""
    table = dataset.table.assign(path=dataset.table["path"].astype(str))
    once(table, "path", dataset.name)
    return table.reindex(columns=list(COLUMNS))


def join(
    truth: pd.DataFrame, images: Sequence[str], *, name: str, by_name: bool = False
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Find the row of a truth table for each image, by its path, its name, or its name's stem.

    A row that names a folder is only of an image in such a folder (``places.rows_of``).

    Args:
        truth: From ``read``.
        images: Paths of images.
        name: The truth's file, for messages.
        by_name: Whether a row's name is enough where its folder is another: of a dataset, whose
            images may be copied.

    Returns:
        The rows that have an image, in the order of the images, ``path`` being the image's; and
        reason -> how many images or rows were left out.

    Raises:
        DatasetError: No row has an image, or one row has two.
    """
    names = [str(name) for name in truth["path"]]
    rows = {name: number for number, name in enumerate(names)}
    by_path = places.rows_of(names, images)
    bare = [name if by_name or len(places.parts_of(name)) == 1 else None for name in names]
    by_base = _only(bare, _base)
    by_stem = _only(bare, places.stem)
    taken: dict[int, str] = {}
    for image in images:
        base = _base(image)
        by_image = by_base.get(base, by_stem.get(places.stem(base)))
        found = rows.get(image, by_path.get(image, by_image))
        if found is None:
            continue
        if found in taken:
            raise DatasetError(
                f"{name}: its row {truth['path'][found]} stands for two images, {taken[found]} and "
                f"{image}; write paths in it, or move one of the two away"
            )
        taken[found] = image
    if not taken:
        shown = f"{truth['path'][0]}, the images {images[0]}" if images else "; there are no images"
        raise DatasetError(
            f"{name}: none of its {len(truth)} rows names one of the {len(images)} images; its "
            f"first row is {shown}. Expected names, or paths whose folders are the images'"
        )
    joined = truth.loc[list(taken)].assign(path=list(taken.values())).reset_index(drop=True)
    counts = {
        "image without a row of truth": len(images) - len(taken),
        "row of truth without an image": len(truth) - len(taken),
    }
    return joined, {reason: count for reason, count in counts.items() if count}


def _base(name: str) -> str:
    return places.plain(base_name(name))


def _only(names: Iterable[str | None], key: Callable[[str], str]) -> dict[str, int]:
    """Map keys to row numbers; those of several rows, and rows without a name, are left out."""
    found: dict[str, int] = {}
    twice = set()
    for number, name in enumerate(names):
        if name is None:
            continue
        short = key(name)
        if short in found:
            twice.add(short)
        found[short] = number
    return {short: number for short, number in found.items() if short not in twice}
