"""Quantization-aware networks start where the float ones are; seeds fix the weights.

In a process of their own: TensorFlow's import warns, and warnings are errors here.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("tensorflow_model_optimization") is None:
    pytest.skip("needs the extra train: make test installs it", allow_module_level=True)

HEAD = """
import json
from pathlib import Path
import train
import numpy as np
import tf_keras as keras
from train import architectures, networks, pipeline
from train.recipe import Model

def build(seed, architecture="cnn", px=32):
    keras.utils.set_random_seed(seed)
    model = Model(architecture)
    return architectures.build(model, classes=7, height_px=px, width_px=px)

pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
batches = [pipeline.normalise(pixels[i:i + 16]) for i in range(0, 64, 16)]
"""


def answers(script: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script], capture_output=True, text=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_seed_fixes_the_initial_weights():
    found = answers("""
one, same, other = build(1), build(1), build(2)
equal = lambda a, b: all(map(np.array_equal, a.get_weights(), b.get_weights()))
print(json.dumps({"same": equal(one, same), "other": equal(one, other)}))
""")
    assert found == {"same": True, "other": False}


def test_rounding_starts_from_measured_ranges():
    """Those of what is linear may be beyond 6; what is rare is clipped."""
    found = answers("""
model = build(1, "mobilenetv2")
name = "block_1_project_BN"
gamma, *rest = model.get_layer(name).get_weights()
model.get_layer(name).set_weights([gamma * 200, *rest])  # beyond 6, as trained ones
outputs = [keras.Model(model.input, model.get_layer(name).output)(b).numpy() for b in batches]
quantized = networks.quantization_aware(model)
networks.start_ranges(quantized, model, batches)
ranges = {k: pair for layer in quantized.layers for k, pair in networks._ranges(layer).items()}
print(json.dumps({
    "input": [float(v) for v in ranges["quantize_layer"]],
    "range": [float(v) for v in ranges[name]],
    "seen": [float(np.mean([end(x) for x in outputs])) for end in (np.min, np.max)],
    "answer": [float(v) for v in ranges["logits"]],
    "logits": [float(np.mean([end(model(x)) for x in batches])) for end in (np.min, np.max)],
}))
""")
    assert found["input"] == [-1.0, 127 / 128]
    (low, high), (smallest, largest) = found["range"], found["seen"]
    assert smallest * 1.001 <= low < 0.5 * smallest
    assert 0.5 * largest < high <= largest * 1.001
    assert high > 6
    smallest, largest = found["logits"]
    assert found["answer"] == pytest.approx([min(smallest, 0), max(largest, 0)], rel=1e-3)


def test_a_range_is_as_wide_as_its_values():
    """However far its ends may go; a normal distribution is best cut at about four deviations."""
    found = answers("""
values = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
ends = [networks.least_error(values, -width, width) for width in (5, 20)]
ends.append(networks.least_error(np.maximum(values, 0), 0.0, 20.0))
ends.append(networks.least_error(values * 0, 0.0, 0.0))
print(json.dumps(ends))
""")
    for low, high in found[:2]:
        assert -5 <= low < -3 and 3 < high <= 5
    (low, high), nothing = found[2:]
    assert low == 0 and 3 < high <= 5
    assert nothing == [0, 0]


def test_biases_of_dead_channels_survive_rounding():
    """TensorFlow Lite keeps a bias in steps of its channel's weights, and cuts off too many."""
    found = answers("""
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from convert.export import _int8

converter = tf.lite.TFLiteConverter.from_keras_model

def dead():
    model = build(1)
    networks.refresh_batch_norm(model, batches)
    kernel, = model.get_layer("block_2_a").get_weights()
    kernel[..., :3] = 0
    model.get_layer("block_2_a").set_weights([kernel])
    gamma, beta, mean, variance = model.get_layer("block_2_a_BN").get_weights()
    beta[:3], mean[:3], variance[:3] = 40, 0, 0
    model.get_layer("block_2_a_BN").set_weights([gamma, beta, mean, variance])
    return model

def biases(model):
    architectures.equalise_depthwise(model)
    quantized = networks.quantization_aware(model)
    networks.start_ranges(quantized, model, batches)
    networks.take_out_rounding(quantized, model, batches)
    interpreter = Interpreter(model_content=_int8(converter(quantized), None))
    interpreter.allocate_tensors()
    kept = next(d for d in interpreter.get_tensor_details()
                if d["dtype"] == np.int32 and "block_2_a" in d["name"])
    scales = kept["quantization_parameters"]["scales"]
    return (interpreter.get_tensor(kept["index"]) * scales)[:3].tolist()

lost, model = biases(dead()), dead()
wanted = networks.logits(model, pixels)
architectures.keep_biases(model)
changed = float(np.abs(networks.logits(model, pixels) - wanted).max())
print(json.dumps({"lost": lost, "kept": biases(model), "changed": changed}))
""")
    assert max(found["lost"]) < 30
    assert found["kept"] == pytest.approx([40, 40, 40], rel=1e-3)
    assert found["changed"] < 1e-3


def test_measuring_anew_leaves_what_is_frozen_frozen():
    found = answers("""
model = build(1)
norm = next(x for x in model.layers if isinstance(x, keras.layers.BatchNormalization))
norm.trainable = False
kernel = model.get_layer("stem").get_weights()[0]
networks.refresh_batch_norm(model, batches)
inputs = keras.Model(model.input, norm.input)(np.concatenate(batches))
print(json.dumps({
    "trainable": norm.trainable, "momentum": norm.momentum,
    "kernel": bool(np.array_equal(kernel, model.get_layer("stem").get_weights()[0])),
    "mean": float(np.abs(norm.moving_mean - np.mean(inputs, (0, 1, 2))).max()),
}))
""")
    assert found.pop("mean") < 1e-4
    assert found == {"trainable": False, "momentum": 0.9, "kernel": True}


def test_statistics_of_other_pictures_stay_and_follow_the_rounding(tmp_path):
    """Rounding moves them a little; that they are not what these pictures show does not matter."""
    found = answers("""
model = build(3)
networks.refresh_batch_norm(model, batches)
for norm in networks.batch_norms(model):
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma, beta, mean + 0.3 * np.sqrt(variance), 1.5 * variance])
before = [norm.get_weights()[2:] for norm in networks.batch_norms(model)]
quantized = networks.quantization_aware(model)
networks.start_ranges(quantized, model, batches)
plain = [w.copy() for w in quantized.get_weights()]
wanted = networks.logits(model, pixels)
networks.take_out_rounding(quantized, model, batches)
kept = [norm.get_weights()[2:] for norm in networks.batch_norms(model)]
after = [norm.get_weights()[2:] for norm in networks.batch_norms(quantized)]
taken = networks.logits(quantized, pixels)
quantized.set_weights(plain)
networks.refresh_batch_norm(quantized, batches)
anew = networks.logits(quantized, pixels)
size = np.abs(wanted).mean()
print(json.dumps({
    "unchanged": all(np.array_equal(*p) for pair in zip(before, kept) for p in zip(*pair)),
    "moved": max(float(np.abs(b[0] - a[0]).max()) for a, b in zip(before, after)),
    "gap": float(np.abs(taken - wanted).mean() / size),
    "anew": float(np.abs(anew - wanted).mean() / size),
}))
""")
    assert found["unchanged"]
    assert found["moved"] > 0
    assert found["gap"] < 0.5 * found["anew"]


def test_published_efficientnet_weights_are_taken_over(tmp_path):
    """From Keras' file, with the second division that Keras adds for its published weights."""
    found = answers(f"""
shape = (64, 64, 3)
published = keras.applications.EfficientNetB3(include_top=False, weights=None, input_shape=shape)
mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
norm = next(x for x in published.layers if isinstance(x, keras.layers.Normalization))
norm.set_weights([mean, std, norm.get_weights()[2]])
published.save_weights({str(tmp_path / "notop.h5")!r})
ours = architectures.build(Model("efficientnetb3"), classes=7, height_px=64, width_px=64)
architectures.load_weights(ours, Path({str(tmp_path / "notop.h5")!r}), np.zeros(0))
bigger = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), np.uint8)
body = keras.Model(published.get_layer("stem_conv_pad").input, published.output)
wanted = body((bigger / 255 - mean) / std).numpy().mean((1, 2))
features = keras.Model(ours.input, ours.get_layer("features").output)
given = features(pipeline.normalise(bigger)).numpy()
gap = np.abs(given - wanted).max()
print(json.dumps({{"gap": float(gap), "size": float(np.abs(wanted).max())}}))
""")
    assert found["size"] > 0
    assert found["gap"] < 1e-3 * found["size"]


def test_keras_published_mobilenetv2_is_folded(tmp_path):
    """Every convolution's kernel and bias are what Keras' layers and norms do together."""
    found = answers(f"""
import tensorflow as tf
from train import folded
published = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3))
rng = np.random.default_rng(0)
for layer in published.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
file = Path({str(tmp_path / "notop.h5")!r})
published.save_weights(file)
taken = folded.of_keras_imagenet(file)
gaps = []
for number, layer in enumerate(published.layers[:-1]):
    norm = published.layers[number + 1]
    if not isinstance(norm, keras.layers.BatchNormalization):
        continue
    x = rng.normal(size=(2, *layer.input.shape[1:3], layer.input.shape[3])).astype(np.float32)
    wanted = norm(layer(x), training=False).numpy()
    kernel, bias = (taken[f"{{layer.name}}/{{part}}"] for part in ("kernel", "bias"))
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    convolve = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
    strides = [1, *layer.strides, 1]
    given = convolve(x, kernel, strides, layer.padding.upper()).numpy() + bias
    gaps.append(float(np.abs(given - wanted).max() / np.abs(wanted).max()))
print(json.dumps({{"gap": max(gaps), "layers": len(gaps), "taken": len(taken)}}))
""")
    assert found["gap"] < 1e-4
    assert found["layers"] == 52
    assert found["taken"] == 2 * found["layers"]


def test_weights_taken_out_of_a_file_are_those_of_the_file(tmp_path):
    """``python -m train weights``: an .npz begins a training as the .tflite file does."""
    model = Path("lesionedge/models/mobilenetv2-float16.tflite").resolve()
    subprocess.run(
        [sys.executable, "-m", "train", "weights", model, "--out", tmp_path / "w.npz"],
        check=True, cwd=Path(__file__).parent.parent, capture_output=True,
    )  # fmt: skip
    found = answers(f"""
x = np.concatenate(batches[:1])
logits = []
for file in ({str(model)!r}, {str(tmp_path / "w.npz")!r}):
    network = build(1, "mobilenetv2")
    architectures.load_weights(network, Path(file), x)
    logits.append(network.predict(x, verbose=0))
print(json.dumps(dict(
    differs=float(np.abs(logits[0] - logits[1]).max()), largest=float(np.abs(logits[0]).max()),
)))
""")
    assert found["largest"] > 0.05
    assert found["differs"] < 0.01 * found["largest"]


def _weights_command(*arguments):
    """Run ``python -m train weights``."""
    return subprocess.run(
        [sys.executable, "-m", "train", "weights", *arguments],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True,
    )  # fmt: skip


def test_the_mean_of_several_trainings_weights_is_every_arrays(tmp_path):
    """``weights A B C``: the mean of each kernel and bias; one file is taken as it is."""
    rng = np.random.default_rng(3)
    shapes = {"Conv1/kernel": (3, 3, 3, 8), "Conv1/bias": (8,), "logits/kernel": (8, 7)}
    files, weights = [], []
    for name in "abc":
        weights.append({k: rng.normal(size=v).astype(np.float32) for k, v in shapes.items()})
        files.append(tmp_path / f"{name}.npz")
        np.savez(files[-1], **weights[-1])
    assert _weights_command(*files, "--out", tmp_path / "mean.npz").returncode == 0
    assert _weights_command(files[0], "--out", tmp_path / "one.npz").returncode == 0
    with np.load(tmp_path / "mean.npz") as mean, np.load(tmp_path / "one.npz") as one:
        assert set(mean.files) == set(one.files) == set(shapes)
        for name in shapes:
            wanted = sum(each[name] for each in weights) / 3
            np.testing.assert_allclose(mean[name], wanted, rtol=2e-3, atol=1e-4)
            np.testing.assert_allclose(one[name], weights[0][name], rtol=1e-3)


def test_the_mean_of_different_networks_is_refused(tmp_path):
    """A clear error names the file and what differs; nothing is written."""
    np.savez(tmp_path / "a.npz", **{"Conv1/kernel": np.zeros((3, 3, 8)), "Conv1/bias": np.zeros(8)})
    np.savez(tmp_path / "b.npz", **{"Conv1/kernel": np.zeros((3, 3, 4)), "head/bias": np.zeros(8)})
    out = tmp_path / "mean.npz"
    done = _weights_command(tmp_path / "a.npz", tmp_path / "b.npz", "--out", out)
    assert done.returncode != 0
    assert "b.npz: of another network than" in done.stderr
    assert "Conv1/bias, Conv1/kernel, head/bias (3 in all)" in done.stderr
    assert not out.exists()
