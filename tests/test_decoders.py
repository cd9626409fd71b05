"""Pixels agree with other decoders: tifffile, OpenCV, FFmpeg (PyAV).

Files come from the tests' own writers and from other encoders. A file that is refused here
is not compared; a file that is read has to agree.
"""

from __future__ import annotations

import io
import itertools
import struct
from fractions import Fraction

import make_images as files
import numpy as np
import pytest
from PIL import Image

from lesionedge import ImageError
from lesionedge import image as images

COLOURS = files.smooth()
GREY = files.grey_of(COLOURS)
HEIGHT, WIDTH = GREY.shape
LEVELS = files.whole(COLOURS, 8).astype(np.uint8)
GREYS = files.whole(GREY, 8).astype(np.uint8)


def ours(content):
    """Return our pixels; None if the file is refused."""
    try:
        return np.asarray(images.decode(content).image).astype(int)
    except ImageError:
        return None


def by_opencv(content):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None if found is None else found[..., ::-1].astype(int)


def by_ffmpeg(content, demuxer):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    try:
        with av.open(io.BytesIO(content), format=demuxer) as container:
            frame = next(container.decode(video=0))
            return frame.to_ndarray(format="rgb24").astype(int)
    except (av.FFmpegError, StopIteration, ValueError):
        return None


def by_ffmpegs_encoder(codec, layout, levels):
    """Encode levels with FFmpeg; None if this build cannot."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    try:
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, layout
        encoder.time_base = Fraction(1, 25)
        source = "gray" if levels.ndim == 2 else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format=source)
        frame = frame.reformat(format=layout)
        frame.pts = 0
        return b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    except (av.FFmpegError, ValueError):
        return None


def agree(content, others, most):
    """Compare our pixels with every other decoder that reads the file; return how many do."""
    mine = ours(content)
    if mine is None:
        return 0
    read = [found for found in others if found is not None]
    for found in read:
        assert found.shape == mine.shape
        assert np.abs(found - mine).max() <= most
    return len(read)


def shown(page):
    """Return tifffile's samples as colours, according to the page's tags."""
    samples = page.asarray().astype(float)
    most = 2 ** int(page.bitspersample) - 1
    if page.planarconfig == 2 and samples.ndim == 3:
        samples = samples.transpose(1, 2, 0)
    if page.photometric == 0:
        samples = most - samples
    if page.photometric == 5:
        inks = samples[..., :4] / most
        samples = (1 - inks[..., :3]) * (1 - inks[..., 3:]) * most
    if page.photometric == 3:
        table = page.colormap if page.colormap.max() > 255 else page.colormap * 257
        return table.T[samples.astype(int)] / 257
    if samples.ndim == 2:
        samples = np.repeat(samples[..., None], 3, axis=-1)
    return samples[..., :3] * 255 / most


def by_tifffile(content):
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        return shown(file.pages[0])


def own_tiffs():
    for bits, photometric, order, fill in itertools.product((1, 2, 4, 8, 16), (0, 1), "<>", (1, 2)):
        levels = files.whole(GREY > 0.5 if bits == 1 else GREY, bits)
        yield (
            f"grey {bits} {photometric} {order} {fill}",
            files.tiff_of(levels, bits, photometric, order=order, fill=fill, compressed=fill == 1),
        )
    yield "grey 12", files.tiff_of(files.whole(GREY, 12), 12, 1)
    yield "grey 32", files.tiff_of(files.whole(GREY, 32), 32, 1)
    for bits, order, planar in itertools.product((8, 16), "<>", (1, 2)):
        levels = files.whole(COLOURS, bits)
        yield (
            f"rgb {bits} {order} {planar}",
            files.tiff_of(levels, bits, 2, order=order, planar=planar),
        )
        inks = np.dstack([levels.max() - levels, levels[..., 0] * 0])
        yield (
            f"cmyk {bits} {order} {planar}",
            files.tiff_of(inks, bits, 5, order=order, planar=planar),
        )
    for bits in (1, 2, 4, 8):
        rng = np.random.default_rng(bits)
        palette = rng.integers(0, 65536, 3 * 2**bits).tolist()
        indices = rng.integers(0, 2**bits, (HEIGHT, WIDTH))
        yield f"palette {bits}", files.tiff_of(indices, bits, 3, more={320: (3, palette)})


@pytest.mark.parametrize("name", [name for name, _ in own_tiffs()])
def test_tiffs_of_the_tests_own(name):
    content = dict(own_tiffs())[name]
    assert agree(content, [by_tifffile(content)], 1.5) == (ours(content) is not None)
    refused = ("grey 16 0 > 1", "grey 16 0 > 2", "grey 16 0 < 2", "grey 16 1 > 2")
    if int(Image.__version__.split(".")[0]) < 11:
        refused += ("cmyk 16 > 1", "cmyk 16 > 2")
    assert (ours(content) is None) == (name in refused)


COMPRESSIONS = ["zlib", "lzw", "packbits", "zstd", "lzma"]


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("predictor", [None, 2])
@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_tifffile(order, big, compression, predictor, tile):
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    if predictor and compression in (None, "packbits"):
        pytest.skip("has no predictor")
    read = 0
    for bits, kind in itertools.product((8, 16), ("rgb", "planes", "minisblack", "miniswhite")):
        colours = COLOURS if kind in ("rgb", "planes") else GREY
        levels = files.whole(colours, bits).astype(np.uint8 if bits == 8 else np.uint16)
        options = {"photometric": kind if kind != "planes" else "rgb"}
        if kind == "planes":
            levels, options["planarconfig"] = levels.transpose(2, 0, 1).copy(), "separate"
        file = io.BytesIO()
        with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
            writer.write(
                levels, metadata=None, compression=compression, predictor=predictor, tile=tile,
                rowsperstrip=None if tile else 7, **options,
            )  # fmt: skip
        content = file.getvalue()
        read += agree(content, [by_tifffile(content)], 1.5)
    # None of Pillow's decoders reads BigTIFF in big-endian order.
    assert read == 0 if big and order == ">" else read >= 6 or compression in ("zstd", "lzma")


@pytest.mark.parametrize("ratio", [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 2)])
@pytest.mark.parametrize("video", [False, True])
def test_subsampled_tiffs(ratio, video):
    content = files.tiff_ycbcr(COLOURS, *ratio, video=video)
    # Both enlarge the subsampled colours by repetition.
    assert agree(content, [by_opencv(content)], 2) == 1


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", [0, 2, 3, 4, 6])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_pngs(bits, kind, interlaced):
    if (bits < 8 and kind not in (0, 3)) or (bits == 16 and kind == 3):
        pytest.skip("PNG has no such type")
    opaque = np.ones((HEIGHT, WIDTH, 1))
    colours = {
        0: GREY, 2: COLOURS, 3: GREY, 4: np.concatenate([GREY[..., None], opaque], -1),
        6: np.concatenate([COLOURS, opaque], -1),
    }[kind]  # fmt: skip
    chunks = b""
    if kind == 3:
        palette = np.random.default_rng(1).integers(0, 256, (2**bits, 3))
        chunks = files.chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    content = files.png(
        files.whole(colours, bits), bits, kind, interlaced=interlaced, chunks=chunks
    )
    assert agree(content, [by_opencv(content), by_ffmpeg(content, "png_pipe")], 1.5) == 2


def own_bmps():
    rows = files.bmp_rows(LEVELS[..., ::-1].reshape(HEIGHT, -1).astype(int), 8)
    for header in (12, 40, 64, 108, 124):
        yield f"24 bits, header {header}", files.bmp(rows, WIDTH, HEIGHT, 24, header=header)
    palette = np.random.default_rng(1).integers(0, 256, (256, 4)).astype(np.uint8)
    palette[:, 3] = 0
    for bits in (1, 4, 8):
        table = palette[: 2**bits].tobytes()
        indices = files.whole(GREY, bits)
        content = files.bmp_rows(indices, bits)
        yield f"palette of {bits} bits", files.bmp(content, WIDTH, HEIGHT, bits, palette=table)
        flipped = files.bmp_rows(indices[::-1], bits)
        yield (
            f"palette of {bits} bits, top down",
            files.bmp(flipped, WIDTH, -HEIGHT, bits, palette=table),
        )
    run = files.bmp_rle8(files.whole(GREY, 8))
    yield "run-length", files.bmp(run, WIDTH, HEIGHT, 8, kind=1, palette=palette.tobytes())
    five = files.whole(COLOURS, 5)
    pixels = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]
    yield "555", files.bmp(files.bmp_rows(pixels, 16), WIDTH, HEIGHT, 16)
    pixels = five[..., 0] << 11 | files.whole(COLOURS[..., 1], 6) << 5 | five[..., 2]
    masks = (0xF800, 0x7E0, 0x1F)
    yield "565", files.bmp(files.bmp_rows(pixels, 16), WIDTH, HEIGHT, 16, kind=3, masks=masks)
    bgrx = np.dstack([LEVELS[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)]).astype(int)
    yield "32 bits", files.bmp(files.bmp_rows(bgrx.reshape(HEIGHT, -1), 8), WIDTH, HEIGHT, 32)


@pytest.mark.parametrize("name", [name for name, _ in own_bmps()])
def test_bmps(name):
    content = dict(own_bmps())[name]
    others = [by_opencv(content), by_ffmpeg(content, "bmp_pipe")]
    # (From 5 bits to 8, FFmpeg repeats the upper ones and OpenCV adds zeros: up to 8 levels.)
    most = 8 if name in ("555", "565") else 1
    assert agree(content, others, most) >= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("form", ["jp2", "j2k"])
def test_jpeg_2000(form, bits, channels):
    codec = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    levels = files.whole(COLOURS if channels == 3 else GREY, bits)
    levels = levels.astype(np.uint8 if bits == 8 else np.uint16)
    content = codec.jpeg2k_encode(
        levels, level=0, reversible=True, codecformat=form, bitspersample=bits
    )
    decoded = codec.jpeg2k_decode(content).astype(float) * 255 / (2**bits - 1)
    decoded = decoded if channels == 3 else np.repeat(decoded[..., None], 3, -1)
    assert agree(content, [decoded], 1.5) == (bits == 8 or channels == 1)


ENCODERS = [
    ("bmp", "bgr24"), ("bmp", "bgra"), ("bmp", "gray"), ("targa", "bgr24"), ("targa", "bgra"),
    ("targa", "gray"), ("targa", "rgb555le"), ("png", "rgb24"), ("png", "rgb48be"),
    ("png", "gray16be"), ("png", "ya16be"), ("png", "rgba64be"), ("tiff", "rgb24"),
    ("tiff", "rgb48le"), ("tiff", "gray16le"), ("tiff", "yuv420p"), ("tiff", "yuv444p"),
    ("tiff", "rgba64le"), ("pcx", "rgb24"), ("pcx", "gray"), ("sunrast", "bgr24"),
    ("sunrast", "gray"), ("qoi", "rgb24"), ("qoi", "rgba"), ("ppm", "rgb48be"), ("ppm", "rgb24"),
    ("pgm", "gray16be"), ("jpeg2000", "rgb24"), ("jpeg2000", "gray"), ("jpeg2000", "gray16le"),
    ("jpeg2000", "rgb48le"), ("jpeg2000", "yuv420p"), ("mjpeg", "yuvj420p"), ("mjpeg", "yuvj444p"),
    ("sgi", "rgb24"), ("sgi", "rgb48be"), ("libwebp", "bgra"), ("ljpeg", "bgr24"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "layout"), ENCODERS)
def test_files_of_ffmpeg(codec, layout):
    is_grey = layout.startswith(("gray", "ya"))
    content = by_ffmpegs_encoder(codec, layout, GREYS if is_grey else LEVELS)
    if content is None:
        pytest.skip(f"this FFmpeg has no encoder {codec} of {layout}")
    found = ours(content)
    expected = np.repeat(GREYS[..., None], 3, -1) if is_grey else LEVELS
    refused = {("jpeg2000", "rgb48le"), ("jpeg2000", "yuv420p"), ("ljpeg", "bgr24")}
    if found is None:  # (Pillow fails at FFmpeg's run-length SGI)
        assert (codec, layout) in refused or codec == "sgi"
        return
    error = np.abs(found - expected)
    lossy = "yuv" in layout or codec in ("libwebp", "jpeg2000")
    assert error.mean() < (4.0 if lossy else 3 if layout == "rgb555le" else 0.6)
    assert lossy or error.max() <= (10 if layout == "rgb555le" else 1)


@pytest.mark.parametrize("marker", ["Adobe", "none"])
@pytest.mark.parametrize("stored", ["RGB", "YCbCr", "CMYK", "YCCK"])
def test_jpegs_of_every_transform(stored, marker):
    codec = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    own = LEVELS
    if stored in ("CMYK", "YCCK"):
        own = np.dstack([LEVELS, np.full((HEIGHT, WIDTH), 230, np.uint8)])
    space = "CMYK" if own.shape[2] == 4 else "RGB"
    content = codec.jpeg8_encode(own, level=95, colorspace=space, outcolorspace=stored)
    if marker == "none":
        content = _without_segment(content, 0xEE)
    # Without the marker it is not what the writer meant, but all decoders agree.
    assert agree(content, [by_opencv(content)], 4) == 1


def _without_segment(jpeg, marker):
    at, kept = 2, jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        size = 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
        kept += b"" if jpeg[at + 1] == marker else jpeg[at : at + size]
        at += size
    return kept + jpeg[at:]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PPM", "TGA", "PCX"])
def test_plain_files_of_pillow(form):
    demuxers = {
        "GIF": "gif", "WEBP": "webp_pipe", "PPM": "ppm_pipe", "TGA": None, "PCX": "pcx_pipe",
    }  # fmt: skip
    options = {"WEBP": {"lossless": True}}
    content = files.encoded(Image.fromarray(LEVELS), form, **options.get(form, {}))
    others = [by_opencv(content)] if form in ("WEBP", "PPM") else []
    if demuxers[form]:
        others.append(by_ffmpeg(content, demuxers[form]))
    most = 3 if form == "WEBP" else 0  # FFmpeg goes by YUV
    if form == "TGA":
        assert np.array_equal(ours(content), LEVELS)
    else:
        assert agree(content, others, most) >= 1
