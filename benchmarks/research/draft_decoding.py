"""Does decoding a JPEG at a reduced scale change the predictions?

    python benchmarks/research/draft_decoding.py FOLDER [--size 4000x3000] [--count 200]
        [--model FILE] [--margin 1.2]

Enlarges the folder's images to the size of a phone's photograph, saves them as JPEG, and predicts
each twice: decoded at a reduced scale, as ``lesionedge`` does it, and decoded in full.
``--margin`` replaces the card's ``input.decode_margin``; ``--size 0x0`` takes the files as they
are. Prints how much the probabilities differ, how much they differ if pixels change by one level,
and how long decoding takes.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import lesionedge
from lesionedge import image as images


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="4000x3000", metavar="WxH")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--margin", type=float)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    paths = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    classifier = lesionedge.Classifier(options.model, check=False)
    reduced = classifier.preprocessing
    if options.margin is not None:
        reduced = replace(reduced, decode_margin=options.margin)
    step = max(1, len(paths) // options.count)
    found = [
        compared(classifier, enlarged(path, (width, height)), reduced)
        for path in paths[::step][: options.count]
    ]
    if not found:
        parser.error(f"{options.folder}: holds no .jpg and no .png files")
    print(
        f"{len(found)} images at {options.size}, {classifier.model}: {differences(found, 'full')}"
    )
    print(f"for comparison, pixels changed by -1, 0 or 1 at random: {differences(found, 'noise')}")
    fast, full = (statistics.median(one[name] for one in found) for name in ("fast_ms", "full_ms"))
    print(f"decode and preprocess: reduced {fast:.1f} ms, full {full:.1f} ms")


def compared(
    classifier: lesionedge.Classifier, content: bytes, reduced: images.Preprocessing
) -> dict[str, float]:
    """Return how far predictions of an image are apart, whether labels differ, and the times."""
    begin = time.perf_counter()
    fast = images.model_input(content, reduced)
    middle = time.perf_counter()
    full = images.fit(images.decode(content).image, classifier.preprocessing)
    end = time.perf_counter()
    noise = np.random.default_rng(0).integers(-1, 2, full.shape)
    noisy = np.clip(full + noise, 0, 255).astype(np.uint8)
    a, b, c = (classifier.probabilities(pixels) for pixels in (fast, full, noisy))
    return {
        "fast_ms": (middle - begin) * 1000, "full_ms": (end - middle) * 1000,
        "full": float(np.abs(a - b).max()), "full_same": a.argmax() == b.argmax(),
        "noise": float(np.abs(c - b).max()), "noise_same": c.argmax() == b.argmax(),
    }  # fmt: skip


def differences(found: list[dict[str, float]], name: str) -> str:
    """Say for how many images the label is the same, and how far probabilities are apart."""
    gaps, same = [one[name] for one in found], sum(one[f"{name}_same"] for one in found)
    return (
        f"same top label {same}; largest difference of a probability: mean "
        f"{statistics.mean(gaps):.4f}, 95 % below {np.percentile(gaps, 95):.4f}, "
        f"at most {max(gaps):.4f}"
    )


def enlarged(path: Path, size: tuple[int, int]) -> bytes:
    """Return an image as a large JPEG; for size 0, the file itself."""
    if not size[0]:
        return path.read_bytes()
    with Image.open(path) as image:
        large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    content = io.BytesIO()
    large.save(content, "JPEG", quality=92)
    return content.getvalue()


if __name__ == "__main__":
    main()
