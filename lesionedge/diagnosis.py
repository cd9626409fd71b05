"""What the labels mean: code, name, malignant or benign.

The order of a model's classes is never taken from here: it is the model file's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """One class that a model can answer."""

    label: str
    """The short code, such as ``mel``."""
    name: str
    """What people read, such as ``Melanoma``."""
    malignant: bool
    """Whether its probability counts towards ``malignant_probability``."""


HAM10000: tuple[Diagnosis, ...] = (
    Diagnosis("akiec", "Actinic keratosis / intraepithelial carcinoma", malignant=True),
    Diagnosis("bcc", "Basal cell carcinoma", malignant=True),
    Diagnosis("bkl", "Benign keratosis-like lesion", malignant=False),
    Diagnosis("df", "Dermatofibroma", malignant=False),
    Diagnosis("mel", "Melanoma", malignant=True),
    Diagnosis("nv", "Melanocytic nevus", malignant=False),
    Diagnosis("vasc", "Vascular lesion", malignant=False),
)
"""The seven diagnoses of HAM10000 (Tschandl et al. 2018, doi:10.1038/sdata.2018.161)."""

OTHERS: tuple[Diagnosis, ...] = (
    Diagnosis("ak", "Actinic keratosis", malignant=True),
    Diagnosis("scc", "Squamous cell carcinoma", malignant=True),
    Diagnosis("sk", "Seborrheic keratosis", malignant=False),
    Diagnosis("benign", "Benign", malignant=False),
    Diagnosis("malignant", "Malignant", malignant=True),
)
"""Further labels that published datasets (ISIC 2019, ISIC archive) use."""

_BY_LABEL = {diagnosis.label: diagnosis for diagnosis in HAM10000 + OTHERS}


def describe(label: str) -> Diagnosis:
    """Give what a label means; an unknown one is its own name and counts as benign.

    Args:
        label: The code as the model file spells it; case does not matter for the look-up.
    """
    known = _BY_LABEL.get(label.strip().lower())
    if known is None:
        return Diagnosis(label, label, malignant=False)
    return Diagnosis(label, known.name, known.malignant)


def describe_all(labels: Iterable[str]) -> tuple[Diagnosis, ...]:
    """Give what each label means, in the order given."""
    return tuple(describe(label) for label in labels)
