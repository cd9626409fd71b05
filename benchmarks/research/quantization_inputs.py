"""What ``quantization_aware.py`` trains and measures on, made once: images, the teacher, the start.

A folder of inputs holds ``images.csv`` (the rows of release/split.csv, with the files' paths), the
images as the network is shown them (``stored``, ``full`` and ``reduced``, .npy), what the float
network predicts (``teacher.npz``, ``float.npz``) and the rounded network that every training begins
with (``start.npz``). What is there is not made again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
import tf_keras as keras
from draft_decoding import enlarged
from twins import ROOT, SPLIT

from lesionedge import tta
from lesionedge.atomic import whole_file
from lesionedge.image import Preprocessing, model_input
from train.fit.network import STATISTICS_IMAGES
from train.models import architectures
from train.models.inference import logits
from train.models.pixels import normalise
from train.models.weights import load_weights
from train.quantize.rounding import rounded, unmeasured
from train.recipe import Model

BASE = ROOT / "release" / "base" / "mobilenetv2-fold-1.npz"
VARIANTS = ("stored", "full", "reduced")
"""How an image is decoded: the file as it is; the same at 600x450, in full; that file at 1/2."""
PUBLISHED = (600, 450)
"""Size of HAM10000's published files, in pixels; copies of the dataset may be smaller."""
SIDE = 224
PREPROCESSING = Preprocessing(SIDE, SIDE)
REDUCED = replace(PREPROCESSING, decode_margin=1.0)
STATISTICS_BATCHES = 24
"""How many batches of training images activations' ranges are measured on."""
BATCH = 32
QUARTER_TURN = 6
"""The number of a quarter turn among ``lesionedge.tta``'s views."""
MEASURED = {
    "calibration": ("full", "calibration", 0),
    "full": ("full", "test", 0),
    "reduced": ("reduced", "test", 0),
    "turned": ("full", "test", QUARTER_TURN),
}
"""What a network is measured on: name -> variant, split and view."""


@dataclass(frozen=True)
class Inputs:
    """A folder that ``prepare`` has filled with images."""

    folder: Path
    """Where all of it lies."""
    table: pd.DataFrame
    """One row per image: ``path``, ``label``, ``group`` (by lesion), ``split``."""
    labels: tuple[str, ...]
    """Class codes in output order."""
    classes: np.ndarray
    """(N,) int class numbers."""
    pixels: dict[str, np.ndarray]
    """Variant -> (N, 224, 224, 3) uint8 RGB, memory-mapped."""

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split's images, (n,) int."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def batch(
        self, variants: Sequence[str], rows: Iterable[int], views: Iterable[int]
    ) -> np.ndarray:
        """Return images, each in its variant and view, (n, 224, 224, 3) uint8."""
        chosen = zip(variants, rows, views)
        return np.stack([_view(self.pixels[variant][row], view) for variant, row, view in chosen])

    def measured(self, name: str) -> np.ndarray:
        """Return one of the sets in ``MEASURED``, (n, 224, 224, 3) uint8."""
        variant, split, view = MEASURED[name]
        rows = self.rows(split)
        return self.batch([variant] * len(rows), rows, [view] * len(rows))

    def read(self, file: str) -> dict[str, np.ndarray]:
        """Return the arrays of one of the folder's .npz files.

        Raises:
            SystemExit: ``prepare`` has not made it yet.
        """
        if not (self.folder / file).is_file():
            raise SystemExit(f"error: {self.folder}: has no {file}; run prepare to its end first")
        with np.load(self.folder / file) as arrays:
            return dict(arrays)


def _view(pixels: np.ndarray, number: int) -> np.ndarray:
    return list(tta.views(pixels, tta.MOST))[number]


def prepare(data: Path, folder: Path, *, images: int | None) -> None:
    """Fill a folder with inputs, or go on where it was stopped.

    Args:
        data: HAM10000.
        folder: Made if need be.
        images: About how many images to take, for a try; None: all.

    Raises:
        SystemExit: The dataset lacks images, or the folder is of other images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = _table(data, images)
    _keep_table(folder / "images.csv", table)
    _decode(table, folder)
    inputs = of_folder(folder)
    wanted = ("teacher.npz", "float.npz", "start.npz")
    if all((folder / file).is_file() for file in wanted):
        return
    floating = _float_network(inputs)
    _teach(inputs, floating)
    _keep(
        folder / "float.npz", {name: logits(floating, inputs.measured(name)) for name in MEASURED}
    )
    # Last, as rounding changes the float network's weights, though not what it does.
    start = rounded(floating, list(_statistics(inputs)))
    _keep(folder / "start.npz", {f"{n:04d}": v for n, v in enumerate(start.get_weights())})


def of_folder(folder: Path) -> Inputs:
    """Open a folder of inputs.

    Raises:
        SystemExit: It is none.
    """
    if not (folder / "images.csv").is_file():
        raise SystemExit(f"error: {folder}: has no images.csv; expected a folder made by prepare")
    table = pd.read_csv(folder / "images.csv")
    labels = tuple(sorted(pd.read_csv(SPLIT)["label"].unique()))
    pixels = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in VARIANTS}
    return Inputs(folder, table, labels, table["label"].map(labels.index).to_numpy(), pixels)


def start(inputs: Inputs) -> keras.Model:
    """Return the network that every training begins with: rounded, with bias correction."""
    model = unmeasured(_build(inputs))
    arrays = inputs.read("start.npz")
    model.set_weights([arrays[name] for name in sorted(arrays)])
    return model


def _table(data: Path, images: int | None) -> pd.DataFrame:
    """Return the split's rows with paths that exist; for a try a few of each split and class."""
    table = pd.read_csv(SPLIT)
    table = table[table["split"] != "validation"]
    if images is not None:
        turn = table.groupby(["split", "label"]).cumcount()
        each = max(1, images // table["split"].nunique())
        table = table.assign(turn=turn).sort_values(["turn", "path"]).groupby("split").head(each)
    files = {path.name: str(path.resolve()) for path in data.rglob("*.jpg")}
    lost = [path for path in table["path"] if path not in files]
    if lost:
        raise SystemExit(
            f"error: {data}: lacks {len(lost)} of the {len(table)} images of {SPLIT}, such as "
            f"{lost[0]}; expected HAM10000's folder"
        )
    columns = ["path", "label", "group", "split"]
    return table.assign(path=table["path"].map(files))[columns].reset_index(drop=True)


def _keep_table(file: Path, table: pd.DataFrame) -> None:
    if not file.is_file():
        with whole_file(file) as stream:
            stream.write(table.to_csv(index=False).encode())
    elif not pd.read_csv(file).equals(table):
        raise SystemExit(
            f"error: {file.parent}: holds inputs of other images; choose another --out"
        )


def _decode(table: pd.DataFrame, folder: Path) -> None:
    """Fill the variants' arrays; ``done.npy`` says which rows have been."""
    shape = (len(table), SIDE, SIDE, 3)
    arrays = {name: _array(folder / f"{name}.npy", shape, np.uint8) for name in VARIANTS}
    done = _array(folder / "done.npy", shape[:1], np.bool_)

    def fill(row: int) -> None:
        for name, pixels in _decoded(Path(table["path"][row])):
            arrays[name][row] = pixels
        done[row] = True

    left = np.flatnonzero(~done)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        _progress(pool.map(fill, left), len(left), "images") as rows,
    ):
        for _ in rows:
            pass


def _array(file: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    if file.is_file():
        return np.lib.format.open_memmap(file, mode="r+")
    return np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)


def _decoded(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    content = enlarged(path, PUBLISHED)
    yield "stored", model_input(path, PREPROCESSING)
    yield "full", model_input(content, PREPROCESSING)
    yield "reduced", model_input(content, REDUCED)


def _progress(items: Iterable, length: int, label: str):  # type: ignore[no-untyped-def,type-arg]
    return click.progressbar(items, length=length, label=label, file=sys.stderr)


def _build(inputs: Inputs) -> keras.Model:
    model = Model(architecture="mobilenetv2")
    return architectures.build(model, classes=len(inputs.labels), height_px=SIDE, width_px=SIDE)


def _float_network(inputs: Inputs) -> keras.Model:
    model = _build(inputs)
    rows = np.random.default_rng(1).permutation(inputs.rows("train"))[:STATISTICS_IMAGES]
    load_weights(model, BASE, normalise(inputs.pixels["stored"][np.sort(rows)]).numpy())
    return model


def _teach(inputs: Inputs, floating: keras.Model) -> None:
    """Write the float network's predictions for each training image, in one view by chance."""
    rows = inputs.rows("train")
    views = np.random.default_rng(7).integers(0, tta.MOST, len(rows))
    network = keras.Model(floating.input, [floating.output, floating.get_layer("features").output])
    found = []
    starts = range(0, len(rows), BATCH)
    with _progress(starts, len(starts), "teacher") as parts:
        for at in parts:
            chosen = slice(at, at + BATCH)
            images = inputs.batch(["full"] * BATCH, rows[chosen], views[chosen])
            found.append(network.predict_on_batch(normalise(images)))
    predicted, features = (np.concatenate(each) for each in zip(*found))
    arrays = {"rows": rows, "views": views, "logits": predicted}
    _keep(inputs.folder / "teacher.npz", {**arrays, "features": features.astype(np.float16)})


def _statistics(inputs: Inputs) -> Iterator:  # type: ignore[type-arg]
    """Yield batches of training images, turned and mirrored, (32, 224, 224, 3) float32."""
    rng, rows = np.random.default_rng(0), inputs.rows("train")
    size = min(BATCH, len(rows))
    for _ in range(STATISTICS_BATCHES):
        chosen = rng.choice(rows, size, replace=False)
        views = [int(rng.integers(tta.MOST))] * size
        yield normalise(inputs.batch(["stored"] * size, chosen, views))


def _keep(file: Path, arrays: dict[str, np.ndarray]) -> None:
    with whole_file(file) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
