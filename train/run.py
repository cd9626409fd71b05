"""The run folder: what a training leaves behind, and what it resumes from."""

from __future__ import annotations

import fcntl
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pandas as pd

from lesionedge import atomic
from lesionedge.card import Card
from lesionedge.errors import LesionEdgeError
from train import recipe as recipes
from train.recipe import Recipe

if TYPE_CHECKING:
    import tf_keras as keras


class RunError(LesionEdgeError):
    """A run folder is in use, incomplete or belongs to another recipe."""


def read_split(file: Path) -> pd.DataFrame:
    """Read a ``split.csv``.

    Raises:
        RunError: It cannot be read, or lacks a column.
    """
    try:
        # Only an empty cell is missing: a label may be called "None".
        table = pd.read_csv(
            file, dtype={"label": str, "lesion": str, "path": str}, keep_default_na=False,
            na_values=[""],
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); expected a split.csv") from error
    missing = sorted({"path", "label", "split"} - set(table))
    if missing:
        raise RunError(f"{file}: has no column {', '.join(missing)}; expected a split.csv")
    return table


def _division(table: pd.DataFrame) -> list[tuple[str, str]]:
    return [(Path(path).name, split) for path, split in zip(table["path"], table["split"])]


@dataclass(frozen=True)
class Run:
    """Paths inside one run folder."""

    folder: Path
    """``runs/NAME``."""
    silent: bool = False
    """Whether this process only reads it: another of several workers writes and speaks."""

    @property
    def recipe(self) -> Path:
        """The recipe as run."""
        return self.folder / "recipe.toml"

    @property
    def split(self) -> Path:
        """Columns path, label, lesion, group, split and what else is known of an image."""
        return self.folder / "split.csv"

    @property
    def int8_weights(self) -> Path:
        """The quantization-aware model that ``quantize`` made: with ranges, ending in logits."""
        return self.folder / "int8.h5"

    @property
    def float_weights(self) -> Path:
        """The best model of ``fit``'s last stage: architecture and weights, ending in logits."""
        return self.folder / "float.h5"

    @property
    def card(self) -> Path:
        """What the model says of itself."""
        return self.folder / "card.json"

    @property
    def metrics(self) -> Path:
        """What ``evaluate`` measured."""
        return self.folder / "metrics.json"

    @property
    def plots(self) -> Path:
        """Images of the metrics."""
        return self.folder / "plots"

    @property
    def report(self) -> Path:
        """All that ``evaluate`` measured and drew, to be read in a browser."""
        return self.folder / "report.html"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.folder / "history.csv"

    @property
    def checkpoint(self) -> Path:
        """What a killed run resumes from."""
        return self.folder / "checkpoint"

    @property
    def crops(self) -> Path:
        """Crops that teachers were asked about, while they are trained on."""
        return self.checkpoint / "crops"

    @property
    def state(self) -> Path:
        """Where the training stands: changes with every epoch."""
        return self.checkpoint / "state.npz"

    def say(self, text: str) -> None:
        """Write to the terminal and to the log file."""
        if self.silent:
            return
        click.echo(text, err=True)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second process from writing the same folder.

        Raises:
            RunError: Another process is at work in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{self.folder}: another process is training in it") from None
            yield

    def table(self) -> pd.DataFrame:
        """Read ``split.csv``.

        Raises:
            RunError: It is not there, or cannot be read.
        """
        if not self.split.exists():
            raise RunError(f"{self.folder}: no split.csv; expected a run folder made by fit")
        return read_split(self.split)

    def keep_split(self, table: pd.DataFrame) -> None:
        """Write ``split.csv``; one that is there, and divides the images in the same way, stays.

        Raises:
            RunError: There is one that divides them in another way: a model may have been trained
                by it, whose test images would then be among those that it has learned from.
        """
        if not self.split.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self.split, table.to_csv(index=False))
        elif _division(self.table()) != _division(table):
            raise RunError(
                f"{self.split}: divides the images in another way; choose another --out, or "
                "remove it"
            )

    def read_recipe(self) -> Recipe:
        """Read the recipe as run.

        Raises:
            RunError: It is not there.
        """
        if not self.recipe.exists():
            raise RunError(f"{self.folder}: no recipe.toml; expected a run folder made by fit")
        return recipes.load(str(self.recipe))

    def keep_recipe(self, text: str) -> None:
        """Write the TOML of the recipe that the folder is a run of.

        Raises:
            RunError: It holds a run of another recipe.
        """
        if self.recipe.exists() and self.recipe.read_text(encoding="utf-8") != text:
            raise RunError(
                f"{self.folder}: holds a run of another recipe; choose another --out, or remove it"
            )
        atomic.write_text(self.recipe, text)

    def models(self) -> tuple[str, ...]:
        """Return the kinds of its Keras models: ``float`` and, after ``quantize``, ``int8``."""
        return tuple(kind for kind, file in self._model_files().items() if file.is_file())

    def load_model(self, kind: str) -> keras.Model:
        """Load a Keras model: ``float``, or ``int8`` (quantization-aware).

        Raises:
            RunError: It is not there, or cannot be read.
        """
        import tensorflow_model_optimization as tfmot
        import tf_keras as keras

        file = self._model_files()[kind]
        if not file.is_file():
            raise RunError(f"{file}: missing; run {'fit' if kind == 'float' else 'quantize'} first")
        try:
            with tfmot.quantization.keras.quantize_scope():
                return keras.models.load_model(file, compile=False)
        except (OSError, ValueError) as error:
            raise RunError(f"{file}: not a Keras model that can be read ({error})") from error

    def save_model(self, kind: str, model: keras.Model) -> None:
        """Write a Keras model, ``float`` or ``int8``, whole or not at all."""
        file = self._model_files()[kind]
        with atomic.replacing(file, suffix=".h5") as part, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that HDF5 is Keras' older format
            model.save(part, include_optimizer=False)

    def _model_files(self) -> dict[str, Path]:
        return {"float": self.float_weights, "int8": self.int8_weights}

    def read_card(self) -> Card:
        """Read ``card.json``.

        Raises:
            RunError: It is not there.
            ModelError: It cannot be read.
        """
        if not self.card.exists():
            raise RunError(
                f"{self.folder}: no card.json; the training has not ended yet: run fit again"
            )
        return Card.from_json(self.card.read_text(encoding="utf-8"), str(self.card))

    def write_card(self, card: Card) -> None:
        """Write ``card.json``."""
        atomic.write_text(self.card, card.to_json())
