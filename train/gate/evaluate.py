"""Measures the shipped gate on images that its training never saw."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lesionedge import reliability
from lesionedge.evaluation.intervals import share
from lesionedge.image import decode
from train.gate import copies, drawings, scores, sources

DRAWN = 60
"""Generated images of each kind."""

RUINED = 300


def evaluate(data: Path, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the share of each kind of image that the gate refuses.

    Args:
        data: Folder of the sources, as in training; ``isic9/Test`` is measured where it is.
        say: Told what is being measured.

    Returns:
        ``threshold`` (the card's); ``at_5_percent``, the threshold that refuses 5 % of HAM10000's
        test images; and by kind: images, and the share refused at both with its 95 % interval
        (Wilson 1927).
    """
    table = sources.table(data)
    test = table[table["split"] == "test"]
    found: dict[str, np.ndarray] = {}
    for source, rows in test.groupby("source"):
        say(f"{source}: {len(rows)} images")
        found[str(source)] = scores.dermoscopic(rows["path"].tolist())
        found[f"{source}, encoded anew"] = scores.dermoscopic(_anew(rows))
    others = sorted(str(path) for path in (data / "isic9" / "Test").rglob("*.jpg"))
    if others:
        found["isic9"] = scores.dermoscopic(others)
    for number, kind in enumerate(dict.fromkeys(drawings.KINDS)):
        found[f"drawn: {kind.__name__}"] = scores.dermoscopic(_drawn(kind, number))
    found["ruined"] = scores.dermoscopic(_ruined(test))
    five = float(np.quantile(found["ham10000"], 0.05))
    own = reliability.Gate().threshold
    figures = {kind: _figures(values, own, five) for kind, values in found.items()}
    return {"threshold": own, "at_5_percent": five, "kinds": figures}


def threshold(data: Path, file: Path, refused: float) -> tuple[float, dict[str, float]]:
    """Choose the threshold of a converted gate: quantization shifts its scores.

    Args:
        data: Folder of the sources.
        file: The gate's .tflite.
        refused: Share of genuine images that it may refuse, on the splits that neither training
            nor testing uses.

    Returns:
        The threshold, and the share of each source that it refuses there.
    """
    table = sources.table(data)
    rows = table[table["split"].isin(("validation", "calibration"))]
    values = {
        str(source): scores.dermoscopic(part["path"].tolist(), file=file)
        for source, part in rows.groupby("source")
    }
    chosen = float(np.quantile(values["ham10000"], refused))
    return chosen, {source: float((own < chosen).mean()) for source, own in values.items()}


def _anew(rows: pd.DataFrame) -> list[bytes]:
    rng = np.random.default_rng(5)
    return [copies.encoded(decode(path).image, rng) for path in rows["path"]]


def _drawn(kind: drawings.Drawing, number: int) -> list[bytes]:
    rng = np.random.default_rng((6, number))
    return [copies.encoded(kind(rng), rng) for _ in range(DRAWN)]


def _ruined(test: pd.DataFrame) -> list[bytes]:
    rng = np.random.default_rng(7)
    rows = test.sample(min(RUINED, len(test)), random_state=7)
    return [_png(copies.ruined(decode(path).image, rng)) for path in rows["path"]]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _figures(values: np.ndarray, own: float, five: float) -> dict[str, Any]:
    return {
        "images": len(values), "refused": _share(values < own),
        "refused_at_5_percent": _share(values < five),
    }  # fmt: skip


def _share(wrong: np.ndarray) -> dict[str, float]:
    found = share(int(wrong.sum()), len(wrong))
    return {"value": float(wrong.mean()), "low": found[0], "high": found[1]}


def report(figures: dict[str, Any]) -> str:
    """Lay the figures out for people."""
    lines = [
        f"threshold {figures['threshold']:.3f}; {figures['at_5_percent']:.3f} refuses 5 % of "
        "HAM10000's test images",
        f"{'kind':<28} {'n':>5}  refused                 refused at 5 %",
    ]
    for kind, row in figures["kinds"].items():
        shares = (row["refused"], row["refused_at_5_percent"])
        text = "   ".join(f"{s['value']:6.1%} [{s['low']:.1%}, {s['high']:.1%}]" for s in shares)
        lines.append(f"{kind:<28} {row['images']:>5}  {text}")
    return "\n".join(lines)
