"""Make the first inputs for fuzzing: small images of every format, archives, small models.

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
    images, models = folder / "image", folder / "metadata"
    for made in (images, models):
        made.mkdir(parents=True, exist_ok=True)
    image = Image.linear_gradient("L").resize((24, 20)).convert("RGB")
    for name, (kind, options) in FORMATS.items():
        if kind == "JPEG2000" and not features.check("jpg_2000"):
            continue
        file = io.BytesIO()
        image.save(file, kind, **options)
        (images / f"seed.{name}").write_bytes(file.getvalue())
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        file = io.BytesIO()
        source = image.convert("L" if mode == "I;16" else mode)
        (source.convert("I").convert("I;16") if mode == "I;16" else source).save(file, "PNG")
        (images / f"seed-{mode.replace(';', '')}.png").write_bytes(file.getvalue())
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    (images / "seed-exif.jpg").write_bytes(file.getvalue())
    for model in MODELS.glob("*.tflite"):
        (models / model.name).write_bytes(model.read_bytes())
    write_rare(images)
    write_profiles(folder / "icc")
    write_heic(folder / "heic", image)
    write_dicom(folder / "dicom", image)
    write_archives(folder / "archive")


def write_rare(folder: Path) -> None:
    """Write images of rare encodings, and images that describe their colours."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import make_images as files
    import make_profiles as profiles

    colours = files.smooth(24, 20)
    image, grey = files.as_image(colours), files.grey_of(colours)
    p3 = profiles.space("display-p3")
    deep, levels = files.whole(colours, 16), files.whole(colours, 8)
    tag = {34675: (7, p3)}
    made = {
        "profile.jpg": files.encoded(image, "JPEG", icc_profile=p3),
        "profile.webp": files.encoded(image, "WEBP", icc_profile=p3),
        "profile.bmp": files.bmp_with_profile(levels, p3),
        "profile.gif": files.gif_with_profile(image.quantize(16), p3),
        "profile.tif": files.tiff_of(levels, 8, 2, more=tag),
        "profile-deep.tif": files.tiff_of(deep, 16, 2, more=tag),
        "profile-grey.tif": files.tiff_of(
            files.whole(grey, 16), 16, 1, more={34675: (7, profiles.grey(profiles.gamma(1.8)))}
        ),
        "planes.tif": files.tiff_of(deep, 16, 2, planar=2),
        "twelve.tif": files.tiff_of(files.whole(colours, 12), 16, 2, order=">"),
        "packed.tif": files.tiff_of(files.whole(grey, 12), 12, 1),
        "inverted.tif": files.tiff_of(files.whole(grey, 16), 16, 0),
        "deepest.tif": files.tiff_of(files.whole(grey, 32), 32, 1),
        "cmyk.tif": files.tiff_of(files.whole(colours, 8)[..., [0, 1, 2, 0]], 8, 5),
        "reversed.tif": files.tiff_of(levels, 8, 2, fill=2),
        "ycbcr.tif": files.tiff_ycbcr(colours, 2, 2, video=True),
        "deep.png": files.png(deep, 16, 2, chunks=files.iccp(p3)),
        "cicp.png": files.png(levels, 8, 2, chunks=files.cicp(12, 13)),
        "hdr.png": files.png(deep, 16, 2, chunks=files.cicp(9, 16)),
        "gama.png": files.png(
            levels, 8, 2, chunks=files.gama(0.5) + files.chrm(profiles.ADOBE), interlaced=True
        ),
        "clear.png": files.png(files.whole(grey, 4), 4, 0, chunks=files.chunk(b"tRNS", b"\0\7")),
        "attribute.tga": files.tga(2, 32, levels[..., [2, 1, 0, 0]].astype("u1").tobytes(), 24, 20),
        "plain.psd": files.psd([levels[..., n] for n in range(3)], 8, 3, p3),
        "rle.bmp": files.bmp(
            files.bmp_rle8(files.whole(grey, 8)), 24, 20, 8, kind=1, palette=bytes(1024)
        ),
    }
    if files.has("jpg_2000"):
        stream = files.codestream(image)
        made["profile.jp2"] = files.jp2(stream, image.size, 3, colour=b"\2\0\0" + p3)
    if files.has("avif"):
        made["profile.avif"] = files.encoded(image, "AVIF", icc_profile=p3)
    for name, content in made.items():
        (folder / f"rare-{name}").write_bytes(content)


def write_profiles(folder: Path) -> None:
    """Write ICC profiles of all supported kinds, with tables small enough for the fuzzer."""
    import make_profiles as profiles

    folder.mkdir(parents=True, exist_ok=True)
    made = {name: profiles.space(name) for name in profiles.SPACES}
    made["grey"] = profiles.grey(profiles.gamma(1.8))
    made["cmyk"] = profiles.cmyk(lambda inks: (1 - inks[..., :3]) * (1 - inks[..., 3:]))
    for name in ("formula", "small table"):
        made[name] = profiles.SRGB_PROFILES[name]
    for name, content in made.items():
        (folder / f"{name.replace(' ', '-')}.icc").write_bytes(content)


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
    """Write DICOM files that store pixels in different ways, for the fuzzer to change."""
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
    """Write zip archives of each compression method."""
    folder.mkdir(parents=True, exist_ok=True)
    for method in (0, 8, 12):
        with zipfile.ZipFile(folder / f"{method}.zip", "w", method) as file:
            for name in ("a.jpg", "x/b::c.png", "__MACOSX/._a.jpg", "photo"):
                file.writestr(name, b"\xff\xd8\xff" + name.encode() * 9)


if __name__ == "__main__":
    main()
