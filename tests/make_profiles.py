"""Makes ICC profiles from the formulas of their spaces, and the sRGB values by these formulas.

It shares no code with the package, so tests can compare the package's results with it.
"""

from __future__ import annotations

import struct

import numpy as np

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
PCS_WHITE = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
# Red, green, blue, white.
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65)
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65)
PRO_PHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), D50)
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65)

SRGB_FORMULA = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def srgb_light(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def srgb_value(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _xyz(c):
    return np.array([c[0] / c[1], 1.0, (1 - c[0] - c[1]) / c[1]])


def to_xyz(primaries):
    """Return the matrix from a space's light to XYZ under its own white: (3, 3)."""
    columns = np.stack([_xyz(c) for c in primaries[:3]], axis=1)
    return columns * np.linalg.solve(columns, _xyz(primaries[3]))


def to_pcs(primaries):
    """Return the matrix from a space's light to XYZ under the connection space's white: (3, 3)."""
    columns, white = to_xyz(primaries), _xyz(primaries[3])
    gains = (_BRADFORD @ PCS_WHITE) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ columns


def expected(values, primaries, light):
    """Return the sRGB values, 0-255, of RGB values, 0-1, with these primaries and this curve."""
    matrix = np.linalg.inv(to_pcs(SRGB)) @ to_pcs(primaries)
    return srgb_value(light(np.asarray(values, float)) @ matrix.T) * 255


def expected_grey(values, light):
    grey = srgb_value(light(np.asarray(values, float))) * 255
    return np.repeat(grey[..., None], 3, axis=-1)


def _fixed(numbers):
    return b"".join(struct.pack(">i", round(n * 65536)) for n in numbers)


def gamma(g):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(g * 256))


def table(values):
    """Return a curve with these values, 0-1."""
    numbers = np.round(np.asarray(values) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(numbers)) + numbers.tobytes()


def formula(kind, numbers):
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _fixed(numbers)


def _assembled(tags, space, pcs=b"XYZ ", kind=b"mntr"):
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"made\0" + b"\0" * 78,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(PCS_WHITE),
        **tags,
    }
    at, listed, data = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        listed += name + struct.pack(">II", at + len(data), len(content))
        data += content + b"\0" * (-len(content) % 4)
    head = struct.pack(">I4sI", at + len(data), b"", 0x02400000) + kind + space + pcs + b"\0" * 12
    head += b"acsp" + b"\0" * 24 + struct.pack(">I", 1) + _fixed(PCS_WHITE)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + listed + data


def rgb(primaries, curve):
    """Return an RGB profile with a matrix and one curve for all channels."""
    columns = to_pcs(primaries)
    tags = {}
    for number, letter in enumerate((b"r", b"g", b"b")):
        tags[letter + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(columns[:, number])
        tags[letter + b"TRC"] = curve
    return _assembled(tags, b"RGB ")


def grey(curve):
    return _assembled({b"kTRC": curve}, b"GRAY")


def cmyk(reflected):
    """Return a CMYK profile for a function from (…, 4) inks, 0-1, to (…, 3) sRGB values, 0-1."""
    return _by_table(reflected, b"CMYK", 4, 9, b"prtr")


def rgb_table(reflected):
    """Return an RGB profile with a table, like a scanner's, from (…, 3) values to sRGB values."""
    return _by_table(reflected, b"RGB ", 3, 33, b"scnr")


def _by_table(reflected, space, channels, steps, kind):
    inks = np.stack(
        np.meshgrid(*[np.linspace(0, 1, steps)] * channels, indexing="ij"), axis=-1
    ).reshape(-1, channels)
    lab = _lab(srgb_light(reflected(inks)) @ to_pcs(SRGB).T)
    lightness, colour = lab[:, :1] / 100 * 0xFF00, (lab[:, 1:] + 128) * 256
    numbers = np.concatenate([lightness, colour], axis=1).clip(0, 65535).round().astype(">u2")
    straight = np.array([0, 65535], ">u2").tobytes()
    content = b"mft2\0\0\0\0" + bytes((channels, 3, steps, 0)) + _fixed(np.eye(3).ravel())
    content += struct.pack(">HH", 2, 2) + straight * channels + numbers.tobytes() + straight * 3
    return _assembled({b"A2B0": content}, space, b"Lab ", kind)


def _lab(xyz):
    ratio = xyz / PCS_WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [
            116 * f[..., 1] - 16,
            500 * (f[..., 0] - f[..., 1]),
            200 * (f[..., 1] - f[..., 2]),
        ],
        axis=-1,
    )


SPACES = {
    "display-p3": (P3, formula(3, SRGB_FORMULA), srgb_light),
    "adobe-rgb": (ADOBE, gamma(563 / 256), lambda v: v ** (563 / 256)),
    "pro-photo": (PRO_PHOTO, gamma(1.8), lambda v: v ** (461 / 256)),
    "linear": (SRGB, table([0, 1]), lambda v: v),
    "bt2020": (BT2020, table(np.linspace(0, 1, 1024) ** 2.4), lambda v: v**2.4),
}
"""Primaries, the profile's curve, the curve as a function."""


def space(name):
    """Return the profile of one of ``SPACES``."""
    primaries, curve, _ = SPACES[name]
    return rgb(primaries, curve)


SRGB_PROFILES = {
    "formula": rgb(SRGB, formula(3, SRGB_FORMULA)),
    "longer formula": rgb(SRGB, formula(4, (*SRGB_FORMULA, 0, 0))),
    "table of 1024": rgb(SRGB, table(srgb_light(np.linspace(0, 1, 1024)))),
    "table of 4096": rgb(SRGB, table(srgb_light(np.linspace(0, 1, 4096)))),
    "small table": rgb(SRGB, table(srgb_light(np.linspace(0, 1, 64)))),
    "as a table of colours": rgb_table(lambda v: v),
}
