"""Make the small real .tflite files that the tests run: python tests/make_models.py

Their answers mean nothing; their formats are those of models that people have. Needs the ``train``
extra, and mediapipe's schema (pip install --no-deps mediapipe opencv-python-headless) for the files
that this project's writer has no part in.
"""

from __future__ import annotations

import io
import os
import zipfile
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
    """Write them all."""
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
    pictures = keras.Input((None, None, 3))
    scores = keras.layers.GlobalAveragePooling2D()(pictures)
    write("open-size", converter(keras.Model(pictures, keras.layers.Softmax()(scores))).convert())
    write("float16-tensors", packed(converter(half_tensors(softmax)).convert(), LABELS))
    inverted = quantised(mobilenet(7), tf.uint8, tf.uint8)
    write("foreign-mobilenet", foreign(inverted, things))
    write("oblong", foreign(quantised(network(7, "softmax", 24), tf.uint8, tf.uint8), things))


def network(outputs: int, activation: str, height_px: int = SIDE_PX) -> keras.Model:
    """A network of a few thousand weights whose answer depends on the picture."""
    pictures = keras.Input((height_px, SIDE_PX, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(pictures)
    x = keras.layers.Conv2D(16, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.RandomNormal(0, 0.2))(x)
    return keras.Model(pictures, keras.layers.Activation(activation)(x))


def half_tensors(model: keras.Model) -> keras.Model:
    """The same network between float16 tensors, which the converter makes of casts only."""
    pictures = keras.Input((SIDE_PX, SIDE_PX, 3), dtype=tf.float16)
    scores = model(keras.layers.Lambda(lambda x: tf.cast(x, tf.float32))(pictures))
    return keras.Model(pictures, keras.layers.Lambda(lambda x: tf.cast(x, tf.float16))(scores))


def mobilenet(outputs: int) -> keras.Model:
    """MobileNetV2's kind of network: inverted residuals around depthwise convolutions."""
    pictures = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = normalised(keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(pictures))
    for stride in (2, 1):
        y = normalised(keras.layers.Conv2D(32, 1, use_bias=False)(x))
        y = keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
        y = keras.layers.Conv2D(8, 1, use_bias=False)(normalised(y))
        y = keras.layers.BatchNormalization()(y)
        x = y if stride > 1 else keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.RandomNormal(0, 60))(x)
    return keras.Model(pictures, keras.layers.Softmax()(x))


def normalised(x: tf.Tensor) -> tf.Tensor:
    """Batch normalisation and ReLU6."""
    return keras.layers.ReLU(6)(keras.layers.BatchNormalization()(x))


def converter(model: keras.Model) -> tf.lite.TFLiteConverter:
    """Plain float32."""
    return tf.lite.TFLiteConverter.from_keras_model(model)


def half(model: keras.Model) -> bytes:
    """Float16 weights."""
    made = converter(model)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.target_spec.supported_types = [tf.float16]
    return made.convert()


def quantised(model: keras.Model, inside: tf.DType, outside: tf.DType) -> bytes:
    """Int8 throughout, with these types of input and output."""
    rng = np.random.default_rng(1)
    sample = rng.uniform(-1, 1, (64, 1, *model.input_shape[1:])).astype(np.float32)
    sample[0], sample[1] = -1, 1
    made = converter(model)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: ([picture] for picture in sample)
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    made.inference_input_type, made.inference_output_type = inside, outside
    return made.convert()


def packed(model: bytes, labels: list[str], activation: str = "softmax") -> bytes:
    """With our metadata and card."""
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


def foreign(model: bytes, labels: list[str]) -> bytes:
    """With standard metadata as other programs write it, and no card."""
    options = standard.NormalizationOptionsT()
    options.mean, options.std = [127.5], [127.5]
    unit = standard.ProcessUnitT()
    unit.optionsType, unit.options = standard.ProcessUnitOptions.NormalizationOptions, options
    picture, scores = standard.TensorMetadataT(), standard.TensorMetadataT()
    picture.name, picture.processUnits = "image", [unit]
    file = standard.AssociatedFileT()
    file.name, file.type = "names.txt", standard.AssociatedFileType.TENSOR_AXIS_LABELS
    scores.name, scores.associatedFiles = "probability", [file]
    graph = standard.SubGraphMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata = [picture], [scores]
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
    files = io.BytesIO()
    with zipfile.ZipFile(files, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("names.txt", (1980, 1, 1, 0, 0, 0)), "\n".join(labels))
    return bytes(outer.Output()) + files.getvalue()


def write(name: str, content: bytes) -> None:
    """Write one file."""
    (FOLDER / f"{name}.tflite").write_bytes(content)
    print(f"{name}.tflite: {len(content)} bytes")


if __name__ == "__main__":
    main()
