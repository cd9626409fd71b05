"""What a dataset's labels mean to a model: which of its classes, or only malignant or benign."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lesionedge.datasets.table import DatasetError
from lesionedge.diagnosis import Diagnosis, describe, match

CLASSES, MALIGNANT, MELANOMA = "classes", "malignant", "melanoma"
"""Kinds of truth: the model's classes; malignant or benign; melanoma or not."""
NOT_MELANOMA = ("notmelanoma", "nomelanoma", "nonmelanoma", "other", "others", "rest")
"""Labels that, beside melanoma alone, stand for everything else; without case and gaps."""


@dataclass(frozen=True)
class Meaning:
    """A dataset's label, as a model takes it."""

    label: str
    """As the dataset spells it."""
    count: int
    """How many images have it."""
    model_label: str | None
    """The model's class; None: it has none for it."""
    malignant: bool | None
    """Whether it is malignant; None where it is not known."""


@dataclass(frozen=True)
class Understood:
    """What a dataset's labels mean to a model."""

    kind: str
    """``CLASSES``, ``MALIGNANT`` or ``MELANOMA``."""
    meanings: tuple[Meaning, ...]
    """One a label, the commonest first."""

    def number(self, label: str, labels: Sequence[str]) -> int | None:
        """Return the class number of a dataset's label; None: it is left out.

        Args:
            label: The dataset's.
            labels: The model's; or of the two classes of the other kinds.
        """
        found = next(one for one in self.meanings if one.label == label)
        if self.kind == CLASSES:
            return None if found.model_label is None else list(labels).index(found.model_label)
        if self.kind == MELANOMA:
            return int(_is_melanoma(label))
        return None if found.malignant is None else int(found.malignant)

    def malignant(self, label: str) -> bool | None:
        """Return whether a dataset's label is malignant; None where it is not known."""
        return next(one.malignant for one in self.meanings if one.label == label)

    def lines(self) -> Iterable[str]:
        """Say in a line each which label went where, and which were left out."""
        for one in self.meanings:
            yield f"{one.count:6d}  {one.label} -> {self.target(one)}"

    def target(self, one: Meaning) -> str:
        """Say where a label went."""
        if self.kind == CLASSES:
            return one.model_label or "left out: the model has no such class"
        if self.kind == MELANOMA:
            return "melanoma" if _is_melanoma(one.label) else "not melanoma"
        if one.malignant is None:
            return "left out: it is not known whether it is malignant"
        return "malignant" if one.malignant else "benign"


def understand(
    labels: Iterable[str], diagnoses: Sequence[Diagnosis], *, name: str, kind: str | None = None
) -> Understood:
    """Find out what a dataset's labels mean to a model.

    Args:
        labels: One an image.
        diagnoses: The model's classes.
        name: The dataset, for messages.
        kind: The kind of truth that is wanted; None for the one that says most.

    Raises:
        DatasetError: They mean nothing to it.
    """
    counts = Counter(labels)
    own = [diagnosis.label for diagnosis in diagnoses]
    known = {diagnosis.label: diagnosis.malignant for diagnosis in diagnoses}
    meanings = []
    for label, count in counts.most_common():
        model_label = match(label, own)
        malignant = describe(label).malignant if model_label is None else known[model_label]
        meanings.append(Meaning(label, count, model_label, malignant))
    possible = _kinds(meanings)
    if possible == [MELANOMA] and all(diagnosis.code != "mel" for diagnosis in diagnoses):
        raise DatasetError(
            f"{name}: its labels say melanoma or not, and the model has no class melanoma (its "
            f"classes are {', '.join(own)}); expected its classes, or malignant and benign"
        )
    if not possible or (kind is not None and kind not in possible):
        shown = ", ".join(list(counts)[:8])
        raise DatasetError(
            f"{name}: its labels ({shown}) give fewer than two of the model's classes "
            f"({', '.join(own)}), and not malignant and benign either; expected labels such as "
            "these, or malignant and benign"
        )
    return Understood(kind or possible[0], tuple(meanings))


def _kinds(meanings: Sequence[Meaning]) -> list[str]:
    """Return the kinds of truth that labels give, the one that says most first."""
    others = [one for one in meanings if not _is_melanoma(one.label)]
    negative = all(re.sub(r"[\s_-]", "", one.label).lower() in NOT_MELANOMA for one in others)
    given = {
        CLASSES: len({one.model_label for one in meanings} - {None}) > 1,
        MALIGNANT: {True, False} <= {one.malignant for one in meanings},
        MELANOMA: negative and 0 < len(others) < len(meanings),
    }
    return [kind for kind, there in given.items() if there]


def _is_melanoma(label: str) -> bool:
    return match(label, ["mel"]) == "mel"
