"""The images of a finished run: where they lie, and what is known of the people."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pandas as pd

from lesionedge import datasets
from lesionedge.datasets.table import EXTRAS
from train.run import Run, RunError


def table(run: Run, data: Path | None, *, layout: str | None = None) -> pd.DataFrame:
    """Read ``split.csv``, with paths that exist.

    Args:
        run: The run.
        data: The dataset's folder; None where ``split.csv`` says all.
        layout: How it is laid out; None finds it out.

    Raises:
        RunError: Images are not where they are said to be, or not in the dataset.
    """
    rows = run.table()
    if data is not None:
        rows = _from_dataset(rows, datasets.load(data, layout=layout).table, data, run)
    lost = [path for path in rows["path"] if not Path(path).is_file()]
    if lost:
        raise RunError(
            f"{run.split}: {len(lost)} of its {len(rows)} images, such as {lost[0]}, are not "
            "there; give the dataset's folder with --data"
        )
    return rows


def _from_dataset(rows: pd.DataFrame, found: pd.DataFrame, data: Path, run: Run) -> pd.DataFrame:
    by_name: dict[str, list[int]] = {}
    for number, path in enumerate(found["path"]):
        by_name.setdefault(Path(path).name, []).append(number)
    paths = [Path(path) for path in rows["path"]]
    missing = [path.name for path in paths if path.name not in by_name]
    if missing:
        raise RunError(
            f"{data}: lacks {len(missing)} of the {len(paths)} images of {run.split}, such as "
            f"{missing[0]}"
        )
    places = found["path"].map(Path).tolist()
    numbers = [_likest(path, by_name[path.name], places) for path in paths]
    here = found.iloc[numbers].reset_index(drop=True)
    rows = rows.assign(path=here["path"].astype(str).to_numpy())
    # What the split says of an image stands.
    fresh = [c for c in EXTRAS if c in here and (c not in rows or rows[c].isna().all())]
    return rows.assign(**{column: here[column].to_numpy() for column in fresh})


def _likest(path: Path, numbers: list[int], places: list[Path]) -> int:
    """Choose among images of one name the one whose folders are called alike.

    Raises:
        RunError: Two are as alike: the dataset lies otherwise than when it was split.
    """
    alike = [_shared(path, places[number]) for number in numbers]
    best = [n for n, length in zip(numbers, alike) if length == max(alike)]
    if len(best) > 1:
        raise RunError(
            f"{path.name} is {places[best[0]]} or {places[best[1]]}; the split says {path}"
        )
    return best[0]


def _shared(one: Path, other: Path) -> int:
    """Count the parts at their ends that two paths share."""
    pairs = zip(reversed(one.parts), reversed(other.parts))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
