"""Writes image files of rare encodings by their specifications, without any decoder."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, features

_FORMS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d"}


def pack(rows, bits, order=">"):
    """Return (H, N) whole numbers as rows of samples; each row begins at a new byte."""
    if bits in (8, 16, 32):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    ones = (rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


# --- TIFF


def tiff(strips, tags, order="<"):
    """Return a TIFF of these strips, with ``{tag: (type, value or values)}``."""
    body, offsets = b"", []
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    tags = {**tags, 273: (4, offsets), 279: (4, [len(strip) for strip in strips])}
    at, extra = 8 + len(body), b""
    beyond = at + 2 + 12 * len(tags) + 4
    entries = struct.pack(f"{order}H", len(tags))
    for tag in sorted(tags):
        kind, values = tags[tag]
        values = values if isinstance(values, (list, tuple, bytes)) else [values]
        if isinstance(values, bytes):
            data = values
        elif kind == 5:
            data = b"".join(struct.pack(f"{order}II", *value) for value in values)
        else:
            data = struct.pack(f"{order}{len(values)}{_FORMS[kind]}", *values)
        field = data.ljust(4, b"\0")
        if len(data) > 4:
            field = struct.pack(f"{order}I", beyond + len(extra))
            extra += data + b"\0" * (len(data) % 2)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    return head + body + entries + struct.pack(f"{order}I", 0) + extra


def tiff_of(
    samples, bits, photometric, *, order="<", fill=1, planar=1, compressed=False, rows=13, more=()
):
    """Return a TIFF of (H, W) or (H, W, S) whole numbers."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, count = samples.shape
    planes = [samples.reshape(height, -1)]
    if planar == 2:
        planes = [samples[..., number] for number in range(count)]
    parts = [plane[y : y + rows] for plane in planes for y in range(0, height, rows)]
    strips = [pack(part, bits, order) for part in parts]
    strips = [zlib.compress(strip) if compressed else strip for strip in strips]
    if fill == 2:  # reverses the stored bits, after compression
        strips = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip) for strip in strips]
    tags = {
        256: (3, width), 257: (3, height), 258: (3, [bits] * count),
        259: (3, 8 if compressed else 1), 262: (3, photometric), 266: (3, fill),
        277: (3, count), 278: (3, rows), 284: (3, planar),
        **dict(more),
    }  # fmt: skip
    return tiff(strips, tags, order)


def tiff_ycbcr(rgb, across, down, *, order="<", coefficients=None, video=False, more=()):
    """Return an uncompressed YCbCr TIFF with chroma at a lower resolution."""
    kr, kg, kb = coefficients or (0.299, 0.587, 0.114)
    luma = rgb @ [kr, kg, kb]
    blue, red = (rgb[..., 2] - luma) / (2 - 2 * kb), (rgb[..., 0] - luma) / (2 - 2 * kr)
    spans = (16, 219, 224) if video else (0, 255, 255)
    height, width = luma.shape

    def mean(values):
        blocks = values.reshape(height // down, down, width // across, across)
        return (128 + blocks.mean((1, 3)) * spans[2]).round().clip(0, 255)

    luma = (spans[0] + luma * spans[1]).round().clip(0, 255)
    blocks = luma.reshape(height // down, down, width // across, across).transpose(0, 2, 1, 3)
    units = np.concatenate(
        [
            blocks.reshape(height // down, width // across, -1),
            mean(blue)[..., None],
            mean(red)[..., None],
        ],
        axis=-1,
    )
    strips = [units[y : y + 4].astype(np.uint8).tobytes() for y in range(0, len(units), 4)]
    tags = {
        256: (3, width), 257: (3, height), 258: (3, [8, 8, 8]), 259: (3, 1), 262: (3, 6),
        277: (3, 3), 278: (3, 4 * down), 284: (3, 1), 530: (3, [across, down]), **dict(more),
    }  # fmt: skip
    if coefficients:
        tags[529] = (5, [(round(k * 10_000), 10_000) for k in coefficients])
    if video:
        tags[532] = (5, [(n, 1) for n in (16, 235, 128, 240, 128, 240)])
    return tiff(strips, tags, order)


# --- PNG

_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(samples, bits, kind, *, interlaced=False, chunks=b""):
    """Return a PNG of whole numbers, of colour type ``kind``, with chunks before the pixels."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width = samples.shape[:2]
    parts = [samples[y::down, x::across] for x, y, across, down in _PASSES]
    rows = [row for part in (parts if interlaced else [samples]) for row in part if row.size]
    data = b"".join(b"\0" + pack(row.reshape(1, -1), bits) for row in rows)
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunks
        + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )  # fmt: skip


def iccp(profile):
    return chunk(b"iCCP", b"made\0\0" + zlib.compress(profile))


def cicp(primaries, transfer, matrix=0, full=1):
    return chunk(b"cICP", bytes((primaries, transfer, matrix, full)))


def gama(value):
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chrm(primaries):
    """Return a cHRM chunk of red, green, blue and white."""
    numbers = [n for at in (3, 0, 1, 2) for n in primaries[at]]
    return chunk(b"cHRM", struct.pack(">8I", *(round(n * 100_000) for n in numbers)))


# --- BMP


def bmp(
    rows, width, height, bits, *, kind=0, header=40, masks=(), palette=b"", space=None, tail=b""
):
    """Return a BMP: ``header`` is the header's length, ``space`` the end of a long header."""
    if header == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        head = struct.pack(
            "<IiiHHIIiiII", header, width, height, 1, bits, kind, 0, 0, 0, len(palette) // 4, 0
        )
    packed = b"".join(struct.pack("<I", mask) for mask in masks)
    if header in (52, 56):
        head += packed.ljust(header - 40, b"\0")
    elif header == 64:
        head += b"\0" * 24
    elif header > 64:
        head += packed.ljust(16, b"\0") + (space or b"BGRs").ljust(header - 56, b"\0")
    loose = packed if header == 40 and kind == 3 else b""
    at = 14 + len(head) + len(loose) + len(palette)
    size = at + len(rows) + len(tail)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, at) + head + loose + palette + rows + tail


def bmp_rows(samples, bits, order="<"):
    """Return (H, N) samples as a BMP's rows, from the bottom up."""
    rows = [pack(row[None], bits, order if bits > 8 else ">") for row in samples[::-1]]
    return b"".join(row + b"\0" * (-len(row) % 4) for row in rows)


def bmp_rle8(indices):
    """Return (H, W) indices, run-length coded, with literal runs in between."""
    data = b""
    for row in indices[::-1]:
        at = 0
        while at < len(row):
            same = 1
            while at + same < len(row) and same < 255 and row[at + same] == row[at]:
                same += 1
            if same > 1 or len(row) - at < 4:
                data += bytes((same, row[at]))
                at += same
            else:
                run = row[at : at + 5 if len(row) - at >= 5 else 4]
                data += bytes((0, len(run), *run)) + b"\0" * (len(run) % 2)
                at += len(run)
        data += b"\0\0"
    return data + b"\0\1"


# --- TGA, PSD, JPEG 2000, GIF


def tga(kind, depth, data, width, height, descriptor=0x20, palette=b"", entry=0):
    count = len(palette) // ((entry + 7) // 8) if palette else 0
    numbers = (0, bool(palette), kind, 0, count, entry, 0, 0, width, height, depth, descriptor)
    head = struct.pack("<BBBHHBHHHHBB", *numbers)
    return head + palette + data


def psd(planes, depth, mode, profile=b""):
    """Return a PSD's merged image, uncompressed."""
    height, width = planes[0].shape
    resources = b""
    if profile:
        resources = b"8BIM" + struct.pack(">HHI", 1039, 0, len(profile)) + profile
        resources += b"\0" * (len(profile) % 2)
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, len(planes), height, width, depth, mode)
    head += struct.pack(">II", 0, len(resources)) + resources + struct.pack(">I", 0) + b"\0\0"
    return head + b"".join(pack(plane, depth) for plane in planes)


def box(name, content):
    return struct.pack(">I", 8 + len(content)) + name + content


def jp2(codestream, size, channels, bits=8, *, colour=None, more=b""):
    """Return a JP2 file around a codestream; ``colour`` is the content of its colr box."""
    colour = colour or struct.pack(">BBBI", 1, 0, 0, 16 if channels > 2 else 17)
    head = struct.pack(">IIHBBBB", size[1], size[0], channels, bits - 1, 7, 0, 0)
    return (
        box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + box(b"jp2h", box(b"ihdr", head) + box(b"colr", colour) + more) + box(b"jp2c", codestream)
    )  # fmt: skip


def codestream(image):
    """Return a lossless JPEG 2000 codestream of a PIL image, without a file header."""
    file = io.BytesIO()
    image.save(file, "JPEG2000", no_jp2=True, irreversible=False)
    return file.getvalue()


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def gif_with_profile(image, profile):
    """Return a GIF with a profile in the usual extension."""
    content = encoded(image, "GIF")
    at = 13 + (3 << ((content[10] & 7) + 1) if content[10] & 0x80 else 0)
    parts = [profile[n : n + 255] for n in range(0, len(profile), 255)]
    extension = b"!\xff\x0bICCRGBG1012" + b"".join(bytes([len(p)]) + p for p in parts) + b"\0"
    return content[:at] + extension + content[at:]


def bmp_with_profile(rgb, profile):
    """Return a BMP of version 5 with (H, W, 3) pixels and a profile behind them."""
    height, width = rgb.shape[:2]
    rows = bmp_rows(rgb[..., ::-1].reshape(height, -1), 8)
    at = 124 + len(rows)
    space = b"DEBM" + b"\0" * 48 + struct.pack("<IIII", 4, at, len(profile), 0)
    return bmp(rows, width, height, 24, header=124, space=space, tail=profile)


def has(feature):
    """Return whether this Pillow knows and has a feature."""
    known = (*features.modules, *features.codecs, *features.features)
    return feature in known and bool(features.check(feature))


# --- Content of the images


def smooth(width=56, height=40):
    """Return (H, W, 3) colours, 0-1, that change slowly, with white, black and strong corners."""
    y, x = np.mgrid[0:height, 0:width]
    colours = np.stack([60 + x * 2, 50 + y * 3, 180 - x - y], axis=-1) / 255.0
    colours = np.clip(colours, 0, 1)
    colours[:8, :8], colours[-8:, -8:] = 1, 0
    colours[:8, -8:], colours[-8:, :8] = (0.85, 0.15, 0.1), (0.1, 0.3, 0.8)
    return colours


def whole(colours, bits):
    """Return colours, 0-1, as whole numbers of this many bits."""
    return np.round(np.asarray(colours) * (2**bits - 1)).astype(np.int64)


def as_image(colours):
    return Image.fromarray(whole(colours, 8).astype(np.uint8))


def grey_of(colours):
    return colours @ [0.299, 0.587, 0.114]
