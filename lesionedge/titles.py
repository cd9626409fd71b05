"""The names that people read for the keys of figures in ``metrics.json`` and in a card."""

from __future__ import annotations

HEADLINES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_auroc": "macro AUROC",
    "melanoma_auroc": "melanoma AUROC",
    "malignant_auroc": "malignant AUROC",
    "melanoma_sensitivity_at_90_specificity": "melanoma sensitivity at 90 % specificity",
    "ece": "expected calibration error",
}
"""Figures of a whole model, the most important first."""

PER_CLASS = {
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "auroc": "AUROC",
    "average_precision": "average precision",
}
"""Figures of one class."""

SUBGROUP = {
    "accuracy": HEADLINES["accuracy"],
    "balanced_accuracy": HEADLINES["balanced_accuracy"],
    "malignant_auroc": HEADLINES["malignant_auroc"],
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
"""Figures of a group of people or body sites."""

VARIABLES = {
    "sex": "sex",
    "age_band": "age (years)",
    "site": "body site",
    "confirmation": "diagnosis confirmed by",
    "skin_type": "skin type",
}
"""The properties by which images are grouped."""
