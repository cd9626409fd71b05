"""How much worse pictures cost a model: balanced accuracy under changes of growing strength.

    python benchmarks/research/robustness.py HAM10000 [--models mobilenetv2 mobilenetv2-float16]
        [--pictures 600] [--split FILE] [--part test] [--json FILE] [--plot FILE.png]

Held-out pictures are changed on purpose, eight ways at five strengths each, and answered through
``lesionedge.Classifier``; of the embedded models their ``twins`` are asked. An embedded file,
given by its path, may be asked about the calibration pictures of its own split. Also the share of
pictures whose top answer another one is once they are turned by quarters or mirrored, which changes
nothing that matters.

Picture files are written as the change leaves them (JPEG at quality 95 where quality is not what
is changed), so that reading them is part of what is measured.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import twins
from PIL import Image, ImageEnhance, ImageFilter

import lesionedge

BASE_QUALITY = 95
Change = Callable[[Image.Image, float], Image.Image]


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description="Robustness of models.")
    parser.add_argument("folder", type=Path, help="HAM10000")
    parser.add_argument(
        "--split", type=Path, default=twins.SPLIT, help="which pictures are held out"
    )
    parser.add_argument("--part", default="test", help="which of its pictures")
    parser.add_argument("--models", nargs="+", default=["mobilenetv2", "mobilenetv2-float16"])
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    rows = held_out(options.folder, options.split, options.part, options.pictures)
    figures: dict[str, Any] = {
        "pictures": len(rows), "date": time.strftime("%Y-%m-%d"), "machine": platform.machine(),
        "models": {name: measured(name, rows) for name in options.models},
    }  # fmt: skip
    print(report(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        plot(figures, options.plot)


def held_out(folder: Path, split: Path, part: str, count: int) -> pd.DataFrame:
    """Give a part's pictures, one a lesion, with the split's mix of classes."""
    files = {path.stem: str(path) for path in folder.rglob("*.jpg")}
    table = pd.read_csv(split)
    rows = table[table["split"] == part].groupby("group").first()
    rows = rows.assign(file=rows["path"].map(lambda path: files.get(Path(path).stem)))
    rows = rows.dropna(subset="file")
    return rows.sample(min(count, len(rows)), random_state=0)


def measured(model: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Measure one model."""
    classifier = lesionedge.Classifier(twins.of(model), check=False)
    truth = rows["label"].to_numpy()
    pictures = [opened(path) for path in rows["file"]]
    plain = answers(classifier, [encoded(picture) for picture in pictures])
    print(f"{model}: {balanced_accuracy(truth, plain):.3f} as they are", flush=True)
    result: dict[str, Any] = {"as they are": balanced_accuracy(truth, plain), "changes": {}}
    for name, (change, strengths) in CHANGES.items():
        found = []
        for strength in strengths:
            content = [changed(picture, change, strength) for picture in pictures]
            found.append(balanced_accuracy(truth, answers(classifier, content)))
        print(f"{model}: {name} {[round(value, 3) for value in found]}", flush=True)
        result["changes"][name] = {"strengths": list(strengths), "balanced_accuracy": found}
    result["another_top_answer"] = {
        name: float((answers(classifier, [turned(p, turn) for p in pictures]) != own).mean())
        for own in [answers(classifier, [lossless(p) for p in pictures])]
        for name, turn in TURNS.items()
    }
    print(f"{model}: another top answer {result['another_top_answer']}", flush=True)
    return result


def opened(path: str) -> Image.Image:
    """Read a picture."""
    with Image.open(path) as file:
        return file.convert("RGB")


def encoded(picture: Image.Image, quality: int = BASE_QUALITY) -> bytes:
    """Write a picture as JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def lossless(picture: Image.Image) -> bytes:
    """Write a picture so that turning it is all that changes."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def turned(picture: Image.Image, turn: Image.Transpose) -> bytes:
    """Turn or mirror a picture."""
    return lossless(picture.transpose(turn))


def changed(picture: Image.Image, change: Change, strength: float) -> bytes:
    """Change a picture and write it."""
    if change is quality:
        return encoded(picture, int(strength))
    return encoded(change(picture, strength))


def answers(classifier: lesionedge.Classifier, content: list[bytes]) -> np.ndarray:
    """Give each picture's top label."""
    return np.array([answer.label for answer in classifier.classify_many(content)])  # type: ignore[union-attr]


def balanced_accuracy(truth: np.ndarray, found: np.ndarray) -> float:
    """Give the mean of the classes' recalls."""
    return float(np.mean([(found[truth == label] == label).mean() for label in np.unique(truth)]))


def quality(picture: Image.Image, _strength: float) -> Image.Image:
    """JPEG quality: done when it is written."""
    return picture


def blur(picture: Image.Image, strength: float) -> Image.Image:
    """Gaussian of this share of the shorter side."""
    return picture.filter(ImageFilter.GaussianBlur(strength * min(picture.size)))


def noise(picture: Image.Image, strength: float) -> Image.Image:
    """Gaussian, of this standard deviation in levels of 255."""
    rng = np.random.default_rng(0)
    values = np.asarray(picture) + rng.normal(0, strength, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def brightness(picture: Image.Image, strength: float) -> Image.Image:
    """Times this factor."""
    return ImageEnhance.Brightness(picture).enhance(strength)


def white_balance(picture: Image.Image, strength: float) -> Image.Image:
    """Red times 1 + strength, blue divided by it: warmer above 0, colder below."""
    gains = np.array([1 + strength, 1.0, 1 / (1 + strength)])
    return Image.fromarray(np.clip(np.asarray(picture) * gains, 0, 255).astype(np.uint8))


def rotation(picture: Image.Image, strength: float) -> Image.Image:
    """By degrees, about the middle, what is missing mirrored in."""
    pad = min(picture.size) // 2
    values = np.pad(np.asarray(picture), ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    turned_picture = Image.fromarray(values).rotate(strength, Image.Resampling.BICUBIC)
    return turned_picture.crop((pad, pad, pad + picture.width, pad + picture.height))


def scale(picture: Image.Image, strength: float) -> Image.Image:
    """A closer look: the middle part, of this share of the sides."""
    wide, high = (round(side * strength) for side in picture.size)
    left, top = (picture.width - wide) // 2, (picture.height - high) // 2
    return picture.crop((left, top, left + wide, top + high))


def down_sampling(picture: Image.Image, strength: float) -> Image.Image:
    """To this height in pixels, as a poor camera gives."""
    wide = round(picture.width * strength / picture.height)
    return picture.resize((wide, int(strength)), Image.Resampling.BOX)


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
    """Lay the figures out as Markdown."""
    lines = [f"{figures['pictures']} pictures, {figures['date']}"]
    for model, found in figures["models"].items():
        lines += ["", f"{model}: {found['as they are']:.3f} as they are", ""]
        lines += ["| change | strengths | balanced accuracy |", "|---|---|---|"]
        for name, row in found["changes"].items():
            strengths = ", ".join(f"{value:g}" for value in row["strengths"])
            values = ", ".join(f"{value:.3f}" for value in row["balanced_accuracy"])
            lines.append(f"| {name} | {strengths} | {values} |")
        turns = ", ".join(f"{k} {v:.1%}" for k, v in found["another_top_answer"].items())
        lines += ["", f"another top answer: {turns}"]
    return "\n".join(lines)


def plot(figures: dict[str, Any], path: str) -> None:
    """Draw a panel a change, a line a model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 4, figsize=(13, 6), sharey=True, layout="constrained")
    styles = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", ":"))
    for panel, name in zip(axes.flat, CHANGES):
        for (model, found), (colour, mark, line) in zip(figures["models"].items(), styles):
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
    figure.suptitle("Thin lines: pictures as they are")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
