"""Which files count as images, by name and by first bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image, TiffImagePlugin

import lesionedge
from lesionedge import formats
from lesionedge import image as images

# Formats in Pillow's registry that it cannot decode: drawings, videos, scientific data.
NOT_DECODED = {
    ".eps", ".ps", ".wmf", ".emf", ".mpg", ".mpeg", ".bufr", ".grib", ".h5", ".hdf", ".palm",
    ".pdf", ".fpx", ".mic",
}  # fmt: skip


# Pillow reads these, but no test compares its pixels with another decoder's.
REFUSED = {
    ".blp", ".fit", ".fits", ".flc", ".fli", ".ftc", ".ftu", ".gbr", ".iim", ".pcd", ".pxr",
}  # fmt: skip


def registered():
    Image.init()
    extra = formats.HEIC_SUFFIXES | {".heics"}  # if a test has registered pillow-heif
    return {suffix for suffix in Image.EXTENSION if suffix not in extra}


def test_every_suffix_that_pillow_decodes_is_known():
    assert registered() - NOT_DECODED - REFUSED <= formats.PILLOW_SUFFIXES
    assert not REFUSED & formats.PILLOW_SUFFIXES
    known = {s for s in formats.PILLOW_SUFFIXES if s not in registered()}
    assert known <= {".avif", ".avifs", ".qoi"}  # older versions lack these


def written():
    """Return the suffixes that Pillow can write too, without .pfm, whose floats are not read."""
    kinds = Image.registered_extensions()
    return [s for s in sorted(registered() - NOT_DECODED - {".pfm"}) if kinds[s] in Image.SAVE]


@pytest.mark.filterwarnings("ignore:IM image format is deprecated")
@pytest.mark.parametrize("suffix", [s for s in written() if s not in REFUSED])
def test_every_decodable_suffix_is_found(tmp_path, draw, suffix):
    """Every format that Pillow writes is read back, under every suffix."""
    kind = Image.registered_extensions()[suffix]
    image = draw(64, 48, seed=1)
    path = tmp_path / f"a{suffix}"
    for mode in ("RGB", "L", "P", "1"):
        try:
            image.convert(mode).save(path, kind)
            break
        except (OSError, ValueError, KeyError):
            continue
    else:
        pytest.skip(f"Pillow writes no {kind} of these modes")
    decoded = images.decode(str(path))
    assert decoded.image.mode == "RGB"
    assert formats.is_image_name(str(path))
    assert formats.is_image_name(str(path).upper())


@pytest.mark.parametrize(
    "name",
    [
        "._a.jpg", ".hidden/a.jpg", "__MACOSX/a.jpg", "x/__MACOSX/._a.jpg", "Thumbs.db",
        "x\\Thumbs.db", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", ".DS_Store", "desktop.ini",
        "Desktop.ini", "$RECYCLE.BIN/a.jpg", "System Volume Information/a.jpg", "#recycle/a.jpg",
        "DICOMDIR", "x/DICOMDIR",
    ],
)  # fmt: skip
def test_hidden(name):
    assert formats.is_hidden(name)


@pytest.mark.parametrize("name", ["a.jpg", "./a.jpg", "../x/a.jpg", "x/a..b.jpg", "MACOSX/a.jpg"])
def test_not_hidden(name):
    assert not formats.is_hidden(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.CR2", "camera raw"), ("a.dng", "camera raw"), ("a.jxl", "JPEG XL"),
        ("a.svg", "drawing"), ("a.eps", "drawing"), ("a.svs", "whole-slide image"),
        ("a.txt", None), ("a", None), ("a.jpg", None), ("a.mp4", None), ("1.2.840.10008", None),
    ],
)  # fmt: skip
def test_kinds_that_cannot_be_read(name, kind):
    assert formats.unreadable_kind(name) == kind


def test_the_extras_formats_are_images_where_their_library_is(monkeypatch):
    import sys

    for name, module, kind in (("a.HEIC", "pillow_heif", "HEIC"), ("a.dcm", "pydicom", "DICOM")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            assert not formats.is_image_name(name)
            assert formats.unreadable_kind(name) == kind
            assert "pip install 'lesionedge[" in formats.advice(kind)
            patch.setitem(sys.modules, module, io)
            assert formats.is_image_name(name)
            assert formats.unreadable_kind(name) is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"), (b"\0" * 128 + b"DICM", "DICOM"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw"),
        (b"\0\0\0\x18ftypisom\0\0\0\1isommp42", None), (b"%PDF-1.7", "PDF"),
        (b"PK\3\4", "ZIP archive"), (b"II*\0\x10\0\0\0CR\2\0", "camera raw"),
        (b"\xff\xd8\xff\xe0", None), (b"II*\0", None), (b"", None), (b"\0\0\0\0ftyp", None),
        (b"\xff\xff\xff\xffftypheic", "HEIC"), (b"ftyp", None),
    ],
)  # fmt: skip
def test_first_bytes(head, kind):
    assert formats.recognise(head) == kind


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\3\4" + b"x" * 200, "ZIP archive"), (b"%PDF-1.7" + b"x" * 200, "PDF"),
        (b"\xff\x0a" + b"x" * 200, "JPEG XL"), (b"FUJIFILMCCD-RAW" + b"x" * 200, "camera raw"),
    ],
)  # fmt: skip
def test_the_error_names_the_kind(tmp_path, content, words):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(lesionedge.ImageError, match=rf"a\.jpg: .*{words}"):
        images.decode(str(path))


def raw_file(path, image, *, negative):
    """Write a TIFF like a camera's raw file: its first page is a small JPEG or RGB copy."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if negative:
        tags[50706], tags.tagtype[50706] = b"\1\4\0\0", 1
    else:
        tags[254], tags[330] = 1, 8
        tags.tagtype[330] = 4
    image.save(path, "TIFF", tiffinfo=tags)
    return path


@pytest.mark.parametrize("negative", [False, True])
def test_a_raw_files_thumbnail_is_not_read_as_the_image(tmp_path, draw, negative):
    path = raw_file(tmp_path / "a.nef", draw(160, 120, seed=1), negative=negative)
    with Image.open(path) as image:
        assert {254, 50706} & set(image.tag_v2)
    with pytest.raises(lesionedge.ImageError, match=r"a\.nef: .*camera raw.*export it as JPEG"):
        images.decode(str(path))
