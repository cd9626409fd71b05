from __future__ import annotations

import io
import math
import os
import struct
import zipfile

import numpy as np
import pytest

from lesionedge import ModelError, graph, metadata
from lesionedge.card import Card


def test_it_reads_our_own_metadata(models):
    found = metadata.read(models / "int8.tflite")
    assert found.labels == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert found.mean == found.std == (127.5, 127.5, 127.5)
    assert (found.name, found.version, found.license) == ("test", "1", "Apache-2.0")
    assert found.card is not None
    assert found.card.input.width_px == 32


def test_it_reads_other_programs_metadata(models):
    found = metadata.read(models / "foreign.tflite")
    assert found.labels == tuple(f"thing {n}" for n in range(7))
    assert (found.mean, found.std) == ((127.5,), (127.5,))
    assert found.name == "things"
    assert found.card is None


def test_a_model_without_metadata_has_none(models):
    assert metadata.read(models / "bare.tflite") == metadata.ModelMetadata()


@pytest.mark.parametrize(
    "content", [b"", b"short", b"this is no model at all, but text", b"\0" * 64]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.tflite"):
        metadata.read(path)


def test_missing_and_folder(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        metadata.read(tmp_path / "m.tflite")
    with pytest.raises(ModelError, match="is a folder"):
        metadata.read(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "m.tflite")
    for read in (metadata.read, graph.check, graph.verify, graph.ending):
        with pytest.raises(ModelError, match=r"m\.tflite: is neither"):
            read(tmp_path / "m.tflite")


@pytest.mark.parametrize("number", [math.nan, math.inf, 0.0])
def test_normalisation_that_cannot_be_divided_by_is_refused(models, tmp_path, number):
    content = (models / "foreign.tflite").read_bytes()
    half = struct.pack("<f", 127.5)
    mean_at = content.rindex(half, 0, content.index(b"PK\x03\x04"))
    at = content.rindex(half, 0, mean_at)
    (tmp_path / "m.tflite").write_bytes(
        content[:at] + struct.pack("<f", number) + content[at + 4 :]
    )
    with pytest.raises(ModelError, match="NormalizationOptions"):
        metadata.read(tmp_path / "m.tflite")


def with_archive(model: bytes, files: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return model + content.getvalue()


def test_compressed_files_and_a_byte_order_mark_are_read(models, tmp_path):
    bare = (models / "foreign.tflite").read_bytes()
    bare = bare[: bare.index(b"PK\x03\x04")]
    path = tmp_path / "m.tflite"
    labels = "\ufeffmél\nnævus\n".encode()
    path.write_bytes(with_archive(bare, {"names.txt": labels}, zipfile.ZIP_DEFLATED))
    assert metadata.read(path).labels == ("mél", "nævus")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "names.txt"),
        ({"names.txt": b"\xff\xfe\xfa"}, "broken"),
        ({"names.txt": b"x" * 5_000_000}, "over 4000000 bytes"),
        ({"names.txt": b"a", "lesionedge.json": b"{"}, "not JSON"),
        ({"names.txt": b"a", "lesionedge.json": b"[1]"}, "no JSON object"),
        ({"names.txt": b"a", "lesionedge.json": b"[" * 200_000}, "not JSON"),
    ],
)
def test_broken_archives_are_refused(models, tmp_path, files, message):
    bare = (models / "foreign.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    path.write_bytes(with_archive(bare[: bare.index(b"PK\x03\x04")], files))
    with pytest.raises(ModelError, match=message):
        metadata.read(path)


@pytest.mark.parametrize("name", ["int8", "foreign", "score-calibration", "score-threshold"])
def test_damage_anywhere_is_our_error_or_none(models, tmp_path, name):
    whole = (models / f"{name}.tflite").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "m.tflite"
    for trial in range(300):
        content = bytearray(whole)
        if trial % 3 == 0:
            content = content[: rng.integers(0, len(content))]
        else:
            for position in rng.integers(0, len(content), 8):
                content[position] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            metadata.read(path)
        except ModelError as error:
            assert "m.tflite" in str(error)


def test_score_options_are_read(models):
    assert metadata.read(models / "score-calibration.tflite").score_calibration
    assert metadata.read(models / "score-threshold.tflite").score_threshold == 0.75
    found = metadata.read(models / "foreign.tflite")
    assert (found.score_calibration, found.score_threshold) == (False, None)


def test_a_score_threshold_that_is_not_a_number_is_refused(models, tmp_path):
    content = (models / "score-threshold.tflite").read_bytes()
    at = content.rindex(struct.pack("<f", 0.75))
    broken = content[:at] + struct.pack("<f", math.nan) + content[at + 4 :]
    (tmp_path / "m.tflite").write_bytes(broken)
    with pytest.raises(ModelError, match="ScoreThresholdingOptions of nan"):
        metadata.read(tmp_path / "m.tflite")


def test_keys_of_earlier_cards_are_read():
    card = Card.from_dict({
        "data": {"pictures": {"train": 5}}, "calibration": {"pictures": 3},
        "metrics": {"test": {"int8": {"pictures": 2, "lesions": 1}}},
    })  # fmt: skip
    assert (card.data.images, card.calibration.images) == ({"train": 5}, 3)
    assert card.measurements[0].images == 2
    assert "pictures" not in card.to_json()


def test_a_card_of_a_later_format_is_refused():
    with pytest.raises(ModelError, match='m: "format" in its card is unusable: it is 2, and this'):
        Card.from_dict({"format": 2}, "m")
