"""A model in a form that can be sent to worker processes and nodes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, replace

from lesionedge.classifier import Classifier
from lesionedge.labels import OrderedLabels
from lesionedge.model_options import ModelOptions
from lesionedge.notice import Notice
from lesionedge.profile import Profile


@dataclass(frozen=True)
class Model:
    """A model's file and its options."""

    path: str
    """The file on this machine; on another machine there may be none there, or another."""
    content: bytes
    """The file's content."""
    sha256: str
    """The file's digest, in hexadecimal."""
    labels: tuple[str, ...]
    """The classes' codes, in output order."""
    malignant: tuple[str, ...] | None
    """The malignant codes; None if that is unknown for some class."""
    unknown_notice: Notice | None
    """As ``Classifier.unknown_notice``."""
    options: ModelOptions
    """The options that it is loaded with."""
    profile: Profile | None = None
    """The site profile, if there is one."""

    @classmethod
    def of(cls, options: ModelOptions) -> Model:
        """Load a model to check that it works, and pack it.

        Args:
            options: The model and its options; each worker uses one thread.

        Raises:
            ModelError: It cannot be used.
        """
        options = replace(options, threads=1)
        loaded = Classifier.of(options)
        with open(loaded.path, "rb") as file:
            content = file.read()
        digest = hashlib.sha256(content).hexdigest()
        if options.labels is not None:  # other machines may not have the file
            options = replace(options, labels=OrderedLabels(loaded.labels))
        options = replace(options, profile=loaded.profile)  # nor the profile's
        notice = loaded.unknown_notice
        malignant = tuple(d.label for d in loaded.diagnoses if d.malignant)
        return cls(
            os.path.abspath(loaded.path), content, digest, loaded.labels,
            malignant if notice is None else None, notice, options, loaded.profile,
        )  # fmt: skip

    def load(self) -> Classifier:
        """Load it on this machine with one thread, since there is one worker per core.

        Raises:
            ModelError: It cannot be used.
        """
        if self._is_at(self.path):
            return self._load(self.path)
        # Removed as soon as it is loaded, so that a killed worker leaves nothing behind.
        with tempfile.TemporaryDirectory(prefix="lesionedge-") as folder:
            path = os.path.join(folder, "model.tflite")
            with open(path, "wb") as file:
                file.write(self.content)
            return self._load(path)

    def _is_at(self, path: str) -> bool:
        try:
            with open(path, "rb") as file:
                return file.read() == self.content
        except OSError:
            return False

    def _load(self, path: str) -> Classifier:
        return Classifier.of(replace(self.options, model=path))
