"""Reads what a file says about its colours, and converts them to sRGB."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, Union

from PIL import Image

from lesionedge import icc, isobmff, rgb_space
from lesionedge.icc import Conversion
from lesionedge.notice import Notice
from lesionedge.rgb_space import ColourError, MatrixConversion, RGBSpace

Statement = Union[bytes, RGBSpace, ColourError]
"""An ICC profile, a colour space, or the reason why neither can be used."""

_READ_ERRORS = (
    OSError, ValueError, SyntaxError, LookupError, TypeError, ArithmeticError, AttributeError,
    struct.error,
)  # fmt: skip
_HDR = Notice("hdr", "high dynamic range: light brighter than white was cut off; export it as sRGB")
_EXIF_IFD, _INTEROP_IFD = 0x8769, 0xA005
_COLOUR_SPACE, _INTEROP_INDEX = 0xA001, 1
_WHITE_POINT, _PRIMARIES = 0x013E, 0x013F
_UNCALIBRATED = 65535
# EXIF's entry ColorSpace = 1 (sRGB), in both byte orders. Most cameras write it, and searching for
# it is faster than reading all of EXIF.
_SRGB_ENTRIES = bytes.fromhex("a0010003000000010001"), bytes.fromhex("01a00300010000000100")


@dataclass(frozen=True)
class Colours:
    """What a file says about its colours."""

    statements: tuple[Statement, ...] = ()
    """In the order of precedence. Empty: sRGB."""

    def conversion(self, mode: str) -> tuple[Conversion | None, tuple[Notice, ...]]:
        """Return the conversion to sRGB and the warnings.

        Args:
            mode: The image's: RGB, L or CMYK. The conversion for L may take RGB.

        Returns:
            The conversion (None: the image is sRGB or treated as sRGB), and the warnings.
        """
        problems = []
        for statement in self.statements:
            try:
                return _resolved(statement, mode), _remarks(statement)
            except ColourError as error:
                problems.append(str(error))
        return None, tuple(
            Notice("colour", f"its colours may be wrong: {text}; treated as sRGB")
            for text in problems[:1]
        )

    def deep(self, mode: str) -> MatrixConversion | None:
        """Return the conversion for 16 bits per channel; None if there is none.

        Args:
            mode: The image's: RGB or L. Both are converted as RGB.
        """
        for statement in self.statements:
            try:
                _resolved(statement, mode)
            except ColourError:
                continue
            return icc.deep(statement) if isinstance(statement, bytes) else _matrix(statement)
        return None


def _resolved(statement: Statement, mode: str) -> Conversion | None:
    if isinstance(statement, ColourError):
        raise statement
    if isinstance(statement, RGBSpace):
        if mode == "CMYK":
            raise ColourError("the image is CMYK, but its file describes RGB")
        return _of_space(statement)
    if mode == "L" and icc.mode_of(statement) == "RGB":
        mode = "RGB"  # a grey image saved with the colour image's profile
    return icc.conversion(statement, mode)


def _matrix(statement: RGBSpace | ColourError) -> MatrixConversion:
    assert isinstance(statement, RGBSpace)
    return rgb_space.conversion(statement)


@lru_cache(maxsize=16)
def _of_space(space: RGBSpace) -> Conversion | None:
    return icc.assessed(rgb_space.conversion(space), "RGB")


def _remarks(statement: Statement) -> tuple[Notice, ...]:
    return (_HDR,) if isinstance(statement, RGBSpace) and statement.is_hdr else ()


def declared(image: Image.Image) -> Colours:
    """Return what an image's file says about its colours.

    Args:
        image: From ``Image.open``, if possible not yet loaded: Pillow closes the file when it
            loads, and some formats store this where Pillow does not look.
    """
    try:
        return Colours(tuple(_statements(image)))
    except _READ_ERRORS:
        return Colours((ColourError("the file's description of them is damaged"),))


def _statements(image: Image.Image) -> Iterator[Statement]:
    yield from _cicp(image)
    if "icc_profile" in image.info:
        profile = image.info["icc_profile"]
        yield profile if isinstance(profile, bytes) else ColourError("its ICC profile is damaged")
    elif image.format in _CONTAINERS:
        with _file(image) as file:
            if file is not None:
                yield from _CONTAINERS[image.format](file)
    found = image.info.get("nclx_profile")  # of pillow-heif, if the caller opened a file with it
    if found:
        yield _nclx(found["color_primaries"], found["transfer_characteristics"])
    yield from _png_chunks(image.info)
    if "exif" in image.info or image.format == "TIFF":
        yield from _exif(image)


@contextmanager
def _file(image: Any) -> Iterator[BinaryIO | None]:
    """Yield an image's file at its beginning; restore its position afterwards."""
    file = getattr(image, "fp", None)
    if file is None or getattr(file, "closed", False):
        yield None
        return
    position = file.tell()
    try:
        file.seek(0)
        yield file
    finally:
        file.seek(position)


def _cicp(image: Image.Image) -> Iterator[Statement]:
    """Read PNG's chunk of code points (third edition, 11.3.2.6)."""
    content = image.info.get("cicp")
    if content is not None:  # from heic.py
        yield _nclx(content[0], content[1])
        return
    if image.format == "PNG":
        with _file(image) as file:
            content = None if file is None else _chunk(file, b"cICP")
    if content is None:
        return
    try:
        primaries, transfer, matrix, full_range = struct.unpack(">4B", content)
        if matrix != 0 or full_range > 1:
            raise ColourError("its cICP chunk is damaged")
        yield rgb_space.from_code_points(primaries, transfer, full_range=bool(full_range))
    except struct.error:
        yield ColourError("its cICP chunk is damaged")
    except ColourError as error:
        yield error


def _chunk(file: BinaryIO, wanted: bytes) -> bytes | None:
    """Return a PNG chunk that comes before the pixels."""
    file.seek(8)
    for _ in range(1000):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return None
        length = int.from_bytes(head[:4], "big")
        if head[4:] == wanted:
            return file.read(min(length, 64))
        file.seek(length + 4, 1)
    return None


def _png_chunks(info: dict[Any, Any]) -> Iterator[Statement]:
    """Read what Pillow keeps of sRGB, gAMA and cHRM, also in copies of the image."""
    if "srgb" in info:
        yield rgb_space.SRGB
        return
    gamma, chromaticities = info.get("gamma"), info.get("chromaticity")
    if gamma is None and chromaticities is None:
        return
    space = rgb_space.SRGB
    if chromaticities is not None:
        white, red, green, blue = (
            (float(chromaticities[n]), float(chromaticities[n + 1])) for n in (0, 2, 4, 6)
        )
        space = RGBSpace(red, green, blue, white)
    # Programs that write sRGB without naming it write this gamma in place of its curve.
    if gamma is None or (abs(gamma - 0.45455) < 0.0001 and _is_srgbs(space)):
        yield space
    elif gamma <= 0:
        yield ColourError("its gAMA chunk is damaged")
    else:
        curve = rgb_space.Power(1 / gamma)
        yield RGBSpace(space.red, space.green, space.blue, space.white, curve)


def _is_srgbs(space: RGBSpace) -> bool:
    """Return whether a space has sRGB's primaries, up to rounding."""
    own = (*space.red, *space.green, *space.blue, *space.white)
    srgb = rgb_space.SRGB
    wanted = (*srgb.red, *srgb.green, *srgb.blue, *srgb.white)
    return all(abs(a - b) < 0.002 for a, b in zip(own, wanted))


def _ifd(exif: Image.Exif, tag: int) -> dict[int, Any]:
    """Return a directory within EXIF, empty if there is none, where Pillow before 12 fails."""
    try:
        return exif.get_ifd(tag)
    except KeyError:
        return {}


def _exif(image: Image.Image) -> Iterator[Statement]:
    """Read EXIF's colour tags; DCF 2.0 defines how they name Adobe RGB."""
    raw = image.info.get("exif")
    if isinstance(raw, bytes) and any(entry in raw for entry in _SRGB_ENTRIES):
        return
    exif = image.getexif()
    colour_space = _ifd(exif, _EXIF_IFD).get(_COLOUR_SPACE)
    index = str(_ifd(exif, _INTEROP_IFD).get(_INTEROP_INDEX, "")).strip("\0 ")
    if colour_space == 1:
        return
    if index == "R03" or colour_space == 2:
        yield rgb_space.ADOBE_RGB
    elif _PRIMARIES in exif and _WHITE_POINT in exif:
        (rx, ry, gx, gy, bx, by), (wx, wy) = (
            [float(n) for n in exif[tag]] for tag in (_PRIMARIES, _WHITE_POINT)
        )
        yield RGBSpace((rx, ry), (gx, gy), (bx, by), (wx, wy))
    elif colour_space == _UNCALIBRATED:
        yield ColourError("its EXIF says that they are not sRGB, but not what they are")


def _nclx(primaries: int, transfer: int) -> Statement:
    try:
        # 2 means "not specified"; every program then assumes sRGB.
        return rgb_space.from_code_points(
            1 if primaries == 2 else primaries, 13 if transfer == 2 else transfer
        )
    except ColourError as error:
        return error


def _avif(file: BinaryIO) -> Iterator[Statement]:
    end = isobmff.size(file)
    for content in isobmff.find(file, (b"meta", b"iprp", b"ipco", b"colr"), end):
        if content[:4] == b"nclx":
            yield _nclx(*struct.unpack_from(">HH", content, 4))
            return


def _jpeg_2000(file: BinaryIO) -> Iterator[Statement]:
    """Read JP2's colour specifications (ISO/IEC 15444-1, I.5.3.3)."""
    end = isobmff.size(file)
    if file.read(4) == b"\xff\x4f\xff\x51":
        return  # a bare codestream, without a file header
    file.seek(0)
    for content in isobmff.find(file, (b"jp2h", b"colr"), end):
        method = content[0]
        if method in (2, 3):
            yield content[3:]
        elif method == 1 and int.from_bytes(content[3:7], "big") == 21:
            yield rgb_space.PRO_PHOTO
        else:
            continue  # sRGB, sYCC, grey and CMYK; the decoder refuses others
        return


def _bmp(file: BinaryIO) -> Iterator[Statement]:
    """Read the colours from headers of versions 4 and 5."""
    head = file.read(14 + 124)
    size = int.from_bytes(head[14:18], "little")
    kind = head[70:74]
    if size < 108:
        return
    if kind == b"\0\0\0\0":
        yield from _calibrated(head)
    elif size >= 124 and kind == b"DEBM":
        at, length = struct.unpack_from("<II", head, 126)
        file.seek(14 + at)
        yield file.read(min(length, icc.MAX_BYTES + 1))
    elif size >= 124 and kind == b"KNIL":
        yield ColourError("its ICC profile is in another file")


def _calibrated(head: bytes) -> Iterator[Statement]:
    """Read a BMP's own primaries and gammas; most writers leave them zero."""
    numbers = struct.unpack_from("<12I", head, 74)
    gammas = [n / 65536 for n in numbers[9:]]
    ends = [[n / 2**30 for n in numbers[a : a + 3]] for a in (0, 3, 6)]
    if not all(gammas) or not all(sum(end) for end in ends):
        return
    white = [sum(end[n] for end in ends) for n in range(3)]
    red, green, blue, middle = ((e[0] / sum(e), e[1] / sum(e)) for e in (*ends, white))
    yield RGBSpace(red, green, blue, middle, rgb_space.Power(sum(gammas) / 3))


def _gif(file: BinaryIO) -> Iterator[Statement]:
    """Read the ICC profile from a GIF's extension."""
    head = file.read(13)
    if head[10] & 0x80:
        file.seek(3 << ((head[10] & 7) + 1), 1)
    while file.read(1) == b"!":
        label, parts = file.read(1), []
        while (length := file.read(1)) not in (b"", b"\0"):
            parts.append(file.read(length[0]))
        if label == b"\xff" and parts and parts[0] == b"ICCRGBG1012":
            yield b"".join(parts[1:])
            return


_CONTAINERS = {"AVIF": _avif, "BMP": _bmp, "DIB": _bmp, "GIF": _gif, "JPEG2000": _jpeg_2000}
