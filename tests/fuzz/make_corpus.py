"""Make what fuzzing starts from: small images of every format, archives, the tests' small models.

python tests/fuzz/make_corpus.py FOLDER
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

from PIL import Image, features

MODELS = Path(__file__).parent.parent / "data"
FORMATS = {
    "jpg": ("JPEG", {}), "progressive.jpg": ("JPEG", {"progressive": True}), "png": ("PNG", {}),
    "gif": ("GIF", {}), "bmp": ("BMP", {}), "tif": ("TIFF", {}), "webp": ("WEBP", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}), "ppm": ("PPM", {}), "ico": ("ICO", {}),
    "tga": ("TGA", {}), "jp2": ("JPEG2000", {}), "dds": ("DDS", {}), "pcx": ("PCX", {}),
}  # fmt: skip


def main() -> None:
    """Write both corpora."""
    folder = Path(sys.argv[1])
    pictures, models = folder / "image", folder / "metadata"
    for made in (pictures, models):
        made.mkdir(parents=True, exist_ok=True)
    picture = Image.linear_gradient("L").resize((24, 20)).convert("RGB")
    for name, (kind, options) in FORMATS.items():
        if kind == "JPEG2000" and not features.check("jpg_2000"):
            continue
        file = io.BytesIO()
        picture.save(file, kind, **options)
        (pictures / f"seed.{name}").write_bytes(file.getvalue())
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        file = io.BytesIO()
        source = picture.convert("L" if mode == "I;16" else mode)
        (source.convert("I").convert("I;16") if mode == "I;16" else source).save(file, "PNG")
        (pictures / f"seed-{mode.replace(';', '')}.png").write_bytes(file.getvalue())
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    (pictures / "seed-exif.jpg").write_bytes(file.getvalue())
    for model in MODELS.glob("*.tflite"):
        (models / model.name).write_bytes(model.read_bytes())
    write_heic(folder / "heic", picture)
    write_dicom(folder / "dicom", picture)
    write_archives(folder / "archive")


def write_heic(folder: Path, image: Image.Image) -> None:
    """Write HEIC files: plain, turned, deep, with a profile, with several images."""
    import pillow_heif

    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = pillow_heif.from_pillow(image.resize((64, 48)))
    file.save(folder / "plain.heic")
    file.save(folder / "turned.heic", exif=exif.tobytes())
    file.save(folder / "colours.heic", color_primaries=12, transfer_characteristics=13)
    file.add_from_pillow(image.resize((48, 64)))
    file.save(folder / "two.heic", primary_index=1)
    deep = bytes(range(256)) * 72
    pillow_heif.from_bytes("RGB;16", (64, 48), deep).save(folder / "deep.heic")


def write_dicom(folder: Path, image: Image.Image) -> None:
    """Write DICOM files: ways to store pixels, of which the fuzzer makes others."""
    import numpy as np
    from pydicom import uid

    sys.path.insert(0, str(Path(__file__).parent.parent))
    import test_dicom as dicom

    folder.mkdir(parents=True, exist_ok=True)
    rgb = np.asarray(image.resize((32, 24)))
    grey = np.asarray(image.resize((32, 24)).convert("L"))
    size = (32, 24)
    dicom.write(folder / "rgb.dcm", rgb, "RGB")
    dicom.write(folder / "big.dcm", rgb, "RGB", syntax=uid.ExplicitVRBigEndian)
    dicom.write(folder / "deflated.dcm", rgb, "RGB", syntax=uid.DeflatedExplicitVRLittleEndian)
    dicom.write(folder / "grey.dcm", grey.astype(np.uint16) * 16, "MONOCHROME1", bits=12)
    dicom.write(folder / "rle.dcm", dicom.rle(rgb), "RGB", syntax=uid.RLELossless, size=size)
    dicom.write(
        folder / "jpeg.dcm", dicom.jpeg(rgb), "YBR_FULL_422", syntax=uid.JPEGBaseline8Bit, size=size
    )
    if features.check("jpg_2000"):
        dicom.write(
            folder / "j2k.dcm", dicom.jpeg_2000(rgb), "YBR_RCT", syntax=uid.JPEG2000Lossless,
            size=size,
        )  # fmt: skip
    palette = {}
    for colour in ("Red", "Green", "Blue"):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [16, 0, 8]
        palette[f"{colour}PaletteColorLookupTableData"] = bytes(range(16))
    dicom.write(folder / "palette.dcm", grey, "PALETTE COLOR", **palette)


def write_archives(folder: Path) -> None:
    """Write zip archives of each way to pack."""
    folder.mkdir(parents=True, exist_ok=True)
    for method in (0, 8, 12):
        with zipfile.ZipFile(folder / f"{method}.zip", "w", method) as file:
            for name in ("a.jpg", "x/b::c.png", "__MACOSX/._a.jpg", "photo"):
                file.writestr(name, b"\xff\xd8\xff" + name.encode() * 9)


if __name__ == "__main__":
    main()
