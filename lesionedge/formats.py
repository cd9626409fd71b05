"""Recognises image files by their names and first bytes. Decodes nothing."""

from __future__ import annotations

import os

PILLOW_SUFFIXES = frozenset((
    ".apng", ".avif", ".avifs", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".gif", ".icb",
    ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf",
    ".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd",
    ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp",
    ".xbm", ".xpm",
))  # fmt: skip
"""Suffixes of formats that Pillow decodes correctly; no drawings, no videos."""

HEIC_SUFFIXES = frozenset((".heic", ".heics", ".heif", ".heifs", ".hif"))
DICOM_SUFFIXES = frozenset((".dcm", ".dicom"))

EXTRAS = {"HEIC": ("pillow_heif", "heic"), "DICOM": ("pydicom", "dicom")}
"""Format -> the module that reads it, and the extra that installs the module."""

HEAD_BYTES = 144
"""How many first bytes are needed to recognise a format."""

_UNREADABLE = {
    "camera raw": (
        ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw"
        " .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f"
    ),
    "JPEG XL": ".jxl",
    "JPEG XR": ".hdp .jxr .wdp",
    "JPEG-LS": ".jls",
    "HTJ2K": ".jhc .jph",
    "BPG": ".bpg",
    "FLIF": ".flif",
    "FlashPix": ".fpx .mic",
    "floating-point image": ".exr .hdr",
    "layered image of a paint program": ".afphoto .clip .kra .ora .pdn .psb .xcf",
    "FITS": ".fit .fits",
    "game texture": ".blp .ftc .ftu",
    "Photo CD": ".pcd",
    "file of an old paint program": ".flc .fli .gbr .iim .pxr",
    "drawing": ".ai .cdr .emf .eps .ps .svg .svgz .wmf",
    "whole-slide image": ".bif .czi .lif .mrxs .ndpi .scn .svs .vms .vmu .vsi",
    "medical volume": ".mha .mhd .mnc .nii .nrrd",
}
_KINDS = {suffix: kind for kind, suffixes in _UNREADABLE.items() for suffix in suffixes.split()}
_ADVICE = {
    "AVIF": "Pillow 11.3 or later reads it",
    "camera raw": "export it as JPEG or TIFF",
    "JPEG XL": "convert it to JPEG or PNG",
}

# Files that systems and programs leave beside people's files, in lower case.
_LITTER = frozenset(
    (
        "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "dicomdir", "__macosx",
        "@eadir", "#recycle", "#snapshot", "@recycle", "@tmp", "$recycle.bin", "lost+found",
        "system volume information", "icon\r",
    )
)  # fmt: skip

_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = frozenset(
    (
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2",
        b"msf1", b"miaf", b"avci", b"avcs", b"j2ki", b"j2is", b"jpeg", b"jpgs", b"vvic", b"vvis",
    )
)  # fmt: skip
_STARTS = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"PK\x05\x06", "ZIP archive"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIRS", "camera raw"),
    (b"MMOR", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"FOVb", "camera raw"),
    (b"\0MRM", "camera raw"),
    (b"BPG\xfb", "BPG"),
    (b"FLIF", "FLIF"),
    (b"gimp xcf", "layered image of a paint program"),
    (b"8BPB", "layered image of a paint program"),
    (b"v/1\x01", "floating-point image"),
    (b"#?RADIANCE", "floating-point image"),
    (b"<svg", "drawing"),
    (b"%!PS", "drawing"),
)


def is_image_name(path: str) -> bool:
    """Return whether a name has the suffix of an image format that is read here."""
    suffix = suffix_of(path)
    if suffix in PILLOW_SUFFIXES:
        return True
    kind = _needs_extra(suffix)
    return kind is not None and has_extra(kind)


def unreadable_kind(path: str) -> str | None:
    """Return the kind of an image that cannot be read here, such as ``camera raw``, by its suffix.

    None if it can be read, or is not an image.
    """
    suffix = suffix_of(path)
    kind = _needs_extra(suffix)
    if kind is not None:
        return None if has_extra(kind) else kind
    return _KINDS.get(suffix)


def suffix_of(path: str) -> str:
    """Return a name's suffix in lower case, with its dot; empty if there is none.

    The number at the end of a DICOM identifier (``1.2.840.1``) is not a suffix.
    """
    suffix = os.path.splitext(path)[1].lower()
    return "" if suffix[1:].isdigit() else suffix


def is_hidden(path: str) -> bool:
    """Return whether a part of a relative path is hidden or was left behind by a system.

    Names that begin with a dot (``._photo.jpg``) are hidden. Systems leave ``__MACOSX``,
    ``Thumbs.db``, ``@eaDir`` and the like. Slashes and backslashes separate the parts.
    """
    names = path.replace("\\", "/").split("/")
    return any(
        (name.startswith(".") and name not in (".", "..")) or name.lower() in _LITTER
        for name in names
    )


def recognise(head: bytes) -> str | None:
    """Name a format by a file's first ``HEAD_BYTES``.

    Returns:
        ``HEIC``, ``DICOM`` or ``AVIF``; the name of a format that cannot be read; or None for
        another format, which Pillow may know.
    """
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[4:8] == b"ftyp":
        return _brand(head)
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:11] == b"CR\x02":
        return "camera raw"
    return next((kind for start, kind in _STARTS if head.startswith(start)), None)


def looks_like_an_image(head: bytes) -> bool:
    """Return whether a file without a suffix is a DICOM, JPEG or PNG image."""
    return head[128:132] == b"DICM" or head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


def has_extra(kind: str) -> bool:
    """Return whether the module that reads a format of ``EXTRAS`` is installed."""
    import sys
    from importlib.util import find_spec

    module = EXTRAS[kind][0]
    if module in sys.modules:
        return sys.modules[module] is not None
    return find_spec(module) is not None


def advice(kind: str) -> str:
    """Return advice for a file of a kind that cannot be read; empty if there is none."""
    if kind in EXTRAS:
        return f"pip install 'lesionedge[{EXTRAS[kind][1]}]'"
    return _ADVICE.get(kind, "")


def _needs_extra(suffix: str) -> str | None:
    if suffix in HEIC_SUFFIXES:
        return "HEIC"
    return "DICOM" if suffix in DICOM_SUFFIXES else None


def _brand(head: bytes) -> str | None:
    """Name the format of an ISO base media file (``ftyp``) by its brands."""
    size = int.from_bytes(head[:4], "big")
    listed = head[8:12] + head[16 : max(16, min(size, len(head)))]
    brands = [listed[start : start + 4] for start in range(0, len(listed) - 3, 4)]
    if brands[:1] == [b"crx "]:
        return "camera raw"
    # A file of either kind may name the containers' common brands, mif1 and msf1.
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIC" if any(brand in _HEIC_BRANDS for brand in brands) else None
