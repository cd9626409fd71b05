"""Colours of every description become sRGB, as the spaces' own formulas say."""

from __future__ import annotations

import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import make_images as files
import make_profiles as profiles
import numpy as np
import pytest
from PIL import Image, ImageCms, features

from lesionedge import colour, icc, rgb_space
from lesionedge import image as images
from lesionedge.image import Preprocessing

COLOURS = files.smooth(96, 64)
LEVELS = files.whole(COLOURS, 8)
needs_littlecms = pytest.mark.skipif(
    not files.has("littlecms2"), reason="this Pillow was built without littlecms"
)


def wanted(name, levels=LEVELS, most=255):
    primaries, _, light = profiles.SPACES[name]
    return profiles.expected(levels / most, primaries, light)


def decoded(content):
    return np.asarray(images.decode(content).image).astype(float)


def error(content, expected):
    return np.abs(decoded(content) - expected)


def jpeg2000(image, profile):
    description = b"\2\0\0" + profile
    return files.jp2(files.codestream(image), image.size, 3, colour=description)


CONTAINERS = {
    "JPEG": lambda i, p: files.encoded(i, "JPEG", quality=100, subsampling=0, icc_profile=p),
    "MPO": lambda i, p: files.encoded(
        i, "MPO", save_all=True, append_images=[i], quality=100, subsampling=0, icc_profile=p
    ),
    "PNG": lambda i, p: files.encoded(i, "PNG", icc_profile=p),
    "TIFF": lambda i, p: files.encoded(i, "TIFF", icc_profile=p),
    "TIFF, LZW": lambda i, p: files.encoded(i, "TIFF", icc_profile=p, compression="tiff_lzw"),
    "WebP": lambda i, p: files.encoded(i, "WEBP", lossless=True, icc_profile=p),
    "JPEG 2000": jpeg2000,
    "BMP": lambda i, p: files.bmp_with_profile(np.asarray(i), p),
    "PSD": lambda i, p: files.psd([np.asarray(b) for b in i.split()], 8, 3, p),
}
if files.has("avif"):
    CONTAINERS["AVIF"] = lambda i, p: files.encoded(
        i, "AVIF", quality=100, subsampling="4:4:4", icc_profile=p
    )


@needs_littlecms
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["display-p3", "adobe-rgb"])
def test_a_profile_counts_in_every_container(container, name):
    image = files.as_image(COLOURS)
    content = CONTAINERS[container](image, profiles.space(name))
    lossy = container in ("JPEG", "MPO", "AVIF")
    found = error(content, wanted(name))
    assert found.mean() < (1.5 if lossy else 0.4)
    assert lossy or found.max() < 1.2
    assert images.decode(content).warnings == ()
    bare = np.abs(LEVELS - wanted(name))
    assert bare.mean() > 4


def test_a_profile_counts_in_a_gif():
    image = files.as_image(COLOURS).quantize(200, dither=Image.Dither.NONE)
    shown = np.asarray(image.convert("RGB"))
    content = files.gif_with_profile(image, profiles.space("display-p3"))
    assert error(content, wanted("display-p3", shown)).max() < 1.2


def test_a_profile_counts_in_a_heic():
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif = pillow_heif.from_pillow(files.as_image(COLOURS))
    file = io.BytesIO()
    heif.save(file, quality=-1, chroma=444, icc_profile=profiles.space("display-p3"))
    assert error(file.getvalue(), wanted("display-p3")).mean() < 1.5


@needs_littlecms
@pytest.mark.parametrize("name", profiles.SPACES)
def test_every_space_of_8_bits(name):
    content = files.encoded(files.as_image(COLOURS), icc_profile=profiles.space(name))
    found = error(content, wanted(name))
    assert found.mean() < 0.5
    assert found.max() < 1.5


@pytest.mark.parametrize("form", ["PNG", "TIFF", "planes", "big-endian TIFF", "PNG, interlaced"])
@pytest.mark.parametrize("name", profiles.SPACES)
def test_every_space_of_16_bits(name, form):
    levels, profile = files.whole(COLOURS, 16), profiles.space(name)
    tag = {34675: (7, profile)}
    content = {
        "PNG": lambda: files.png(levels, 16, 2, chunks=files.iccp(profile)),
        "PNG, interlaced": lambda: files.png(
            levels, 16, 2, interlaced=True, chunks=files.iccp(profile)
        ),
        "TIFF": lambda: files.tiff_of(levels, 16, 2, more=tag, compressed=True),
        "big-endian TIFF": lambda: files.tiff_of(levels, 16, 2, more=tag, order=">"),
        "planes": lambda: files.tiff_of(levels, 16, 2, more=tag, planar=2),
    }[form]()
    found = error(content, wanted(name, levels, 65535))
    if form == "planes":  # only its upper eight bits are read
        assert found.mean() < 3
    else:
        assert found.mean() < 0.4
        assert found.max() < 1.1


def test_dark_linear_light_of_16_bits_keeps_its_steps():
    ramp = np.linspace(0, 0.02, 96 * 64).reshape(64, 96)
    ramp[:, -8:] = 1
    levels = np.round(np.repeat(ramp[..., None], 3, -1) * 65535).astype(int)
    content = files.png(levels, 16, 2, chunks=files.iccp(profiles.space("linear")))
    found = decoded(content)
    assert np.abs(found - wanted("linear", levels, 65535)).max() < 1.1
    assert len(np.unique(found)) > 30


@needs_littlecms
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("curve", "light"),
    [(profiles.gamma(1.0), lambda v: v), (profiles.gamma(1.8), lambda v: v ** (461 / 256))],
)
def test_grey_profiles(bits, curve, light):
    grey = files.whole(files.grey_of(COLOURS), bits)
    expected = profiles.expected_grey(grey / (2**bits - 1), light)
    chunks = files.iccp(profiles.grey(curve))
    assert error(files.png(grey, bits, 0, chunks=chunks), expected).max() < 1.5
    tag = {34675: (7, profiles.grey(curve))}
    assert error(files.tiff_of(grey, bits, 1, more=tag), expected).max() < 1.5


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_the_profile_of_the_coloured_image(bits):
    grey = files.whole(files.grey_of(COLOURS), bits)
    chunks = files.iccp(profiles.space("linear"))
    expected = profiles.expected_grey(grey / (2**bits - 1), lambda v: v)
    content = files.png(grey, bits, 0, chunks=chunks)
    assert error(content, expected).max() < 1.5
    assert images.decode(content).warnings == ()


@needs_littlecms
@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_cmyk_profiles(form):
    def reflected(inks):
        # Inks that darken each other a little, and a yellowish paper.
        white = np.array([1.0, 0.98, 0.92])
        return white * (1 - 0.9 * inks[..., :3]) * (1 - 0.95 * inks[..., 3:])

    black = np.full((*COLOURS.shape[:2], 1), 0.1)
    inks = np.concatenate([1 - COLOURS, black], axis=-1)
    levels = files.whole(inks, 8)
    profile = profiles.cmyk(reflected)
    image = Image.frombytes("CMYK", (96, 64), levels.astype(np.uint8).tobytes())
    if form == "TIFF":
        content = files.tiff_of(levels, 8, 5, more={34675: (7, profile)})
    else:
        content = files.encoded(image, "JPEG", quality=100, subsampling=0, icc_profile=profile)
    # Photographs are converted relative to the paper's white and the darkest ink.
    found = decoded(content)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), "CMYK", "RGB", 1, 0x2000
    )
    by_hand = np.asarray(ImageCms.applyTransform(image, transform)).astype(float)
    assert np.abs(found - by_hand).mean() < 1
    paper = images.decode(files.tiff_of(levels * 0, 8, 5, more={34675: (7, profile)})).image
    assert np.abs(np.asarray(paper).astype(int) - 255).max() <= 1
    naive = np.asarray(image.convert("RGB")).astype(float)
    assert np.abs(found - naive).mean() > 4
    assert images.decode(content).warnings == ()


def test_cmyk_without_a_profile_is_a_guess_and_says_so():
    image = files.as_image(COLOURS).convert("CMYK")
    found = images.decode(files.encoded(image, "TIFF"))
    assert [w.code for w in found.warnings] == ["colour"]
    assert np.abs(np.asarray(found.image).astype(float) - LEVELS).max() <= 1


@needs_littlecms
def test_palettes_and_transparency_are_converted_before_they_are_laid_over_white():
    profile = profiles.space("display-p3")
    image = files.as_image(COLOURS)
    indexed = image.quantize(100, dither=Image.Dither.NONE)
    shown = np.asarray(indexed.convert("RGB"))
    content = files.encoded(indexed, icc_profile=profile)
    assert error(content, wanted("display-p3", shown)).max() < 1.2
    image.putalpha(128)
    content = files.encoded(image, icc_profile=profile)
    over = wanted("display-p3") * 128 / 255 + 127
    assert error(content, over).max() < 1.5


def test_lab_tiffs():
    image = files.as_image(COLOURS).convert("LAB")
    content = files.encoded(image, "TIFF")
    assert error(content, LEVELS).mean() < 1.5
    # A Lab profile adds nothing to the numbers.
    content = files.encoded(image, "TIFF", icc_profile=profiles.space("display-p3"))
    assert error(content, LEVELS).mean() < 1.5


# --- sRGB is recognised


@pytest.mark.parametrize("name", profiles.SRGB_PROFILES)
def test_srgb_in_every_wording_changes_nothing(name):
    if name == "as a table of colours" and not files.has("littlecms2"):
        pytest.skip("this Pillow was built without littlecms")
    profile = profiles.SRGB_PROFILES[name]
    image = files.as_image(COLOURS)
    content = files.encoded(image, "JPEG", quality=90)
    tagged = files.encoded(image, "JPEG", quality=90, icc_profile=profile)
    assert np.array_equal(decoded(content), decoded(tagged))
    assert images.decode(tagged).conversion is None
    assert images.decode(tagged).warnings == ()


@needs_littlecms
def test_pillows_own_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert icc.conversion(profile, "RGB") is None


def test_a_gamma_of_2_2_is_not_srgb():
    profile = profiles.rgb(profiles.SRGB, profiles.gamma(2.2))
    found = decoded(files.encoded(files.as_image(COLOURS), icc_profile=profile))
    expected = profiles.expected(LEVELS / 255, profiles.SRGB, lambda v: v ** (563 / 256))
    assert np.abs(found - expected).max() < 1.5
    assert np.abs(found - LEVELS).max() > 2


def test_a_profile_is_examined_once():
    content = files.encoded(files.as_image(COLOURS), icc_profile=profiles.space("bt2020"))
    images.decode(content)
    before = icc._examined.cache_info()
    for _ in range(3):
        images.decode(content)
    after = icc._examined.cache_info()
    assert after.misses == before.misses
    assert after.hits >= before.hits + 3


# --- order of reduced scale, crop and conversion


@needs_littlecms
@pytest.mark.parametrize("name", profiles.SPACES)
def test_the_models_input_does_not_depend_on_the_order_of_conversion(draw, name):
    image = draw(600, 450, seed=3)
    content = files.encoded(image, "JPEG", quality=95, icc_profile=profiles.space(name))
    settings = Preprocessing(224, 224)
    found = images.model_input(content, settings).astype(int)
    first = images.decode(content).image
    again = images.fit(first, settings).astype(int)
    assert found.shape == (224, 224, 3)
    assert np.abs(found - again).mean() < 0.5
    assert np.abs(found - again).max() <= 8


@needs_littlecms
def test_large_jpegs_are_converted_at_the_reduced_scale(draw):
    image = draw(1600, 1200, seed=4)
    content = files.encoded(image, "JPEG", quality=95, icc_profile=profiles.space("linear"))
    found = images.decode(content, Preprocessing(224, 224))
    assert found.image.height < 1200
    small = np.asarray(found.upright).astype(float)
    assert np.abs(np.asarray(found.image) - wanted("linear", small)).max() < 1.5


@needs_littlecms
def test_turned_images_are_converted_too(draw):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = files.as_image(COLOURS)
    content = files.encoded(image, icc_profile=profiles.space("display-p3"), exif=exif)
    expected = np.rot90(wanted("display-p3"), -1)
    assert error(content, expected).max() < 1.2


def test_a_converted_image_is_saved_without_the_old_profile():
    content = files.encoded(
        files.as_image(COLOURS), "JPEG", icc_profile=profiles.space("display-p3")
    )
    again = files.encoded(images.decode(content).image)
    assert np.array_equal(decoded(again), decoded(content))


def test_threads_share_the_conversions():
    names = list(profiles.SPACES)
    contents = {
        n: files.encoded(files.as_image(COLOURS), icc_profile=profiles.space(n)) for n in names
    }
    alone = {n: decoded(contents[n]) for n in names}
    icc._examined.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: (n, decoded(contents[n])), names * 30))
    assert all(np.array_equal(pixels, alone[n]) for n, pixels in found)


# --- PNG's chunks


def png(*chunks, bits=8, kind=2):
    return files.png(files.whole(COLOURS, bits), bits, kind, chunks=b"".join(chunks))


P3_ICC = files.iccp(profiles.space("display-p3"))
ADOBE_GAMA = files.gama(256 / 563)
SRGB_CHUNK = files.chunk(b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "name"),
    [
        ((files.gama(1.0), SRGB_CHUNK, P3_ICC, files.cicp(9, 8)), "cICP"),
        ((files.cicp(9, 8), P3_ICC), "cICP"),
        ((P3_ICC, files.gama(1.0), files.chrm(profiles.BT2020)), "display-p3"),
        ((P3_ICC, SRGB_CHUNK), "display-p3"),
        ((files.gama(1.0), files.chrm(profiles.BT2020), SRGB_CHUNK), "sRGB"),
        ((files.gama(1.0),), "linear"),
        ((files.chrm(profiles.ADOBE), ADOBE_GAMA), "adobe-rgb"),
        ((files.cicp(9, 200), P3_ICC), "display-p3"),  # unknown code points
        ((files.cicp(9, 8, matrix=9), P3_ICC), "display-p3"),  # code points that PNG does not allow
    ],
)
def test_the_order_of_precedence_in_png(chunks, name):
    expected = {
        "cICP": lambda: profiles.expected(LEVELS / 255, profiles.BT2020, lambda v: v),
        "sRGB": lambda: LEVELS,
    }.get(name, lambda: wanted(name))()
    found = images.decode(png(*chunks))
    assert np.abs(np.asarray(found.image) - expected).max() < 1.5
    assert found.warnings == ()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("gamma", [1.0, 0.5, 0.45471, 1 / 1.8])
def test_gamma_chunks(gamma, bits):
    levels = files.whole(COLOURS, bits) / (2**bits - 1)
    expected = profiles.expected(levels, profiles.SRGB, lambda v: v ** (1 / gamma))
    assert error(png(files.gama(gamma), bits=bits), expected).max() < 1.5


def test_the_gamma_that_stands_for_srgb_changes_nothing():
    plain = decoded(png())
    for chunks in ((files.gama(0.45455),), (files.gama(0.45455), files.chrm(profiles.SRGB))):
        assert np.array_equal(decoded(png(*chunks)), plain)
    with_p3 = png(files.gama(0.45455), files.chrm(profiles.P3))
    expected = profiles.expected(LEVELS / 255, profiles.P3, lambda v: v**2.2)
    assert error(with_p3, expected).max() < 1.5


def test_chromaticities_without_a_gamma():
    assert error(png(files.chrm(profiles.P3)), wanted("display-p3")).max() < 1.2


@pytest.mark.parametrize("kind", ["grey", "palette", "alpha"])
def test_chunks_count_for_every_type_of_png(kind):
    expected = profiles.expected(LEVELS / 255, profiles.BT2020, lambda v: v)
    chunks = files.cicp(9, 8)
    if kind == "alpha":
        levels = np.concatenate([LEVELS, np.full_like(LEVELS[..., :1], 255)], axis=-1)
        content = files.png(levels, 8, 6, chunks=chunks)
    elif kind == "grey":
        grey = files.whole(files.grey_of(COLOURS), 8)
        content = files.png(grey, 8, 0, chunks=chunks)
        expected = profiles.expected_grey(grey / 255, lambda v: v)
    else:
        image = files.as_image(COLOURS).quantize(60, dither=Image.Dither.NONE)
        palette = bytes(image.getpalette()[: 3 * 60])
        shown = np.asarray(image.convert("RGB"))
        chunks += files.chunk(b"PLTE", palette)
        content = files.png(np.asarray(image).astype(int), 8, 3, chunks=chunks)
        expected = profiles.expected(shown / 255, profiles.BT2020, lambda v: v)
    assert error(content, expected).max() < 1.5


def bt709(v):
    a, b = 1.09929682680944, 0.018053968510807
    return np.where(v < 4.5 * b, v / 4.5, ((v + a - 1) / a) ** (1 / 0.45))


def smpte240(v):
    return np.where(v < 0.0912, v / 4, ((v + 0.1115) / 1.1115) ** (1 / 0.45))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("primaries", "transfer", "space", "light"),
    [
        (1, 13, profiles.SRGB, profiles.srgb_light),
        (12, 13, profiles.P3, profiles.srgb_light),
        (9, 13, profiles.BT2020, profiles.srgb_light),
        (1, 1, profiles.SRGB, bt709),
        (9, 14, profiles.BT2020, bt709),
        (9, 15, profiles.BT2020, bt709),
        (1, 8, profiles.SRGB, lambda v: v),
        (1, 4, profiles.SRGB, lambda v: v**2.2),
        (5, 5, ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), profiles.D65), lambda v: v**2.8),
        (7, 7, ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), profiles.D65), smpte240),
        (11, 17, (*profiles.P3[:3], (0.314, 0.351)), lambda v: 52.37 / 48 * v**2.6),
        (10, 8, ((1, 0), (1e-9, 1 - 1e-9), (1e-9, 1e-9), (1 / 3, 1 / 3)), lambda v: v),
    ],
)
def test_code_points(primaries, transfer, space, light, bits):
    levels = files.whole(COLOURS, bits) / (2**bits - 1)
    if primaries == 10:  # XYZ itself: the helper divides by y, so the formula is written out
        matrix = np.linalg.inv(profiles.to_pcs(profiles.SRGB)) @ _xyz_of_e()
        expected = profiles.srgb_value(levels @ matrix.T) * 255
    else:
        expected = profiles.expected(levels, space, light)
    content = png(files.cicp(primaries, transfer), bits=bits)
    assert error(content, expected).max() < 1.5
    assert images.decode(content).warnings == ()


def _xyz_of_e():
    white = np.ones(3)
    cones = profiles._BRADFORD
    gains = (cones @ profiles.PCS_WHITE) / (cones @ white)
    return np.linalg.inv(cones) @ np.diag(gains) @ cones


@pytest.mark.parametrize("bits", [8, 16])
def test_the_limited_range(bits):
    scale = 2 ** (bits - 8)
    levels = np.round((16 + COLOURS * 219) * scale).astype(int)
    content = files.png(levels, bits, 2, chunks=files.cicp(1, 13, full=0))
    assert error(content, COLOURS * 255).max() < 1.5


def test_unknown_code_points_alone_are_srgb_with_a_warning():
    found = images.decode(png(files.cicp(3, 13)))
    assert [w.code for w in found.warnings] == ["colour"]
    assert "primaries 3" in found.warnings[0]
    assert np.array_equal(np.asarray(found.image), LEVELS)


def pq_light(v):
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    p = v ** (1 / m2)
    return 10_000 * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1) / 203


def test_pq_becomes_srgb_by_the_reference_white_and_says_so():
    levels = files.whole(COLOURS * 0.6, 16)
    content = files.png(levels, 16, 2, chunks=files.cicp(9, 16))
    found = images.decode(content)
    expected = profiles.expected(levels / 65535, profiles.BT2020, pq_light)
    assert np.abs(np.asarray(found.image) - expected).max() < 1.5
    assert [w.code for w in found.warnings] == ["hdr"]


def test_hlg_becomes_srgb_by_the_reference_white_and_says_so():
    # ITU-R BT.2408: 75 % of HLG's signal is the reference white, 38 % a grey card.
    levels = np.full((32, 32, 3), round(0.75 * 65535))
    levels[16:] = 0
    found = images.decode(files.png(levels, 16, 2, chunks=files.cicp(9, 18)))
    pixels = np.asarray(found.image).astype(int)
    assert abs(pixels[0, 0] - 255).max() <= 2
    assert pixels[20, 20].max() == 0
    assert [w.code for w in found.warnings] == ["hdr"]
    grey = images.decode(
        files.png(np.full((32, 32, 3), round(0.38 * 65535)), 16, 2, chunks=files.cicp(9, 18))
    )
    # 26 cd/m² of a display with 1,000 cd/m².
    light = 1000 * (0.38**2 / 3) ** 1.2 / 203
    assert abs(np.asarray(grey.image)[0, 0, 0] - 255 * profiles.srgb_value(light)) <= 1


# --- EXIF and other containers


def exif(index=None, space=None, more=()):
    data = Image.Exif()
    if space is not None:
        data.get_ifd(0x8769)[0xA001] = space
    if index is not None:
        data.get_ifd(0x8769)[0xA005] = {1: index}
    for tag, value in dict(more).items():
        data[tag] = value
    return data


def raw_exif(index, space):
    """Return EXIF with the interoperability folder, which not all versions of Pillow write."""
    out = b"MM\0*" + struct.pack(">I", 8)
    out += struct.pack(">HHHII", 1, 0x8769, 4, 1, 26) + struct.pack(">I", 0)
    out += struct.pack(">H", 2)
    out += struct.pack(">HHIHH", 0xA001, 3, 1, space, 0)
    out += struct.pack(">HHII", 0xA005, 4, 1, 56) + struct.pack(">I", 0)
    out += struct.pack(">HHHI4s", 1, 1, 2, 4, index + b"\0") + struct.pack(">I", 0)
    return b"Exif\0\0" + out


@pytest.mark.parametrize(
    ("index", "space", "name"),
    [(b"R03", 65535, "adobe-rgb"), (b"R98", 1, None), (b"R03", 1, None), (b"R98", 2, "adobe-rgb")],
)
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG"])
def test_adobe_rgb_by_exif(form, index, space, name):
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    content = files.encoded(
        files.as_image(COLOURS), form, exif=raw_exif(index, space), **options.get(form, {})
    )
    found = images.decode(content)
    expected = LEVELS if name is None else wanted(name)
    assert np.abs(np.asarray(found.image) - expected).mean() < 1
    assert found.warnings == ()


def test_an_icc_profile_outweighs_exif():
    content = files.encoded(
        files.as_image(COLOURS), exif=raw_exif(b"R03", 65535),
        icc_profile=profiles.SRGB_PROFILES["formula"],
    )  # fmt: skip
    assert np.array_equal(decoded(content), LEVELS)


def test_exif_that_only_says_not_srgb_is_a_warning():
    content = files.encoded(files.as_image(COLOURS), exif=raw_exif(b"R98", 65535))
    found = images.decode(content)
    assert [w.code for w in found.warnings] == ["colour"]
    assert np.array_equal(np.asarray(found.image), LEVELS)


def test_primaries_of_a_tiff_without_a_profile():
    numbers = [(round(n * 10_000), 10_000) for c in profiles.P3[:3] for n in c]
    white = [(round(n * 10_000), 10_000) for n in profiles.D65]
    content = files.tiff_of(LEVELS, 8, 2, more={318: (5, white), 319: (5, numbers)})
    assert error(content, wanted("display-p3")).max() < 1.5


def test_bmp_with_primaries_of_its_own():
    columns = profiles.to_xyz(profiles.P3).T
    ends = struct.pack("<9I", *(round(n * 2**30) for n in columns.ravel()))
    gammas = struct.pack("<3I", *[round(2.2 * 65536)] * 3)
    rows = files.bmp_rows(LEVELS[..., ::-1].reshape(len(LEVELS), -1), 8)
    content = files.bmp(rows, 96, 64, 24, header=108, space=b"\0\0\0\0" + ends + gammas)
    expected = profiles.expected(LEVELS / 255, profiles.P3, lambda v: v**2.2)
    assert error(content, expected).max() < 1.5
    empty = files.bmp(rows, 96, 64, 24, header=108, space=b"\0\0\0\0")
    assert np.array_equal(decoded(empty), LEVELS)


def test_romm_rgb_in_jpeg_2000():
    image = files.as_image(COLOURS)
    described = struct.pack(">BBBI", 1, 0, 0, 21)
    content = files.jp2(files.codestream(image), image.size, 3, colour=described)
    expected = profiles.expected(
        LEVELS / 255, profiles.PRO_PHOTO, lambda v: np.where(v < 1 / 32, v / 16, v**1.8)
    )
    assert error(content, expected).max() < 1.5


@pytest.mark.skipif(not files.has("avif"), reason="this Pillow reads no AVIF")
def test_code_points_of_avif():
    content = bytearray(
        files.encoded(files.as_image(COLOURS), "AVIF", quality=100, subsampling="4:4:4")
    )
    at = content.index(b"nclx")
    assert struct.unpack_from(">HH", content, at + 4) in ((1, 13), (2, 2))
    struct.pack_into(">HH", content, at + 4, 12, 13)
    assert error(bytes(content), wanted("display-p3")).mean() < 1.5
    struct.pack_into(">HH", content, at + 4, 2, 2)
    assert error(bytes(content), LEVELS).mean() < 1.5


# --- unusable descriptions


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (b"nonsense", "damaged"),
        (b"", "damaged"),
        (profiles.space("display-p3")[:200], "cannot be used|damaged|needs littlecms"),
        (profiles.grey(profiles.gamma(1.8)), "for L images"),
        (profiles.space("display-p3").replace(b"mntr", b"link"), "kind"),
        (profiles.space("display-p3").replace(b"RGB XYZ ", b"YCbrXYZ "), "kind"),
        (
            profiles.rgb(profiles.SRGB, profiles.table([1, 1])),
            "no lighter|cannot be used|needs littlecms",
        ),
        (b"\0" * 36 + b"acsp" + b"\0" * 9_000_000, "MB"),
    ],
)
def test_an_unusable_profile_is_srgb_with_a_warning(profile, text, tmp_path, int8, cli_run):
    path = tmp_path / "a.tif"
    path.write_bytes(files.tiff_of(LEVELS, 8, 2, more={34675: (7, profile)} if profile else {}))
    if not profile:
        path.write_bytes(png(files.chunk(b"iCCP", b"made\0\0nothing packed")))
    found = images.decode(path)
    assert np.array_equal(np.asarray(found.image), LEVELS)
    assert [w.code for w in found.warnings] == ["colour"]
    assert "treated as sRGB" in found.warnings[0]
    import re

    assert re.search(text, found.warnings[0])
    assert "icc_profile" not in found.image.info
    shown = cli_run("predict", path, "-m", int8, "--format", "json")
    assert shown.exit_code == 0
    assert "colour" in json.loads(shown.stdout)["warning_codes"]


@pytest.mark.parametrize("seed", range(60))
def test_damaged_profiles_never_stop_a_prediction(seed):
    rng = np.random.default_rng(seed)
    names = [*profiles.SPACES]
    profile = bytearray(profiles.space(names[seed % len(names)]))
    for at in rng.integers(0, len(profile), 1 + seed % 7):
        profile[at] = rng.integers(0, 256)
    bits = 8 if seed % 2 else 16
    content = png(files.iccp(bytes(profile)), bits=bits)
    found = images.decode(content)
    assert np.asarray(found.image).shape == LEVELS.shape
    assert images.model_input(content, Preprocessing(32, 32)).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "chunks",
    [
        (files.chunk(b"cICP", b"\1"),),
        (files.gama(0),),
        (files.chrm(((0.3, 0.3), (0.3, 0.3), (0.3, 0.3), (0.3, 0.3))),),
        (files.chrm(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), (0.3, 0.0))),),
        (files.chrm(((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))),),
    ],
)
def test_damaged_chunks_are_srgb_with_a_warning(chunks):
    found = images.decode(png(*chunks))
    assert np.array_equal(np.asarray(found.image), LEVELS)
    assert [w.code for w in found.warnings] == ["colour"]


def test_without_littlecms_matrix_profiles_still_count(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    icc._examined.cache_clear()
    try:
        content = files.encoded(files.as_image(COLOURS), icc_profile=profiles.space("display-p3"))
        assert error(content, wanted("display-p3")).max() < 1.2
        table = profiles.rgb_table(lambda v: v[..., ::-1])
        found = images.decode(files.encoded(files.as_image(COLOURS), icc_profile=table))
        assert np.array_equal(np.asarray(found.image), LEVELS)
        assert "littlecms" in found.warnings[0]
    finally:
        icc._examined.cache_clear()


# --- PIL images


@needs_littlecms
def test_pil_images_carry_their_profile(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(
        files.encoded(files.as_image(COLOURS), icc_profile=profiles.space("display-p3"))
    )
    expected = wanted("display-p3")
    with Image.open(path) as opened:
        assert error(opened, expected).max() < 1.2
        opened.load()
        assert error(opened, expected).max() < 1.2
        for copy in (opened.copy(), opened.convert("RGB"), opened.crop((0, 0, 96, 64))):
            assert error(copy, expected).max() < 1.2
        converted = ImageCms.profileToProfile(
            opened, ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"])),
            ImageCms.createProfile("sRGB"),
        )  # fmt: skip
        assert error(converted, expected).max() < 1.5
        assert opened.info["icc_profile"] == profiles.space("display-p3")
    assert error(np.asarray(files.as_image(COLOURS)), LEVELS).max() == 0


def test_pil_images_of_png_carry_gamma_and_code_points(tmp_path):
    linear = profiles.expected(LEVELS / 255, profiles.SRGB, lambda v: v)
    opened = Image.open(io.BytesIO(png(files.gama(1.0))))
    assert error(opened, linear).max() < 1.5
    assert error(opened.convert("RGB"), linear).max() < 1.5
    opened = Image.open(io.BytesIO(png(files.cicp(1, 8))))
    assert error(opened, linear).max() < 1.5
    assert np.array_equal(np.asarray(opened), LEVELS)  # and it is unchanged


# --- the arithmetic


def test_primaries_without_an_area_are_an_error():
    grey = rgb_space.RGBSpace((0.3, 0.3), (0.3, 0.3), (0.3, 0.3))
    with pytest.raises(rgb_space.ColourError, match="no colours"):
        rgb_space.conversion(grey)


def test_srgb_to_srgb_is_exact():
    convert = rgb_space.conversion(rgb_space.SRGB)
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(np.asarray(convert(Image.fromarray(every))), every)
    assert np.array_equal(convert.deep(every.astype(np.uint16) * 257), every)


def test_images_without_colour_information_cost_nothing(monkeypatch, draw):
    def never(image):
        raise AssertionError("a plain JPEG was examined for its colours")

    monkeypatch.setattr(colour, "declared", never)
    content = files.encoded(draw(90, 70, seed=1), "JPEG")
    assert images.decode(content).warnings == ()
