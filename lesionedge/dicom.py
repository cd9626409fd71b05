"""Reads DICOM files of photographs, as clinics keep them; needs ``lesionedge[dicom]``.

Only the elements that describe the pixels are parsed. Elements that name or describe a patient are
not read, so they cannot get into a message, a log or a written image.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from lesionedge import jpeg_scan, pixels
from lesionedge.errors import ImageError, MissingDecoderError
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_INFLATED_BYTES = 100_000_000
"""A deflated file that unpacks to more than this is rejected."""

_KINDS = {
    "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.1", "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.3", "1.2.840.10008.5.1.4.1.1.7.4",
    "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.77.1.7",
}  # fmt: skip
_EXPECTED = "VL Photographic, Dermoscopic Photography or Secondary Capture"
# Secondary captures: images of other devices are often stored as these.
_MODALITIES = ("", "XC", "DMS", "OT", "GM", "DG", "ES", "SM", "PX")

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_NOT_DEFLATED = b"1.2.840.10008.1.2.1\0\0\0"
_RLE = "1.2.840.10008.1.2.5"
_JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
_JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
_LEAST_OBLONG, _MOST_OBLONG = 0.01, 2.5  # a pixel's sides: a smaller difference is ignored
_YBR = ("YBR_FULL", "YBR_FULL_422")
_MORE = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls, or convert it"

_TAGS = [
    "SOPClassUID", "Modality", "BurnedInAnnotation", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "NumberOfFrames", "ICCProfile", "OpticalPathSequence",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "VOILUTSequence", "PixelSpacing", "PixelAspectRatio", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelData",
    *(f"{colour}PaletteColorLookupTable{part}"
      for colour in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
]  # fmt: skip


def opened(content: Any, name: str) -> DicomImageFile:
    """Open a file's first frame; ``load`` decodes its pixels.

    Args:
        content: Path or binary file.
        name: The file's name, for messages.

    Raises:
        MissingDecoderError: The library is not installed.
        ImageError: It is not a photograph, or is damaged.
    """
    try:
        import pydicom  # noqa: F401 (is it installed?)
    except ImportError as error:
        raise MissingDecoderError(
            f"{name}: is a DICOM image; to read it: pip install 'lesionedge[dicom]' ({error})"
        ) from error
    try:
        return DicomImageFile(content)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


class DicomImageFile(ImageFile.ImageFile):
    """A DICOM file as a Pillow image: RGB or L, 8 bits per sample."""

    format = "DICOM"
    format_description = "DICOM photograph"

    notices: tuple[Notice, ...] = ()
    """Warnings for people; ``load`` may add some."""

    def _open(self) -> None:
        assert self.fp is not None
        self._dataset = _read(self.fp)
        _refuse_kind(self._dataset)
        self._size = _integer(self._dataset, "Columns"), _integer(self._dataset, "Rows")
        self._mode = "L" if _is_grey(self._dataset) else "RGB"
        self.notices = tuple(_notices(self._dataset))
        profile = _profile(self._dataset)
        if profile:
            self.info["icc_profile"] = profile
        self.tile = []

    def load(self) -> Any:
        """Decode the first frame."""
        if self._dataset is not None:
            image, notices = _decoded(self._dataset)
            self._dataset = None
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self.notices += notices
            if "icc_profile" in image.info:
                self.info.setdefault("icc_profile", image.info["icc_profile"])
            if self.fp is not None and getattr(self, "_exclusive_fp", False):
                self.fp.close()
            self.fp = None
        return super().load()


def _read(file: IO[bytes]) -> Any:
    """Parse the elements that describe the pixels, and no others."""
    from pydicom import dcmread
    from pydicom.datadict import tag_for_keyword

    tags = [tag for keyword in _TAGS if (tag := tag_for_keyword(keyword)) is not None]
    try:
        return dcmread(_inflated(file), specific_tags=list(tags))
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(error) from error


def _inflated(file: IO[bytes]) -> IO[bytes]:
    """Unpack a deflated file; pydicom would do it without a size limit."""
    start = file.tell()
    head = file.read(144)
    length = struct.unpack("<I", head[140:144])[0] if head[132:136] == b"\2\0\0\0" else 0
    about = file.read(min(length, 1 << 16))
    if _DEFLATED not in about:
        file.seek(start)
        return file
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    content = unpacker.decompress(file.read(), MAX_INFLATED_BYTES)
    if unpacker.unconsumed_tail:
        raise ImageError(
            f"deflated DICOM of more than {MAX_INFLATED_BYTES // 1_000_000} MB is refused"
        )
    return io.BytesIO(head + about.replace(_DEFLATED, _NOT_DEFLATED) + content)


def _refuse_kind(dataset: Any) -> None:
    """Reject files that are not photographs: CT, slides, reports, videos."""
    from pydicom.uid import UID

    kind = UID(str(dataset.get("SOPClassUID", "")))
    if kind not in _KINDS and kind.name != kind:  # the standard has a name for this kind
        raise ImageError(f"is DICOM of the kind {kind.name}; expected {_EXPECTED}")
    syntax = _syntax(dataset)
    if "MPEG" in syntax.name or "HEVC" in syntax.name:
        raise ImageError(f"is a DICOM video ({syntax.name}); expected a photograph")
    if "PixelData" not in dataset:
        raise ImageError("is DICOM without pixels; expected a photograph")


def _notices(dataset: Any) -> list[Notice]:
    found = []
    modality = str(dataset.get("Modality", "") or "")
    if str(dataset.get("SOPClassUID", "")) not in _KINDS:
        found.append(Notice("dicom-kind", f"DICOM of an unknown kind; expected {_EXPECTED}"))
    elif modality not in _MODALITIES:
        found.append(
            Notice("dicom-kind", f"DICOM of the modality {_plain(modality)}: not a photograph")
        )
    if _integer(dataset, "NumberOfFrames", 1) > 1:
        found.append(Notice("frames", "DICOM of several frames: only its first was classified"))
    if str(dataset.get("BurnedInAnnotation", "") or "").upper() == "YES":
        found.append(
            Notice("burned-in", "text is burned into this image; annotated images show it too")
        )
    return found


def _plain(code: str) -> str:
    """Return a code if it looks like one, so that no patient data gets into a message."""
    return code if code.isalnum() and len(code) <= 8 and code.isupper() else "?"


def _profile(dataset: Any) -> bytes | None:
    """Return the ICC profile, of the image or else of its (first) optical path."""
    own = dataset.get("ICCProfile")
    paths = dataset.get("OpticalPathSequence") or []
    profile = own or next((path.get("ICCProfile") for path in paths), None)
    return bytes(profile) if profile else None


def _decoded(dataset: Any) -> tuple[Image.Image, tuple[Notice, ...]]:
    try:
        image, notices = _from_pixels(dataset)
        return _with_square_pixels(image, dataset), notices
    except (ImageError, MemoryError):
        raise
    except RuntimeError as error:  # also NotImplementedError
        raise _undecodable(dataset) from error
    except Exception as error:
        raise _damaged(error) from error


def _from_pixels(dataset: Any) -> tuple[Image.Image, tuple[Notice, ...]]:
    if _is_stream(dataset):
        return _from_stream(dataset), ()
    if _integer(dataset, "SamplesPerPixel") == 1:
        return _from_single(dataset)
    return _from_colours(dataset)


def _with_square_pixels(image: Image.Image, dataset: Any) -> Image.Image:
    """Enlarge one side of an image whose pixels are oblong, as a viewer does."""
    share = _oblong(dataset)
    if not 1 / _MOST_OBLONG <= share <= _MOST_OBLONG:
        raise ImageError(f"DICOM with pixels {share:.3g} times as wide as high")
    if abs(share - 1) < _LEAST_OBLONG:
        return image
    size = round(image.width * max(1, share)), round(image.height * max(1, 1 / share))
    resized = image.resize(size, Image.Resampling.BICUBIC)
    resized.info = image.info
    return resized


def _oblong(dataset: Any) -> float:
    """Return how many times as wide as high a pixel is (PS3.3 10.7.1.3 and C.7.6.3.1.7)."""
    for keyword in ("PixelSpacing", "PixelAspectRatio"):
        try:
            high, wide = (float(side) for side in dataset.get(keyword))
        except (TypeError, ValueError):
            continue  # it is missing, or empty
        if high > 0 and wide > 0:
            return wide / high
    return 1.0


def _is_stream(dataset: Any) -> bool:
    """Return whether Pillow can decode the frame from its stream alone."""
    syntax = _syntax(dataset)
    if syntax not in _JPEG and syntax not in _JPEG_2000:
        return False
    if _photometric(dataset) == "PALETTE COLOR" or _integer(dataset, "PixelRepresentation", 0):
        return False
    colours = _integer(dataset, "SamplesPerPixel") == 3
    return colours or (_is_eight_bits(dataset) and _is_grey(dataset))


def _from_stream(dataset: Any) -> Image.Image:
    """Decode a JPEG or JPEG 2000 frame.

    The stream's own markers say whether its samples are RGB or YCbCr, and they are right more
    often than the file's photometric interpretation. The latter counts only if there are none.
    """
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
    from PIL.JpegImagePlugin import JpegImageFile

    decoder = JpegImageFile if _syntax(dataset) in _JPEG else Jpeg2KImageFile
    frame = _frame(dataset)
    try:
        image: Image.Image = decoder(io.BytesIO(frame))
    except (OSError, SyntaxError) as error:
        raise _undecodable(dataset) from error
    if image.size != (_integer(dataset, "Columns"), _integer(dataset, "Rows")):
        raise ImageError("damaged: its frame is of another size than the file says")
    photometric = _photometric(dataset)
    if image.format == "JPEG" and photometric == "RGB" and _is_unmarked_rgb(image):
        image.draft("YCbCr", image.size)
        jpeg_scan.load(image)
        return _relabelled(image, "RGB")
    image = _loaded(image)
    if _is_grey(dataset):
        return _shown(dataset, image)
    if image.format == "JPEG2000" and photometric in _YBR and not _is_transformed(frame):
        return _relabelled(image, "YCbCr").convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def _shown(dataset: Any, image: Image.Image) -> Image.Image:
    """Return a frame's grey values of 8 bits as a viewer shows them."""
    import numpy as np

    inverted = _photometric(dataset) == "MONOCHROME1"
    table = _greys(dataset, np.arange(256), inverted=inverted)
    shown = Image.fromarray(table[np.asarray(image.convert("L"))])
    shown.info = image.info
    return shown


def _loaded(image: Image.Image) -> Image.Image:
    """Load a frame; raise ImageError if Pillow would read its pixels wrong."""
    if image.format == "JPEG":
        jpeg_scan.load(image)
        return image
    from lesionedge import jpeg2000

    ready, finish = jpeg2000.prepare(image)
    ready.load()
    return ready if finish is None else finish(ready)[0]


def _relabelled(image: Image.Image, mode: str) -> Image.Image:
    """Return the same samples in another mode."""
    same = Image.frombytes(mode, image.size, image.tobytes())
    if "icc_profile" in image.info:
        same.info["icc_profile"] = image.info["icc_profile"]
    return same


def _is_unmarked_rgb(image: Image.Image) -> bool:
    """Return whether a colour JPEG has no colour marker and no subsampling, as RGB may."""
    layers: Any = getattr(image, "layer", ())
    plain = len(layers) == 3 and all(layer[1:3] == layers[0][1:3] for layer in layers)
    named = [chr(layer[0]) if isinstance(layer[0], int) else layer[0] for layer in layers]
    marked = "jfif" in image.info or "adobe" in image.info or named in (list("RGB"), list("rgb"))
    return plain and not marked


def _is_transformed(frame: bytes) -> bool:
    """Return whether decoding a JPEG 2000 stream already turns its components into RGB."""
    start = frame.find(b"\xff\x52")  # COD: length, style, progression, layers, transform
    return start < 0 or frame[start + 8 : start + 9] == b"\x01"


def _from_colours(dataset: Any) -> tuple[Image.Image, tuple[Notice, ...]]:
    """Decode RGB or YBR samples that are stored one by one, 8 or more bits each."""
    photometric = _photometric(dataset)
    if photometric not in ("RGB", *_YBR) or _integer(dataset, "SamplesPerPixel") != 3:
        raise ImageError(
            f"DICOM of the photometric interpretation {_plain_photometric(photometric)} with "
            f"{_integer(dataset, 'SamplesPerPixel')} samples cannot be read; expected RGB or YBR"
        )
    if _integer(dataset, "PixelRepresentation", 0):
        raise ImageError("DICOM with signed colours cannot be read; expected unsigned ones")
    import numpy as np

    samples, bits = _samples(dataset), _bits(dataset)
    warnings: tuple[Notice, ...] = ()
    if bits != 8:
        deep, warnings = pixels.full_range(samples & (2**bits - 1), bits)
        samples = pixels.rounded(deep)
    size = samples.shape[1], samples.shape[0]
    mode = "YCbCr" if photometric in _YBR else "RGB"
    image = Image.frombytes(mode, size, np.ascontiguousarray(samples).tobytes())
    return image.convert("RGB"), warnings


def _from_single(dataset: Any) -> tuple[Image.Image, tuple[Notice, ...]]:
    """Decode grey or palette values, by a table of all possible values."""
    import numpy as np

    bits, signed = _bits(dataset), bool(_integer(dataset, "PixelRepresentation", 0))
    lowest = -(2 ** (bits - 1)) if signed else 0
    stored = np.arange(lowest, lowest + 2**bits)
    photometric = _photometric(dataset)
    if photometric == "PALETTE COLOR":
        table = _palette(dataset, stored)
    elif photometric in ("MONOCHROME1", "MONOCHROME2"):
        table = _greys(dataset, stored, inverted=photometric == "MONOCHROME1")
    else:
        raise ImageError(
            "DICOM of the photometric interpretation "
            f"{_plain_photometric(photometric)} with 1 sample cannot be read"
        )
    values = _samples(dataset)
    if photometric != "PALETTE COLOR" and not signed and not _says_its_range(dataset):
        values, warnings = pixels.full_range(values & (2**bits - 1), bits)
        values = 65535 - values if photometric == "MONOCHROME1" else values
        return Image.fromarray(pixels.rounded(values)), warnings
    values = values.astype(np.int32) - lowest
    return Image.fromarray(table[np.clip(values, 0, len(table) - 1)]), ()


def _says_its_range(dataset: Any) -> bool:
    """Return whether a grey image says which of its values are black and white."""
    found = ("WindowWidth", "VOILUTSequence", "ModalityLUTSequence", "RescaleSlope")
    return any(dataset.get(keyword) not in (None, "") for keyword in found)


def _greys(dataset: Any, stored: NDArray[Any], *, inverted: bool) -> NDArray[np.uint8]:
    """Return the grey level (0-255) of each stored value, as PS3.3 C.11 defines its display."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    if dataset.get("VOILUTSequence"):
        table = np.asarray(apply_voi(values.astype(np.int64), dataset), np.float64)
        levels = table / (2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        levels = _windowed(
            values, _first(dataset.WindowCenter), _first(dataset.WindowWidth),
            str(dataset.get("VOILUTFunction", "") or "LINEAR"),
        )  # fmt: skip
    else:
        low, high = float(values.min()), float(values.max())
        levels = (values - low) / max(high - low, 1.0)
    levels = np.clip(levels, 0, 1)
    shown: NDArray[np.uint8] = np.rint(255 * (1 - levels if inverted else levels)).astype(np.uint8)
    return shown


def _windowed(
    values: NDArray[Any], centre: float, width: float, function: str
) -> NDArray[np.float64]:
    """Return 0-1 for values in a window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    import numpy as np

    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - centre) / (width or 1.0), -700, 700)
        found: NDArray[np.float64] = 1 / (1 + np.exp(exponent))
    elif function == "LINEAR_EXACT":
        found = (values - centre) / (width or 1.0) + 0.5
    elif width <= 1:
        found = (values > centre - 0.5).astype(np.float64)
    else:
        found = (values - (centre - 0.5)) / (width - 1) + 0.5
    return found


def _palette(dataset: Any, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colour, (N, 3), of each stored value."""
    import numpy as np

    columns = []
    for colour in ("Red", "Green", "Blue"):
        count, first, bits = map(int, dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
        if "SegmentedRedPaletteColorLookupTableData" in dataset:
            return _segmented(dataset, np.clip(stored, first, first + (count or 1 << 16) - 1), bits)
        levels = _levels(dataset, colour, count or 1 << 16, bits)
        columns.append(levels[np.clip(stored - first, 0, len(levels) - 1)])
    return np.stack(columns, axis=-1)


def _levels(dataset: Any, colour: str, count: int, bits: int) -> NDArray[np.uint8]:
    """Return one colour's levels, 0-255, of its lookup table."""
    import numpy as np

    data = dataset[f"{colour}PaletteColorLookupTableData"].value
    order = "<" if _syntax(dataset).is_little_endian else ">"
    if len(data) >= 2 * count:
        levels = np.frombuffer(data, f"{order}u2", count)
    else:
        packed = np.frombuffer(data, np.uint8)
        if order == ">":  # they are words of two entries
            packed = packed[: len(packed) // 2 * 2].view(">u2").astype("<u2").view(np.uint8)
        levels = packed[:count].astype(np.uint16)
    if len(levels) < count:
        raise ImageError("damaged: its palette is cut short")
    # Some programs write 8 bits into 16-bit entries, against the descriptor.
    return (levels >> 8 if bits == 16 and levels.max() > 255 else levels).astype(np.uint8)


def _segmented(dataset: Any, stored: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return the colour, (N, 3), of each stored value, by a palette of segments."""
    import numpy as np
    from pydicom.pixels import apply_color_lut

    if bits == 8 and len(np.unique(stored)) > 256:  # pydicom would count modulo 256
        raise ImageError("DICOM with a segmented palette of 8 bits and over 256 entries")
    colours: NDArray[Any] = apply_color_lut(stored, dataset)[:, :3]
    return (colours >> 8 if colours.dtype == np.uint16 else colours).astype(np.uint8)


def _samples(dataset: Any) -> NDArray[Any]:
    """Return the first frame's stored values, (H, W) or (H, W, samples)."""
    allocated, bits = _integer(dataset, "BitsAllocated"), _bits(dataset)
    if allocated not in (1, 8, 16) or not 1 <= bits <= allocated:
        raise ImageError(f"DICOM with {bits} of {allocated} bits cannot be read; expected 8 or 16")
    if _integer(dataset, "HighBit", bits - 1) != bits - 1:
        raise ImageError("DICOM with values in the upper bits cannot be read")
    if _syntax(dataset) == _RLE:
        return _unrolled(dataset)
    from pydicom.pixels import get_decoder, pixel_array

    decoder = get_decoder(_syntax(dataset))
    if _syntax(dataset).is_compressed and not decoder.is_available:
        raise _undecodable(dataset)
    found: NDArray[Any] = pixel_array(dataset, index=0, raw=True)
    return found


def _unrolled(dataset: Any) -> NDArray[Any]:
    """Decode a run-length encoded frame (PS3.5 annex G): a segment for each byte of a sample."""
    import numpy as np

    frame, bits = _frame(dataset), _bits(dataset)
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    samples, width = _integer(dataset, "SamplesPerPixel"), _integer(dataset, "BitsAllocated") // 8
    count, *starts = struct.unpack("<16I", frame[:64])
    if width < 1 or count != samples * width:
        raise ImageError(f"damaged: {count} runs of bytes; expected {samples * width}")
    ends = [*starts[1:count], len(frame)]
    # PackBits is the same code. The size limits the output even if the runs are wrong.
    planes = [
        np.frombuffer(
            Image.frombytes("L", (rows * columns, 1), frame[a:b], "packbits", "L").tobytes(),
            np.uint8,
        )
        for a, b in zip(starts, ends)
    ]
    found: NDArray[Any] = np.zeros((samples, rows * columns), f"u{width}")
    for number, plane in enumerate(planes):  # the most significant byte comes first
        found[number // width] = found[number // width] << 8 | plane
    found &= 2**bits - 1
    if _integer(dataset, "PixelRepresentation", 0):
        found = found.astype(np.int32)
        found -= (found >> (bits - 1)) << bits
    found = found.T.reshape(rows, columns, samples)
    return found.reshape(rows, columns) if samples == 1 else found


def _frame(dataset: Any) -> bytes:
    """Return the first frame's compressed bytes."""
    from pydicom.encaps import get_frame

    tables = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    frame: bytes = get_frame(
        dataset.PixelData, 0, number_of_frames=_integer(dataset, "NumberOfFrames", 1),
        extended_offsets=tables if all(tables) else None,
    )  # fmt: skip
    return frame


def _syntax(dataset: Any) -> Any:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise ImageError("damaged: DICOM without a transfer syntax")
    return syntax


def _photometric(dataset: Any) -> str:
    return str(dataset.get("PhotometricInterpretation", "") or "").strip().upper()


def _plain_photometric(text: str) -> str:
    return text if text.replace("_", "").isalnum() and len(text) <= 16 else "?"


def _is_grey(dataset: Any) -> bool:
    return _photometric(dataset) in ("MONOCHROME1", "MONOCHROME2")


def _is_eight_bits(dataset: Any) -> bool:
    return _integer(dataset, "BitsAllocated") == _bits(dataset) == 8


def _bits(dataset: Any) -> int:
    return _integer(dataset, "BitsStored", _integer(dataset, "BitsAllocated"))


def _first(value: Any) -> float:
    """Return the first of one or several numbers."""
    return float(value[0] if hasattr(value, "__len__") else value)


def _integer(dataset: Any, keyword: str, default: int | None = None) -> int:
    value = dataset.get(keyword)
    if value is None or value == "":
        if default is None:
            raise ImageError(f"damaged: it has no DICOM element {keyword}")
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ImageError(f"damaged: its DICOM element {keyword} is not a number") from None


def _undecodable(dataset: Any) -> ImageError:
    syntax = _syntax(dataset)
    return ImageError(f"DICOM compressed as {syntax.name} cannot be decoded here: {_MORE}")


def _damaged(error: Exception) -> ImageError:
    # Name the type only: the text may quote patient data.
    return ImageError(f"damaged or cut short (DICOM, {type(error).__name__})")
