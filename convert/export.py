"""A run folder -> one .tflite file: calibrated probabilities, standard metadata, the card."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.convert import mlir_quantize

from convert import batch, metadata
from lesionedge.atomic import write_bytes
from lesionedge.card import Card, File, present
from lesionedge.image import Preprocessing, model_input
from train.run import Run

REPRESENTATIVE_IMAGES = 200
"""How many training images show post-training quantization what activations are like."""


def export(run: Run, file_format: str, output: Path) -> Card:
    """Convert a run's model and write it whole or not at all.

    Args:
        run: A finished one: its card, its Keras models and its split are read.
        file_format: ``int8`` (the quantization-aware model where there is one, else the float
            model by post-training quantization), ``float16`` or ``float32`` (the float model).
        output: The .tflite file to write.

    Returns:
        The card as packed.

    Raises:
        RunError: The run is not finished or something in it cannot be read.
        ModelError: Its card cannot be read.
    """
    card = run.read_card()
    ready = present(card.quantization, "quantization").training  # with a model of its own, or not
    kind = "int8" if file_format == "int8" and ready != "none" else "float"
    model = with_probabilities(run.load_model(kind), card, kind)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    method = "none"
    if file_format == "int8" and ready == "none":
        method = "post-training"
        content = _int8_by_sample(converter, _representative(run, card), card)
    elif file_format == "int8":
        method, content = ready, int8(converter)
    else:
        content = _floating(converter, half=file_format == "float16")
    temperature = present(card.calibration, "calibration").temperature[kind]
    made = File(file_format, method, temperature, f"TensorFlow {tf.__version__}")
    card = replace(card, file=made)
    section = present(card.input, "input")
    packed = metadata.pack(
        batch.fixed(content), card, labels=card.codes, mean=section.mean, std=section.std
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(output, packed)
    return card


def with_probabilities(model: keras.Model, card: Card, kind: str) -> keras.Model:
    """Put the calibration behind the logits: softmax or sigmoid of logits times a sharpness.

    The sharpness is 1 / T; where classes have temperatures, the sum of softmax(logits / T)_c / T_c.

    Args:
        model: Ends in (N, classes) logits; for a sigmoid in the (N, 1) logit of the second class.
        card: The run's; ``calibration`` and ``output`` are read.
        kind: Whose calibration: ``float`` or ``int8``.

    Returns:
        A model that ends in (N, classes) probabilities. Behind a sigmoid there are two, so that
        every TFLite program shows both and there is a label for each.
    """
    calibration = present(card.calibration, "calibration")
    factor = 1.0 / calibration.temperature[kind]
    classes = calibration.class_temperature.get(kind)
    activation = present(card.output, "output").activation
    x = keras.layers.Lambda(lambda logits: logits * factor, name="calibrated")(model.output)
    if activation == "sigmoid":
        # softmax over (0, z) is (1 - sigmoid(z), sigmoid(z)).
        x = keras.layers.Lambda(lambda z: tf.pad(z, [[0, 0], [1, 0]]), name="both")(x)
    elif classes:
        sharper = [1.0 / (temperature * factor) for temperature in classes]
        x = keras.layers.Lambda(lambda z: _by_class(z, sharper), name="calibrated_by_class")(x)
    return keras.Model(model.input, keras.layers.Activation("softmax", name="probabilities")(x))


def _by_class(logits: tf.Tensor, sharper: Sequence[float]) -> tf.Tensor:
    """Multiply logits by the mean of the classes' factors, weighted with the logits' softmax.

    A product and a sum and not a dense layer, whose weights would be rounded to 8 bits.
    """
    weighted = tf.nn.softmax(logits) * tf.constant([sharper], tf.float32)
    return logits * tf.reduce_sum(weighted, axis=-1, keepdims=True)


def int8(converter: tf.lite.TFLiteConverter) -> bytes:
    """Quantize what has its ranges in the graph to int8, with uint8 pixels in.

    What has none (the scaling by the temperature and the softmax) stays float.

    Args:
        converter: Of a quantization-aware Keras model.

    Returns:
        A .tflite file's bytes, without metadata.
    """
    _set_int8(converter)
    return _converted(converter)


def _int8_by_sample(
    converter: tf.lite.TFLiteConverter, sample: Iterator[list[np.ndarray]], card: Card
) -> bytes:
    """Quantize a float model to int8, with uint8 pixels in; a sample of images gives the ranges.

    The softmax is kept float: in 8 bits a probability would have steps of 1/256.
    """
    _set_int8(converter)
    shown = list(sample)
    converter.representative_dataset = lambda: iter(shown)
    # The converter's own last step, but for an operator that is left out; TensorFlow's quantization
    # debugger can leave one out too, and then has float inputs.
    converter._experimental_calibrate_only = True
    return bytes(
        mlir_quantize(
            _with_input_range(_converted(converter), card), input_data_type=tf.uint8,
            output_data_type=tf.float32, denylisted_ops=["SOFTMAX"],
        )
    )  # fmt: skip


def _set_int8(converter: tf.lite.TFLiteConverter) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.float32


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    """Convert without the warning that no statistics of the input were given beside the ranges."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)
        return bytes(converter.convert())


def _with_input_range(calibrated: bytes, card: Card) -> bytes:
    """Let a calibrated model's input hold all pixels, not only those of the sample."""
    section = present(card.input, "input")
    ends = (np.array([[0], [255]]) - section.mean) / section.std
    changed = bytearray(calibrated)
    graph = schema.Model.GetRootAs(changed, 0).Subgraphs(0)
    found = graph.Tensors(graph.Inputs(0)).Quantization()
    # Views of the bytes: what is assigned to them is written.
    found.MinAsNumpy()[:], found.MaxAsNumpy()[:] = ends.min(), ends.max()
    return bytes(changed)


def _floating(converter: tf.lite.TFLiteConverter, *, half: bool) -> bytes:
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def _representative(run: Run, card: Card) -> Iterator[list[np.ndarray]]:
    table = run.table()
    rows = table[table["split"] == "train"]
    rows = rows.sample(min(REPRESENTATIVE_IMAGES, len(rows)), random_state=0)
    section = present(card.input, "input")
    preprocessing = Preprocessing.from_card(section)
    mean, std = (np.array(values, np.float32) for values in (section.mean, section.std))
    for path in rows["path"]:
        pixels = model_input(path, preprocessing).astype(np.float32)
        yield [((pixels - mean) / std)[None]]
