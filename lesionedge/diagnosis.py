"""The meaning of labels: code, name, malignant or benign.

The order of a model's classes comes from the model file, never from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lesionedge.errors import ModelError


@dataclass(frozen=True)
class Diagnosis:
    """One class of a model or of a dataset."""

    label: str
    """The class as the model file spells it, such as ``mel``."""
    name: str
    """The name for people, such as ``Melanoma``."""
    malignant: bool | None
    """Whether its probability counts towards ``malignant_probability``; None: unknown."""
    code: str | None = None
    """The class's code in the published datasets, however the label is spelled; None: unknown."""


HAM10000: tuple[Diagnosis, ...] = (
    Diagnosis("akiec", "Actinic keratosis / intraepithelial carcinoma", True, "akiec"),
    Diagnosis("bcc", "Basal cell carcinoma", True, "bcc"),
    Diagnosis("bkl", "Benign keratosis-like lesion", False, "bkl"),
    Diagnosis("df", "Dermatofibroma", False, "df"),
    Diagnosis("mel", "Melanoma", True, "mel"),
    Diagnosis("nv", "Melanocytic nevus", False, "nv"),
    Diagnosis("vasc", "Vascular lesion", False, "vasc"),
)
"""The seven diagnoses of HAM10000 (Tschandl et al. 2018, doi:10.1038/sdata.2018.161)."""

_FEW = 3  # a message names at most this many labels

_BY_CODE = {diagnosis.label: diagnosis for diagnosis in HAM10000}


def describe(label: str) -> Diagnosis:
    """Return what a label means, by the vocabularies of the published datasets.

    Case, punctuation, plurals, British spelling and a number in front do not matter.
    ``malignant`` is None for a term that is unknown, that names both malignant and benign
    lesions, or that leaves it open (such as ``other``).

    Args:
        label: A code, a name or both, such as ``mel``, ``Melanocytic nevi`` or ``0 bcc``.
    """
    known = _BY_CODE.get(label.strip().lower())
    if known is not None:
        return Diagnosis(label, known.name, known.malignant, known.code)
    from lesionedge import terms

    meaning = terms.meaning(label)
    if meaning is None:
        return Diagnosis(label, label, None)
    return Diagnosis(label, meaning.name or _tidy(label), meaning.malignant, meaning.code)


def describe_all(labels: Iterable[str]) -> tuple[Diagnosis, ...]:
    """Return what each label means, in the order given."""
    return tuple(describe(label) for label in labels)


def marked(
    diagnoses: Sequence[Diagnosis], malignant: Iterable[str], *, model: str
) -> tuple[Diagnosis, ...]:
    """Return the diagnoses with the named ones malignant and all others benign.

    Args:
        diagnoses: A model's.
        malignant: Labels in any spelling, or codes of classes. A code stands for all kinds of the
            class that the model knows. Empty: no class is malignant.
        model: The model's name, for errors.

    Raises:
        ModelError: The model has no such label.
    """
    labels = [diagnosis.label for diagnosis in diagnoses]
    named = set()
    for label in malignant:
        found = _meant(label, labels)
        if not found:
            raise ModelError(
                f"{model}: has no label {label!r}, which was named as malignant; expected some of "
                f"{', '.join(labels)}"
            )
        named.update(found)
    return tuple(replace(diagnosis, malignant=diagnosis.label in named) for diagnosis in diagnoses)


def malignant_of(diagnoses: Sequence[Diagnosis], *, model: str) -> tuple[bool, ...]:
    """Return whether each class is malignant; all must be known.

    Args:
        diagnoses: A model's.
        model: The model's name, for errors.

    Raises:
        ModelError: It is unknown for some class.
    """
    if unknown := unknown_malignancy(diagnoses):
        raise ModelError(f"{model}: {unknown}")
    return tuple(bool(diagnosis.malignant) for diagnosis in diagnoses)


def unknown_malignancy(diagnoses: Sequence[Diagnosis]) -> str:
    """Return a sentence about the classes that may or may not be malignant; empty if none may."""
    labels = [diagnosis.label for diagnosis in diagnoses if diagnosis.malignant is None]
    if not labels:
        return ""
    more = f" and {len(labels) - _FEW} more" if len(labels) > _FEW else ""
    named = ", ".join(map(repr, labels[:_FEW])) + more
    return (
        f"it is not known whether {named} {'is' if len(labels) == 1 else 'are'} malignant; name "
        "all malignant labels, such as --malignant mel,bcc, or mark them in the model's card"
    )


def classes(label: str) -> tuple[str, ...]:
    """Return the codes of the classes that a label's lesions belong to, the narrowest first.

    For example, ``("sk", "bkl", "benign")`` for a seborrheic keratosis. Empty if unknown.

    Args:
        label: As for ``describe``.
    """
    from lesionedge import terms

    code = describe(label).code
    return () if code is None else (code, *terms.broader(code))


def same(label: str, labels: Sequence[str]) -> str | None:
    """Return the model's label that means the same as a label in another spelling.

    For example, ``Melanoma`` for ``mel``. None if there is none, or if several fit equally well.

    Args:
        label: A label in any spelling.
        labels: The model's.
    """
    from lesionedge import terms

    if label in labels:
        return label
    key = terms.key(label)
    found = [other for other in labels if terms.key(other) == key]
    if found:
        return _only(found)
    meaning = terms.meaning(label)
    return _only(_of_class(meaning.code, labels)) if meaning and meaning.whole else None


def match(label: str, labels: Sequence[str]) -> str | None:
    """Return the model's label that a dataset's label belongs to.

    A label with the same meaning comes first, then the narrowest class that contains it. None if
    there is none, or if several fit equally well. A dataset's ``Clark nevus`` belongs to a model's
    ``nevus``, but no other nevus belongs to a model's ``Clark nevus``.

    Args:
        label: The dataset's.
        labels: The model's.
    """
    found = same(label, labels)
    if found is not None:
        return found
    fitting = (_of_class(code, labels) for code in classes(label))
    return next((_only(several) for several in fitting if several), None)


def _meant(label: str, labels: Sequence[str]) -> list[str]:
    """Return the model's labels that a name stands for: the same label, or all kinds of a class."""
    from lesionedge import terms

    found = same(label, labels)
    if found is not None:
        return [found]
    meaning = terms.meaning(label)
    if meaning is None or meaning.code is None or not meaning.whole:
        return []
    return [other for other in labels if describe(other).code == meaning.code]


def _of_class(code: str | None, labels: Sequence[str]) -> list[str]:
    """Return the labels that stand for a class, not for a kind within it."""
    from lesionedge import terms

    meanings = [(label, terms.meaning(label)) for label in labels if code is not None]
    return [label for label, found in meanings if found and found.whole and found.code == code]


def _only(found: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else None


def _tidy(label: str) -> str:
    """Return a readable name for a known label."""
    from lesionedge import terms

    text = " ".join(terms.without_number(label.strip()).replace("_", " ").split())
    return text[:1].upper() + text[1:]
