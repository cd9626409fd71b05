"""The files appended to a model, compared with the standard library's ``zipfile``."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile

import numpy as np
import pytest

from lesionedge.appended import MAX_FILE_BYTES, Appended
from lesionedge.flatbuffer import BrokenError

MODEL = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 40
FILES = {
    "labels.txt": b"mel\nnv\n",
    "lesionedge.json": b'{"format": 1}' + b" " * 5000,
    "empty": b"",
    "folder/noise": np.random.default_rng(0).bytes(3000),
    "n\xe6vus.txt": b"names need not be ASCII",
}


def packed(files, method=zipfile.ZIP_STORED, comment=b"", behind=MODEL):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
        file.comment = comment
    return behind + archive.getvalue()


@pytest.fixture
def read(tmp_path):
    """Reads the files appended to a model, given as bytes."""
    opened = []

    def run(content: bytes) -> Appended:
        (tmp_path / "m.tflite").write_bytes(content)
        with open(tmp_path / "m.tflite", "rb") as file:
            opened.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return Appended(opened[-1])

    yield run
    for content in opened:
        content.close()


def in_place(content):
    """The same archive, written behind the model: its offsets count from the file's start."""
    whole = io.BytesIO(MODEL)
    whole.seek(0, io.SEEK_END)
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(whole, "a") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return whole.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        packed(FILES),
        packed(FILES, zipfile.ZIP_DEFLATED),
        packed(FILES, comment=b"a comment"),
        packed(FILES, comment=b"c" * 65_535),
        packed(FILES, behind=b""),
        in_place(packed(FILES)),
    ],
    ids=["stored", "deflated", "comment", "longest comment", "archive alone", "in place"],
)
def test_reads_what_zipfile_reads(read, content):
    found = read(content)
    with zipfile.ZipFile(io.BytesIO(content)) as expected:
        assert {name: expected.read(name) for name in expected.namelist()} == FILES
    assert {name: found.read(name) for name in FILES} == FILES


def test_names_of_old_programs_are_read(read):
    content = packed({"n?vus": b"1"}).replace(b"n?vus", b"n\x91vus")  # code page 437
    assert read(content).read("n\xe6vus") == b"1"


def test_of_two_files_with_one_name_the_last_counts(read):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a", b"old")
        file.writestr("a", b"new")
    assert read(MODEL + archive.getvalue()).read("a") == b"new"


def test_a_model_alone_has_no_files(read):
    found = read(MODEL)
    assert "labels.txt" not in found
    with pytest.raises(BrokenError, match=r"names the file 'labels\.txt', which is not in it"):
        found.read("labels.txt")


def changed(content, at, value):
    return content[:at] + value + content[at + len(value) :]


WHOLE = packed({"a": b"mel\nnv\n"})
ENTRY = WHOLE.index(b"PK\x01\x02")
FILE = WHOLE.index(b"PK\x03\x04")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed({"a": b"x" * 999}, zipfile.ZIP_BZIP2), "method 12; expected stored or deflated"),
        (packed({"a": b"x" * 999}, zipfile.ZIP_LZMA), "method 14; expected stored or deflated"),
        (changed(WHOLE, ENTRY + 8, b"\1"), "'a' in it cannot be read: it is encrypted"),
        (changed(WHOLE, FILE + 31, b"MEL"), "size or checksum"),
        (changed(WHOLE, ENTRY + 24, b"\x09"), "size or checksum"),
        (changed(WHOLE, FILE, b"PK\1\1"), "not where the archive's directory says"),
        (changed(WHOLE, ENTRY + 20, b"\xff\xff"), "bytes at .* of"),
        (changed(packed({"a": b"x" * 999}, zipfile.ZIP_DEFLATED), FILE + 31, b"\xff"), "Error -3"),
        (packed({"a": bytes(MAX_FILE_BYTES + 1)}, zipfile.ZIP_DEFLATED), "is over 4000000 bytes"),
    ],
    ids=["bzip2", "lzma", "encrypted", "checksum", "size", "no header", "long", "deflate", "large"],
)
def test_a_file_that_cannot_be_unpacked_is_refused(read, content, message):
    with pytest.raises(BrokenError, match=message):
        read(content).read("a")


def test_a_bomb_is_not_unpacked(read):
    """The directory claims ten bytes, the compressed content holds ten million."""
    content = packed({"a": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    at = content.index(b"PK\x01\x02") + 24
    with pytest.raises(BrokenError, match="size or checksum"):
        read(changed(content, at, struct.pack("<I", 10))).read("a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(WHOLE, ENTRY, b"PK\1\1"), "directory is damaged"),
        (changed(WHOLE, len(WHOLE) - 10, b"\xff\xff\xff\x7f"), "directory is not there"),
        (changed(WHOLE, len(WHOLE) - 6, b"\xff\xff\xff\x7f"), "directory is not there"),
        (changed(WHOLE, len(WHOLE) - 12, b"\xff\0"), "bytes at"),
        (WHOLE[:-5], "bytes at"),
    ],
    ids=["signature", "size", "offset", "count", "cut short"],
)
def test_a_damaged_directory_is_refused(read, content, message):
    with pytest.raises(BrokenError, match=message):
        read(content)


def test_damage_anywhere_is_an_error_or_the_same_content(read):
    content = packed({"a": b"mel\nnv\n" * 9}, zipfile.ZIP_DEFLATED, behind=b"\0" * 30)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(600):
        at = int(rng.integers(30, len(content)))
        damaged = changed(content, at, bytes([content[at] ^ int(rng.integers(1, 256))]))
        try:
            found = read(damaged)
            if "a" in found:
                assert found.read("a") == b"mel\nnv\n" * 9
        except (BrokenError, UnicodeDecodeError):
            refused += 1
    assert 200 < refused < 600
