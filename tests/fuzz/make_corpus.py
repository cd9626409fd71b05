"""Make what fuzzing starts from: small pictures of every format, and the tests' small models.

python tests/fuzz/make_corpus.py FOLDER
"""

from __future__ import annotations

import io
import sys
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


if __name__ == "__main__":
    main()
