"""Writes standard TFLite Model Metadata v1 and the card into a .tflite file.

The schema's few tables are written with flatbuffers' own builder: the published writer libraries
are large (MediaPipe) or have no wheels for current Pythons (tflite-support). Field numbers are
those of tflite_support/metadata/metadata_schema.fbs, version 1.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from lesionedge.card import Card, present
from lesionedge.metadata import CARD_FILE

LABELS_FILE = "labels.txt"
ENTRY = "TFLITE_METADATA"
TENSOR_AXIS_LABELS = 2
NORMALIZATION_OPTIONS = 1
FEATURE_PROPERTIES, IMAGE_PROPERTIES = 1, 2
COLOR_SPACE_RGB = 1
MIN_PARSER_VERSION = "1.0.0"
# A zip's times would make the same model differ from one export to the next.
_TIME = (1980, 1, 1, 0, 0, 0)


def pack(
    model: bytes, card: Card, *, labels: Sequence[str], mean: Sequence[float],
    std: Sequence[float],
) -> bytes:  # fmt: skip
    """Put metadata, labels and the card into a model.

    Args:
        model: A .tflite file's bytes, without metadata.
        card: What ``lesionedge.json`` will hold.
        labels: Class codes in output order.
        mean: What is subtracted from each channel's 0-255 pixels.
        std: What the difference is divided by.

    Returns:
        The .tflite file's bytes: the flatbuffer with its metadata, then a zip of stored files.
    """
    table = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    buffer = schema.BufferT()
    buffer.data = list(_metadata(card, mean, std))
    entry = schema.MetadataT()
    entry.name, entry.buffer = ENTRY.encode(), len(table.buffers)
    table.buffers.append(buffer)
    table.metadata = [*(table.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 65_536)
    builder.Finish(table.Pack(builder), file_identifier=b"TFL3")
    text = "".join(f"{label}\n" for label in labels)
    files = {LABELS_FILE: text.encode(), CARD_FILE: card_text(card)}
    return bytes(builder.Output()) + archive(files)


def card_text(card: Card) -> bytes:
    """Return what the file with the card holds."""
    return json.dumps(card.to_dict(), indent=1).encode()


def archive(files: dict[str, bytes]) -> bytes:
    """Return a zip of stored files: name -> content."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), data)
    return content.getvalue()


def _metadata(card: Card, mean: Sequence[float], std: Sequence[float]) -> bytes:
    b = flatbuffers.Builder(2048)
    images = _image_tensor(b, card, mean, std)
    scores = _score_tensor(b)
    graph = _table(b, 8, {2: _tables(b, [images]), 3: _tables(b, [scores])})
    root = _table(
        b, 8,
        {
            0: b.CreateString(card.name),
            1: b.CreateString(card.description),
            2: b.CreateString(card.version),
            3: _tables(b, [graph]),
            4: b.CreateString(card.attribution),
            5: b.CreateString(card.licence),
            7: b.CreateString(MIN_PARSER_VERSION),
        },
    )  # fmt: skip
    b.Finish(root, file_identifier=b"M001")
    return bytes(b.Output())


def _image_tensor(
    b: flatbuffers.Builder, card: Card, mean: Sequence[float], std: Sequence[float]
) -> int:
    content = _content(b, IMAGE_PROPERTIES, _table(b, 2, {}, {0: (COLOR_SPACE_RGB, 0)}))
    options = _table(b, 2, {0: _floats(b, mean), 1: _floats(b, std)})
    unit = _table(b, 2, {1: options}, {0: (NORMALIZATION_OPTIONS, 0)})
    low = [(0 - m) / s for m, s in zip(mean, std)]
    high = [(255 - m) / s for m, s in zip(mean, std)]
    section = present(card.input, "input")
    size = f"{section.width_px}x{section.height_px}"
    return _table(
        b, 7,
        {
            0: b.CreateString("image"),
            1: b.CreateString(f"RGB image, {size} px, crop {section.crop}"),
            3: content,
            4: _tables(b, [unit]),
            5: _table(b, 2, {0: _floats(b, high), 1: _floats(b, low)}),
        },
    )  # fmt: skip


def _score_tensor(b: flatbuffers.Builder) -> int:
    labels = _table(
        b, 5,
        {0: b.CreateString(LABELS_FILE), 1: b.CreateString("Class codes in output order")},
        {2: (TENSOR_AXIS_LABELS, 0)},
    )  # fmt: skip
    return _table(
        b, 7,
        {
            0: b.CreateString("probability"),
            1: b.CreateString("Calibrated probability of each class, 0-1"),
            3: _content(b, FEATURE_PROPERTIES, _table(b, 0, {})),
            5: _table(b, 2, {0: _floats(b, [1.0]), 1: _floats(b, [0.0])}),
            6: _tables(b, [labels]),
        },
    )  # fmt: skip


def _content(b: flatbuffers.Builder, kind: int, properties: int) -> int:
    return _table(b, 3, {1: properties}, {0: (kind, 0)})


def _table(
    b: flatbuffers.Builder,
    fields: int,
    offsets: dict[int, int],
    bytes_: dict[int, tuple[int, int]] | None = None,
) -> int:
    """Write a table: field -> offset of what it refers to, and field -> (byte, default)."""
    b.StartObject(fields)
    for number, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(number, offset, 0)
    for number, (value, default) in (bytes_ or {}).items():
        b.PrependUint8Slot(number, value, default)
    return int(b.EndObject())


def _tables(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _floats(b: flatbuffers.Builder, values: Sequence[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return int(b.EndVector())
