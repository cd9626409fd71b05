"""The exceptions of this package, as one tree.

::

    LesionEdgeError
    ├── ImageError                 an image cannot be read or is unfit to be classified
    ├── ModelError                 a model file is broken, incomplete or cannot be run
    ├── CameraError                a camera is absent, busy, gone or unusable
    └── MissingDependencyError     an optional library is absent (also an ImportError)
        └── MissingDecoderError    … which this image needs (also an ImageError)

Every message names the file or device, what was found, what was expected and what to do.
"""

from __future__ import annotations


class LesionEdgeError(Exception):
    """Every error that this package raises on purpose."""


class ImageError(LesionEdgeError):
    """An image cannot be read or is unfit to be classified."""


class ModelError(LesionEdgeError):
    """A model file is broken, incomplete or of a kind that cannot be run."""


class CameraError(LesionEdgeError):
    """A camera is absent, busy, gone or unusable."""


class MissingDependencyError(LesionEdgeError, ImportError):
    """An optional library is not installed; the message contains the install command."""


class MissingDecoderError(ImageError, MissingDependencyError):
    """The optional library that reads this image format is not installed."""
