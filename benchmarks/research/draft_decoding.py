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
    gaps: list[float] = []
    yardstick: list[float] = []
    noisy_same = 0
    times: tuple[list[float], list[float]] = ([], [])
    same = 0
    for path in paths[:: max(1, len(paths) // options.count)][: options.count]:
        content = enlarged(path, (width, height))
        begin = time.perf_counter()
        fast = images.model_input(content, reduced)
        middle = time.perf_counter()
        full = images.fit(images.decode(content).image, classifier.preprocessing)
        rest = np.random.default_rng(0).integers(-1, 2, full.shape)
        noisy = np.clip(full + rest, 0, 255).astype(np.uint8)
        times[0].append((middle - begin) * 1000)
        times[1].append((time.perf_counter() - middle) * 1000)
        a, b = classifier.probabilities(fast), classifier.probabilities(full)
        gaps.append(float(np.abs(a - b).max()))
        c = classifier.probabilities(noisy)
        yardstick.append(float(np.abs(c - b).max()))
        noisy_same += int(c.argmax() == b.argmax())
        same += int(a.argmax() == b.argmax())
    print(
        f"{len(gaps)} images at {options.size}, {classifier.model}: same top label {same}; "
        f"largest difference of a probability: mean {statistics.mean(gaps):.4f}, "
        f"95 % below {np.percentile(gaps, 95):.4f}, at most {max(gaps):.4f}\n"
        f"for comparison, pixels changed by -1, 0 or 1 at random: same top label {noisy_same}; "
        f"mean {statistics.mean(yardstick):.4f}, 95 % below {np.percentile(yardstick, 95):.4f}, "
        f"at most {max(yardstick):.4f}\n"
        f"decode and preprocess: reduced {statistics.median(times[0]):.1f} ms, "
        f"full {statistics.median(times[1]):.1f} ms"
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
