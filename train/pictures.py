"""The pictures of a finished run: where they lie, and what is known of the people."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from train import datasets
from train.run import Run, RunError

KNOWN = ("sex", "age", "localization", "dx_type")
"""Columns of ``split.csv`` that a dataset may fill."""


def table(run: Run, data: Path | None, *, layout: str | None = None) -> pd.DataFrame:
    """Read ``split.csv``, with paths that exist.

    Args:
        run: The run.
        data: The dataset's folder; None where ``split.csv`` says all.
        layout: How it is laid out; None finds it out.

    Raises:
        RunError: Pictures are not where they are said to be, or not in the dataset.
    """
    rows = run.table()
    if data is not None:
        rows = _from_dataset(rows, datasets.load(data, layout=layout).table, data, run)
    lost = [path for path in rows["path"] if not Path(path).is_file()]
    if lost:
        raise RunError(
            f"{run.split}: {len(lost)} of its {len(rows)} pictures, such as {lost[0]}, are not "
            "there; give the dataset's folder with --data"
        )
    return rows


def _from_dataset(rows: pd.DataFrame, found: pd.DataFrame, data: Path, run: Run) -> pd.DataFrame:
    found = found.assign(name=[Path(path).name for path in found["path"]])
    found = found.drop_duplicates("name").set_index("name")
    names = [Path(path).name for path in rows["path"]]
    missing = [name for name in names if name not in found.index]
    if missing:
        raise RunError(
            f"{data}: lacks {len(missing)} of the {len(names)} pictures of {run.split}, such as "
            f"{missing[0]}"
        )
    here = found.loc[names].reset_index(drop=True)
    rows = rows.assign(path=here["path"].astype(str).to_numpy())
    # What the split says of a picture stands.
    fresh = [c for c in KNOWN if c in here and (c not in rows or rows[c].isna().all())]
    return rows.assign(**{column: here[column].to_numpy() for column in fresh})
