"""How much accuracy do worse images cost a model? Changes of growing strength, on purpose.

    python benchmarks/research/robustness.py HAM10000 [--models mobilenetv2 mobilenetv2-float16]
        [--images 600] [--split FILE] [--part test] [--json FILE] [--plot FILE.png]

Changes held-out images in eight ways at five strengths each, and classifies them with
``lesionedge.Classifier``. In place of an embedded model its twin is measured (``twins``); the path
of an embedded file measures the file itself, for which ``--part calibration`` is held out. Prints
Markdown: balanced accuracy by change and strength, and the share of images whose label changes if
they are turned by quarters or mirrored.

Changed images are written as JPEG at quality 95, except where quality is the change. So decoding
them is part of what is measured.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import twins
from PIL import Image, ImageEnhance, ImageFilter
from studies import images

import lesionedge
from lesionedge.evaluation import weighted

BASE_QUALITY = 95
Change = Callable[[Image.Image, float], Image.Image]


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="HAM10000")
    parser.add_argument(
        "--split",
        type=Path,
        default=twins.SPLIT,
        help="which images are held out (release/split.csv)",
    )
    parser.add_argument("--part", default="test", help="which of its images (test)")
    parser.add_argument("--models", nargs="+", default=["mobilenetv2", "mobilenetv2-float16"])
    parser.add_argument("--images", type=int, default=600, help="how many (600)")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    rows = held_out(options.folder, options.split, options.part, options.images)
    figures: dict[str, Any] = {
        "images": len(rows), "date": time.strftime("%Y-%m-%d"), "machine": platform.machine(),
        "models": {name: measured(name, rows) for name in options.models},
    }  # fmt: skip
    print(report(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        plot(figures, options.plot)


def held_out(folder: Path, split: Path, part: str, count: int) -> pd.DataFrame:
    """Return images of a part of the split, one of each lesion."""
    rows = images(folder, split, part).groupby("group").first()
    return rows.sample(min(count, len(rows)), random_state=0)


def measured(model: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Measure one model."""
    classifier = lesionedge.Classifier(twins.of(model), check=False)
    truth = rows["label"].to_numpy()
    originals = [opened(path) for path in rows["file"]]
    plain = top_labels(classifier, [encoded(image) for image in originals])
    print(f"{model}: {balanced_accuracy(truth, plain):.3f} as they are", flush=True)
    result: dict[str, Any] = {"as they are": balanced_accuracy(truth, plain), "changes": {}}
    for name, (change, strengths) in CHANGES.items():
        found = []
        for strength in strengths:
            content = [changed(image, change, strength) for image in originals]
            found.append(balanced_accuracy(truth, top_labels(classifier, content)))
        print(f"{model}: {name} {[round(value, 3) for value in found]}", flush=True)
        result["changes"][name] = {"strengths": list(strengths), "balanced_accuracy": found}
    result["another_top_label"] = {
        name: float((top_labels(classifier, [turned(p, turn) for p in originals]) != own).mean())
        for own in [top_labels(classifier, [lossless(p) for p in originals])]
        for name, turn in TURNS.items()
    }
    print(f"{model}: another top label {result['another_top_label']}", flush=True)
    return result


def opened(path: str) -> Image.Image:
    """Read an image."""
    with Image.open(path) as file:
        return file.convert("RGB")


def encoded(image: Image.Image, quality: int = BASE_QUALITY) -> bytes:
    """Write an image as JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def lossless(image: Image.Image) -> bytes:
    """Write an image as PNG, so that turning it changes nothing else."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def turned(image: Image.Image, turn: Image.Transpose) -> bytes:
    """Turn or mirror an image."""
    return lossless(image.transpose(turn))


def changed(image: Image.Image, change: Change, strength: float) -> bytes:
    """Change an image and write it."""
    if change is quality:
        return encoded(image, int(strength))
    return encoded(change(image, strength))


def top_labels(classifier: lesionedge.Classifier, content: list[bytes]) -> np.ndarray:
    """Return each image's top label."""
    return np.array([found.label for found in classifier.classify_many(content)])  # type: ignore[union-attr]


def balanced_accuracy(truth: np.ndarray, found: np.ndarray) -> float:
    """Return the mean of the classes' recalls."""
    once = np.ones((1, len(truth)))
    return float(weighted.balanced_accuracy(found == truth, truth, once)[0])


def quality(image: Image.Image, _strength: float) -> Image.Image:
    """JPEG quality: ``changed`` applies it when it writes the image."""
    return image


def blur(image: Image.Image, strength: float) -> Image.Image:
    """Blur by a Gaussian of this share of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(strength * min(image.size)))


def noise(image: Image.Image, strength: float) -> Image.Image:
    """Add Gaussian noise of this standard deviation, in levels of 255."""
    rng = np.random.default_rng(0)
    values = np.asarray(image) + rng.normal(0, strength, (image.height, image.width, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def brightness(image: Image.Image, strength: float) -> Image.Image:
    """Multiply the brightness by this factor."""
    return ImageEnhance.Brightness(image).enhance(strength)


def white_balance(image: Image.Image, strength: float) -> Image.Image:
    """Multiply red by 1 + strength, divide blue by it: warmer above 0, colder below."""
    gains = np.array([1 + strength, 1.0, 1 / (1 + strength)])
    return Image.fromarray(np.clip(np.asarray(image) * gains, 0, 255).astype(np.uint8))


def rotation(image: Image.Image, strength: float) -> Image.Image:
    """Rotate by degrees about the middle; mirrored pixels fill the corners."""
    pad = min(image.size) // 2
    values = np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    turned_image = Image.fromarray(values).rotate(strength, Image.Resampling.BICUBIC)
    return turned_image.crop((pad, pad, pad + image.width, pad + image.height))


def scale(image: Image.Image, strength: float) -> Image.Image:
    """Cut out the middle part, of this share of the sides."""
    wide, high = (round(side * strength) for side in image.size)
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    return image.crop((left, top, left + wide, top + high))


def down_sampling(image: Image.Image, strength: float) -> Image.Image:
    """Reduce to this height in pixels, as a poor camera does."""
    wide = round(image.width * strength / image.height)
    return image.resize((wide, int(strength)), Image.Resampling.BOX)


CHANGES: dict[str, tuple[Change, tuple[float, ...]]] = {
    "JPEG quality": (quality, (70, 50, 30, 20, 10)),
    "blur, share of the side": (blur, (0.0025, 0.005, 0.01, 0.015, 0.02)),
    "noise, levels": (noise, (5, 10, 15, 25, 40)),
    "brightness, factor": (brightness, (0.5, 0.7, 0.85, 1.2, 1.4)),
    "white balance, red": (white_balance, (-0.15, -0.08, 0.08, 0.15, 0.25)),
    "rotation, degrees": (rotation, (5, 15, 30, 45, 135)),
    "scale, share shown": (scale, (0.95, 0.9, 0.8, 0.7, 0.6)),
    "down-sampling, height in px": (down_sampling, (200, 150, 112, 80, 56)),
}
TURNS = {
    "turned by 90": Image.Transpose.ROTATE_90, "turned by 180": Image.Transpose.ROTATE_180,
    "turned by 270": Image.Transpose.ROTATE_270, "left-right": Image.Transpose.FLIP_LEFT_RIGHT,
    "up-down": Image.Transpose.FLIP_TOP_BOTTOM,
}  # fmt: skip


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [f"{figures['images']} images, {figures['date']}"]
    for model, found in figures["models"].items():
        lines += ["", f"{model}: {found['as they are']:.3f} as they are", ""]
        lines += ["| change | strengths | balanced accuracy |", "|---|---|---|"]
        for name, row in found["changes"].items():
            strengths = ", ".join(f"{value:g}" for value in row["strengths"])
            values = ", ".join(f"{value:.3f}" for value in row["balanced_accuracy"])
            lines.append(f"| {name} | {strengths} | {values} |")
        turns = ", ".join(f"{k} {v:.1%}" for k, v in found["another_top_label"].items())
        lines += ["", f"another top label: {turns}"]
    return "\n".join(lines)


def plot(figures: dict[str, Any], path: str) -> None:
    """Draw a panel for each change, a line for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 4, figsize=(13, 6), sharey=True, layout="constrained")
    styles = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", ":"))
    for panel, name in zip(axes.flat, CHANGES):
        for (model, found), (colour, mark, line) in zip(figures["models"].items(), cycle(styles)):
            row = found["changes"][name]
            places = range(len(row["strengths"]))
            panel.plot(
                places, row["balanced_accuracy"], color=colour, marker=mark, ls=line, label=model
            )
            panel.axhline(found["as they are"], color=colour, lw=0.7, ls=line)
        panel.set_xticks(places, [f"{value:g}" for value in row["strengths"]])
        panel.set_xlabel(name)
        panel.set_ylim(0, 1)
        panel.grid(alpha=0.3)
    for panel in axes[:, 0]:
        panel.set_ylabel("balanced accuracy")
    axes.flat[0].legend(loc="lower left", frameon=False)
    figure.suptitle("Thin lines: images as they are")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
