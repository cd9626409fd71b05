"""The model as it travels to worker processes and nodes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass

from lesionedge.classifier import Classifier


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
    labels_given: bool
    """Whether they take the place of those inside."""
    normalize: tuple[float, float] | None
    """(mean, std), for a model that does not say."""
    views: int
    """Over how many views of a picture an answer is averaged."""
    verbose: bool
    """Whether the native library's log lines are let through."""

    @classmethod
    def of(
        cls, model: str | None, *, labels: str | None = None,
        normalize: tuple[float, float] | None = None, views: int = 1, verbose: bool = False,
    ) -> Model:  # fmt: skip
        """Load a model to see that it works, and pack it.

        Args:
            model: Name or path; None for the default.
            labels: Labels file.
            normalize: (mean, std).
            views: As ``Classifier`` takes them.
            verbose: As ``Classifier`` takes it.

        Raises:
            ModelError: It cannot be used.
        """
        loaded = Classifier(
            model, threads=1, labels=labels, normalize=normalize, views=views, verbose=verbose
        )
        with open(loaded.path, "rb") as file:
            content = file.read()
        digest = hashlib.sha256(content).hexdigest()
        return cls(
            os.path.abspath(loaded.path), content, digest, loaded.labels, labels is not None,
            normalize, views, verbose,
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
        labels = self.labels if self.labels_given else None
        return Classifier(
            path, threads=1, labels=labels, normalize=self.normalize, views=self.views,
            verbose=self.verbose,
        )  # fmt: skip
