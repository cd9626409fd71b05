"""RGB spaces by their primaries and transfer curves, and the conversion to sRGB.

For files that describe their colours without an ICC profile (PNG's chunks, EXIF, video's code
points), and for 16 bits per channel, which Pillow does not pass to littlecms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Chromaticity = tuple[float, float]
"""CIE 1931 x and y."""

D65: Chromaticity = (0.3127, 0.3290)
REFERENCE_WHITE_NITS = 203.0
"""The luminance in an HDR image that becomes white (ITU-R BT.2408)."""

# sRGB's primaries, adapted from D65 to D50 (Bradford), as in ICC profiles.
_SRGB_COLORANTS = (
    (0.43607, 0.38515, 0.14307),
    (0.22249, 0.71687, 0.06061),
    (0.01392, 0.09708, 0.71410),
)
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_BLOCK_PX = 65536  # few enough that intermediate results stay in the processor's cache
_FINE = 65535  # steps of linear light


class ColourError(ValueError):
    """A file's description of its colours is unusable; the message says why."""


@dataclass(frozen=True)
class Power:
    """``(a v + b) ** g + e`` from ``d`` on, ``c v + f`` below: ICC's parametric curve, type 4."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 0.0

    def __call__(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the light, 0-1, of the values ``v``, 0-1."""
        import numpy as np

        bright = np.maximum(self.a * v + self.b, 0.0) ** self.g + self.e
        return np.where(v >= self.d, bright, self.c * v + self.f)


@dataclass(frozen=True)
class Table:
    """A curve by its values at equal distances, 0-65535."""

    values: tuple[int, ...]

    def __call__(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the light, 0-1, of the values ``v``, 0-1."""
        import numpy as np

        values = np.asarray(self.values, np.float64) / 65535
        return np.interp(v, np.linspace(0.0, 1.0, len(values)), values)


def pq(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of SMPTE ST 2084's values, 1.0 for the reference white."""
    import numpy as np

    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = v ** (1 / m2)
    linear = (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)
    return linear * 10_000 / REFERENCE_WHITE_NITS


def hlg(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light in the scene, 0-1, of ARIB STD-B67's values."""
    import numpy as np

    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)


def _hundred_to_one(v: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.where(v > 0, 10.0 ** (2.0 * (v - 1)), 0.0)


def _three_hundred_to_one(v: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.where(v > 0, 10.0 ** (2.5 * (v - 1)), 0.0)


Curve = Callable[[Any], Any]
"""From values to light, both (…) float64, 0-1."""

LINEAR = Power(1.0)
SRGB_CURVE = Power(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709 = Power(
    1 / 0.45,
    1 / 1.099296826809442,
    0.099296826809442 / 1.099296826809442,
    1 / 4.5,
    0.08124285829863,
)
_SMPTE240 = Power(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912)


@dataclass(frozen=True)
class RGBSpace:
    """The meaning of an image's pixel values."""

    red: Chromaticity = (0.64, 0.33)
    green: Chromaticity = (0.30, 0.60)
    blue: Chromaticity = (0.15, 0.06)
    white: Chromaticity = D65
    curve: Curve = SRGB_CURVE
    full_range: bool = True
    """False: black is 16 of 255 and white 235, as in video."""

    @property
    def is_hdr(self) -> bool:
        """Whether it holds light above its white."""
        return self.curve in (pq, hlg)


SRGB = RGBSpace()
ADOBE_RGB = RGBSpace(green=(0.21, 0.71), curve=Power(563 / 256))
PRO_PHOTO = RGBSpace(
    (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585),
    Power(1.8, c=1 / 16, d=16 / 512),
)  # fmt: skip

_C: Chromaticity = (0.310, 0.316)
# ITU-T H.273, tables 2 and 3.
_PRIMARIES: dict[int, tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]] = {
    1: (SRGB.red, SRGB.green, SRGB.blue, D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
_CURVES: dict[int, Curve] = {
    1: _BT709, 4: Power(2.2), 5: Power(2.8), 6: _BT709, 7: _SMPTE240, 8: LINEAR,
    9: _hundred_to_one, 10: _three_hundred_to_one, 11: _BT709, 12: _BT709, 13: SRGB_CURVE,
    14: _BT709, 15: _BT709, 16: pq, 17: Power(2.6, (52.37 / 48) ** (1 / 2.6)), 18: hlg,
}  # fmt: skip


def from_code_points(primaries: int, transfer: int, *, full_range: bool = True) -> RGBSpace:
    """Return the space that ITU-T H.273's code points name.

    Args:
        primaries: ColourPrimaries.
        transfer: TransferCharacteristics. For a camera's curve (BT.709 and the like), the light
            is the scene's: the curve is inverted.
        full_range: VideoFullRangeFlag.

    Raises:
        ColourError: They are unknown.
    """
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        raise ColourError(f"colour primaries {primaries} with transfer {transfer} are not known")
    return RGBSpace(*_PRIMARIES[primaries], _CURVES[transfer], full_range)


class MatrixConversion:
    """Converts RGB pixels of one space to sRGB: curves, a matrix, sRGB's curve."""

    def __init__(
        self, matrix: NDArray[np.float64], curves: Sequence[Curve], *, full_range: bool = True,
        luminance: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        """Create the conversion from a space.

        Args:
            matrix: (3, 3), from its light to sRGB's.
            curves: One per channel.
            full_range: As in ``RGBSpace``.
            luminance: (3,), each channel's share of the luminance, for turning the scene's light
                into a display's (HLG's OOTF); None for all other curves.
        """
        import numpy as np

        self._matrix = np.ascontiguousarray(matrix.T, np.float32)
        self._curves, self._full_range, self._luminance = tuple(curves), full_range, luminance

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return an RGB image of 8 bits as sRGB."""
        import numpy as np

        return Image.fromarray(self._converted(np.asarray(image), self._tables_8))

    def deep(self, pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return (H, W, 3) pixels of 16 bits as sRGB of 8."""
        return self._converted(pixels, self._tables_16)

    @cached_property
    def _tables_8(self) -> NDArray[np.float32]:
        return self._tables(255, 16, 219)

    @cached_property
    def _tables_16(self) -> NDArray[np.float32]:
        return self._tables(65535, 16 * 256, 219 * 256)

    def _tables(self, top: int, black: int, span: int) -> NDArray[np.float32]:
        """Return each channel's light by its value: (3, top + 1)."""
        import numpy as np

        values = np.arange(top + 1, dtype=np.float64)
        values = values / top if self._full_range else np.clip((values - black) / span, 0, 1)
        # A broken profile's curve may have any value.
        with np.errstate(all="ignore"):
            tables = [np.nan_to_num(curve(values)) for curve in self._curves]
        found: NDArray[np.float32] = np.clip(np.stack(tables), -100, 100).astype(np.float32)
        return found

    def _converted(self, pixels: NDArray[Any], tables: NDArray[np.float32]) -> NDArray[np.uint8]:
        import numpy as np

        flat = pixels.reshape(-1, 3)
        result = np.empty(flat.shape, np.uint8)
        for begin in range(0, len(flat), _BLOCK_PX):
            block = flat[begin : begin + _BLOCK_PX]
            light: NDArray[Any] = np.stack([tables[c][block[:, c]] for c in range(3)], axis=-1)
            if self._luminance is not None:
                light = _shown(light, self._luminance)
            light = np.matmul(light, self._matrix)
            light *= _FINE
            light += 0.5
            np.clip(light, 0, _FINE, out=light)
            result[begin : begin + _BLOCK_PX] = _encoding()[light.astype(np.uint16)]
        return result.reshape(pixels.shape)


def _shown(light: NDArray[np.float32], luminance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the light of a display of 1,000 cd/m² that shows HLG, relative to reference white."""
    import numpy as np

    total = np.maximum(light @ luminance.astype(np.float32), 1e-6)
    brighter = total**0.2 * (1000 / REFERENCE_WHITE_NITS)
    return (light * brighter[:, None]).astype(np.float32)


@lru_cache(maxsize=1)
def _encoding() -> NDArray[np.uint8]:
    """Return sRGB's 8-bit values by linear light in steps of 1/65535."""
    import numpy as np

    light = np.arange(_FINE + 1) / _FINE
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(values * 255).astype(np.uint8)


@lru_cache(maxsize=32)
def conversion(space: RGBSpace) -> MatrixConversion:
    """Return the conversion from a space to sRGB.

    Raises:
        ColourError: Its primaries span no space.
    """
    import numpy as np

    own = _to_xyz(space)
    adapted = _adaptation(space.white, D65) @ own
    matrix = np.linalg.inv(_to_xyz(SRGB)) @ adapted
    return MatrixConversion(
        matrix, [space.curve] * 3, full_range=space.full_range,
        luminance=own[1] if space.curve is hlg else None,
    )  # fmt: skip


def from_colorants(colorants: NDArray[np.float64], curves: Sequence[Curve]) -> MatrixConversion:
    """Return the conversion from an ICC profile's space to sRGB.

    Args:
        colorants: (3, 3), columns are the XYZ of red, green and blue under D50.
        curves: One per channel.
    """
    import numpy as np

    return MatrixConversion(np.linalg.inv(np.array(_SRGB_COLORANTS)) @ colorants, curves)


def _to_xyz(space: RGBSpace) -> NDArray[np.float64]:
    """Return the matrix from a space's light to CIE XYZ (Lindbloom, RGB/XYZ matrices)."""
    import numpy as np

    columns = np.array([_xyz(c) for c in (space.red, space.green, space.blue)]).T
    # By x, y and z, which sum to 1: blue of CIE XYZ itself has a y of 0.
    if not np.isfinite(columns).all() or abs(np.linalg.det(columns)) < 1e-4 or space.white[1] <= 0:
        raise ColourError("its primaries span no colours")
    white = np.array(_xyz(space.white)) / space.white[1]
    scaled: NDArray[np.float64] = columns * np.linalg.solve(columns, white)
    return scaled


def _xyz(chromaticity: Chromaticity) -> tuple[float, float, float]:
    x, y = chromaticity
    return x, y, 1 - x - y


def _adaptation(white: Chromaticity, target: Chromaticity) -> NDArray[np.float64]:
    """Return Bradford's adaptation of XYZ from one white to another."""
    import numpy as np

    cones = np.array(_BRADFORD)
    now, then = (cones @ np.array(_xyz(w)) / w[1] for w in (white, target))
    adapted: NDArray[np.float64] = np.linalg.inv(cones) @ np.diag(then / now) @ cones
    return adapted
