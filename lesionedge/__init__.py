"""Calibrated skin-lesion classification on small computers, for research."""

__version__ = "0.1.0"
