"""The optional parts of the package: what each one adds, and how it is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """One optional part."""

    name: str
    """As ``pip`` knows it: ``lesionedge[NAME]``."""
    adds: str
    """What can be done with it."""
    modules: tuple[str, ...]
    """What it installs, by import names."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(module for module in self.modules if find_spec(module) is None)

    @property
    def command(self) -> str:
        """What installs it beside an installed lesionedge; pip needs no index that has us."""
        return f"pip install 'lesionedge[{self.name}]'"


EXTRAS = (
    Extra("camera", "USB cameras, videos and network streams", ("av", "videodev2")),
    Extra("web", "lesionedge serve", ("fastapi", "uvicorn", "multipart", "prometheus_client")),
    Extra("batch", "lesionedge batch on this machine", ("pyarrow",)),
    Extra("cluster", "lesionedge batch on a Ray cluster", ("pyarrow", "ray", "fsspec")),
    Extra("heic", "HEIC and HEIF images, as iPhones make them", ("pillow_heif",)),
    Extra("dicom", "DICOM images, as clinics keep them", ("pydicom",)),
)
"""Every optional part that people who predict may want."""
