"""Make the small real .tflite files that the tests run: python tests/make_models.py

Their predictions mean nothing; their formats are those of models that people have. This needs the
``train`` extra. It also needs mediapipe's schema, for the files that imitate other programs' output
(pip install --no-deps mediapipe opencv-python-headless).
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import flatbuffers
import numpy as np
import tensorflow as tf
import tf_keras as keras
from mediapipe.tasks.metadata import metadata_schema_py_generated as standard
from tensorflow.lite.python import schema_py_generated as schema

from convert import metadata
from lesionedge.card import Card
from lesionedge.diagnosis import HAM10000

FOLDER = Path(__file__).parent / "data"
SIDE_PX = 32
LABELS = [diagnosis.label for diagnosis in HAM10000]


def main() -> None:
    """Write all models."""
    keras.utils.set_random_seed(1)
    softmax, sigmoid = network(7, "softmax"), network(1, "sigmoid")
    FOLDER.mkdir(exist_ok=True)
    integers = quantised(softmax, tf.uint8, tf.float32)
    write("int8", packed(integers, LABELS))
    write("wrong-labels", packed(integers, LABELS[:3]))
    write("float32", packed(converter(softmax).convert(), LABELS))
    write("float16", packed(half(softmax), LABELS))
    write("int8-tensors", packed(quantised(softmax, tf.int8, tf.int8), LABELS))
    write("sigmoid", packed(converter(sigmoid).convert(), ["benign", "malignant"], "sigmoid"))
    bytes_only, things = quantised(softmax, tf.uint8, tf.uint8), [f"thing {n}" for n in range(7)]
    write("bare", bytes_only)
    write("foreign", foreign(bytes_only, things))
    write("bare-float", converter(softmax).convert())
    vector = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    write("not-image", converter(vector).convert())
    write("logits", packed(converter(network(7, "linear")).convert(), LABELS))
    images = keras.Input((None, None, 3))
    scores = keras.layers.GlobalAveragePooling2D()(images)
    write("open-size", converter(keras.Model(images, keras.layers.Softmax()(scores))).convert())
    write("float16-tensors", packed(converter(half_tensors(softmax)).convert(), LABELS))
    inverted = quantised(mobilenet(7), tf.uint8, tf.uint8)
    write("foreign-mobilenet", foreign(inverted, things))
    write("oblong", foreign(quantised(network(7, "softmax", 24), tf.uint8, tf.uint8), things))
    for name, tail in ENDS.items():
        write(f"end-{name}", converter(ended(tail)).convert())
    # The input expects 0 to 1, but the metadata normalises to -1 to 1.
    to_one = quantised(ended(ENDS["softmax"]), tf.uint8, tf.uint8, low=0)
    write("contradicting", foreign(to_one, things))
    write("int8-to-one", quantised(ended(ENDS["softmax"]), tf.int8, tf.int8, low=0))
    for name, kind in UNITS.items():
        write(name, foreign(converter(ended(ENDS["softmax"])).convert(), things, score_unit(kind)))
    images = keras.Input((SIDE_PX, SIDE_PX, 3))
    scores = open_classes(tf.nn.softmax(dense(7)(keras.layers.GlobalAveragePooling2D()(images))))
    write("open-classes", converter(keras.Model(images, scores)).convert())


def network(outputs: int, activation: str, height_px: int = SIDE_PX) -> keras.Model:
    """A network of a few thousand weights whose prediction depends on the image."""
    images = keras.Input((height_px, SIDE_PX, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(images)
    x = keras.layers.Conv2D(16, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.RandomNormal(0, 0.2))(x)
    return keras.Model(images, keras.layers.Activation(activation)(x))


def dense(outputs: int, deviation: float = 4.0) -> keras.layers.Layer:
    """Return a layer whose outputs differ."""
    return keras.layers.Dense(
        outputs, kernel_initializer=keras.initializers.RandomNormal(0, deviation)
    )


def by_hand(x: tf.Tensor) -> tf.Tensor:
    """Return shares of a sum; of powers of e, the converter would make a softmax again."""
    powers = tf.pow(2.0, x)
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


def shifted(x: tf.Tensor) -> tf.Tensor:
    """Return probabilities under other priors."""
    weighted = tf.nn.softmax(x) * tf.constant([[1.0, 2, 3, 4, 5, 6, 7]])
    return weighted / tf.reduce_sum(weighted, axis=-1, keepdims=True)


def open_classes(x: tf.Tensor) -> tf.Tensor:
    """Return the same in a shape that is known only when the network runs."""
    classes = tf.reduce_sum(tf.cast(x > -1, tf.int32))
    return tf.reshape(x, [tf.shape(x)[0], classes])


ENDS = {
    "softmax": lambda x: tf.nn.softmax(dense(7)(x)),
    "reshaped": lambda x: tf.reshape(tf.nn.softmax(dense(7)(x)), (1, 1, 1, 7)),
    "by-hand": lambda x: by_hand(dense(7)(x)),
    "ensemble": lambda x: (tf.nn.softmax(dense(7)(x)) + tf.nn.softmax(dense(7)(x))) / 2,
    "shifted": lambda x: shifted(dense(7)(x)),
    "complement": lambda x: tf.concat([1 - (p := tf.sigmoid(dense(1)(x))), p], -1),
    "second-of-two": lambda x: tf.nn.softmax(dense(2)(x))[:, 1:],
    "logits-near-0": lambda x: dense(7, 0.01)(x) + 1 / 7,
    "logits-of-attention": lambda x: dense(7, 0.01)(tf.nn.softmax(x)) + 1 / 7,
    "gated-logits": lambda x: tf.sigmoid(y := dense(7, 0.01)(x) + 1 / 7) * y,
    "clipped": lambda x: tf.clip_by_value(dense(7)(x), 0, 1),
    "log-softmax": lambda x: tf.nn.log_softmax(dense(7)(x)),
    "sigmoids": lambda x: tf.sigmoid(dense(7)(x)),
    "heads": lambda x: tf.concat([tf.sigmoid(dense(1)(x)) for _ in range(3)], -1),
    "one-softmax": lambda x: tf.nn.softmax(dense(1)(x)),
    "doubled": lambda x: tf.nn.softmax(dense(7)(x)) * 0.5,
    "first-axis": lambda x: tf.nn.softmax(dense(7)(x), axis=0),  # of one image: all ones
}  # fmt: skip
"""How a small network ends, and so what its outputs are."""

UNITS = {"score-calibration": "calibration", "score-threshold": "thresholding"}
"""Name of a file -> what its metadata says of the scores."""


def ended(tail: Callable[[tf.Tensor], tf.Tensor]) -> keras.Model:
    """Return a network of a few weights that ends with ``tail``."""
    images = keras.Input((SIDE_PX, SIDE_PX, 3), batch_size=1)
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.AveragePooling2D(8)(images))
    return keras.Model(images, tail(means))


def half_tensors(model: keras.Model) -> keras.Model:
    """Return the same network with float16 input and output, which need explicit casts."""
    images = keras.Input((SIDE_PX, SIDE_PX, 3), dtype=tf.float16)
    scores = model(keras.layers.Lambda(lambda x: tf.cast(x, tf.float32))(images))
    return keras.Model(images, keras.layers.Lambda(lambda x: tf.cast(x, tf.float16))(scores))


def mobilenet(outputs: int) -> keras.Model:
    """Return a small network like MobileNetV2: inverted residuals with depthwise convolutions."""
    images = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = normalised(keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(images))
    for stride in (2, 1):
        y = normalised(keras.layers.Conv2D(32, 1, use_bias=False)(x))
        y = keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
        y = keras.layers.Conv2D(8, 1, use_bias=False)(normalised(y))
        y = keras.layers.BatchNormalization()(y)
        x = y if stride > 1 else keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.RandomNormal(0, 60))(x)
    return keras.Model(images, keras.layers.Softmax()(x))


def normalised(x: tf.Tensor) -> tf.Tensor:
    """Apply batch normalisation and ReLU6."""
    return keras.layers.ReLU(6)(keras.layers.BatchNormalization()(x))


def converter(model: keras.Model) -> tf.lite.TFLiteConverter:
    """Return a converter to plain float32."""
    return tf.lite.TFLiteConverter.from_keras_model(model)


def half(model: keras.Model) -> bytes:
    """Return a model with float16 weights."""
    made = converter(model)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.target_spec.supported_types = [tf.float16]
    return made.convert()


def quantised(model: keras.Model, inside: tf.DType, outside: tf.DType, low: float = -1) -> bytes:
    """Return an int8 model with these input and output types, for inputs from ``low`` to 1."""
    rng = np.random.default_rng(1)
    sample = rng.uniform(low, 1, (64, 1, *model.input_shape[1:])).astype(np.float32)
    sample[0], sample[1] = low, 1
    made = converter(model)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: ([image] for image in sample)
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    made.inference_input_type, made.inference_output_type = inside, outside
    return made.convert()


def packed(model: bytes, labels: list[str], activation: str = "softmax") -> bytes:
    """Add our metadata and a card to a model."""
    known = {d.label: d for d in HAM10000}
    card = {
        "format": 1, "name": "test", "version": "1", "description": "A model for tests",
        "labels": [
            {"label": x, "name": known[x].name if x in known else x.title(),
             "malignant": x == "malignant" or (x in known and known[x].malignant)} for x in labels
        ],
        "input": {"width_px": SIDE_PX, "height_px": SIDE_PX, "crop": "centre",
                  "resampling": "bilinear", "mean": [127.5] * 3, "std": [127.5] * 3},
        "output": {"activation": activation}, "licence": "Apache-2.0",
    }  # fmt: skip
    card = Card.from_dict(card)
    return metadata.pack(model, card, labels=labels, mean=[127.5] * 3, std=[127.5] * 3)


def score_unit(kind: str) -> standard.ProcessUnitT:
    """Return a process unit: a step for the scores after the network."""
    unit = standard.ProcessUnitT()
    if kind == "calibration":
        unit.optionsType = standard.ProcessUnitOptions.ScoreCalibrationOptions
        unit.options = standard.ScoreCalibrationOptionsT()
        unit.options.scoreTransformation = standard.ScoreTransformationType.INVERSE_LOGISTIC
        unit.options.defaultScore = 0.05
    else:
        unit.optionsType = standard.ProcessUnitOptions.ScoreThresholdingOptions
        unit.options = standard.ScoreThresholdingOptionsT()
        unit.options.globalScoreThreshold = 0.75
    return unit


def foreign(
    model: bytes, labels: list[str], scores_unit: standard.ProcessUnitT | None = None
) -> bytes:
    """Add standard metadata as other programs write it, without a card."""
    options = standard.NormalizationOptionsT()
    options.mean, options.std = [127.5], [127.5]
    unit = standard.ProcessUnitT()
    unit.optionsType, unit.options = standard.ProcessUnitOptions.NormalizationOptions, options
    image, scores = standard.TensorMetadataT(), standard.TensorMetadataT()
    image.name, image.processUnits = "image", [unit]
    file = standard.AssociatedFileT()
    file.name, file.type = "names.txt", standard.AssociatedFileType.TENSOR_AXIS_LABELS
    scores.name, scores.associatedFiles = "probability", [file]
    files = {"names.txt": "\n".join(labels)}
    if scores_unit is not None:
        scores.processUnits = [scores_unit]
        sigmoids = standard.AssociatedFileT()
        sigmoids.name = "sigmoids.txt"
        sigmoids.type = standard.AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION
        scores.associatedFiles.append(sigmoids)
        files["sigmoids.txt"] = "\n".join(["1.0,0.7,-3.0"] * len(labels))
    graph = standard.SubGraphMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata = [image], [scores]
    whole = standard.ModelMetadataT()
    whole.name, whole.subgraphMetadata = "things", [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(whole.Pack(builder), file_identifier=b"M001")
    table = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(builder.Output())
    entry.name, entry.buffer = b"TFLITE_METADATA", len(table.buffers)
    table.buffers.append(buffer)
    table.metadata = [*(table.metadata or []), entry]
    outer = flatbuffers.Builder(0)
    outer.Finish(table.Pack(outer), file_identifier=b"TFL3")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return bytes(outer.Output()) + content.getvalue()


def write(name: str, content: bytes) -> None:
    """Write one file."""
    (FOLDER / f"{name}.tflite").write_bytes(content)
    print(f"{name}.tflite: {len(content)} bytes")


if __name__ == "__main__":
    main()
