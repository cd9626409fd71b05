"""Converts colours with ICC profiles to sRGB, by Pillow's littlecms. Examines each profile once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image

from lesionedge import rgb_space
from lesionedge.rgb_space import ColourError, Curve, MatrixConversion

MAX_BYTES = 8_000_000
"""Larger profiles count as damaged; those of printing presses have two or three megabytes."""

_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")  # of devices and spaces; not links between them
_SAME_LEVELS = 2  # a profile that changes no colour by more than this describes sRGB
_SMOOTH_LEVELS = 12  # gamma 2.4 changes greys by less; gamma 1.8 by 18, linear light by 75
_GRID_STEPS = 17


@dataclass(frozen=True)
class Conversion:
    """Converts images of one mode to sRGB."""

    mode: str
    """The mode of its input: RGB, L or CMYK."""
    apply: Callable[[Image.Image], Image.Image]
    """Returns an RGB image, sRGB. Threads may share it."""
    is_smooth: bool
    """Whether applying it after resizing makes no visible difference: its curve is like sRGB's."""


def mode_of(profile: bytes) -> str:
    """Return the mode of the images that a profile is for: RGB, L or CMYK.

    Raises:
        ColourError: The profile is not for images.
    """
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ColourError("its ICC profile is damaged")
    if len(profile) > MAX_BYTES:
        raise ColourError(f"its ICC profile has {len(profile) // 1_000_000} MB")
    if profile[12:16] not in _CLASSES or profile[16:20] not in _MODES:
        kind, space = (_text(profile[a : a + 4]) for a in (12, 16))
        raise ColourError(f"its ICC profile is of a kind ({kind}, {space}) that cannot be read")
    return _MODES[profile[16:20]]


def conversion(profile: bytes, mode: str) -> Conversion | None:
    """Return the conversion of images with this profile to sRGB; None: they are sRGB.

    Args:
        profile: As embedded in a file.
        mode: The image's: RGB, L or CMYK. Convert a grey image with an RGB profile to RGB first.

    Raises:
        ColourError: The profile is unusable, or for other images.
    """
    found = _examined(profile, mode)
    if isinstance(found, str):
        raise ColourError(found)
    return found


@lru_cache(maxsize=4)
def deep(profile: bytes) -> MatrixConversion | None:
    """Return the conversion of a profile with curves, and for RGB a matrix; None for others.

    It takes RGB, also for a grey profile.
    """
    try:
        return _matrix(profile)
    except (ColourError, ValueError, IndexError, struct.error):
        return None  # littlecms may still read it


@lru_cache(maxsize=16)
def _examined(profile: bytes, mode: str) -> Conversion | str | None:
    """Examine a profile; return an error as text, so that it is cached too."""
    try:
        wanted = mode_of(profile)
        if wanted != mode:
            return f"its ICC profile is for {wanted} images, but the image is {mode}"
        apply = _littlecms(profile, mode) or _without_littlecms(profile)
        return assessed(apply, mode)
    except ColourError as error:
        return str(error)


def assessed(apply: Callable[[Image.Image], Image.Image], mode: str) -> Conversion | None:
    """Return a conversion, tested on a grid of colours; None: it changes nothing.

    Args:
        apply: From an image to its sRGB.
        mode: The mode of its input.

    Raises:
        ColourError: It makes white no lighter than black.
    """
    import numpy as np

    if mode not in ("RGB", "L"):
        return Conversion(mode, apply, is_smooth=False)
    before = _grid(mode)
    after = np.asarray(apply(before)).astype(int)
    original = np.asarray(before.convert("RGB")).astype(int)
    greys, changed = after[0, :256], np.abs(after - original)
    if greys[255].sum() <= greys[0].sum():
        raise ColourError("its colours make white no lighter than black")
    if changed.max() <= _SAME_LEVELS and changed.mean() < 0.5:
        return None
    bent = int(changed[0, :256].max())
    return Conversion(mode, apply, is_smooth=bent <= _SMOOTH_LEVELS)


@lru_cache(maxsize=2)
def _grid(mode: str) -> Image.Image:
    """Return all greys, and for RGB colours at equal distances, in one row."""
    import numpy as np

    greys = np.arange(256, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(greys[None])
    steps = np.linspace(0, 255, _GRID_STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    return Image.fromarray(np.concatenate([np.repeat(greys[:, None], 3, 1), colours])[None])


def _littlecms(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """Return littlecms' transform; None if Pillow was built without it."""
    import io

    from PIL import ImageCms, features

    if not features.check("littlecms2"):
        return None
    # Photoshop's default: measured colours are kept, and black becomes black.
    intent, flags = 1, 0x2000  # relative colorimetric, black point compensation
    build: Any = ImageCms.buildTransform
    try:
        transform = build(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
            mode, "RGB", intent, flags,
        )  # fmt: skip
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ColourError(f"its ICC profile cannot be used ({error})") from error

    def apply(image: Image.Image) -> Image.Image:
        converted = Image.new("RGB", image.size)
        transform.apply(image, converted)
        return converted

    return apply


def _without_littlecms(profile: bytes) -> Callable[[Image.Image], Image.Image]:
    found = deep(profile)
    if found is None:
        raise ColourError("its ICC profile needs littlecms, but this Pillow was built without it")
    return found


def _matrix(profile: bytes) -> MatrixConversion | None:
    """Read the colorants and curves of a profile (ICC.1:2022, 8.3.3 and 8.3.4)."""
    import numpy as np

    tags, mode = _tags(profile), mode_of(profile)
    if mode == "L" and b"kTRC" in tags and b"A2B0" not in tags:
        return MatrixConversion(np.eye(3), [_curve(tags[b"kTRC"])] * 3)
    if mode != "RGB" or profile[20:24] != b"XYZ " or {b"A2B0", b"A2B1"} & tags.keys():
        return None
    names = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")
    if not set(names[0] + names[1]) <= tags.keys():
        return None
    colorants = np.array([_xyz(tags[name]) for name in names[0]]).T
    return rgb_space.from_colorants(colorants, [_curve(tags[name]) for name in names[1]])


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for number in range(min(count, 100)):
        name, at, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        tags[name] = profile[at : at + size]
    return tags


def _xyz(tag: bytes) -> tuple[float, float, float]:
    x, y, z = struct.unpack_from(">3i", tag, 8)
    return x / 65536, y / 65536, z / 65536


def _curve(tag: bytes) -> Curve:
    """Read a curve, as a table, a gamma or a formula (ICC.1:2022, 10.6 and 10.18)."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return rgb_space.LINEAR
        values = struct.unpack_from(f">{count}H", tag, 12)
        return rgb_space.Power(values[0] / 256) if count == 1 else rgb_space.Table(values)
    if tag[:4] != b"para":
        raise ColourError(f"its ICC profile has a curve of an unknown kind ({_text(tag[:4])})")
    (kind,) = struct.unpack_from(">H", tag, 8)
    numbers = [n / 65536 for n in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)]
    return _formula(kind, numbers)


def _formula(kind: int, numbers: list[float]) -> Curve:
    if kind in (1, 2):
        g, a, b = numbers[:3]
        e = numbers[3] if kind == 2 else 0.0
        if a == 0:
            raise ColourError("its ICC profile has a curve that is constant")
        return rgb_space.Power(g, a, b, d=-b / a, e=e, f=e)
    return rgb_space.Power(*numbers)


def _text(code: bytes) -> str:
    return repr(code.decode("latin-1").strip())[1:-1]
