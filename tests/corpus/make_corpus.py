"""Make files like those of phones, clinics, scanners and other programs; none is stored here.

    python tests/corpus/make_corpus.py FOLDER

Each file shows one scene or is broken in a known way. ``make`` returns the expected result: the
colours of the scene to within a tolerance, a warning's code, or words of the error.
"""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import make_images as files
import make_profiles as profiles
import numpy as np
from PIL import Image, features

SIZE = (96, 72)
SCENE = files.smooth(*SIZE)
"""(72, 96, 3) float, 0-1, sRGB: what every readable file shows."""

PIXELS = files.whole(SCENE, 8).astype(np.uint8)


@dataclass(frozen=True)
class Expected:
    """The expected result of reading a file."""

    levels: float = 2.0
    """Mean absolute difference from the scene that is allowed, in levels of 255."""
    code: str | None = None
    """Code of a warning that the prediction carries."""
    error: str | None = None
    """Words of the error; None: the file is read."""
    extra: str | None = None
    """Extra of the package that reads it."""
    upload: bool = True
    """Whether serve reads it, too: its list of formats is shorter."""


def _image() -> Image.Image:
    return Image.fromarray(PIXELS)


def _in_space(name: str) -> np.ndarray:
    """Return the scene's values, 0-1, in another colour space."""
    primaries, _, _ = profiles.SPACES[name]
    linear = profiles.srgb_light(SCENE)
    values = linear @ (np.linalg.inv(profiles.to_pcs(primaries)) @ profiles.to_pcs(profiles.SRGB)).T
    return _CURVES[name](np.clip(values, 0, 1))


_CURVES = {
    "display-p3": profiles.srgb_value,
    "adobe-rgb": lambda v: v ** (256 / 563),
    "pro-photo": lambda v: v ** (256 / 461),
    "linear": lambda v: v,
    "bt2020": lambda v: v ** (1 / 2.4),
}


def _profiled(name: str, form: str, **options: object) -> bytes:
    image = Image.fromarray(files.whole(_in_space(name), 8).astype(np.uint8))
    return files.encoded(image, form, icc_profile=profiles.space(name), **options)


def _colour() -> dict[str, tuple[bytes, Expected]]:
    linear = files.whole(profiles.srgb_light(SCENE), 16)
    p3 = files.whole(_in_space("display-p3"), 8)
    return {
        "display-p3.jpg": (_profiled("display-p3", "JPEG", quality=97, subsampling=0), Expected(4)),
        "display-p3.png": (_profiled("display-p3", "PNG"), Expected()),
        "adobe-rgb.tif": (_profiled("adobe-rgb", "TIFF"), Expected(upload=True)),
        "pro-photo.png": (_profiled("pro-photo", "PNG"), Expected(3)),
        "linear-icc.png": (_profiled("linear", "PNG"), Expected(4)),
        "bt2020.webp": (_profiled("bt2020", "WEBP", lossless=True), Expected()),
        "cicp-p3.png": (files.png(p3, 8, 2, chunks=files.cicp(12, 13)), Expected()),
        "gamma.png": (
            files.png(linear, 16, 2, chunks=files.gama(1.0) + files.chrm(profiles.SRGB)),
            Expected(),
        ),
        "broken-profile.jpg": (
            files.encoded(_image(), "JPEG", quality=97, subsampling=0, icc_profile=b"no profile"),
            Expected(4, code="colour"),
        ),
    }


def _orientation() -> dict[str, tuple[bytes, Expected]]:
    made = {}
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
            5: Image.Transpose.TRANSPOSE, 2: Image.Transpose.FLIP_LEFT_RIGHT}  # fmt: skip
    for number, turn in back.items():
        exif = Image.Exif()
        exif[0x0112] = number
        image = _image().transpose(turn)
        content = files.encoded(image, "JPEG", quality=97, subsampling=0, exif=exif)
        made[f"orientation-{number}.jpg"] = (content, Expected(4))
    return made


def _encodings() -> dict[str, tuple[bytes, Expected]]:
    deep = files.whole(SCENE, 16)
    clear = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    grey = files.whole(np.repeat(files.grey_of(SCENE)[..., None], 1, axis=2), 16)
    made = {
        "planar-16.tif": (files.tiff_of(deep, 16, 2, planar=2), Expected()),
        "big-endian-16.tif": (files.tiff_of(deep, 16, 2, order=">"), Expected()),
        "lzw.tif": (files.encoded(_image(), "TIFF", compression="tiff_lzw"), Expected()),
        "deflated-8.tif": (files.tiff_of(PIXELS, 8, 2, compressed=True), Expected()),
        "16-bit.png": (files.png(deep, 16, 2), Expected()),
        "interlaced.png": (files.png(PIXELS, 8, 2, interlaced=True), Expected()),
        "palette.png": (files.encoded(_image().quantize(256), "PNG"), Expected(8)),
        "clear-everywhere.png": (
            files.encoded(Image.fromarray(clear), "PNG"), Expected(code="transparent"),
        ),
        "progressive.jpg": (
            files.encoded(_image(), "JPEG", quality=97, subsampling=0, progressive=True),
            Expected(4),
        ),
        "photo.webp": (files.encoded(_image(), "WEBP", lossless=True), Expected()),
        "photo.bmp": (files.encoded(_image(), "BMP"), Expected()),
        "photo.ppm": (files.encoded(_image(), "PPM"), Expected(upload=False)),
        "photo.tga": (files.encoded(_image(), "TGA"), Expected(upload=False)),
        "white-is-zero-16.tif": (
            files.tiff_of(65535 - grey, 16, 0), Expected(255, code=None),
        ),
    }  # fmt: skip
    if features.check("jpg_2000"):
        content = files.encoded(_image(), "JPEG2000", irreversible=False)
        made["photo.jp2"] = (content, Expected(upload=False))
    return made


def _phones_and_clinics() -> dict[str, tuple[bytes, Expected]]:
    made = {}
    try:
        import pillow_heif
    except ImportError:
        pillow_heif = None
    if pillow_heif is not None:
        file = io.BytesIO()
        pillow_heif.from_pillow(_image()).save(file, quality=95, chroma=444)
        made["iphone.heic"] = (file.getvalue(), Expected(5, extra="heic"))
    try:
        made["clinic.dcm"] = (_dicom(), Expected(extra="dicom"))
    except ImportError:
        pass
    return made


def _dicom() -> bytes:
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    kind = "1.2.840.10008.5.1.4.1.1.77.1.7"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.Modality, dataset.PhotometricInterpretation = "DMS", "RGB"
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.Rows, dataset.Columns = PIXELS.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = PIXELS.tobytes()
    dataset["PixelData"].VR = "OB"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _broken() -> dict[str, tuple[bytes, Expected]]:
    jpeg = files.encoded(_image().resize((600, 450)), "JPEG", quality=90)
    png = files.encoded(_image(), "PNG")
    middle = len(jpeg) * 2 // 3
    return {
        "cut-short.jpg": (jpeg[:middle], Expected(error="damaged")),
        "lost-in-the-scan.jpg": (
            jpeg[: middle - 1000] + jpeg[middle:], Expected(error="damaged"),
        ),
        "cut-short.png": (png[: len(png) // 2], Expected(error="damaged")),
        "text.jpg": (b"not an image at all\n", Expected(error="not a")),
        "empty.jpg": (b"", Expected(error="empty")),
        "tiny.png": (files.encoded(_image().resize((8, 8)), "PNG"), Expected(error="small")),
    }  # fmt: skip


PASSED_OVER = ("._photo.jpg", "Thumbs.db", ".DS_Store", "__MACOSX/._photo.jpg", "notes.txt")
"""Files beside the images that nobody may take for one."""


def everything() -> dict[str, tuple[bytes, Expected]]:
    """Yield each file's name, content and expected result."""
    return {
        **_colour(), **_orientation(), **_encodings(), **_phones_and_clinics(), **_broken(),
    }  # fmt: skip


def make(folder: Path) -> dict[str, Expected]:
    """Write the corpus; return the expected result of each file.

    Args:
        folder: Gets ``images`` with the files, and ``images.zip`` with the same.
    """
    images = folder / "images"
    found = everything()
    for name, (content, _) in found.items():
        images.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(content)
    for name in PASSED_OVER:
        path = images / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\5\26\7 resource")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in sorted(images.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(images))
    return {name: expected for name, (_, expected) in found.items()}


if __name__ == "__main__":
    make(Path(sys.argv[1]))
