"""DICOM files: pixels stored in every way are equal to those that were written."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

import lesionedge
from lesionedge import image as images
from lesionedge import image_file

pydicom = pytest.importorskip("pydicom", reason="pip install 'lesionedge[dicom]'")

from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"
PATIENT = "Doe^Jane"


@pytest.fixture(scope="module")
def rgb(draw):
    """(80, 120, 3) uint8."""
    return np.asarray(draw(120, 80, seed=3))


def write(path, pixels, photometric, *, syntax=uid.ExplicitVRLittleEndian, kind=DERMOSCOPIC,
          bits=8, allocated=None, frames=1, size=None, **elements):  # fmt: skip
    """Write a DICOM file.

    Args:
        pixels: An array, or the stored bytes.
        photometric: Photometric interpretation.
        syntax: Transfer syntax; compressed ones get ``pixels`` as one frame or a list of frames.
        kind: SOP class.
        bits: Bits stored.
        allocated: Bits allocated; None for the fewest whole bytes.
        frames: Number of frames.
        size: (width, height) if ``pixels`` are bytes.
        elements: Further elements, by keyword.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, "1.2.3.4"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PATIENT, "4711", "19700101"
    dataset.Modality = "DMS"
    dataset.PhotometricInterpretation = photometric
    colours = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    dataset.SamplesPerPixel = 3 if colours else 1
    if colours:
        dataset.PlanarConfiguration = 0
    width, height = size or pixels.shape[1::-1]
    dataset.Rows, dataset.Columns = height, width
    dataset.BitsAllocated = allocated or (8 if bits <= 8 else 16)
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    little = uid.UID(syntax).is_little_endian
    if not isinstance(pixels, (bytes, list)):
        order = "<" if little else ">"
        pixels = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if uid.UID(syntax).is_encapsulated:
        pixels = encapsulate(pixels if isinstance(pixels, list) else [pixels])
    elif len(pixels) % 2:
        pixels += b"\0"
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    if uid.UID(syntax).is_encapsulated:
        dataset["PixelData"].VR = "OB"
    dataset.save_as(
        path, enforce_file_format=True, implicit_vr=uid.UID(syntax).is_implicit_VR,
        little_endian=little,
    )  # fmt: skip
    return path


def read(path):
    return np.asarray(images.decode(str(path)).image)


def assert_near(found, expected, most=1):
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= most


def jpeg(rgb, **options):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def ycc(rgb):
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    ],
)  # fmt: skip
@pytest.mark.parametrize("planes", [0, 1])
@pytest.mark.parametrize("odd", [False, True])
def test_uncompressed_rgb(tmp_path, rgb, syntax, planes, odd):
    rgb = rgb[:79, :119] if odd else rgb
    stored = rgb.transpose(2, 0, 1) if planes else rgb
    path = write(
        tmp_path / "a.dcm", np.ascontiguousarray(stored).tobytes(), "RGB", syntax=syntax,
        PlanarConfiguration=planes, size=(rgb.shape[1], rgb.shape[0]),
    )  # fmt: skip
    assert np.array_equal(read(path), rgb)


def test_big_endian_words_of_bytes(tmp_path, rgb):
    """8-bit samples as OW, which big-endian writers swap in pairs."""
    swapped = rgb.tobytes()
    swapped = np.frombuffer(swapped, np.uint16).byteswap().tobytes()
    path = write(tmp_path / "a.dcm", swapped, "RGB", syntax=uid.ExplicitVRBigEndian,
                 size=(120, 80))  # fmt: skip
    dataset = pydicom.dcmread(path)
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path)
    assert np.array_equal(read(path), rgb)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_deep_rgb_is_scaled_to_8_bits(tmp_path, rgb, bits, syntax):
    deep = np.rint(rgb / 255 * (2**bits - 1)).astype(np.uint16)
    assert np.array_equal(
        read(write(tmp_path / "a.dcm", deep, "RGB", bits=bits, syntax=syntax)), rgb
    )


def test_uncompressed_ybr(tmp_path, rgb):
    stored = ycc(rgb)
    expected = np.asarray(Image.fromarray(rgb).convert("YCbCr").convert("RGB"))
    assert_near(read(write(tmp_path / "a.dcm", stored, "YBR_FULL")), expected)
    assert_near(read(write(tmp_path / "a.dcm", stored, "YBR_FULL")), rgb, most=3)


def test_uncompressed_ybr_422(tmp_path, rgb):
    stored = ycc(rgb).astype(int)
    y, cb, cr = stored[..., 0], stored[:, ::2, 1], stored[:, ::2, 2]
    packed = np.stack([y[:, ::2], y[:, 1::2], cb, cr], axis=-1).astype(np.uint8)
    path = write(tmp_path / "a.dcm", packed.tobytes(), "YBR_FULL_422", size=(120, 80))
    halved = np.stack([y, np.repeat(cb, 2, 1), np.repeat(cr, 2, 1)], axis=-1).astype(np.uint8)
    expected = np.asarray(Image.frombytes("YCbCr", (120, 80), halved.tobytes()).convert("RGB"))
    assert_near(read(path), expected)


def grey_table(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize(("bits", "allocated"), [(8, 8), (12, 16), (16, 16), (10, 16)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_grey(tmp_path, bits, allocated, photometric):
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64), (32, 1))
    stored = np.rint(ramp).astype(np.uint8 if allocated == 8 else np.uint16)
    levels = np.rint(stored / (2**bits - 1) * 255).astype(int)
    if photometric == "MONOCHROME1":
        levels = 255 - levels
    path = write(tmp_path / "a.dcm", stored, photometric, bits=bits, allocated=allocated)
    assert_near(read(path), grey_table(levels))


def test_grey_of_one_bit(tmp_path):
    bits = (np.arange(64 * 32).reshape(32, 64) // 5) % 2
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    path = write(
        tmp_path / "a.dcm", packed, "MONOCHROME2", bits=1, allocated=1, size=(64, 32),
        kind=SECONDARY_CAPTURE + ".1",
    )  # fmt: skip
    assert np.array_equal(read(path), grey_table(bits * 255))


def test_signed_grey_with_a_window_and_a_slope(tmp_path):
    stored = np.tile(np.arange(-100, 156, dtype=np.int16), (32, 1))
    path = write(
        tmp_path / "a.dcm", stored, "MONOCHROME2", bits=12, PixelRepresentation=1,
        RescaleSlope="2", RescaleIntercept="10", WindowCenter="50", WindowWidth="101",
    )  # fmt: skip
    real = stored * 2.0 + 10
    expected = np.clip((real - 49.5) / 100 + 0.5, 0, 1) * 255
    assert_near(read(path), grey_table(np.rint(expected)), most=0)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_other_window_functions(tmp_path, function):
    stored = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    path = write(
        tmp_path / "a.dcm", stored, "MONOCHROME2", WindowCenter=["100", "20"],
        WindowWidth=["80", "10"], VOILUTFunction=function,
    )  # fmt: skip
    linear = np.clip((stored.astype(float) - 100) / 80 + 0.5, 0, 1)
    curved = 1 / (1 + np.exp(-4 * (stored - 100.0) / 80))
    expected = linear if function == "LINEAR_EXACT" else curved
    assert_near(read(path), grey_table(np.rint(expected * 255)), most=0)


def test_a_voi_table(tmp_path):
    stored = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = [65535 - 257 * n for n in range(256)]
    table["LUTData"].VR = "US"
    table["LUTDescriptor"].VR = "US"
    path = write(tmp_path / "a.dcm", stored, "MONOCHROME2", VOILUTSequence=[table])
    assert_near(read(path), grey_table(255 - stored.astype(int)))


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("colours", [False, True])
def test_few_bits_in_16_are_scaled_with_a_warning(tmp_path, rgb, bits, colours):
    """A file that says 16 bits and uses fewer would be nearly black."""
    expected = rgb if colours else grey_table(rgb[..., 0])
    stored = np.rint(expected / 255 * (2**bits - 1)).astype(np.uint16)
    stored[0, 0] = 2**bits - 1
    path = write(
        tmp_path / "a.dcm", stored if colours else stored[..., 0],
        "RGB" if colours else "MONOCHROME2", bits=16,
    )  # fmt: skip
    decoded = images.decode(str(path))
    assert [notice.code for notice in decoded.warnings] == ["bit-depth"]
    assert_near(np.asarray(decoded.image)[1:], expected[1:], most=0)


@pytest.mark.parametrize(
    ("spacing", "aspect", "size"),
    [(None, ["1", "2"], (240, 80)), (None, ["16", "15"], (120, 85)), (None, ["1", "1"], (120, 80)),
     (["0.2", "0.1"], None, (120, 160)), (["0.1", "0.1"], ["1", "2"], (120, 80)),
     (["", ""], ["1", "2"], (240, 80)), (["0", "0.1"], None, (120, 80))],
)  # fmt: skip
def test_oblong_pixels_become_square(tmp_path, rgb, spacing, aspect, size):
    elements = {"PixelSpacing": spacing, "PixelAspectRatio": aspect}
    elements = {name: value for name, value in elements.items() if value}
    path = write(tmp_path / "a.dcm", rgb, "RGB", **elements)
    decoded = images.decode(str(path))
    assert decoded.size == decoded.image.size == size
    small = np.asarray(decoded.image.resize((120, 80), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - rgb).mean() < 2


def test_pixels_that_cannot_be_so_oblong_are_refused(tmp_path, rgb):
    path = write(tmp_path / "a.dcm", rgb, "RGB", PixelAspectRatio=["1", "9"])
    with pytest.raises(lesionedge.ImageError, match="pixels 9 times as wide as high"):
        read(path)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("entry_bits", [8, 16])
@pytest.mark.parametrize("compressed", [False, True])
def test_palette(tmp_path, syntax, entry_bits, compressed):
    if compressed and syntax == uid.ExplicitVRBigEndian:
        pytest.skip("compressed files are little-endian")
    palette = np.random.default_rng(1).integers(0, 256, (200, 3))
    indices = np.random.default_rng(2).integers(0, 256, (40, 60)).astype(np.uint8)
    first = 20
    elements = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        entries = palette[:, number]
        if entry_bits == 16:
            data = (entries * 257).astype("<u2" if syntax.is_little_endian else ">u2").tobytes()
        else:
            data = entries.astype(np.uint8).tobytes()
            if not syntax.is_little_endian:
                data = np.frombuffer(data, np.uint16).byteswap().tobytes()
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [200, first, entry_bits]
        elements[f"{colour}PaletteColorLookupTableData"] = data
    pixels = rle(indices) if compressed else indices
    path = write(
        tmp_path / "a.dcm", pixels, "PALETTE COLOR", kind=SECONDARY_CAPTURE, size=(60, 40),
        syntax=uid.RLELossless if compressed else syntax, **elements,
    )  # fmt: skip
    expected = palette[np.clip(indices.astype(int) - first, 0, 199)]
    assert np.array_equal(read(path), expected)


def test_a_palette_of_16_bit_values_with_8_bit_entries(tmp_path):
    palette = np.random.default_rng(1).integers(0, 256, (1000, 3))
    indices = np.random.default_rng(2).integers(0, 1000, (40, 60)).astype(np.uint16)
    elements = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [1000, 0, 8]
        elements[f"{colour}PaletteColorLookupTableData"] = (
            palette[:, number].astype(np.uint8).tobytes()
        )
    path = write(tmp_path / "a.dcm", indices, "PALETTE COLOR", bits=16, **elements)
    assert np.array_equal(read(path), palette[indices])


def test_a_palette_of_segments(tmp_path):
    """A run from 0 to 255 in red, one level in green, two parts in blue."""
    indices = np.tile(np.arange(256, dtype=np.uint8), (20, 1))
    segments = {
        "Red": [0, 1, 0, 1, 255, 255 * 257],
        "Green": [0, 1, 1000, 1, 255, 1000],
        "Blue": [0, 2, 0, 65535, 1, 254, 65535],
    }
    elements = {}
    for colour, words in segments.items():
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"Segmented{colour}PaletteColorLookupTableData"] = struct.pack(
            f"<{len(words)}H", *words
        )
    path = write(tmp_path / "a.dcm", indices, "PALETTE COLOR", **elements)
    found = read(path)
    assert_near(found[0, :, 0], np.arange(256))
    assert set(found[0, :, 1]) == {1000 >> 8}
    assert list(found[0, :3, 2]) == [0, 255, 255]


# Compressed


def rle(array):
    """Run-length encode a frame as in PS3.5 annex G, with runs and literals mixed."""
    planes = array[..., None] if array.ndim == 2 else array
    width = array.dtype.itemsize
    segments = []
    for sample in range(planes.shape[2]):
        plane = planes[..., sample].astype(array.dtype.newbyteorder(">")).tobytes()
        segments += [packed_bits(plane[part::width], array.shape[1]) for part in range(width)]
    header, offset = [len(segments)], 64
    for segment in segments:
        header.append(offset)
        offset += len(segment)
    return struct.pack("<16I", *header, *[0] * (16 - len(header))) + b"".join(segments)


def packed_bits(data, row):
    out = bytearray()
    for start in range(0, len(data), row):
        line = data[start : start + row]
        at = 0
        while at < len(line):
            run = 1
            while at + run < len(line) and run < 128 and line[at + run] == line[at]:
                run += 1
            if run > 2:
                out += bytes((257 - run, line[at]))
                at += run
                continue
            literal = line[at : at + min(100, len(line) - at)]
            out += bytes((len(literal) - 1,)) + literal
            at += len(literal)
    return bytes(out + b"\0" * (len(out) % 2))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_rle_colours(tmp_path, rgb, photometric):
    stored = rgb if photometric == "RGB" else ycc(rgb)
    path = write(
        tmp_path / "a.dcm", rle(stored), photometric, syntax=uid.RLELossless, size=(120, 80)
    )
    assert_near(read(path), rgb, most=0 if photometric == "RGB" else 3)


@pytest.mark.parametrize("signed", [0, 1])
def test_rle_of_12_bits(tmp_path, signed):
    stored = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (32, 1))
    if signed:
        stored = ((stored.astype(int) - 2048) & 4095).astype(np.uint16)
    path = write(
        tmp_path / "a.dcm", rle(stored), "MONOCHROME2", bits=12, syntax=uid.RLELossless,
        size=(64, 32), PixelRepresentation=signed,
    )  # fmt: skip
    expected = np.tile(np.rint(np.linspace(0, 4095, 64).astype(int) / 4095 * 255), (32, 1))
    assert_near(read(path), grey_table(expected))


def test_rle_that_pydicom_writes(tmp_path, rgb):
    path = write(tmp_path / "a.dcm", rgb, "RGB")
    dataset = pydicom.dcmread(path)
    dataset.compress(uid.RLELossless)
    dataset.save_as(path)
    assert np.array_equal(read(path), rgb)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "RGB"])
def test_jpeg_with_jfif_is_ycbcr_whatever_the_file_says(tmp_path, rgb, subsampling, photometric):
    stream = jpeg(rgb, subsampling=subsampling)
    path = write(
        tmp_path / "a.dcm", stream, photometric, syntax=uid.JPEGBaseline8Bit, size=(120, 80),
        kind=VL_PHOTOGRAPHIC,
    )  # fmt: skip
    expected = np.asarray(Image.open(io.BytesIO(stream)))
    assert np.array_equal(read(path), expected)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("marked", [False, True])
def test_jpeg_that_is_marked_as_rgb(tmp_path, rgb, photometric, marked):
    stream = jpeg(rgb, keep_rgb=True)  # Adobe's marker, component identifiers R, G, B
    stream = stream if marked else without_adobe(stream)
    path = write(
        tmp_path / "a.dcm", stream, photometric, syntax=uid.JPEGBaseline8Bit, size=(120, 80)
    )
    assert_near(read(path), rgb, most=12)
    assert np.abs(read(path).astype(int) - rgb).mean() < 2


def adobe(stream, transform):
    """Replace JFIF's marker by Adobe's."""
    at = stream.index(b"\xff\xe0")
    length = struct.unpack(">H", stream[at + 2 : at + 4])[0]
    marker = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes((transform,))
    return stream[:at] + marker + stream[at + 2 + length :]


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_jpeg_with_adobes_marker_is_converted_once(tmp_path, rgb, photometric):
    stream = adobe(jpeg(rgb), 1)
    path = write(
        tmp_path / "a.dcm", stream, photometric, syntax=uid.JPEGBaseline8Bit, size=(120, 80)
    )
    assert np.array_equal(read(path), np.asarray(Image.open(io.BytesIO(jpeg(rgb)))))


def without_adobe(stream):
    at = stream.index(b"\xff\xee")
    return stream[:at] + stream[at + 2 + struct.unpack(">H", stream[at + 2 : at + 4])[0] :]


def test_jpeg_without_markers_is_read_as_the_file_says(tmp_path, rgb):
    """Samples 1, 2 and 3 without JFIF: libjpeg alone would read RGB as YCbCr."""
    stream = without_adobe(jpeg(rgb, keep_rgb=True, subsampling="4:4:4"))
    for old, new in ((b"R", 1), (b"G", 2), (b"B", 3)):
        head, _, rest = stream.partition(b"\xff\xc0")
        sof, scan = rest[:17], rest[17:]
        sof = sof.replace(old + b"\x11", bytes((new,)) + b"\x11")
        before, mark, after = scan.partition(b"\xff\xda")
        after = after[:12].replace(old, bytes((new,)), 1) + after[12:]
        stream = head + b"\xff\xc0" + sof + before + mark + after
    assert b"JFIF" not in stream
    assert b"Adobe" not in stream
    for photometric, expected in (
        ("RGB", rgb),
        ("YBR_FULL", np.asarray(Image.open(io.BytesIO(stream)))),
    ):
        path = write(
            tmp_path / "a.dcm", stream, photometric, syntax=uid.JPEGBaseline8Bit, size=(120, 80)
        )
        assert_near(read(path), expected, most=12)
    assert np.abs(read(path).astype(int) - rgb).mean() > 20  # the two differ


def test_grey_jpeg(tmp_path, rgb):
    file = io.BytesIO()
    Image.fromarray(rgb).convert("L").save(file, "JPEG", quality=95)
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        path = write(
            tmp_path / "a.dcm", file.getvalue(), photometric, syntax=uid.JPEGBaseline8Bit,
            size=(120, 80),
        )  # fmt: skip
        expected = np.asarray(Image.open(file)).astype(int)
        expected = expected if photometric == "MONOCHROME2" else 255 - expected
        assert np.array_equal(read(path), grey_table(expected))


needs_jpeg_2000 = pytest.mark.skipif(
    not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000"
)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEG2000Lossless])
def test_compressed_grey_is_shown_as_uncompressed_grey_is(tmp_path, photometric, syntax):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    stream = jpeg(ramp) if syntax == uid.JPEGBaseline8Bit else jpeg_2000(ramp)
    shown = {
        "a window": {"WindowCenter": "100", "WindowWidth": "80"},
        "a negative": {"RescaleSlope": "-1", "RescaleIntercept": "255"},
        "nothing": {},
    }
    for elements in shown.values():
        one = write(tmp_path / "a.dcm", ramp, photometric, **elements)
        other = write(tmp_path / "b.dcm", [stream], photometric, syntax=syntax, size=(256, 32),
                      **elements)  # fmt: skip
        assert_near(read(other), read(one), most=4)


def jpeg_2000(array, **options):
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, "JPEG2000", no_jp2=True, **options)
    return file.getvalue()


@needs_jpeg_2000
@pytest.mark.parametrize(
    ("syntax", "photometric", "irreversible"),
    [
        (uid.JPEG2000Lossless, "YBR_RCT", False), (uid.JPEG2000, "YBR_ICT", True),
        (uid.JPEG2000Lossless, "RGB", False),
    ],
)  # fmt: skip
def test_jpeg_2000_colours(tmp_path, rgb, syntax, photometric, irreversible):
    stream = jpeg_2000(rgb, mct=1, irreversible=irreversible)
    path = write(tmp_path / "a.dcm", stream, photometric, syntax=syntax, size=(120, 80))
    assert_near(read(path), rgb, most=4 if irreversible else 0)


@needs_jpeg_2000
def test_jpeg_2000_of_components_that_it_does_not_transform(tmp_path, rgb):
    stream = jpeg_2000(np.ascontiguousarray(ycc(rgb)), mct=0)
    path = write(
        tmp_path / "a.dcm", stream, "YBR_FULL", syntax=uid.JPEG2000Lossless, size=(120, 80)
    )
    assert_near(read(path), rgb, most=3)
    stream = jpeg_2000(rgb, mct=0)
    path = write(tmp_path / "a.dcm", stream, "RGB", syntax=uid.JPEG2000Lossless, size=(120, 80))
    assert np.array_equal(read(path), rgb)


@needs_jpeg_2000
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_2000_grey(tmp_path, photometric, bits):
    values = np.tile(np.linspace(0, 2**bits - 1, 64), (32, 1))
    array = np.rint(values).astype(np.uint8 if bits == 8 else np.uint16)
    path = write(
        tmp_path / "a.dcm", jpeg_2000(array), photometric, bits=bits,
        syntax=uid.JPEG2000Lossless, size=(64, 32),
    )  # fmt: skip
    levels = np.rint(array / (2**bits - 1) * 255).astype(int)
    expected = levels if photometric == "MONOCHROME2" else 255 - levels
    assert_near(read(path), grey_table(expected))


def lossless_jpeg(grey):
    """Write a lossless JPEG (process 14, first predictor) of 8 bits and one component.

    Differences are coded with a Huffman table of 9 codes, all 4 bits long.
    """
    height, width = grey.shape
    rows = grey.astype(int)
    bits = []
    for y in range(height):
        for x in range(width):
            before = rows[y, x - 1] if x else rows[y - 1, 0] if y else 128
            difference = int(rows[y, x] - before)
            size = abs(difference).bit_length()
            bits.append(f"{size:04b}")
            if size:
                value = difference if difference > 0 else difference + (1 << size) - 1
                bits.append(f"{value:0{size}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)).replace(
        b"\xff", b"\xff\0"
    )
    table = b"\xff\xc4" + struct.pack(">HB", 19 + 9, 0) + bytes((0, 0, 0, 9, *[0] * 12, *range(9)))
    frame = b"\xff\xc3" + struct.pack(">HBHHBBBB", 11, 8, height, width, 1, 1, 0x11, 0)
    start = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0)
    return b"\xff\xd8" + frame + table + start + scan + b"\xff\xd9"


@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1])
def test_lossless_jpeg_is_read_or_refused(tmp_path, rgb, syntax):
    grey = rgb[..., 1]
    stream = lossless_jpeg(grey)
    path = write(tmp_path / "a.dcm", stream, "MONOCHROME2", syntax=syntax, size=(120, 80))
    try:
        Image.open(io.BytesIO(stream)).load()
    except OSError:  # libjpeg-turbo before 3.0
        with pytest.raises(lesionedge.ImageError, match=r"a\.dcm: DICOM compressed as JPEG Loss"):
            read(path)
        return
    assert np.array_equal(read(path), grey_table(grey))


def test_fragments_of_one_frame(tmp_path, rgb):
    stream = jpeg(rgb)
    stream += b"\0" * (len(stream) % 2)
    middle = len(stream) // 4 * 2
    path = write(tmp_path / "a.dcm", stream, "YBR_FULL_422", syntax=uid.JPEGBaseline8Bit,
                 size=(120, 80))  # fmt: skip
    dataset = pydicom.dcmread(path)
    items = b"".join(
        b"\xfe\xff\x00\xe0" + struct.pack("<I", len(part)) + part
        for part in (b"", stream[:middle], stream[middle:])
    )
    dataset.PixelData = items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    assert np.array_equal(read(path), np.asarray(Image.open(io.BytesIO(stream))))


@pytest.mark.parametrize("compressed", [False, True])
def test_the_first_of_several_frames_with_a_warning(tmp_path, rgb, draw, compressed, int8):
    other = np.asarray(draw(120, 80, seed=9))
    if compressed:
        path = write(
            tmp_path / "a.dcm", [jpeg(rgb), jpeg(other)], "YBR_FULL_422", frames=2,
            syntax=uid.JPEGBaseline8Bit, size=(120, 80),
        )  # fmt: skip
        assert np.array_equal(read(path), np.asarray(Image.open(io.BytesIO(jpeg(rgb)))))
    else:
        both = np.stack([rgb, other]).tobytes()
        path = write(tmp_path / "a.dcm", both, "RGB", frames=2, size=(120, 80))
        assert np.array_equal(read(path), rgb)
    prediction = lesionedge.Classifier(int8).classify(path)
    assert [warning.code for warning in prediction.warnings][:1] == ["frames"]


def test_the_colour_profile_is_passed_on(tmp_path, rgb):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = write(tmp_path / "a.dcm", rgb, "RGB", ICCProfile=profile)
    with image_file.open_image(str(path), "a.dcm") as image:
        assert image.info["icc_profile"] == profile
    stream = jpeg(rgb, icc_profile=profile)
    path = write(
        tmp_path / "b.dcm", stream, "YBR_FULL_422", syntax=uid.JPEGBaseline8Bit, size=(120, 80)
    )
    with image_file.open_image(str(path), "b.dcm") as image:
        image.load()
        assert image.info["icc_profile"] == profile


def test_the_colour_profile_counts(tmp_path):
    """The profile exchanges red and green: stored red is green."""
    from PIL import ImageCms

    exchanged = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = exchanged.index(b"rXYZ"), exchanged.index(b"gXYZ")
    exchanged[red : red + 4], exchanged[green : green + 4] = b"gXYZ", b"rXYZ"
    patch = np.full((32, 32, 3), (220, 10, 10), np.uint8)
    path = write(tmp_path / "a.dcm", patch, "RGB", ICCProfile=bytes(exchanged))
    found = read(path)[0, 0].astype(int)
    assert found[1] > 200
    assert found[0] < 60


# Files that are not photographs, or are damaged


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (CT, "CT Image Storage"),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", "VL Whole Slide Microscopy Image Storage"),
        ("1.2.840.10008.5.1.4.1.1.77.1.4.1", "Video Photographic Image Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
    ],
)
def test_other_kinds_are_refused(tmp_path, rgb, kind, name):
    path = write(tmp_path / "a.dcm", rgb, "RGB", kind=kind)
    with pytest.raises(lesionedge.ImageError, match=rf"a\.dcm: is DICOM of the kind {name}"):
        read(path)


@pytest.mark.parametrize("kind", [VL_PHOTOGRAPHIC, DERMOSCOPIC, SECONDARY_CAPTURE,
                                  *(f"{SECONDARY_CAPTURE}.{n}" for n in range(1, 5))])  # fmt: skip
def test_photographs_have_no_warning(tmp_path, rgb, kind):
    assert images.decode(str(write(tmp_path / "a.dcm", rgb, "RGB", kind=kind))).warnings == ()


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"Modality": "CT", "kind": SECONDARY_CAPTURE}, "dicom-kind"),
        ({"kind": "1.2.826.0.1.3680043.2.1"}, "dicom-kind"),
        ({"BurnedInAnnotation": "YES"}, "burned-in"),
    ],
)
def test_doubtful_files_have_a_warning(tmp_path, rgb, elements, code):
    found = images.decode(str(write(tmp_path / "a.dcm", rgb, "RGB", **elements)))
    assert [warning.code for warning in found.warnings] == [code]


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"syntax": "1.2.840.10008.1.2.4.80"}, "JPEG-LS Lossless"),
        ({"syntax": "1.2.840.10008.1.2.4.51", "bits": 12}, "JPEG Extended"),
        ({"syntax": "1.2.840.10008.1.2.4.100"}, "video"),
        ({"photometric": "HSV"}, "HSV"), ({"photometric": "YBR_PARTIAL_420"}, "YBR_PARTIAL_420"),
        ({"photometric": "CMYK", "SamplesPerPixel": 4}, "CMYK"),
        ({"allocated": 32, "bits": 32}, "32"), ({"Rows": 8}, "too small"),
        ({"Rows": 60000, "Columns": 60000}, "200 MP"), ({"Rows": 800}, "damaged"),
        ({"HighBit": 15, "bits": 12}, "upper bits"),
    ],
)  # fmt: skip
def test_an_unreadable_file_is_one_line_of_error(tmp_path, rgb, elements, words):
    options = {"photometric": "RGB", "size": (120, 80), **elements}
    path = write(tmp_path / "a.dcm", rgb.tobytes(), **options)
    with pytest.raises(lesionedge.ImageError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert PATIENT not in str(caught.value)


def test_a_file_without_its_preamble_is_named_as_such(tmp_path, rgb):
    path = write(tmp_path / "a.dcm", rgb, "RGB")
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(lesionedge.ImageError, match=r"a\.dcm: not DICOM, or without its preamble"):
        read(path)


def test_a_file_that_was_cut_short(tmp_path, rgb):
    path = write(tmp_path / "a.dcm", rgb, "RGB")
    content = path.read_bytes()
    for length in (140, 200, 400, 600, len(content) - 5000):
        path.write_bytes(content[:length])
        with pytest.raises(lesionedge.ImageError, match=r"a\.dcm: "):
            read(path)


def test_a_jpeg_frame_with_a_hole(tmp_path, draw):
    """Damage within the scan, for which libjpeg only warns, as in JPEG files."""
    stream = jpeg(np.asarray(draw(400, 300, seed=1)))
    middle = len(stream) // 2
    path = write(
        tmp_path / "a.dcm", stream[:middle] + stream[middle + 500 :], "YBR_FULL_422",
        syntax=uid.JPEGBaseline8Bit, size=(400, 300),
    )  # fmt: skip
    with pytest.raises(lesionedge.ImageError, match=r"a\.dcm: damaged"):
        read(path)


def test_a_deflated_bomb(tmp_path, rgb, monkeypatch):
    from lesionedge import dicom

    path = write(tmp_path / "a.dcm", rgb, "RGB", syntax=uid.DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 10_000)
    with pytest.raises(lesionedge.ImageError, match="deflated DICOM of more than"):
        read(path)


def test_a_run_length_bomb_stops_at_the_images_size(tmp_path):
    """The runs would fill gigabytes, but the frame has 32x32 px."""
    runs = b"\x81\x00" * 2_000_000
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + runs
    path = write(tmp_path / "a.dcm", frame, "MONOCHROME2", syntax=uid.RLELossless, size=(32, 32))
    assert read(path).max() == 0


# No patient data


def test_no_patient_data_in_any_output(command, tmp_path, rgb, int8):
    path = write(tmp_path / "a.dcm", rgb, "RGB", BurnedInAnnotation="NO",
                 InstitutionName="Mercy Hospital", AccessionNumber="4711")  # fmt: skip
    broken = write(tmp_path / "b.dcm", rgb, "RGB", Rows=800)
    other = write(tmp_path / "c.dcm", rgb, "RGB", kind=CT)
    done = command(
        "--verbose", "predict", path, broken, other, "-m", int8, "--format", "json",
        "--annotate", tmp_path / "drawn",
    )  # fmt: skip
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in row for row in rows] == [False, True, True]
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert drawn.name == "a.png"
    with Image.open(drawn) as image:
        assert image.info.keys() <= {"icc_profile", "srgb", "dpi"}
    for secret in (b"Jane", b"4711", b"1970", b"Mercy", b"1.2.3.4"):
        assert secret not in done.stdout + done.stderr
        assert secret not in drawn.read_bytes()


def test_only_the_elements_of_the_pixels_are_parsed(tmp_path, rgb):
    path = write(tmp_path / "a.dcm", rgb, "RGB")
    with image_file.open_image(str(path), "a.dcm") as image:
        names = {element.keyword for element in image._dataset}
    assert not any(name.startswith(("Patient", "SOPInstance", "Study", "Series")) for name in names)


def test_without_the_library_it_says_what_to_install(tmp_path, rgb, cli_run, int8, monkeypatch):
    import sys

    path = write(tmp_path / "a.dcm", rgb, "RGB")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(lesionedge.ImageError, match=r"pip install 'lesionedge\[dicom\]'") as caught:
        read(path)
    assert isinstance(caught.value, lesionedge.MissingDependencyError)
    assert isinstance(caught.value, ImportError)
    done = cli_run("predict", path, "-m", int8)
    assert done.exit_code == 1
    assert "a.dcm: is a DICOM image; to read it: pip install 'lesionedge[dicom]'" in done.stderr


def test_every_kind_of_source_is_read(tmp_path, rgb, int8):
    path = write(tmp_path / "no-suffix", rgb, "RGB")
    classifier = lesionedge.Classifier(int8)
    content = path.read_bytes()
    with open(path, "rb") as file:
        found = [
            classifier.classify(source) for source in (path, content, file, io.BytesIO(content))
        ]
    assert len({prediction.probability for prediction in found}) == 1
    assert found[0].probability == classifier.classify(Image.fromarray(rgb)).probability
    assert images.size_of(content) == (120, 80)


def with_syntax(path, syntax, *, packed=False):
    """Write another transfer syntax into an explicit little-endian file."""
    content = path.read_bytes()
    end = 144 + struct.unpack("<I", content[140:144])[0]
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    at = content.index(b"\x02\x00\x10\x00UI")
    old = struct.unpack("<H", content[at + 6 : at + 8])[0]
    meta = content[144:at] + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value
    meta += content[at + 8 + old : end]
    body = content[end:]
    if packed:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    path.write_bytes(content[:140] + struct.pack("<I", len(meta)) + meta + body)
    return path


def test_deflate_of_another_program(tmp_path, rgb):
    path = write(tmp_path / "a.dcm", rgb, "RGB")
    with_syntax(path, "1.2.840.10008.1.2.1.99", packed=True)
    assert np.array_equal(read(path), rgb)


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1", "1.3.6.1.4.1.5962.300.1"]
)
def test_transfer_syntaxes_that_are_newer_or_private(tmp_path, rgb, syntax):
    path = with_syntax(write(tmp_path / "a.dcm", rgb, "RGB"), syntax)
    with pytest.raises(lesionedge.ImageError, match=r"a\.dcm: .*cannot be decoded here"):
        read(path)
