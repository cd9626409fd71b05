"""Draw the images for comparing the phone's app with Python, and write Python's results for them.

    python tests/make_vectors.py FOLDER

FOLDER gets 100 PNG files and ``expected.json``: of each file the SHA-256 of the model's input,
every class's probability, the gate's verdict and the codes of the warnings.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from lesionedge import Classifier

ROOT = Path(__file__).parent.parent
COUNT = 100
SIZES = (
    (600, 450), (450, 600), (224, 224), (448, 448), (300, 200), (225, 224), (160, 120), (900, 700),
    (1344, 1008), (2000, 1500), (257, 400), (129, 128), (128, 128), (897, 896), (64, 48),
    (400, 1100), (1600, 320),
)  # fmt: skip
draw = runpy.run_path(str(ROOT / "examples" / "synthetic_lesion.py"))["draw"]


def main() -> None:
    """Write into the folder named on the command line."""
    write(Path(sys.argv[1]))


def write(folder: Path) -> list[dict[str, Any]]:
    """Write the images and the expected results; return these."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {name: Classifier(name, threads=1) for name in ("mobilenetv2", "cnn")}
    found = []
    for number in range(COUNT):
        path = folder / f"{number:03}.png"
        one = image(number)
        one.save(path, compress_level=1)
        name = "cnn" if number % 5 == 4 else "mobilenetv2"
        found.append({"file": path.name, **expected(models[name], path)})
    (folder / "expected.json").write_text(json.dumps(found, indent=1))
    return found


def expected(classifier: Classifier, path: Path) -> dict[str, Any]:
    """Return Python's result for a file."""
    prediction = classifier.classify(path).to_dict()
    pixels = classifier.model_input(path)
    return {
        "model": classifier.model,
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        **{key: prediction[key] for key in (
            "label", "malignant_probability", "top", "reliable", "warnings", "warning_codes",
            "operating_point",
        )},
    }  # fmt: skip


def image(number: int) -> Image.Image:
    """Draw one of the images; all kinds of warnings and refusals are among them."""
    lesion = draw(480, 360, seed=number).resize(SIZES[number % len(SIZES)])
    return KINDS[number % len(KINDS)](lesion, np.random.default_rng(number))


def _cut_off(lesion: Image.Image, _rng: np.random.Generator) -> Image.Image:
    width, height = lesion.size
    moved = lesion.crop((width // 3, 0, width // 3 + width * 2 // 3, height))
    return moved.resize(lesion.size)


def _small(lesion: Image.Image, _rng: np.random.Generator) -> Image.Image:
    corner = lesion.crop((0, 0, lesion.width // 5, lesion.height // 5))
    skin = corner.resize(lesion.size, Image.Resampling.BICUBIC)
    part = lesion.resize((lesion.width * 8 // 25, lesion.height * 8 // 25))
    mask = Image.new("L", part.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, part.width - 1, part.height - 1), fill=255)
    skin.paste(part, ((lesion.width - part.width) // 2, (lesion.height - part.height) // 2), mask)
    return skin


def _shiny(lesion: Image.Image, rng: np.random.Generator) -> Image.Image:
    pen = ImageDraw.Draw(lesion)
    for _ in range(12):
        x, y = rng.integers(0, lesion.width), rng.integers(0, lesion.height)
        r = lesion.height // 18
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))
    return lesion


def _hairy(lesion: Image.Image, rng: np.random.Generator) -> Image.Image:
    pen = ImageDraw.Draw(lesion)
    for _ in range(40):
        start, end = (int(rng.integers(0, lesion.width)) for _ in range(2))
        width = max(1, lesion.height // 110)
        pen.line((start, 0, end, lesion.height), fill=(30, 20, 15), width=width)
    return lesion


def _noise(lesion: Image.Image, rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (lesion.height, lesion.width, 3), dtype=np.uint8))


def _page(lesion: Image.Image, rng: np.random.Generator) -> Image.Image:
    page = Image.new("RGB", lesion.size, "white")
    pen = ImageDraw.Draw(page)
    for y in range(6, lesion.height, 14):
        pen.line((8, y, int(rng.integers(20, lesion.width)), y), fill="black", width=3)
    return page


def _with_alpha(lesion: Image.Image, _rng: np.random.Generator) -> Image.Image:
    lesion.putalpha(255)
    return lesion


KINDS = (
    lambda lesion, _rng: lesion,
    lambda lesion, _rng: ImageEnhance.Brightness(lesion).enhance(0.3),
    lambda lesion, _rng: ImageEnhance.Brightness(lesion).enhance(1.7),
    lambda lesion, _rng: lesion.filter(ImageFilter.GaussianBlur(lesion.height / 25)),
    _cut_off, _small, _shiny, _hairy, _noise, _page, _with_alpha,
    lambda lesion, _rng: lesion.convert("L"),
    lambda lesion, _rng: lesion.quantize(64),
    lambda lesion, _rng: ImageEnhance.Contrast(lesion).enhance(1.5),
)  # fmt: skip

if __name__ == "__main__":
    main()
