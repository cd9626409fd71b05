"""Pictures on the GPU: all of them at once, changed there at random, batch by batch."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional

from lesionedge import formats
from lesionedge.atomic import whole_file
from train.recipe import Augment
from train.settings import RecipeError

LUMA = (0.299, 0.587, 0.114)
QUALITY = (30.0, 95.0)
"""Lowest and highest JPEG quality."""
MEAN = STD = 128.0
BRIGHTNESS_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""ITU-T T.81, table K.1."""
COLOUR_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""ITU-T T.81, table K.2."""


@dataclass(frozen=True)
class Pictures:
    """A split's pictures."""

    pixels: torch.Tensor
    """(N, H, W, 3) uint8 RGB, on the GPU."""
    classes: torch.Tensor
    """(N,) int64 class numbers, on the GPU."""
    labels: tuple[str, ...]
    """Class codes in output order."""
    table: pd.DataFrame
    """Rows of ``split.csv``."""

    def rows(self, *splits: str) -> torch.Tensor:
        """Give the row numbers of splits."""
        chosen = np.flatnonzero(self.table["split"].isin(splits).to_numpy())
        return torch.from_numpy(chosen).to(self.pixels.device)


def load(
    source: Path, split: Path, *, side_px: int, aspect: float, cache: Path, device: torch.device
) -> Pictures:
    """Read the pictures of a split.

    Args:
        source: A folder, or a zip archive, of the pictures, by the names in ``split``, whatever
            their format.
        split: ``split.csv`` of a run.
        side_px: Height that they are brought to.
        aspect: Width for the height.
        cache: The .npy file that is written, or read when it is there.
        device: Where they go.

    Raises:
        RecipeError: A picture is missing, or the split or the pictures cannot be read.
    """
    try:
        table = pd.read_csv(split, dtype={"path": str, "label": str, "lesion": str})
        table[["path", "label", "split"]]
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"{split}: no split that can be read ({error})") from error
    labels = tuple(sorted(table["label"].unique()))
    size = (round(side_px * aspect), side_px)
    if not cache.exists():
        _decode(source, [Path(path).stem for path in table["path"]], size, cache)
    pixels = torch.from_numpy(np.load(cache))
    numbers = table["label"].map({label: i for i, label in enumerate(labels)}).to_numpy(np.int64)
    return Pictures(pixels.to(device), torch.from_numpy(numbers.copy()).to(device), labels, table)


def _decode(source: Path, names: Sequence[str], size: tuple[int, int], cache: Path) -> None:
    try:
        archive = zipfile.ZipFile(source) if source.is_file() else None
    except zipfile.BadZipFile as error:
        raise RecipeError(f"{source}: neither a folder nor a zip archive ({error})") from error
    wanted = set(names)
    found = archive.namelist() if archive else [str(p) for p in source.rglob("*") if p.is_file()]
    by_name: dict[str, str] = {}
    for name in found:
        if formats.is_hidden(name if archive else str(Path(name).relative_to(source))):
            continue
        first = by_name.setdefault(Path(name).stem, name)
        if first != name and Path(name).stem in wanted:
            raise RecipeError(f"{source}: two files are called {Path(name).stem}: {first}, {name}")
    missing = [name for name in names if name not in by_name]
    if missing:
        raise RecipeError(f"{source}: lacks {len(missing)} pictures, the first {missing[0]}")
    pixels = np.empty((len(names), size[1], size[0], 3), np.uint8)

    def decode(number: int) -> None:
        entry = by_name[names[number]]
        with archive.open(entry) if archive else open(entry, "rb") as stream:
            picture = Image.open(stream).convert("RGB")
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        pixels[number] = np.asarray(picture)

    with ThreadPoolExecutor() as pool:
        list(pool.map(decode, range(len(names))))
    with whole_file(cache) as stream:
        np.save(stream, pixels)


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Map 0-255 to the networks' input."""
    return (pictures - MEAN) / STD


def whole(pixels: torch.Tensor, px: int) -> torch.Tensor:
    """Give the middle squares of pictures, as the device does (Pillow's bilinear filter).

    Args:
        pixels: (B, H, W, 3) uint8.
        px: Side of the result.

    Returns:
        (B, 3, px, px) float32, 0-255, whole numbers.
    """
    height, width = pixels.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[:, top : top + side, left : left + side].permute(0, 3, 1, 2).float()
    small = functional.interpolate(
        square, (px, px), mode="bilinear", antialias=True, align_corners=False
    )
    return small.round().clamp(0, 255)


class Changes:
    """Random changes, as ``train.pipeline`` and ``train.degrade`` make them for TensorFlow."""

    def __init__(self, augment: Augment, device: torch.device, seed: int) -> None:
        self.augment = augment
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        # Sizes are drawn here, not there: to read a number back, all that the GPU was told to do
        # would have to end first.
        self.sizes = np.random.default_rng(seed)
        basis = torch.arange(8.0, device=device)
        angles = (2 * basis[None] + 1) * basis[:, None] * math.pi / 16
        self.dct = torch.cos(angles) * 0.5
        self.dct[0] /= math.sqrt(2)
        self.tables = torch.tensor(
            (BRIGHTNESS_TABLE, COLOUR_TABLE, COLOUR_TABLE), dtype=torch.float32, device=device
        )
        self.to_ycc = torch.tensor(
            [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
            device=device,
        )
        self.to_rgb = torch.linalg.inv(self.to_ycc)

    def draw(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Give uniform numbers."""
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def __call__(self, pixels: torch.Tensor, px: int) -> torch.Tensor:
        """Change a batch.

        Args:
            pixels: (B, H, W, 3) uint8.
            px: Side of the result.

        Returns:
            (B, 3, px, px) float32, 0-255.
        """
        augment = self.augment
        pictures = self._recolour(self._move(pixels.permute(0, 3, 1, 2).float(), px))
        if augment.blur:
            pictures = self._blur(pictures)
        if augment.noise:
            deviation = self.draw(-1, 1, len(pictures), 1, 1, 1).relu() * augment.noise * 255
            grain = torch.randn(pictures.shape, generator=self.generator, device=self.device)
            pictures = (pictures + grain * deviation).clamp(0, 255)
        if augment.jpeg:
            pictures = self._compress(pictures)
        if augment.erase:
            pictures = self._erase(pictures)
        return pictures

    def _move(self, pictures: torch.Tensor, px: int) -> torch.Tensor:
        augment, (count, _, height, width) = self.augment, pictures.shape
        turn = self.draw(-1, 1, count) * math.radians(augment.rotation_deg)
        half = self.draw(*augment.scale, count) * min(height, width) / 2
        shift = self.draw(-1, 1, count, 2) * augment.shift * 2 * half[:, None]
        flips = torch.ones(count, 2, device=self.device)
        if augment.flip:
            flips = torch.where(self.draw(0, 1, count, 2) < 0.5, -flips, flips)
        cos, sin = torch.cos(turn) * half, torch.sin(turn) * half
        theta = torch.stack(
            [
                torch.stack([cos * flips[:, 0], -sin * flips[:, 1], shift[:, 0]], 1) * 2 / width,
                torch.stack([sin * flips[:, 0], cos * flips[:, 1], shift[:, 1]], 1) * 2 / height,
            ],
            1,
        )
        # Twice as fine, then averaged: parts that are shrunk would flicker otherwise.
        grid = functional.affine_grid(theta, [count, 3, 2 * px, 2 * px], align_corners=False)
        moved = functional.grid_sample(
            pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        return functional.avg_pool2d(moved, 2)

    def _recolour(self, pictures: torch.Tensor) -> torch.Tensor:
        augment, count = self.augment, len(pictures)
        contrast = 1 + self.draw(-1, 1, count, 1, 1) * augment.contrast
        saturation = 1 + self.draw(-1, 1, count, 1, 1) * augment.saturation
        gains = 1 + self.draw(-1, 1, count, 3, 1) * augment.tint
        brightness = self.draw(-1, 1, count, 1, 1) * 255 * augment.brightness
        grey = torch.tensor([LUMA] * 3, device=self.device)
        matrix = saturation * torch.eye(3, device=self.device) + (1 - saturation) * grey
        matrix = matrix * gains * contrast
        # Contrast is about the middle of the range, gains are about black.
        offset = brightness + MEAN * (1 - contrast) * gains
        flat = torch.baddbmm(offset.expand(count, 3, 1), matrix, pictures.flatten(2))
        return flat.clamp(0, 255).view_as(pictures)

    def _blur(self, pictures: torch.Tensor) -> torch.Tensor:
        count, px = len(pictures), pictures.shape[-1]
        chosen = self.draw(0, 1, count).argsort()[: round(count * self.augment.blur)]
        smaller = int(px * self.sizes.uniform(self.augment.detail, 1))
        small = functional.interpolate(
            pictures[chosen], (smaller, smaller), mode="bilinear", antialias=True
        )
        soft = functional.interpolate(small, (px, px), mode="bilinear")
        return pictures.index_copy(0, chosen, soft)

    def _compress(self, pictures: torch.Tensor) -> torch.Tensor:
        """Round in 8x8 blocks of the cosine transform, colours at half the resolution."""
        count, px = len(pictures), pictures.shape[-1]
        chosen = self.draw(0, 1, count).argsort()[: round(count * self.augment.jpeg)]
        quality = self.draw(*QUALITY, len(chosen))
        scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
        tables = (self.tables[None] * scale[:, None, None, None]).round().clamp(1, 255)
        room = -px % 16
        padded = functional.pad(pictures[chosen], (0, room, 0, room), mode="replicate")
        ycc = torch.einsum("ij,bjhw->bihw", self.to_ycc, padded)
        light = self._rounded(ycc[:, :1] - 128, tables[:, :1]) + 128
        colour = self._rounded(functional.avg_pool2d(ycc[:, 1:], 2), tables[:, 1:])
        colour = functional.interpolate(colour, scale_factor=2, mode="bilinear")
        rgb = torch.einsum("ij,bjhw->bihw", self.to_rgb, torch.cat([light, colour], 1))
        return pictures.index_copy(0, chosen, rgb[..., :px, :px].round().clamp(0, 255))

    def _rounded(self, planes: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = planes.shape
        blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
        waves = self.dct @ blocks @ self.dct.T
        steps = tables[:, :, None, None]
        waves = (waves / steps).round() * steps
        return (self.dct.T @ waves @ self.dct).transpose(3, 4).reshape(planes.shape)

    def _erase(self, pictures: torch.Tensor) -> torch.Tensor:
        count, px = len(pictures), pictures.shape[-1]
        half = self.draw(-1, 1, count, 1, 1) * self.augment.erase * px / 2
        y, x = self.draw(0, px, count, 1, 1), self.draw(0, px, count, 1, 1)
        at = torch.arange(px, device=self.device, dtype=torch.float32)
        covered = ((at[None, :, None] - y).abs() < half) & ((at[None, None, :] - x).abs() < half)
        return torch.where(covered[:, None], 128.0, pictures)
