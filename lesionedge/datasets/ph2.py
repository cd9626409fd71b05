"""PH2 as published: ``PH2_dataset.txt``, and a folder of images for each case."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionedge.datasets import files
from lesionedge.datasets.table import (
    DERMOSCOPIC,
    DERMOSCOPY,
    Dataset,
    DatasetError,
    drop,
    expect_rows,
    finished,
    once,
)  # fmt: skip

TABLE = "PH2_dataset.txt"
DIAGNOSES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
"""What the column "Clinical Diagnosis" holds -> what it means."""
NAME, DIAGNOSIS = 1, 3
"""Columns of the table, whose cells have two bars on both sides."""


def fits(root: Path) -> bool:
    """Tell whether a folder is laid out so."""
    return (root / TABLE).is_file()


def load(root: Path) -> Dataset:
    """Read PH2.

    Args:
        root: Folder with ``PH2_dataset.txt``, and the images anywhere below
            (``PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp``).

    Raises:
        DatasetError: The table or the images are missing.
    """
    file = root / TABLE
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror})") from error
    cells = [[cell.strip() for cell in line.split("||")] for line in lines]
    cases = [row for row in cells if len(row) > DIAGNOSIS and row[NAME].startswith("IMD")]
    if not cases:
        raise DatasetError(f"{file}: names no case IMD…; expected PH2's table as published")
    rows = pd.DataFrame({"image": [row[NAME] for row in cases]}, dtype=object)
    rows["label"] = [DIAGNOSES.get(row[DIAGNOSIS]) for row in cases]
    rows["path"] = files.find(rows["image"], [root])
    rows, skipped = drop(rows, {
        "unknown diagnosis": rows["label"].isna(), "no image": rows["path"].isna(),
    })  # fmt: skip
    rows, left_out = once(rows, "image", file)
    skipped |= left_out
    expect_rows(rows, file, skipped)
    return Dataset(
        "PH2", finished(rows), tuple(DIAGNOSES.values()), skipped,
        attribution="Trained on PH2 (Mendonça et al. 2013, doi:10.1109/EMBC.2013.6610779)",
        licence="research and education", limits=(DERMOSCOPIC,), modality=DERMOSCOPY,
    )  # fmt: skip
