"""Statistics of predictions and their images: gate, warnings, confidence and colour."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lesionedge import quality

if TYPE_CHECKING:
    from lesionedge.prediction import Prediction

WARNINGS = {
    notice.code: title
    for notice, title in (
        (quality.DARK_NOTICE, "too dark"),
        (quality.BRIGHT_NOTICE, "too bright"),
        (quality.BLURRED_NOTICE, "blurred"),
        (quality.GLARE_NOTICE, "glare"),
        (quality.SMALL_NOTICE, "lesion small"),
        (quality.CUT_NOTICE, "lesion cut off"),
        (quality.HAIR_NOTICE, "hair"),
    )
}
"""Code of a quality warning -> what people read."""
VALUES = {
    "confidence": "confidence",
    "malignant_probability": "malignant probability",
    "lightness": "lightness (L*)",
    "redness": "red against green (a*)",
    "yellowness": "yellow against blue (b*)",
}
"""Figure of an image -> what people read. The last three are of its mean colour, in CIELAB."""
PROBABILITIES = ("confidence", "malignant_probability")
"""Those of ``VALUES`` that a site profile changes."""

Array = NDArray[np.float64]
NO_COLOUR = (math.nan, math.nan, math.nan)


class Seen(NamedTuple):
    """What is kept of an image."""

    confidence: float
    """Probability of its label, 0-1."""
    malignant_probability: float = math.nan
    """0-1; NaN where it is not known."""
    reliable: bool | None = None
    """The gate's verdict; None: it was not checked."""
    codes: tuple[str, ...] = ()
    """Codes of its warnings."""
    colour: tuple[float, float, float] = NO_COLOUR
    """Mean red, green and blue, 0-255; NaN where they are not known."""

    @classmethod
    def of(cls, prediction: Prediction) -> Seen:
        """Return what is kept of a prediction."""
        risk = prediction.malignant_probability
        return cls(
            prediction.probability, math.nan if risk is None else risk, prediction.reliable,
            tuple(notice.code for notice in prediction.warnings), prediction.colour or NO_COLOUR,
        )  # fmt: skip


@dataclass(frozen=True)
class Statistics:
    """Statistics of images."""

    images: int
    """How many there are."""
    checked: int
    """How many of them the gate has judged; shares are of these."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """``refused`` by the gate, and each of ``WARNINGS``, 0-1; empty if none was checked."""
    values: Mapping[str, Array] = field(default_factory=dict)
    """Those of ``VALUES`` that are known of all images -> (101,) their percentiles."""

    @classmethod
    def of(cls, seen: Iterable[Seen]) -> Statistics:
        """Return the statistics of images."""
        rows = list(seen)
        checked = [one for one in rows if one.reliable is not None]
        return cls.of_columns(
            confidence=np.array([one.confidence for one in rows]),
            malignant_probability=np.array([one.malignant_probability for one in rows]),
            colour=np.array([one.colour for one in rows]).reshape(-1, 3),
            checked=len(checked), refused=sum(not one.reliable for one in checked),
            warnings=Counter(code for one in checked for code in set(one.codes)),
        )  # fmt: skip

    @classmethod
    def of_columns(
        cls, *, confidence: Array, malignant_probability: Array, colour: Array, checked: int,
        refused: int, warnings: Mapping[str, int],
    ) -> Statistics:  # fmt: skip
        """Return the statistics of N images.

        Args:
            confidence: (N,) probabilities of the labels.
            malignant_probability: (N,); NaN where it is not known.
            colour: (N, 3) mean red, green and blue, 0-255; NaN where they are not known.
            checked: How many the gate has judged.
            refused: How many of them it refuses.
            warnings: Code of a warning -> how many of them have it.
        """
        counts = {"refused": refused, **{code: warnings.get(code, 0) for code in WARNINGS}}
        columns = (confidence, malignant_probability, *lab(colour).T)
        known = {
            name: column[np.isfinite(column)]
            for name, column in zip(VALUES, np.asarray(columns, np.float64))
        }
        grid = np.arange(101)
        return cls(
            len(confidence), checked,
            {name: count / checked for name, count in counts.items()} if checked else {},
            {
                name: np.percentile(column, grid)
                for name, column in known.items()
                if len(column) == len(confidence) > 0
            },
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "images": self.images, "checked": self.checked, "shares": dict(self.shares),
            "values": {
                name: [float(f"{value:.5g}") for value in column]
                for name, column in self.values.items()
            },
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Statistics:
        """Read what ``to_dict`` returns.

        Raises:
            ValueError: It is something else; also KeyError, TypeError, AttributeError.
        """
        values = {
            name: _percentiles(content["values"][name])
            for name in VALUES
            if name in content["values"]
        }
        names = ("refused", *WARNINGS)
        given = content["shares"]
        shares = {name: float(given[name]) for name in names if name in given}
        return cls(int(content["images"]), int(content["checked"]), shares, values)


def _percentiles(column: Sequence[float]) -> Array:
    found = np.array(column, np.float64)
    if found.shape != (101,) or not np.isfinite(found).all() or (np.diff(found) < 0).any():
        raise ValueError("expected 101 rising percentiles")
    return found


def lab(colour: Array) -> Array:
    """Convert sRGB to CIELAB under D65 (IEC 61966-2-1; CIE 15:2018).

    Args:
        colour: (N, 3) red, green and blue, 0-255.

    Returns:
        (N, 3): lightness L* 0-100, a* (red above 0, green below), b* (yellow above 0, blue below).
    """
    share = np.asarray(colour, np.float64) / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([
        [0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]
    ])  # fmt: skip
    xyz = light @ to_xyz.T / to_xyz.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    found: Array = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    return found
