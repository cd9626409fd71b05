"""Test images that are in train too: named, refused, and removed where that is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lesionedge.datasets.table import DatasetError

NAMED = 40
"""How many pairs a message names."""

Say = Callable[[str], None]


def same_images(table: pd.DataFrame) -> list[tuple[int, int]]:
    """Find images that a published split has both in its train and outside of it.

    Args:
        table: Columns path and given.

    Returns:
        (row in train, row elsewhere) of files with equal content.
    """
    given = table["given"].to_numpy()
    if not (pd.notna(given) & (given != "train")).any():
        return []
    digests = [_digest(path) for path in table["path"]]
    elsewhere: dict[str, int] = {}
    for row, digest in enumerate(digests):
        if isinstance(given[row], str) and given[row] != "train":
            elsewhere.setdefault(digest, row)
    return [
        (row, elsewhere[digest])
        for row, digest in enumerate(digests)
        if given[row] == "train" and digest in elsewhere
    ]


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return str(path)  # no image will be read from it either


def settle(table: pd.DataFrame, *, choice: str, say: Say) -> pd.DataFrame:
    """Refuse, drop or allow images that are in train and in test.

    Args:
        table: Columns path, label and given.
        choice: ``refuse``, ``drop`` or ``allow``.
        say: Tells the person at the terminal.

    Raises:
        DatasetError: There are such pairs and the choice is ``refuse``.
    """
    pairs = same_images(table)
    if not pairs:
        return table
    lines = [f"  {_named(table, one)} = {_named(table, other)}" for one, other in pairs[:NAMED]]
    if len(pairs) > NAMED:
        lines.append(f"  and {len(pairs) - NAMED} more")
    text = f"{len(pairs)} images of train are in test too:\n" + "\n".join(lines)
    if choice == "refuse":
        raise DatasetError(
            f"{text}\ngive --drop-overlap to leave them out of train, or --allow-overlap to keep "
            "them: the test figures are then too good"
        )
    say(
        f"{text}\n{'dropped from train' if choice == 'drop' else 'kept: test figures will flatter'}"
    )
    if choice == "allow":
        return table
    return table.drop(index=[one for one, _ in pairs]).reset_index(drop=True)


def _named(table: pd.DataFrame, row: int) -> str:
    path = Path(table["path"].iloc[row])
    return f"{table['given'].iloc[row]}/{table['label'].iloc[row]}/{path.name}"


def settle_groups(table: pd.DataFrame, groups: np.ndarray, *, choice: str, say: Say) -> np.ndarray:
    """Report train's images whose lesion, patient or look-alike is in test; drop them if wanted.

    Args:
        table: Column given.
        groups: (N,) group numbers.
        choice: ``refuse``, ``drop`` or ``allow``; only ``drop`` drops.
        say: Tells the person at the terminal.

    Returns:
        (N,) bool: which rows stay.
    """
    given = table["given"].to_numpy()
    held_out = np.array([isinstance(g, str) and g != "train" for g in given])
    shared = ~held_out & np.isin(groups, groups[held_out]) if held_out.any() else ~held_out & False
    if not shared.any():
        return np.ones(len(table), dtype=bool)
    what = "share a lesion or patient with test, or look like one of its images"
    does = "dropped from train" if choice == "drop" else "kept (--drop-overlap leaves them out)"
    say(f"{int(shared.sum())} more images of train {what}: {does}")
    return ~shared if choice == "drop" else np.ones(len(table), dtype=bool)
