"""Fuzz ``lesionedge.sources``: any bytes are a zip archive with its members, or an ImageError.

python tests/fuzz/fuzz_archive.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import io
import sys

import atheris

with atheris.instrument_imports(include=["lesionedge.sources", "lesionedge.formats", "zipfile"]):
    from lesionedge import formats
    from lesionedge.errors import ImageError
    from lesionedge.sources import archive, names, patterns

archive.MAX_MEMBER_BYTES = archive.MAX_TOTAL_BYTES = 1_000_000


def one(content: bytes) -> None:
    """Read an input as an archive: its list, its members, and patterns made from their names."""
    try:
        packed = archive.Archive(io.BytesIO(content), "a.zip")
    except ImageError:
        return
    for member in packed.names()[:20]:
        name = names.member_name(member, "a.zip")
        if "://" not in member and "cache" not in member:  # as in fsspec's chains
            assert names.split(name) == (member, "a.zip")
        assert not formats.is_hidden(member)
        names.base_name(name)
        if not patterns.is_pattern(member):
            assert packed.names(member) == [member]
        packed.names(member[:-1] + "*")
        assert len(packed.head(member)) <= formats.HEAD_BYTES
        try:
            assert len(packed.read(member)) <= archive.MAX_MEMBER_BYTES
        except ImageError as error:
            assert "\n" not in str(error) or "\n" in member


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
