"""Rare encodings: the right pixels, or an error that says what was found; never wrong pixels."""

from __future__ import annotations

import itertools
import json
import struct
import zlib

import make_images as files
import numpy as np
import pytest
from PIL import Image

from lesionedge import ImageError
from lesionedge import image as images

COLOURS = files.smooth()
GREY = files.grey_of(COLOURS)
HEIGHT, WIDTH = GREY.shape
ORDERS = ("<", ">")
PILLOW = tuple(int(n) for n in Image.__version__.split(".")[:2])


def decoded(content):
    return np.asarray(images.decode(content).image).astype(float)


def grey(values):
    return np.repeat(np.asarray(values, float)[..., None], 3, axis=-1) * 255


def with_alpha(colours, alpha):
    return np.concatenate([colours, np.full((HEIGHT, WIDTH, 1), alpha)], axis=-1)


def codes(content):
    return [warning.code for warning in images.decode(content).warnings]


def right_or_refused(content, expected, *, most=1.1):
    """Return whether it was read; if so, check the pixels."""
    try:
        found = decoded(content)
    except ImageError:
        return False
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= most
    return True


# --- TIFF

LAYOUTS = list(itertools.product(ORDERS, (1, 2), (1, 2), (False, True)))


@pytest.mark.parametrize(("order", "fill", "planar", "compressed"), LAYOUTS)
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16, 32])
def test_grey_tiffs(bits, photometric, order, fill, planar, compressed):
    levels = files.whole(GREY > 0.5 if bits == 1 else GREY, bits)
    expected = grey(levels / (2**bits - 1))
    levels = levels if photometric else 2**bits - 1 - levels
    content = files.tiff_of(
        levels, bits, photometric, order=order, fill=fill, planar=planar, compressed=compressed
    )
    read = right_or_refused(content, expected)
    assert read or bits > 8
    if order == "<" and fill == 1 and bits in (12, 16, 32):
        assert read == ((photometric, bits) in ((1, 16), (1, 12), (1, 32), (0, 16)))


@pytest.mark.parametrize(("order", "fill", "planar", "compressed"), LAYOUTS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_rgb_tiffs(bits, order, fill, planar, compressed):
    levels = files.whole(COLOURS > 0.5 if bits == 1 else COLOURS, bits)
    expected = levels / (2**bits - 1) * 255
    content = files.tiff_of(
        levels, bits, 2, order=order, fill=fill, planar=planar, compressed=compressed
    )
    read = right_or_refused(content, expected)
    assert read == (bits == 8 or (bits == 16 and fill == 1))


@pytest.mark.parametrize("compressed", [0, 1])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("extra", [None, 0, 1, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_tiffs_with_a_fourth_channel(alpha, bits, extra, order, planar, compressed):
    colours = COLOURS * alpha if extra == 1 and alpha else COLOURS
    levels = files.whole(with_alpha(colours, alpha), bits)
    more = {} if extra is None else {338: (3, extra)}
    content = files.tiff_of(
        levels, bits, 2, order=order, planar=planar, compressed=bool(compressed), more=more
    )
    shown = (levels[..., -1:] / (2**bits - 1)) if extra != 0 and alpha else 1
    expected = (COLOURS * shown + 1 - shown) * 255
    read = right_or_refused(content, expected, most=2)
    assert read or planar == 2 or (PILLOW < (11, 3) and extra == 0 and bits == 16)
    if read and alpha == 0:
        assert codes(content) == ([] if extra == 0 else ["transparent"])


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("extra", [None, 0, 1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_grey_tiffs_with_a_second_channel(alpha, extra, order, planar):
    own = GREY * alpha if extra == 1 and alpha else GREY
    levels = files.whole(np.stack([own, np.full_like(own, alpha)], axis=-1), 8)
    more = {} if extra is None else {338: (3, extra)}
    content = files.tiff_of(levels, 8, 1, order=order, planar=planar, more=more)
    shown = levels[..., -1] / 255 if extra != 0 and alpha else 1
    read = right_or_refused(content, grey(GREY * shown + 1 - shown), most=2)
    known = extra == 2 or (extra is not None and PILLOW >= (13, 0))
    assert read == (planar == 1 and known) or (planar == 2 and extra == 0)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_tiffs(bits, order, planar):
    inks = with_alpha(1 - COLOURS, 0.0)
    content = files.tiff_of(files.whole(inks, bits), bits, 5, order=order, planar=planar)
    read = right_or_refused(content, COLOURS * 255, most=1.5)
    assert read or (PILLOW < (11, 0) and bits == 16 and order == ">")
    spot = with_alpha(inks, 0.5)
    content = files.tiff_of(files.whole(spot, bits), bits, 5, order=order, more={338: (3, 0)})
    assert right_or_refused(content, COLOURS * 255, most=1.5) == (bits == 8)


@pytest.mark.parametrize(
    "more",
    [{332: (3, 2)}, {332: (3, 2), 334: (3, 4)}, {336: (1, [255, 0])}, {336: (1, [10, 245])}],
)
def test_other_inks_are_refused(more):
    content = files.tiff_of(files.whole(with_alpha(1 - COLOURS, 0.0), 8), 8, 5, more=more)
    with pytest.raises(ImageError, match="other inks"):
        images.decode(content)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("fill", [1, 2])
@pytest.mark.parametrize("of_8_bits", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_tiffs(bits, of_8_bits, fill, planar, compressed):
    rng = np.random.default_rng(bits)
    palette = rng.integers(0, 256 if of_8_bits else 65536, (3, 2**bits))
    indices = rng.integers(0, 2**bits, (HEIGHT, WIDTH))
    content = files.tiff_of(
        indices, bits, 3, fill=fill, planar=planar, compressed=compressed,
        more={320: (3, palette.ravel().tolist())},
    )  # fmt: skip
    expected = palette.T[indices] * (1 if of_8_bits else 255 / 65535)
    assert right_or_refused(content, expected)


@pytest.mark.parametrize("planar", [1, 2])
def test_lab_tiffs(planar):
    image = files.as_image(COLOURS).convert("LAB")
    levels = np.asarray(image).astype(int)
    content = files.tiff_of(levels, 8, 8, planar=planar)
    expected = np.asarray(image.convert("RGB")).astype(float)
    assert right_or_refused(content, expected) == (planar == 1)
    content = files.tiff_of(levels, 8, 9)
    with pytest.raises(ImageError, match="ICC Lab"):
        images.decode(content)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("coefficients", [None, (0.2126, 0.7152, 0.0722)])
@pytest.mark.parametrize("ratio", [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 2)])
def test_ycbcr_tiffs(ratio, coefficients, video, order):
    ramp = np.stack(np.meshgrid(np.linspace(0.2, 0.8, 56), np.linspace(0.3, 0.7, 40)), axis=-1)
    colours = np.dstack([ramp, 1 - ramp[..., 0]])
    content = files.tiff_ycbcr(colours, *ratio, order=order, coefficients=coefficients, video=video)
    # Subsampled chroma can only be approximately right.
    assert right_or_refused(content, colours * 255, most=4 + 4 * max(ratio))


@pytest.mark.parametrize("kind", [2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_tiffs_of_other_numbers_are_refused(kind, bits):
    for samples, photometric in ((files.whole(GREY, bits), 1), (files.whole(COLOURS, bits), 2)):
        count = 1 if photometric == 1 else 3
        content = files.tiff_of(
            samples, bits, photometric, more={339: (3, [kind] * count)}, order="<"
        )
        with pytest.raises(ImageError, match=r"samples of|floating-point|cannot be read|damaged"):
            images.decode(content)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3])
def test_fewer_bits_in_16_are_scaled_with_a_warning(channels, bits, order):
    colours = COLOURS if channels == 3 else GREY
    levels = files.whole(colours, bits)
    levels.flat[0] = 2**bits - 1
    expected = levels / (2**bits - 1) * 255
    expected = expected if channels == 3 else np.repeat(expected[..., None], 3, axis=-1)
    content = files.tiff_of(levels, 16, 1 if channels == 1 else 2, order=order)
    assert right_or_refused(content, expected)
    assert codes(content) == ["bit-depth"]
    kind = 0 if channels == 1 else 2
    content = files.png(levels, 16, kind)
    assert right_or_refused(content, expected)
    assert codes(content) == ["bit-depth"]


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiffs_that_say_how_many_bits_they_use(channels, bits):
    colours = COLOURS * 0.9 if channels == 3 else GREY * 0.9
    levels = files.whole(colours, bits)
    more = {281: (3, [2**bits - 1] * channels)}
    content = files.tiff_of(levels, 16, 1 if channels == 1 else 2, more=more)
    expected = levels / (2**bits - 1) * 255
    expected = expected if channels == 3 else np.repeat(expected[..., None], 3, axis=-1)
    assert right_or_refused(content, expected)
    assert codes(content) == []
    # If the values need more bits than the file says, they are not scaled.
    levels = files.whole(colours, 16)
    content = files.tiff_of(levels, 16, 1 if channels == 1 else 2, more=more)
    assert np.abs(decoded(content).max() - 0.9 * 255) < 2


def test_fourteen_bits_may_be_a_dark_image():
    levels = files.whole(COLOURS, 14)
    content = files.tiff_of(levels, 16, 2)
    assert np.abs(decoded(content) - levels / 65535 * 255).max() <= 1.1
    assert codes(content) == ["bit-depth"]


def test_black_stays_black():
    black = np.zeros((HEIGHT, WIDTH), int)
    assert decoded(files.tiff_of(black, 16, 1)).max() == 0
    assert decoded(files.png(np.dstack([black] * 3), 16, 2)).max() == 0


def test_unsupported_tiffs_are_described_in_the_error():
    levels = files.whole(COLOURS, 8)
    cases = {
        "without a photometric": (files.tiff_of(levels[..., 0], 8, 1), 262, 60000),
        "white is zero": (files.tiff_of(files.whole(GREY, 12), 12, 0), None, None),
        "signed": (files.tiff_of(files.whole(GREY, 16), 16, 1, more={339: (3, 2)}), None, None),
        "LogLuv": (files.tiff_of(levels, 8, 32845), None, None),
        "colour filters": (files.tiff_of(levels[..., 0], 8, 32803), None, None),
        "big-endian": (b"MM\0+\0\x08\0\0" + b"\0" * 200, None, None),
    }
    for text, (content, tag, other) in cases.items():
        made = content
        if tag:
            made = content.replace(struct.pack("<H", tag), struct.pack("<H", other), 1)
        with pytest.raises(ImageError, match=text):
            images.decode(made)


def test_a_preview_before_the_image_is_refused(tmp_path):
    small, large = files.as_image(COLOURS), files.as_image(COLOURS).resize((112, 80))
    path = tmp_path / "a.tif"
    small.save(path, save_all=True, append_images=[large], tiffinfo={254: 1})
    with pytest.raises(ImageError, match="preview"):
        images.decode(path)


@pytest.mark.parametrize("form", ["path", "bytes", "file"])
@pytest.mark.parametrize("kind", ["planes", "12 bits in 16", "premultiplied"])
def test_tiffs_that_are_opened_twice_come_from_everywhere(tmp_path, form, kind):
    content = {
        "planes": lambda: files.tiff_of(files.whole(COLOURS, 16), 16, 2, planar=2),
        "12 bits in 16": lambda: files.tiff_of(files.whole(COLOURS, 12), 16, 2),
        "premultiplied": lambda: files.tiff_of(
            files.whole(with_alpha(COLOURS, 0.0), 8), 8, 2, more={338: (3, 1)}
        ),
    }[kind]()
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with open(path, "rb") as file:
        source = {"path": path, "bytes": content, "file": file}[form]
        assert np.abs(decoded(source) - COLOURS * 255).max() <= 1.1
        assert not file.closed
    with Image.open(path) as opened:
        assert np.abs(decoded(opened) - COLOURS * 255).max() <= 1.1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["planes", "deep", "inverted", "YCbCr"])
def test_rare_tiffs_are_turned_once(kind, orientation):
    turn = {274: (3, orientation)}
    levels = files.whole(COLOURS, 12 if kind == "deep" else 16)
    if kind == "YCbCr":
        content = files.tiff_ycbcr(COLOURS, 1, 1, more=turn)
    elif kind == "inverted":
        content = files.tiff_of(65535 - files.whole(GREY, 16), 16, 0, more=turn)
    else:
        content = files.tiff_of(levels, 16, 2, planar=2 if kind == "planes" else 1, more=turn)
    expected = grey(GREY) if kind == "inverted" else COLOURS * 255
    turned = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90,
    }[orientation](expected)  # fmt: skip
    if kind == "YCbCr" and orientation > 1 and PILLOW < (11, 2):
        with pytest.raises(ImageError, match="Pillow 11.2"):
            images.decode(content)
        return
    found = images.decode(content)
    assert found.size == (turned.shape[1], turned.shape[0])
    assert np.abs(np.asarray(found.image) - turned).max() <= (3 if kind == "YCbCr" else 1.1)


# --- PNG


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_pngs(bits, clear, interlaced):
    levels = files.whole(GREY > 0.5 if bits == 1 else GREY, bits)
    expected, chunks = grey(levels / (2**bits - 1)), b""
    if clear:
        value = int(levels[20, 30])
        expected[levels == value] = 255
        chunks = files.chunk(b"tRNS", struct.pack(">H", value))
    content = files.png(levels, bits, 0, interlaced=interlaced, chunks=chunks)
    assert right_or_refused(content, expected)
    assert codes(content) == []


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_rgb_pngs(bits, clear, interlaced):
    levels = files.whole(COLOURS, bits)
    levels[20, 31] = levels[20, 30]
    levels[20, 31, 2] += 1  # nearly the transparent colour
    expected, chunks = levels / (2**bits - 1) * 255, b""
    if clear:
        value = levels[20, 30]
        expected[(levels == value).all(axis=-1)] = 255
        chunks = files.chunk(b"tRNS", struct.pack(">3H", *value))
    content = files.png(levels, bits, 2, interlaced=interlaced, chunks=chunks)
    assert right_or_refused(content, expected)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [4, 6])
@pytest.mark.parametrize("alpha", ["none", "ramp", "full"])
def test_pngs_with_alpha(alpha, kind, bits, interlaced):
    opacity = {"none": 0.0, "full": 1.0, "ramp": np.linspace(0, 1, WIDTH)[None] + 0 * GREY}[alpha]
    own = COLOURS if kind == 6 else GREY[..., None]
    opacity = np.broadcast_to(opacity, GREY.shape)[..., None]
    levels = files.whole(np.concatenate([own, opacity], axis=-1), bits)
    shown = 1 if alpha == "none" else opacity
    expected = (np.broadcast_to(own, COLOURS.shape) * shown + 1 - shown) * 255
    content = files.png(levels, bits, kind, interlaced=interlaced)
    assert right_or_refused(content, expected, most=1.6)
    assert codes(content) == (["transparent"] if alpha == "none" else [])


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "opacity", [b"", b"\0", b"\xff\0", b"\x80", bytes(range(0, 250, 17)), bytes(256)]
)
def test_palette_pngs(bits, opacity, interlaced):
    rng = np.random.default_rng(3)
    palette = rng.integers(0, 256, (2**bits, 3))
    indices = rng.integers(0, 2**bits, (HEIGHT, WIDTH))
    opacity = opacity[: 2**bits]
    chunks = files.chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    chunks += files.chunk(b"tRNS", opacity) if opacity else b""
    alpha = np.array([*opacity, *[255] * (2**bits - len(opacity))])[indices][..., None] / 255
    alpha = alpha if alpha.any() else np.ones_like(alpha)
    expected = palette[indices] * alpha + 255 * (1 - alpha)
    content = files.png(indices, bits, 3, interlaced=interlaced, chunks=chunks)
    assert right_or_refused(content, expected)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits"),
    [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 4), (3, 8), (4, 8),
     (4, 16), (6, 8), (6, 16)],
)  # fmt: skip
@pytest.mark.parametrize("size", [(64, 47), (61, 40)])
def test_pngs_without_their_last_rows_are_refused(size, kind, bits, interlaced):
    shape = (size[1], size[0], {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind])
    chunks = files.chunk(b"PLTE", bytes(range(256))[: 2**bits] * 3) if kind == 3 else b""
    levels = np.full(shape, 2**bits - 1)
    levels[-9:] = 0  # the end may well be black
    whole = files.png(levels, bits, kind, interlaced=interlaced, chunks=chunks)
    images.decode(whole)
    place = whole.index(b"IDAT") + 4
    data = zlib.decompress(whole[place:-16])
    for cut in (1, len(data) // 3, len(data) - 1):
        short = whole[: place - 8] + files.chunk(b"IDAT", zlib.compress(data[:-cut])) + whole[-12:]
        with pytest.raises(ImageError, match="damaged or cut short"):
            images.decode(short)


def test_a_black_png_in_many_chunks_is_whole():
    whole = files.png(np.zeros((300, 400, 3), int), 8, 2)
    place = whole.index(b"IDAT") + 4
    data = whole[place:-16]
    parts = b"".join(files.chunk(b"IDAT", data[at : at + 7]) for at in range(0, len(data), 7))
    assert not np.asarray(images.decode(whole[: place - 8] + parts + whole[-12:]).image).any()


# --- BMP


def bmp_masks(*widths):
    """Return masks of these widths, from the lowest bits up; the last channel comes first."""
    masks, at = [], 0
    for width in widths:
        masks.append(((1 << width) - 1) << at)
        at += width
    return masks


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("header", [12, 40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palette_bmps(bits, header, top_down):
    rng = np.random.default_rng(bits)
    palette = rng.integers(0, 256, (2**bits, 3))
    indices = rng.integers(0, 2**bits, (HEIGHT, WIDTH))
    entry = b"" if header == 12 else b"\0"
    table = b"".join(bytes((b, g, r)) + entry for r, g, b in palette.tolist())
    if top_down and header == 12:
        pytest.skip("the oldest header has no sign")
    rows = files.bmp_rows(indices[::-1] if top_down else indices, bits)
    height = -HEIGHT if top_down else HEIGHT
    content = files.bmp(rows, WIDTH, height, bits, header=header, palette=table)
    assert right_or_refused(content, palette[indices].astype(float)) or header in (52, 56)


@pytest.mark.parametrize("header", [12, 40, 52, 56, 64, 108, 124])
def test_24_bit_bmps(header):
    rows = files.bmp_rows(files.whole(COLOURS, 8)[..., ::-1].reshape(HEIGHT, -1), 8)
    content = files.bmp(rows, WIDTH, HEIGHT, 24, header=header)
    assert right_or_refused(content, COLOURS * 255) or header in (52, 56)


@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("order", ["BGRA", "RGBA", "ABGR", "ARGB"])
def test_32_bit_bmps_by_masks(order, alpha, header):
    levels = {**dict(zip("RGB", files.whole(COLOURS, 8).transpose(2, 0, 1))), "A": alpha}
    pixels = np.zeros((HEIGHT, WIDTH), np.int64)
    for place, name in enumerate(order):
        pixels |= np.asarray(levels[name], np.int64) << (8 * place)
    masks = [0xFF << (8 * order.index(name)) for name in ("RGBA" if header > 40 else "RGB")]
    rows = b"".join(row.astype("<u4").tobytes() for row in pixels[::-1])
    content = files.bmp(rows, WIDTH, HEIGHT, 32, kind=3, header=header, masks=masks)
    has_alpha = header > 40 and alpha
    shown = alpha / 255 if has_alpha else 1
    read = right_or_refused(content, (COLOURS * shown + 1 - shown) * 255)
    assert read or header == 56 or order in ("ARGB", "RGBA")
    if read and header > 40 and alpha == 0:
        assert codes(content) == ["transparent"]


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("header", [40, 108, 124])
def test_32_bit_bmps_without_masks_have_no_alpha(header, alpha):
    levels = files.whole(with_alpha(COLOURS[..., ::-1], alpha / 255), 8)
    rows = files.bmp_rows(levels.reshape(HEIGHT, -1), 8)
    content = files.bmp(rows, WIDTH, HEIGHT, 32, header=header)
    assert right_or_refused(content, COLOURS * 255)
    assert codes(content) == []


@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize("widths", [None, (5, 5, 5), (5, 6, 5), (4, 4, 4), (5, 5, 5, 1)])
def test_16_bit_bmps(widths, header):
    blue, green, red, *one = widths or (5, 5, 5)
    if one and header == 40:
        pytest.skip("the shorter header has no mask for alpha")
    levels = [files.whole(COLOURS[..., n], bits) for n, bits in enumerate((red, green, blue))]
    pixels = levels[2] | levels[1] << blue | levels[0] << (blue + green)
    masks = bmp_masks(blue, green, red, *one)
    masks = [masks[2], masks[1], masks[0], *masks[3:]] if widths else ()
    rows = files.bmp_rows(pixels, 16)
    content = files.bmp(
        rows, WIDTH, HEIGHT, 16, kind=3 if widths else 0, header=header, masks=masks
    )
    expected = np.dstack([a / (2**b - 1) for a, b in zip(levels, (red, green, blue))]) * 255
    read = right_or_refused(content, expected, most=1.5)
    assert read or widths == (4, 4, 4) or header == 56


def test_run_length_bmps():
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (256, 3))
    indices = np.add.outer(np.arange(HEIGHT) // 3, np.arange(WIDTH) // 5)
    indices[5:20, 7:19] = rng.integers(0, 256, (15, 12))
    table = b"".join(bytes((b, g, r, 0)) for r, g, b in palette.tolist())
    rows = files.bmp_rle8(indices)
    content = files.bmp(rows, WIDTH, HEIGHT, 8, kind=1, palette=table)
    assert right_or_refused(content, palette[indices].astype(float))


# --- JPEG 2000


@pytest.fixture(params=["jp2", "j2k"])
def jpeg2000(request):
    codec = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    if not files.has("jpg_2000"):
        pytest.skip("this Pillow reads no JPEG 2000")

    def write(levels, bits, **options):
        return codec.jpeg2k_encode(
            levels, level=0, reversible=True, codecformat=request.param, bitspersample=bits,
            **options,
        )  # fmt: skip

    write.bare = request.param == "j2k"
    return write


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_depths_of_jpeg_2000(jpeg2000, channels, bits):
    own = {1: GREY, 2: with_alpha(GREY[..., None], 1.0), 3: COLOURS, 4: with_alpha(COLOURS, 1.0)}
    levels = files.whole(own[channels], bits).astype(np.uint8 if bits <= 8 else np.uint16)
    expected = levels / (2**bits - 1) * 255
    expected = {
        1: lambda a: np.repeat(a[..., None], 3, -1), 2: lambda a: np.repeat(a[..., :1], 3, -1),
        3: lambda a: a, 4: lambda a: a[..., :3],
    }[channels](expected)  # fmt: skip
    read = right_or_refused(jpeg2000(levels, bits), expected)
    is_deep_grey = channels == 1 and (bits > 9 or (jpeg2000.bare and PILLOW > (10, 0)))
    assert read == ((bits <= 8 or is_deep_grey) and not (channels == 4 and jpeg2000.bare))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_signed_jpeg_2000(jpeg2000, channels, bits):
    levels = files.whole(COLOURS if channels == 3 else GREY, bits)
    signed = (levels - 2 ** (bits - 1)).astype(np.int8 if bits == 8 else np.int16)
    expected = levels / (2**bits - 1) * 255
    expected = expected if channels == 3 else np.repeat(expected[..., None], 3, -1)
    assert right_or_refused(jpeg2000(signed, bits), expected) == (bits == 8 or channels == 1)


def test_white_of_deep_jpeg_2000_never_becomes_black(jpeg2000):
    white = np.full((32, 32, 3), 65535, np.uint16)
    with pytest.raises(ImageError, match="3 channels of 16 bits"):
        images.decode(jpeg2000(white, 16))


def described(space):
    return struct.pack(">BBBI", 1, 0, 0, space)


needs_jpeg2000 = pytest.mark.skipif(
    not files.has("jpg_2000"), reason="this Pillow reads no JPEG 2000"
)


@needs_jpeg2000
@pytest.mark.parametrize("space", range(26))
def test_colour_spaces_of_jpeg_2000(space):
    image = files.as_image(COLOURS)
    stored = image.convert("YCbCr") if space == 18 else image
    same = Image.frombytes("RGB", stored.size, stored.tobytes())
    content = files.jp2(files.codestream(same), image.size, 3, colour=described(space))
    read = right_or_refused(content, COLOURS * 255, most=3.5) if space != 21 else None
    readable = space == 16 or (space == 18 and PILLOW >= (10, 3))
    assert read in ((True,) if readable else (False, None))


@needs_jpeg2000
def test_palettes_of_jpeg_2000():
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (64, 3))
    palette[10:20] = palette[0]  # the same colour again
    indices = rng.integers(0, 64, (HEIGHT, WIDTH))
    stream = files.codestream(Image.fromarray(indices.astype(np.uint8)))
    entries = palette.astype(np.uint8).tobytes()
    listed = files.box(b"pclr", struct.pack(">HB3B", 64, 3, 7, 7, 7) + entries)
    straight = files.box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, n) for n in range(3)))
    crossed = files.box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, n) for n in (2, 1, 0)))

    def content(mapping, space=16, pclr=listed):
        return files.jp2(stream, (WIDTH, HEIGHT), 1, colour=described(space), more=pclr + mapping)

    read = right_or_refused(content(straight), palette[indices].astype(float))
    assert read or PILLOW < (11, 0)  # older versions do not know palettes
    for other in (content(crossed), content(straight, 17)):
        with pytest.raises(ImageError, match="another order|palette|colour space"):
            images.decode(other)
    deep = files.box(b"pclr", struct.pack(">HB3B", 64, 3, 11, 11, 11) + entries * 2)
    with pytest.raises(ImageError, match="palette"):
        images.decode(content(straight, pclr=deep))


@needs_jpeg2000
def test_channels_of_jpeg_2000_in_another_order():
    image = files.as_image(COLOURS)
    stream = files.codestream(image)

    def content(*rows):
        listed = b"".join(struct.pack(">3H", *row) for row in rows)
        return files.jp2(
            stream, image.size, 3, more=files.box(b"cdef", struct.pack(">H", len(rows)) + listed)
        )

    assert right_or_refused(content((0, 0, 1), (1, 0, 2), (2, 0, 3)), COLOURS * 255)
    for rows in (((0, 0, 3), (1, 0, 2), (2, 0, 1)), ((0, 1, 0), (1, 0, 1), (2, 0, 2))):
        with pytest.raises(ImageError, match="another order"):
            images.decode(content(*rows))


@needs_jpeg2000
def test_damaged_headers_of_jpeg_2000():
    image = files.as_image(COLOURS)
    content = files.jp2(files.codestream(image), image.size, 3)
    rng = np.random.default_rng(1)
    for _ in range(150):
        broken = bytearray(content)
        for at in rng.integers(0, 160, 3):
            broken[at] = rng.integers(0, 256)
        try:
            images.decode(bytes(broken))
        except ImageError as error:
            assert "\n" not in str(error)


# --- TGA, netpbm, PSD, JPEG


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("attribute", [0, 8])
@pytest.mark.parametrize("corner", [0x00, 0x10, 0x20, 0x30])
def test_32_bit_tgas(corner, attribute, alpha):
    levels = files.whole(with_alpha(COLOURS[..., ::-1], alpha / 255), 8)
    levels = levels if corner & 0x20 else levels[::-1]
    levels = levels[:, ::-1] if corner & 0x10 else levels
    data = levels.astype(np.uint8).tobytes()
    content = files.tga(2, 32, data, WIDTH, HEIGHT, corner | attribute)
    shown = alpha / 255 if attribute and alpha else 1
    assert right_or_refused(content, (COLOURS * shown + 1 - shown) * 255)
    assert codes(content) == (["transparent"] if attribute and not alpha else [])


@pytest.mark.parametrize("attribute", [0, 1])
@pytest.mark.parametrize("top", [0, 0x8000])
def test_16_bit_tgas(top, attribute):
    levels = files.whole(COLOURS, 5)
    pixels = levels[..., 0] << 10 | levels[..., 1] << 5 | levels[..., 2] | top
    content = files.tga(2, 16, pixels.astype("<u2").tobytes(), WIDTH, HEIGHT, 0x20 | attribute)
    assert right_or_refused(content, levels / 31 * 255)


@pytest.mark.parametrize("most", [1, 2, 7, 15, 100, 255, 256, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_netpbm_of_every_range(kind, most):
    own = COLOURS if kind in ("P3", "P6") else GREY
    levels = np.round(own * most).astype(int)
    head = f"{kind}\n{WIDTH} {HEIGHT}\n{most}\n".encode()
    if kind in ("P2", "P3"):
        content = head + " ".join(map(str, levels.ravel())).encode() + b"\n"
    else:
        content = head + levels.astype(">u2" if most > 255 else "u1").tobytes()
    expected = levels / most * 255
    expected = expected if own is COLOURS else np.repeat(expected[..., None], 3, -1)
    assert right_or_refused(content, expected)
    assert codes(content) == []


def test_psds():
    levels = files.whole(COLOURS, 8)
    planes = [levels[..., n] for n in range(3)]
    assert right_or_refused(files.psd(planes, 8, 3), COLOURS * 255)
    assert right_or_refused(files.psd([files.whole(GREY, 8)], 8, 1), grey(GREY))
    inks = [*planes, np.full_like(planes[0], 255)]  # in a PSD, 255 means no ink
    assert right_or_refused(files.psd(inks, 8, 4), COLOURS * 255)
    refused = [
        files.psd([*planes, planes[0]], 8, 3),
        files.psd([(GREY > 0.5).astype(int)], 1, 0),
        files.psd(planes, 8, 7),
        files.psd([files.whole(GREY, 8)], 8, 8),
    ]
    for content in refused:
        with pytest.raises(ImageError, match="PSD of"):
            images.decode(content)


def test_jpegs_by_their_markers():
    codec = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    levels = files.whole(COLOURS, 8).astype(np.uint8)
    rgb = codec.jpeg8_encode(levels, level=98, colorspace="RGB", outcolorspace="RGB")
    assert b"Adobe" in rgb
    assert np.abs(decoded(rgb) - COLOURS * 255).mean() < 1.5
    inks = with_alpha(1 - COLOURS, 0.1)
    inverted = (255 - files.whole(inks, 8)).astype(np.uint8)
    expected = COLOURS * 0.9 * 255
    for stored in ("CMYK", "YCCK"):
        content = codec.jpeg8_encode(inverted, level=98, colorspace="CMYK", outcolorspace=stored)
        found = images.decode(content)
        assert np.abs(np.asarray(found.image) - expected).mean() < 2.5
        assert [w.code for w in found.warnings] == ["colour"]


def test_lossless_jpegs_of_ycbcr_are_refused():
    av = pytest.importorskip("av", reason="PyAV is not installed")
    from fractions import Fraction

    encoder = av.CodecContext.create("ljpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuvj444p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(files.whole(COLOURS, 8).astype(np.uint8), format="rgb24")
    frame = frame.reformat(format="yuvj444p")
    frame.pts = 0
    content = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    with pytest.raises(ImageError, match="lossless"):
        images.decode(content)


# --- alpha that is zero everywhere, in every format with alpha


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "BMP", "TGA", "ICO", "JPEG2000", "AVIF"])
def test_full_transparency_is_ignored(form, tmp_path, int8, cli_run):
    feature = {"JPEG2000": "jpg_2000", "AVIF": "avif", "WEBP": "webp"}.get(form)
    if feature and not files.has(feature):
        pytest.skip(f"this Pillow writes no {form}")
    image = files.as_image(files.smooth(64, 64))
    image.putalpha(0)
    options = {"WEBP": {"lossless": True, "exact": True}, "JPEG2000": {"irreversible": False}}
    if form == "AVIF":
        options["AVIF"] = {"quality": 100}
    content = files.encoded(image, form, **options.get(form, {}))
    found = images.decode(content)
    if form == "BMP" and not found.warnings:  # Pillow wrote it without alpha
        return
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(np.asarray(found.image) - expected).mean() < 3
    assert [w.code for w in found.warnings] == ["transparent"]
    path = tmp_path / "a.img"
    path.write_bytes(content)
    shown = cli_run("predict", path, "-m", int8, "--format", "json")
    assert "transparent" in json.loads(shown.stdout)["warning_codes"]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_full_transparency_in_pil_images(mode):
    image = files.as_image(COLOURS).convert("LA" if mode == "La" else "RGBA")
    image.putalpha(0)
    if mode in ("RGBa", "La"):
        same = Image.frombytes(mode, image.size, image.tobytes())
    elif mode == "PA":
        same = files.as_image(COLOURS).convert("P").convert("PA")
        same.putalpha(0)
    else:
        same = image.convert(mode)
    found = images.decode(same)
    assert [w.code for w in found.warnings] == ["transparent"]
    assert np.asarray(found.image).std() > 20


# --- numbers without a known range


@pytest.mark.parametrize("values", [(-5, 100), (0, 70_000)])
def test_whole_numbers_beyond_16_bits_are_refused(values):
    numbers = np.full((20, 20), values[0], np.int32)
    numbers[5:] = values[1]
    with pytest.raises(ImageError, match=f"from {values[0]} to {values[1]}"):
        images.decode(Image.fromarray(numbers))


def test_formats_that_no_other_decoder_has_checked_are_refused():
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8",
             "NAXIS   =                    2", "NAXIS1  =                   56",
             "NAXIS2  =                   40", "END"]  # fmt: skip
    content = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    with pytest.raises(ImageError, match="FITS files cannot be read"):
        images.decode(content + files.whole(GREY, 8).astype(np.uint8).tobytes().ljust(2880))
