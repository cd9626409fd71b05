from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from lesionedge import ImageError, ModelError
from lesionedge import image as images
from lesionedge.card import Card
from lesionedge.image import Preprocessing

SQUARE = Preprocessing(32, 32)


def encoded(photo, form="PNG", **options):
    file = io.BytesIO()
    photo.save(file, form, **options)
    return file.getvalue()


def test_every_kind_of_source_gives_the_same_pixels(draw, tmp_path):
    photo = draw(90, 70, seed=1)
    path = tmp_path / "a.png"
    photo.save(path)
    wanted = images.model_input(path, SQUARE)
    assert wanted.shape == (32, 32, 3)
    assert wanted.dtype == np.uint8
    sources = [str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), photo,
               np.asarray(photo), Image.open(path)]  # fmt: skip
    for source in sources:
        assert np.array_equal(images.model_input(source, SQUARE), wanted)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def turned(photo, orientation):
    return photo.transpose(TURNS[orientation]) if orientation > 1 else photo


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "MPO"])
def test_exif_orientation_is_honoured(draw, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawn = draw(90, 70, seed=2)
    content = encoded(drawn, form, exif=exif, quality=95)
    plain = images.decode(encoded(drawn, form, quality=95)).image
    upright = turned(plain, orientation)
    assert images.decode(content).size == upright.size
    assert np.array_equal(images.model_input(content, SQUARE), images.model_input(upright, SQUARE))
    assert np.array_equal(images.decode(content).image, upright)
    assert np.array_equal(images.decode(Image.open(io.BytesIO(content))).image, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_unchanged_pil_images_are_turned_by_exif(draw, tmp_path, form, orientation):
    """EXIF's orientation applies to an image from ``Image.open``, but not to copies of it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.img"
    path.write_bytes(encoded(draw(90, 70, seed=2), form, exif=exif, quality=95))
    upright = images.decode(path).image
    with Image.open(path) as opened:
        assert np.array_equal(images.decode(opened).image, upright)
        opened.load()
        assert np.array_equal(images.decode(opened).image, upright)
        for made in (
            opened.copy(), opened.convert("RGB"), opened.rotate(90, expand=True),
            opened.transpose(Image.Transpose.ROTATE_180), opened.resize((60, 60)),
            opened.crop((5, 5, 50, 40)), Image.fromarray(np.asarray(opened)),
        ):  # fmt: skip
            found = images.decode(made)
            assert found.size == made.size
            assert np.array_equal(found.image, made.convert("RGB"))
        if form != "TIFF":  # older versions of Pillow keep the tag
            by_hand = ImageOps.exif_transpose(opened)
            assert np.array_equal(images.decode(by_hand).image, upright)
        in_place = turned(opened.convert("RGB"), orientation)
        if form != "TIFF":  # Pillow turns TIFFs when it loads them
            assert np.array_equal(images.decode(in_place).image, upright)
    small = Image.open(path)
    small.thumbnail((40, 40))  # in place: EXIF still applies
    found = images.decode(small)
    assert found.size == (small.size[::-1] if orientation > 4 and form != "TIFF" else small.size)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_images_decoded_at_a_reduced_scale_fit_the_same(draw, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(draw(300, 200, seed=2).resize((1200, 800)), "JPEG", exif=exif, quality=95)
    wide = Preprocessing(96, 64)
    reduced = images.decode(content, wide)
    whole = images.decode(content)
    assert reduced.size == whole.size == whole.image.size
    assert reduced.image.width < whole.image.width
    box = images.crop_box(reduced.image.size, wide)
    assert box[2] - box[0] >= 1.4 * wide.width_px
    difference = images.model_input(content, wide).astype(int) - images.fit(whole.image, wide)
    assert np.abs(difference).mean() < 0.5


def test_a_named_pipe_is_read(draw, tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    content = encoded(draw(64, 64, seed=1), "JPEG")
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    found = images.model_input(pipe, SQUARE)
    writer.join()
    assert np.array_equal(found, images.model_input(content, SQUARE))


def test_files_that_cannot_seek_are_read(draw):
    content = encoded(draw(64, 64, seed=1))
    read_end, write_end = os.pipe()
    with open(write_end, "wb") as file:
        file.write(content)
    with open(read_end, "rb") as pipe:
        found = images.model_input(pipe, SQUARE)
    assert np.array_equal(found, images.model_input(content, SQUARE))
    assert np.array_equal(images.model_input(memoryview(content), SQUARE), found)


def test_text_files_and_closed_ones_are_refused(draw, tmp_path):
    path = tmp_path / "a.png"
    draw(64, 64, seed=1).save(path)
    with open(path, encoding="latin-1") as text, pytest.raises(ImageError, match=r"a\.png"):
        images.decode(text)
    with open(path, "rb") as file:
        pass
    with pytest.raises(ImageError, match=r"a\.png.*closed"):
        images.decode(file)


def test_a_callers_file_is_left_open(draw, tmp_path):
    with open(tmp_path / "a.png", "w+b") as file:
        draw(64, 64, seed=1).save(file, "PNG")
        images.decode(file)
        assert not file.closed


def test_broken_exif_does_not_stop_decoding(draw):
    content = encoded(draw(64, 64, seed=1), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff")
    assert images.decode(content).size == (64, 64)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I"]
)
def test_every_mode_becomes_rgb(draw, mode):
    photo = draw(40, 40, seed=3)
    if mode.startswith("I"):
        grey = np.asarray(photo.convert("L")).astype(np.uint16) * 257
        photo = Image.fromarray(grey if mode == "I;16" else grey.astype(np.int32))
    elif mode == "PA":
        photo = photo.convert("P").convert("PA")
    else:
        photo = photo.convert(mode)
    assert photo.mode == mode
    result = images.decode(photo).image
    assert result.mode == "RGB"
    lightness = np.asarray(result.convert("L")).astype(int)
    wanted = np.asarray(draw(40, 40, seed=3).convert("L")).astype(int)
    # Dithered to black and white or to a palette, only the mean can be right.
    assert abs(lightness.mean() - wanted.mean()) < 6
    if mode not in ("1", "P", "PA"):
        assert np.abs(lightness - wanted).mean() < 6


def test_transparent_pixels_become_white():
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    half = Image.new("LA", (20, 20), (0, 128))
    clear.putpixel((0, 0), (0, 0, 0, 255))
    assert images.decode(clear).image.getpixel((5, 5)) == (255, 255, 255)
    assert images.decode(half).image.getpixel((5, 5))[0] in (126, 127, 128)
    palette = Image.new("P", (20, 20), 0)
    palette.putpixel((0, 0), 1)
    content = encoded(palette, "PNG", transparency=0)
    assert images.decode(content).image.getpixel((5, 5)) == (255, 255, 255)


def test_16_bit_white_stays_white():
    white = Image.fromarray(np.full((20, 20), 65535, np.uint16))
    assert images.decode(white).image.getpixel((0, 0)) == (255, 255, 255)
    assert images.decode(encoded(white)).image.getpixel((0, 0)) == (255, 255, 255)


def test_float_pixels_are_refused():
    with pytest.raises(ImageError, match="floating-point"):
        images.decode(Image.new("F", (20, 20)))


def test_large_jpegs_are_decoded_at_a_reduced_scale_with_the_same_result(draw):
    content = encoded(draw(1600, 1200, seed=4), "JPEG", quality=95)
    fast = images.decode(content, Preprocessing(224, 224))
    assert fast.size == (1600, 1200)
    assert fast.image.height < 1200
    assert fast.image.height >= 1.4 * 224
    whole = images.fit(images.decode(content).image, Preprocessing(224, 224)).astype(int)
    reduced = images.model_input(content, Preprocessing(224, 224)).astype(int)
    assert np.abs(whole - reduced).mean() < 0.5


def test_the_reduced_scale_crops_the_same_part():
    # 1204 px reduced to 301: the crop begins in the middle of a pixel.
    wave = np.abs(np.arange(1204) % 150 - 75) * 3
    photo = Image.fromarray(np.tile(wave.astype(np.uint8)[None, :, None], (1000, 1, 3)))
    content = encoded(photo, "JPEG", quality=98)
    square = Preprocessing(96, 96)
    assert images.decode(content, square).image.size == (301, 250)
    whole = images.fit(images.decode(content).image, square).astype(int)
    assert np.abs(images.model_input(content, square) - whole).mean() < 1


@pytest.mark.parametrize(
    ("size", "margin", "decoded"),
    [
        ((600, 450), 1.4, (600, 450)),
        ((600, 450), 1.0, (300, 225)),
        ((448, 448), 1.0, (224, 224)),
        ((447, 447), 1.0, (447, 447)),
        ((1920, 1080), 1.4, (960, 540)),
        ((1920, 1080), 1.0, (480, 270)),
        ((1080, 1920), 1.0, (270, 480)),
        ((200, 200), 1.0, (200, 200)),
    ],
)
def test_a_card_says_how_far_a_jpeg_may_be_reduced(draw, size, margin, decoded):
    section = {"width_px": 224, "height_px": 224, "decode_margin": margin}
    settings = Preprocessing.from_card(Card.from_dict({"input": section}).input)
    found = images.decode(encoded(draw(*size, seed=5), "JPEG"), settings)
    assert found.image.size == decoded
    assert found.size == size
    assert found.fit(settings).shape == (224, 224, 3)


def test_a_card_without_a_margin_has_the_usual_one_and_stays_as_it_is():
    content = {"input": {"width_px": 224, "height_px": 224, "crop": "centre"}}
    card = Card.from_dict(content)
    assert Preprocessing.from_card(card.input).decode_margin == 1.4
    assert "decode_margin" not in card.to_dict()["input"]


@pytest.mark.parametrize("size", [(1, 1), (15, 400)])
def test_too_small_is_refused(size):
    with pytest.raises(ImageError, match="too small"):
        images.decode(encoded(Image.new("RGB", size)))


def test_a_bomb_is_refused_before_it_is_decoded():
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    content += struct.pack(">I", zlib.crc32(chunk))
    content += struct.pack(">I", 4) + b"IDAT" + b"\0" * 8
    with pytest.raises(ImageError, match=r"20000x20000 px is 400 MP; .*200 MP"):
        images.decode(content)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("size", [(11_000, 9_000), (14_000, 14_000)])
def test_images_above_pillows_limit_and_below_ours_cause_no_warning(form, size):
    options = {"compression": "group4"} if form == "TIFF" else {}
    content = encoded(Image.new("1", size), form, **options)
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.decode(content).size == size
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("form", ["TIFF", "GIF"])
def test_other_bombs_are_refused_too(form):
    size = (16_300, 13_000)
    options = {"compression": "group4"} if form == "TIFF" else {}
    content = encoded(Image.new("1", size), form, **options)
    with pytest.raises(ImageError, match="212 MP; .*200 MP"):
        images.decode(content)


def test_a_users_own_limit_is_restored(monkeypatch, draw):
    content = encoded(draw(64, 64, seed=1))
    for limit in (None, 1000, 10**9):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert images.decode(content).size == (64, 64)
        assert limit == Image.MAX_IMAGE_PIXELS
        with pytest.raises(ImageError):
            images.decode(b"no image")
        assert limit == Image.MAX_IMAGE_PIXELS


FORMATS = [
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}),
    ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}),
    ("PPM", {}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "options"), FORMATS)
def test_cut_short_files_are_errors_not_grey_bars(draw, form, options, tmp_path):
    content = encoded(draw(200, 150, seed=5), form, **options)
    whole = images.decode(content).image
    path = tmp_path / "cut.dat"
    for length in np.linspace(1, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:length])
        try:
            # The very end of a file may hold no pixels.
            assert np.array_equal(images.decode(path).image, whole), length
            assert length > 0.98 * len(content)
        except ImageError as error:
            assert "cut.dat" in str(error)


def test_a_large_progressive_jpeg_cut_short_is_an_error():
    noise = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG", progressive=True, quality=95)
    for share in (0.3, 0.6, 0.9, 0.999):
        with pytest.raises(ImageError, match="cut short"):
            images.model_input(content[: int(share * len(content))], SQUARE)


def test_drawings_are_refused_and_never_run(draw):
    with pytest.raises(ImageError, match="is a drawing"):
        images.decode(encoded(draw(60, 60, seed=1), "EPS"))


@pytest.mark.parametrize("seed", range(120))
def test_damaged_files_raise_only_our_errors(draw, seed):
    rng = np.random.default_rng(seed)
    form, options = FORMATS[seed % len(FORMATS)]
    content = bytearray(encoded(draw(60, 60, seed=6), form, **options))
    for position in rng.integers(0, len(content) if seed % 2 else 200, 12):
        content[position] = rng.integers(0, 256)
    try:
        images.model_input(bytes(content), SQUARE)
    except ImageError:
        pass


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((40, 40, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ImageError, match=r"expected \(H, W, 3\) uint8 RGB"):
        images.decode(array)


def test_arrays_need_not_be_contiguous_or_writable():
    array = np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)
    turned = array[::-1, ::-1]
    turned.flags.writeable = False
    wanted = images.model_input(np.ascontiguousarray(turned), SQUARE)
    assert np.array_equal(images.model_input(turned, SQUARE), wanted)


def test_sources_of_other_types_are_refused():
    with pytest.raises(ImageError, match="int is not an image"):
        images.decode(3)


def test_a_callers_image_is_not_changed(draw, tmp_path):
    path = tmp_path / "large.jpg"
    draw(900, 600, seed=1).save(path)
    with Image.open(path) as mine:
        images.model_input(mine, SQUARE)
        assert mine.size == (900, 600)
        assert mine.mode == "RGB"


def test_only_animations_and_pages_cause_a_warning(draw):
    def several(form):
        more = [draw(64, 64, seed=2)]
        return encoded(draw(64, 64, seed=1), form, save_all=True, append_images=more)

    assert images.decode(several("MPO")).warnings == ()
    assert "pages" in images.decode(several("TIFF")).warnings[0]
    for form in ("GIF", "PNG", "WEBP"):
        content = several(form)
        assert "first frame" in images.decode(content).warnings[0]
        chosen = Image.open(io.BytesIO(content))
        chosen.seek(1)
        assert images.decode(chosen).warnings == ()
        assert np.array_equal(images.decode(chosen).image, chosen.convert("RGB"))


def test_several_threads_decode_at_once(draw):
    contents = [encoded(draw(70, 60, seed=n), "JPEG") for n in range(8)]
    wanted = [images.model_input(content, SQUARE) for content in contents]
    limit = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda c: images.model_input(c, SQUARE), contents * 20))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted * 20))
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("size", "settings", "box"),
    [
        ((600, 450), {}, (75, 0, 525, 450)),
        ((450, 600), {}, (0, 75, 450, 525)),
        ((600, 450), {"crop": "stretch"}, (0, 0, 600, 450)),
        ((600, 450), {"crop_fraction": 0.5}, (187, 112, 412, 337)),
    ],
)
def test_crop_box(size, settings, box):
    assert images.crop_box(size, Preprocessing(224, 224, **settings)) == box


def test_crop_box_takes_the_inputs_shape():
    assert images.crop_box((600, 450), Preprocessing(342, 256)) == (0, 0, 600, 449)


@pytest.mark.parametrize(
    "section",
    [
        {"width_px": 224},
        {"width_px": 224, "height_px": 0},
        {"width_px": 224, "height_px": 224, "crop": "left"},
        {"width_px": 224, "height_px": 224, "crop_fraction": 1.5},
        {"width_px": 224, "height_px": 224, "resampling": "magic"},
        {"width_px": 224, "height_px": 224, "decode_margin": 0.99},
        {"width_px": 224, "height_px": 224, "decode_margin": float("inf")},
        {"width_px": 224, "height_px": 224, "decode_margin": "1"},
        {"width_px": float("inf"), "height_px": 224},
        {"width_px": 224, "height_px": 224, "crop_fraction": float("nan")},
        [],
        "224x224",
        None,
    ],
)
def test_unusable_cards_are_refused(section):
    with pytest.raises(ModelError, match="card|model input"):
        Preprocessing.from_card(Card.from_dict({"input": section}).input)


@pytest.mark.parametrize("size", [(60, 200), (20, 300), (32, 33), (41, 120)])
def test_tall_images_are_resized_rows_first_with_every_pillow(size):
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    left, top, right, bottom = images.crop_box(size, SQUARE)
    rows = [
        np.asarray(image.crop((0, y, size[0], y + 1)).resize(
            (32, 1), Image.Resampling.BILINEAR, (left, 0, right, 1)
        ))
        for y in range(size[1])
    ]  # fmt: skip
    whole = Image.fromarray(np.concatenate(rows))
    wanted = whole.resize((32, 32), Image.Resampling.BILINEAR, (0, top, 32, bottom))
    assert np.array_equal(images.fit(image, SQUARE), np.asarray(wanted))
