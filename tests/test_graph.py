"""The graph shows how the output is computed, and damage is found before a runtime crashes."""

from __future__ import annotations

import numpy as np
import pytest

from lesionedge import ModelError, flatbuffer, graph


@pytest.mark.parametrize(
    ("name", "kind", "operator"),
    [
        ("int8", "softmax", "SOFTMAX"),  # before DEQUANTIZE
        ("bare", "softmax", "SOFTMAX"),  # before QUANTIZE
        ("float16-tensors", "softmax", "SOFTMAX"),  # before CAST
        ("int8-tensors", "softmax", "SOFTMAX"),
        ("end-reshaped", "softmax", "SOFTMAX"),
        ("sigmoid", "sigmoid", "LOGISTIC"),
        ("end-sigmoids", "sigmoid", "LOGISTIC"),
        ("end-by-hand", "combined", "DIV"),
        ("end-shifted", "combined", "DIV"),
        ("end-ensemble", "combined", "MUL"),
        ("end-complement", "combined", "CONCATENATION"),
        ("end-second-of-two", "combined", "STRIDED_SLICE"),
        ("logits", "other", "FULLY_CONNECTED"),
        ("end-logits-near-0", "other", "FULLY_CONNECTED"),
        ("end-logits-of-attention", "other", "FULLY_CONNECTED"),
        ("end-gated-logits", "other", "MUL"),
        ("end-clipped", "other", "RELU"),
        ("end-log-softmax", "other", "LOG_SOFTMAX"),
    ],
)
def test_how_an_output_is_computed(models, name, kind, operator):
    assert graph.ending(models / f"{name}.tflite") == graph.Ending(kind, operator)


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv2-float16", "cnn"])
def test_embedded_models_end_in_a_softmax(name):
    from lesionedge.classifier import find_model

    assert graph.ending(find_model(name)).kind == "softmax"


def test_operators_are_named_as_tensorflow_names_them():
    schema = pytest.importorskip(
        "tensorflow.lite.python.schema_py_generated",
        reason="needs the extra train: make test installs it",
    )
    known = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    assert {code: known[code] for code in graph._NAMES} == graph._NAMES


def test_damage_anywhere_is_our_error_or_an_ending(models, tmp_path):
    whole = (models / "end-shifted.tflite").read_bytes()
    rng = np.random.default_rng(2)
    path = tmp_path / "m.tflite"
    refused = 0
    for trial in range(400):
        content = bytearray(whole)
        if trial % 4 == 0:
            content = content[: rng.integers(8, len(content))]
        else:
            for position in rng.integers(8, len(content), 6):
                content[position] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            graph.check(path)
            graph.ending(path)
        except ModelError as error:
            assert "m.tflite: damaged or cut short" in str(error)
            refused += 1
    assert refused > 100


def test_verify_names_the_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        graph.verify(tmp_path / "m.tflite")
    (tmp_path / "m.tflite").touch()
    with pytest.raises(ModelError, match="too short"):
        graph.verify(tmp_path / "m.tflite")


def test_endless_lists_are_refused(models, monkeypatch):
    monkeypatch.setattr(flatbuffer, "MAX_ITEMS", 10)
    with pytest.raises(ModelError, match="more than 10"):
        graph.verify(models / "int8.tflite")


@pytest.mark.parametrize("name", ["int8", "float16", "bare", "not-image"])
def test_verify_accepts_complete_models_and_refuses_cut_ones(models, tmp_path, name):
    content = (models / f"{name}.tflite").read_bytes()
    graph.verify(models / f"{name}.tflite")
    cut = tmp_path / "cut.tflite"
    end = content.find(b"PK\x03\x04")  # the archive after the model does not belong to it
    for length in range(8, len(content) if end < 0 else end, 97):
        cut.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.tflite: damaged or cut short"):
            graph.verify(cut)


def test_verify_refuses_damaged_tables(models, tmp_path):
    content = (models / "bare.tflite").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(8, 1500)] ^= 0x80  # the rest are weights
        file = tmp_path / "damaged.tflite"
        file.write_bytes(damaged)
        try:
            graph.verify(file)
        except ModelError:
            refused += 1
    assert refused > 20
