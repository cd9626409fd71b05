"""HEIC files: orientation, colours, depth and errors, compared with the written pixels."""

from __future__ import annotations

import functools
import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image, features

import lesionedge
from lesionedge import image as images
from lesionedge import image_file

pillow_heif = pytest.importorskip("pillow_heif", reason="pip install 'lesionedge[heic]'")

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
LOSSLESS = {"quality": -1, "chroma": 444, "matrix_coefficients": 0, "full_range_flag": 1,
            "color_primaries": 1, "transfer_characteristics": 13}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(draw):
    """120x80, without symmetry."""
    image = draw(120, 80, seed=3)
    image.paste((250, 20, 20), (0, 0, 40, 16))
    image.paste((20, 20, 250), (0, 60, 16, 80))
    return image


def write(path, image, **options):
    """Write a HEIC file; lossless without options."""
    file = pillow_heif.from_pillow(image)
    file.save(path, **{**LOSSLESS, **options})
    return path


def read(path):
    return np.asarray(images.decode(str(path)).image)


def assert_near(found, expected, most=1):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= most


@pytest.mark.parametrize("suffix", ["heic", "heif", "hif"])
def test_pixels(tmp_path, drawn, suffix):
    assert_near(read(write(tmp_path / f"a.{suffix}", drawn)), drawn)


def test_usual_compression(tmp_path, drawn):
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(drawn).save(path, quality=90)
    found = read(path)
    assert np.abs(found.astype(int) - np.asarray(drawn)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path, drawn, orientation):
    """As phones write it: irot and imir in the container, and the same again in EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "a.heic", drawn, exif=exif.tobytes())
    turn = TURNS.get(orientation)
    expected = drawn if turn is None else drawn.transpose(turn)
    found = images.decode(str(path))
    assert found.size == expected.size
    assert_near(np.asarray(found.image), expected)
    assert images.size_of(str(path)) == expected.size


def test_an_orientation_in_exif_alone_is_ignored(tmp_path, drawn):
    """By the standard, only the container's orientation counts."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1, "Maker"
    path = write(tmp_path / "a.heic", drawn, exif=exif.tobytes())
    content = path.read_bytes()
    for order in "<>":
        content = content.replace(
            struct.pack(f"{order}HHIH", 0x0112, 3, 1, 1),
            struct.pack(f"{order}HHIH", 0x0112, 3, 1, 6),
        )
    assert content != path.read_bytes()
    path.write_bytes(content)
    assert_near(read(path), drawn)


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_colour(tmp_path, drawn, bits):
    deep = np.asarray(drawn).astype(np.uint16) * 257
    file = pillow_heif.from_bytes("RGB;16", drawn.size, deep.tobytes())
    path = tmp_path / "a.heic"
    file.save(path, **LOSSLESS, bit_depth=bits)
    assert pillow_heif.open_heif(path, convert_hdr_to_8bit=False).info["bit_depth"] == bits
    assert_near(read(path), drawn)


def test_grey_and_transparent(tmp_path, drawn):
    grey = drawn.convert("L")
    path = tmp_path / "grey.heic"
    pillow_heif.from_pillow(grey).save(path, quality=-1)
    assert_near(read(path), grey.convert("RGB"))
    clear = drawn.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(drawn.size))
    expected = Image.new("RGB", drawn.size, "white")
    expected.paste(clear, mask=clear.getchannel("A"))
    assert_near(read(write(tmp_path / "clear.heic", clear)), expected, most=2)


def test_a_grid_of_tiles(tmp_path, draw):
    """Phones store tiles of 512x512."""
    if "tile_size" not in pillow_heif.HeifFile.save.__doc__:
        pytest.skip("this pillow-heif writes no grids")
    image = draw(700, 600, seed=5)
    assert_near(read(write(tmp_path / "a.heic", image, tile_size=512)), image)


@functools.cache  # it holds its time of creation
def profile():
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_the_colour_profile_is_passed_on(tmp_path, drawn):
    path = write(tmp_path / "a.heic", drawn, icc_profile=profile())
    with image_file.open_image(str(path), "a.heic") as image:
        assert image.info["icc_profile"] == profile()
        assert "cicp" not in image.info
    path = write(tmp_path / "b.heic", drawn, color_primaries=12)
    with image_file.open_image(str(path), "b.heic") as image:
        assert image.info["cicp"] == bytes((12, 13, 0, 1))


def test_display_p3_becomes_srgb(tmp_path):
    """As iPhones write it, by a profile or by code points: (234, 51, 35) there is (255, 0, 0)."""
    patch = Image.new("RGB", (64, 48), (234, 51, 35))
    path = write(tmp_path / "nclx.heic", patch, color_primaries=12)
    found = read(path).reshape(-1, 3).mean(axis=0)
    assert np.abs(found - (255, 0, 0)).max() <= 3, found
    plain = read(write(tmp_path / "srgb.heic", patch, icc_profile=profile()))
    assert_near(plain, patch)


def test_an_image_that_pillow_heif_opened_has_the_same_colours(tmp_path, drawn):
    path = write(tmp_path / "a.heic", drawn, color_primaries=12)
    file = pillow_heif.open_heif(path).to_pillow()
    assert "icc_profile" not in file.info
    assert np.array_equal(np.asarray(images.decode(file).image), read(path))
    assert np.abs(read(path).astype(int) - np.asarray(drawn)).max() > 10


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [0, 1])
def test_matrix_and_range(tmp_path, drawn, matrix, full):
    path = write(
        tmp_path / "a.heic", drawn, matrix_coefficients=matrix, full_range_flag=full, quality=-1
    )
    assert_near(read(path), drawn, most=4)


def test_the_main_image_of_several_is_read_with_a_warning(tmp_path, drawn, draw):
    file = pillow_heif.from_pillow(draw(120, 80, seed=8))
    file.add_from_pillow(drawn)
    file.save(tmp_path / "a.heic", primary_index=1, **LOSSLESS)
    found = images.decode(str(tmp_path / "a.heic"))
    assert_near(np.asarray(found.image), drawn)
    assert [warning.code for warning in found.warnings] == ["pages"]
    assert images.decode(str(write(tmp_path / "b.heic", drawn))).warnings == ()


@pytest.mark.parametrize("major", [b"heix", b"mif1", b"msf1", b"hevc"])
def test_every_brand_of_the_container(tmp_path, drawn, major):
    path = write(tmp_path / "a.heic", drawn)
    content = path.read_bytes()
    path.write_bytes(content[:8] + major + content[12:])
    assert_near(read(path), drawn)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_in_the_same_container_is_read_by_pillow(tmp_path, drawn):
    file = io.BytesIO()
    drawn.save(file, "AVIF", quality=100, subsampling="4:4:4")
    content = file.getvalue()
    assert b"avif" in content[12:40]
    content = content[:8] + b"mif1" + content[12:]
    assert_near(np.asarray(images.decode(content).image), np.asarray(Image.open(file)), most=0)


def test_every_kind_of_source_is_read(tmp_path, drawn, int8):
    path = write(tmp_path / "a.jpg", drawn)  # in spite of its name
    classifier = lesionedge.Classifier(int8)
    content = path.read_bytes()
    written = io.BytesIO()
    written.write(content)  # its position is the end
    with open(path, "rb") as file:
        sources = (path, content, file, written)
        found = {classifier.classify(source).probability for source in sources}
    assert len(found) == 1
    if np.array_equal(read(path), np.asarray(drawn)):
        assert found == {classifier.classify(drawn).probability}


def test_a_drawing_has_no_metadata(command, tmp_path, drawn, int8):
    exif = Image.Exif()
    exif[0x010F] = "Jane Doe's phone"
    path = write(tmp_path / "a.heic", drawn, exif=exif.tobytes(), xmp=b"<x>Jane Doe</x>")
    assert b"Jane Doe" in path.read_bytes()
    done = command("predict", path, "-m", int8, "--annotate", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "drawn").iterdir()
    assert made.name == "a.png"
    assert b"Jane" not in made.read_bytes() + done.stdout


def test_a_damaged_file_is_one_line_of_error(tmp_path, drawn):
    path = write(tmp_path / "a.heic", drawn)
    content = path.read_bytes()
    for broken in (
        content[:60], content[:400], content[: len(content) // 2],
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200,
    ):  # fmt: skip
        path.write_bytes(broken)
        with pytest.raises(lesionedge.ImageError, match=r"a\.heic: ") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_without_the_library_it_says_what_to_install(tmp_path, drawn, cli_run, int8, monkeypatch):
    path = write(tmp_path / "a.heic", drawn)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(lesionedge.ImageError, match=r"pip install 'lesionedge\[heic\]'") as caught:
        read(path)
    assert isinstance(caught.value, lesionedge.MissingDependencyError)
    done = cli_run("predict", path, "-m", int8)
    assert done.exit_code == 1
    assert "a.heic: is a HEIC image; to read it: pip install 'lesionedge[heic]'" in done.stderr
