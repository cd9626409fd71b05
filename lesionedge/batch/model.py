"""The model as it travels to worker processes and nodes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, replace

from lesionedge.classifier import Classifier
from lesionedge.labels import Settled
from lesionedge.model_options import ModelOptions
from lesionedge.notice import Notice
from lesionedge.profile import Profile


@dataclass(frozen=True)
class Model:
    """A model's file and how it is used."""

    path: str
    """Where its file is; elsewhere there may be none, or another."""
    content: bytes
    """What the file holds."""
    sha256: str
    """The file's digest, in hexadecimal."""
    labels: tuple[str, ...]
    """The classes' codes, in output order."""
    malignant: tuple[str, ...] | None
    """Those that are malignant; None where that is not known of all."""
    unknown_notice: Notice | None
    """As ``Classifier.unknown_notice``."""
    options: ModelOptions
    """How it is used."""
    profile: Profile | None = None
    """The site profile, if there is one."""

    @classmethod
    def of(cls, options: ModelOptions) -> Model:
        """Load a model to see that it works, and pack it.

        Args:
            options: Which model, and how it is used; the workers have one thread each.

        Raises:
            ModelError: It cannot be used.
        """
        options = replace(options, threads=1)
        loaded = Classifier.of(options)
        with open(loaded.path, "rb") as file:
            content = file.read()
        digest = hashlib.sha256(content).hexdigest()
        if options.labels is not None:  # a file of this machine may not be there elsewhere
            options = replace(options, labels=Settled(loaded.labels))
        options = replace(options, profile=loaded.profile)  # read once, the same everywhere
        notice = loaded.unknown_notice
        malignant = tuple(d.label for d in loaded.diagnoses if d.malignant)
        return cls(
            os.path.abspath(loaded.path), content, digest, loaded.labels,
            malignant if notice is None else None, notice, options, loaded.profile,
        )  # fmt: skip

    def load(self) -> Classifier:
        """Load it where it is now, with one thread: there is one worker a core.

        Raises:
            ModelError: It cannot be used.
        """
        if self._is_at(self.path):
            return self._load(self.path)
        # Unlinked as soon as it is loaded: a worker that is killed leaves nothing behind.
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
