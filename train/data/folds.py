"""Cross-validation by lesion: each image is judged by a model that never saw its lesion."""

from __future__ import annotations

import numpy as np
import pandas as pd

from train.settings import RecipeError

WHOLE = "all"
"""Name of the division that holds out calibration images alone."""


def divide(table: pd.DataFrame, count: int, *, seed: int) -> dict[str, pd.DataFrame]:
    """Divide a split's images for cross-validation.

    The first fold holds out the split's own test images, so that its model can be compared with
    those of that split; the others hold out equal parts of what else there is. Calibration images
    are never trained on. A fold has no validation images: stages that keep their best epoch, or end
    early, choose by the calibration images.

    Args:
        table: ``split.csv``, with its columns label, group and split.
        count: Number of folds, 2 and more.
        seed: Gives the same folds for the same table.

    Returns:
        Name (``fold-1`` and so on, then ``all``, which tests nothing) -> the table with another
        column split.

    Raises:
        RecipeError: There are too few lesions, no test images, or no column group.
    """
    if "group" not in table:
        raise RecipeError("the split has no column group; python -m train prepare writes it")
    given = table["split"].to_numpy()
    held_out = np.where(given == "test", 1, 0)
    rest = np.flatnonzero((given != "test") & (given != "calibration"))
    if count < 2 or not held_out.any():
        raise RecipeError(f"{count} folds; expected 2 and more, and a split with test images")
    held_out[rest] = 2 + _parts(table.iloc[rest], count - 1, seed)
    divided = {
        f"fold-{fold}": np.where(held_out == fold, "test", "train") for fold in range(1, count + 1)
    }
    divided[WHOLE] = np.full(len(table), "train", object)
    return {
        name: table.assign(split=np.where(given == "calibration", "calibration", split))
        for name, split in divided.items()
    }


def _parts(table: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """Return the part of each image, from 0: lesions stay whole, classes are divided evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    parts = np.zeros(len(table), np.int64)
    if count == 1:
        return parts
    if table["group"].nunique() < count:
        raise RecipeError(f"{table['group'].nunique()} lesions for {count} more folds")
    if (most := int(table["label"].value_counts().max())) < count:
        raise RecipeError(f"the largest class has {most} images for {count} more folds")
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(folds.split(table, table["label"], table["group"])):
        parts[rows] = number
    return parts
