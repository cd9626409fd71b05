"""The optional parts of the package: what each one adds and how to install it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """One optional part."""

    name: str
    """Its name for ``pip``: ``lesionedge[NAME]``."""
    adds: str
    """The features that it adds."""
    modules: tuple[str, ...]
    """Import names of the modules that it installs."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(module for module in self.modules if find_spec(module) is None)

    @property
    def command(self) -> str:
        """The command that adds it to an installed lesionedge."""
        return f"pip install 'lesionedge[{self.name}]'"


EXTRAS = (
    Extra("camera", "USB cameras, videos and network streams", ("av", "videodev2")),
    Extra(
        "web",
        "lesionedge serve",
        ("fastapi", "uvicorn", "multipart", "prometheus_client", "cryptography", "segno"),
    ),
    Extra("batch", "lesionedge batch on this machine", ("pyarrow",)),
    Extra("cluster", "lesionedge batch on a Ray cluster", ("pyarrow", "ray", "fsspec")),
    Extra(
        "evaluate",
        "lesionedge evaluate and calibrate",
        ("scipy", "pandas", "matplotlib", "jinja2"),
    ),
    Extra("heic", "HEIC and HEIF images, as iPhones make them", ("pillow_heif",)),
    Extra("dicom", "DICOM images, as clinics keep them", ("pydicom",)),
)
"""Every optional part for prediction; training has its own extras."""
