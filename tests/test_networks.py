"""Quantization-aware networks start where the float ones are; seeds fix the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from training import keras, program, tensorflow

import lesionedge
from convert.export import int8
from train import recipe
from train.fit.batches import Lessons, OtherImages
from train.fit.stages import set_trainable
from train.fit.trainer import Trainer
from train.models import architectures, batch_norm, folded, inference, weights
from train.models.pixels import normalise
from train.quantize import aware, bias_correction, kernels, ranges, rounding
from train.recipe import Distil, Input, Model, Recipe, Stage
from train.settings import RecipeError

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)


SMALL = Model("stacked", filters=(8, 8, 8), batch_norm=True)
"""Three blocks of convolution, batch normalisation and ReLU: quickly made ready for rounding."""


def build(seed: int, model: Model = SMALL) -> Any:
    """Build an untrained network for 32x32 images."""
    keras.utils.set_random_seed(seed)
    return architectures.build(model, classes=7, height_px=32, width_px=32)


def inverted_residual() -> Any:
    """Build one block of MobileNetV2's kind, whose projection is linear, and a head."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, strides=2, use_bias=False)(inputs)
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv2D(8, 1, use_bias=False, name="project")(x)
    x = keras.layers.BatchNormalization(name="project_BN")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(7, name="logits")(x))


@pytest.fixture(scope="module")
def batches() -> list[Any]:
    """Four batches of a network's input."""
    return [normalise(PIXELS[i : i + 16]) for i in range(0, 64, 16)]


def ends(model: Any, batches: list[Any]) -> list[float]:
    """Return the mean over batches of the lowest and of the highest output."""
    outputs = [model(batch).numpy() for batch in batches]
    return [float(np.mean([end(x) for x in outputs])) for end in (np.min, np.max)]


@pytest.mark.parametrize("name", ["mobilenetv2", "cnn", "gate"])
def test_a_recipe_builds_the_network_of_the_embedded_file(name):
    settings = recipe.load(name)
    model = architectures.build(
        settings.model, classes=3, height_px=settings.input.height_px,
        width_px=settings.input.width_px,
    )  # fmt: skip
    built = Counter(type(layer).__name__ for layer in model.layers)
    file = Path(lesionedge.__file__).parent / "models" / f"{name}-int8.tflite"
    operators = Interpreter(str(file))._get_ops_details()
    found = Counter(one["op_name"] for one in operators)
    assert (found["CONV_2D"], found["DEPTHWISE_CONV_2D"]) == (
        built["Conv2D"], built["DepthwiseConv2D"],
    )  # fmt: skip


def test_the_seed_fixes_the_initial_weights():
    one, same, other = (build(seed).get_weights() for seed in (1, 1, 2))
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


def test_rounding_starts_from_measured_ranges(batches):
    """Those of what is linear may be beyond 6; what is rare is clipped."""
    model, name = inverted_residual(), "project_BN"
    gamma, *rest = model.get_layer(name).get_weights()
    model.get_layer(name).set_weights([gamma * 200, *rest])  # beyond 6, as trained ones
    quantized = aware.quantization_aware(model)
    ranges.start_ranges(quantized, model, batches)
    found = {k: pair for layer in quantized.layers for k, pair in ranges._ranges(layer).items()}
    (pixels,) = (pair for key, pair in found.items() if key.startswith(ranges.INPUT_RANGE))
    assert [float(end) for end in pixels] == [-1.0, 127 / 128]
    smallest, largest = ends(keras.Model(model.input, model.get_layer(name).output), batches)
    low, high = map(float, found[name])
    assert smallest * 1.001 <= low < 0.5 * smallest
    assert 0.5 * largest < high <= largest * 1.001
    assert high > 6
    smallest, largest = ends(model, batches)
    given = [float(end) for end in found["logits"]]
    assert given == pytest.approx([min(smallest, 0), max(largest, 0)], rel=1e-3)


def test_a_range_is_as_wide_as_its_values():
    """However far its ends may go; a normal distribution is best cut at about four deviations."""
    values = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    for width in (5, 20):
        low, high = ranges.least_error(values, -width, width)
        assert -5 <= low < -3 and 3 < high <= 5
    low, high = ranges.least_error(np.maximum(values, 0), 0.0, 20.0)
    assert low == 0 and 3 < high <= 5
    assert ranges.least_error(values * 0, 0.0, 0.0) == (0, 0)


def with_dead_channels(batches: list[Any]) -> Any:
    """Build a network of which three channels give their bias only."""
    model = build(1)
    batch_norm.refresh_batch_norm(model, batches)
    (kernel,) = model.get_layer("block_2_a").get_weights()
    kernel[..., :3] = 0
    model.get_layer("block_2_a").set_weights([kernel])
    gamma, beta, mean, variance = model.get_layer("block_2_a_BN").get_weights()
    beta[:3], mean[:3], variance[:3] = 40, 0, 0
    model.get_layer("block_2_a_BN").set_weights([gamma, beta, mean, variance])
    return model


def rounded_biases(model: Any, batches: list[Any]) -> list[float]:
    """Return the biases of the dead channels in the int8 file."""
    kernels.equalise_depthwise(model)
    quantized = aware.quantization_aware(model)
    ranges.start_ranges(quantized, model, batches)
    bias_correction.take_out_rounding(quantized, model, batches)
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(quantized)
    interpreter = Interpreter(model_content=int8(converter))
    interpreter.allocate_tensors()
    kept = next(
        tensor
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] == np.int32 and "block_2_a" in tensor["name"]
    )
    scales = kept["quantization_parameters"]["scales"]
    return list((interpreter.get_tensor(kept["index"]) * scales)[:3])


def test_biases_of_dead_channels_survive_rounding(batches):
    """TensorFlow Lite keeps a bias in steps of its channel's weights, and cuts off too many."""
    assert max(rounded_biases(with_dead_channels(batches), batches)) < 30
    model = with_dead_channels(batches)
    wanted = inference.logits(model, PIXELS)
    kernels.keep_biases(model)
    gap = np.abs(inference.logits(model, PIXELS) - wanted).max()
    assert gap < 1e-3 * np.abs(wanted).max()
    assert rounded_biases(model, batches) == pytest.approx([40, 40, 40], rel=1e-3)


def test_measuring_anew_leaves_what_is_frozen_frozen(batches):
    model = build(1)
    norm = next(x for x in model.layers if isinstance(x, keras.layers.BatchNormalization))
    norm.trainable = False
    kernel = model.get_layer("block_1_a").get_weights()[0]
    batch_norm.refresh_batch_norm(model, batches)
    inputs = keras.Model(model.input, norm.input)(np.concatenate(batches))
    assert (norm.trainable, norm.momentum) == (False, 0.9)
    assert np.array_equal(kernel, model.get_layer("block_1_a").get_weights()[0])
    assert np.abs(norm.moving_mean - np.mean(inputs, (0, 1, 2))).max() < 1e-4


def test_statistics_of_other_images_stay_and_follow_the_rounding(batches):
    """Rounding moves them a little; that they are not what these images show does not matter."""
    model = build(3)
    batch_norm.refresh_batch_norm(model, batches)
    for norm in batch_norm.batch_norms(model):
        gamma, beta, mean, variance = norm.get_weights()
        norm.set_weights([gamma, beta, mean + 0.3 * np.sqrt(variance), 1.5 * variance])
    before = [norm.get_weights()[2:] for norm in batch_norm.batch_norms(model)]
    quantized = aware.quantization_aware(model)
    ranges.start_ranges(quantized, model, batches)
    plain = [w.copy() for w in quantized.get_weights()]
    wanted = inference.logits(model, PIXELS)
    bias_correction.take_out_rounding(quantized, model, batches)
    for (mean, variance), norm, rounded in zip(
        before, batch_norm.batch_norms(model), batch_norm.batch_norms(quantized)
    ):
        assert np.array_equal(mean, norm.moving_mean)
        assert np.array_equal(variance, norm.moving_variance)
        assert not np.array_equal(mean, rounded.moving_mean)
    taken = np.abs(inference.logits(quantized, PIXELS) - wanted).mean()
    quantized.set_weights(plain)
    batch_norm.refresh_batch_norm(quantized, batches)
    anew = np.abs(inference.logits(quantized, PIXELS) - wanted).mean()
    assert taken < 0.5 * anew


@pytest.mark.slow
def test_published_efficientnet_weights_are_taken_over(tmp_path):
    """From Keras' file, with the second division that Keras adds for its published weights."""
    size = {"input_shape": (64, 64, 3)}
    published = keras.applications.EfficientNetB3(include_top=False, weights=None, **size)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    norm = next(x for x in published.layers if isinstance(x, keras.layers.Normalization))
    norm.set_weights([mean, std, norm.get_weights()[2]])
    published.save_weights(tmp_path / "notop.h5")
    ours = architectures.build(Model("efficientnetb3"), classes=7, height_px=64, width_px=64)
    weights.load_weights(ours, tmp_path / "notop.h5", np.zeros(0))
    bigger = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), np.uint8)
    body = keras.Model(published.get_layer("stem_conv_pad").input, published.output)
    wanted = body((bigger / 255 - mean) / std).numpy().mean((1, 2))
    features = keras.Model(ours.input, ours.get_layer("features").output)
    gap = np.abs(features(normalise(bigger)).numpy() - wanted).max()
    assert np.abs(wanted).max() > 0
    assert gap < 1e-3 * np.abs(wanted).max()


def test_keras_published_mobilenetv2_is_folded(tmp_path):
    """Every convolution's kernel and bias are what Keras' layers and norms do together."""
    size = {"input_shape": (64, 64, 3)}
    published = keras.applications.MobileNetV2(include_top=False, weights=None, **size)
    rng = np.random.default_rng(0)
    for layer in published.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    published.save_weights(tmp_path / "notop.h5")
    taken, found = folded.of_keras_imagenet(tmp_path / "notop.h5"), 0
    for layer, norm in zip(published.layers, published.layers[1:]):
        if not isinstance(norm, keras.layers.BatchNormalization):
            continue
        found += 1
        x = rng.normal(size=(2, *layer.input.shape[1:3], layer.input.shape[3])).astype(np.float32)
        wanted = norm(layer(x), training=False).numpy()
        kernel, bias = (taken[f"{layer.name}/{part}"] for part in ("kernel", "bias"))
        given = _convolve(layer)(x, kernel).numpy() + bias
        assert np.abs(given - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert found == 52
    assert len(taken) == 2 * found


def _convolve(layer: Any) -> Callable[[np.ndarray, np.ndarray], Any]:
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    convolve = tensorflow.nn.depthwise_conv2d if depthwise else tensorflow.nn.conv2d
    strides = [1, *layer.strides, 1]
    return lambda x, kernel: convolve(x, kernel, strides, layer.padding.upper())


def test_weights_taken_out_of_a_file_are_those_of_the_file(tmp_path, batches):
    """``python -m train weights``: an .npz begins a training as the .tflite file does."""
    model = Path("lesionedge/models/mobilenetv2-float16.tflite").resolve()
    program("train", "weights", model, "--out", tmp_path / "w.npz")
    logits = []
    for file in (model, tmp_path / "w.npz"):
        network = build(1, Model("mobilenetv2"))
        weights.load_weights(network, file, np.asarray(batches[0]))
        logits.append(network(batches[0], training=False).numpy())
    largest = np.abs(logits[0]).max()
    assert largest > 0.05
    assert np.abs(logits[0] - logits[1]).max() < 0.01 * largest


@pytest.mark.parametrize("batch_norm", [False, True])
def test_all_layers_of_a_network_are_taken_as_far_as_they_fit(tmp_path, batches, batch_norm):
    """Not the convolutions and the last layer alone: what is between them would stay random."""
    model = Model("stacked", filters=(8,), batch_norm=batch_norm, dense=(6, 5))
    wanted = build(1, model)
    arrays = {f"{layer.name}/{part}": array for layer in wanted.layers if layer.count_params()
              for part, array in zip(("kernel", "bias"), layer.get_weights())}  # fmt: skip
    arrays.setdefault("block_1_a/bias", np.zeros(8, np.float32))
    np.savez(tmp_path / "w.npz", **arrays)
    sample = np.asarray(batches[0])
    network = build(2, model)
    assert weights.load_weights(network, tmp_path / "w.npz", sample)
    assert network(sample).numpy() == pytest.approx(wanted(sample).numpy(), abs=5e-3)
    other = build(2, Model("stacked", filters=(8,), batch_norm=batch_norm, dense=(6, 4)))
    before = other.get_layer("dense_2").get_weights()[0]
    assert not weights.load_weights(other, tmp_path / "w.npz", sample)
    assert np.array_equal(other.get_layer("dense_1").get_weights()[0], arrays["dense_1/kernel"])
    assert np.array_equal(other.get_layer("dense_2").get_weights()[0], before)
    with pytest.raises(RecipeError, match="weights of block_1_a are those of another network"):
        weights.load_weights(build(1, Model("stacked", filters=(4,), batch_norm=batch_norm)),
                             tmp_path / "w.npz", sample)  # fmt: skip
    with pytest.raises(RecipeError, match="no weights for block_2_a"):
        weights.load_weights(build(1, Model("stacked", filters=(8, 8), batch_norm=batch_norm)),
                             tmp_path / "w.npz", sample)  # fmt: skip


def test_a_batch_that_other_collections_fill_is_refused():
    other = OtherImages(PIXELS, np.arange(9), np.zeros(9, int) + 7, share=0.25)
    lessons = Lessons(PIXELS, np.arange(64) % 7, np.arange(64), others=(other,))
    recipe = Recipe("r", "", Input(32, 32), SMALL, (Stage("s", 1, 0.1, 32),), batch_size=1)
    with pytest.raises(RecipeError, match=r"the \[\[others\]\] fill batches of 1 images"):
        Trainer(recipe, recipe.stages[0], build(1), lessons)


@pytest.mark.parametrize(
    "setting", [{"convolutions": 2}, {"batch_norm": True}, {"block_dropout": 0.1}]
)
def test_settings_of_another_architecture_are_refused(setting):
    with pytest.raises(RecipeError, match="are for the architecture 'stacked'; found 'cnn'"):
        build(1, Model("cnn", **setting))
    with pytest.raises(RecipeError, match="dense_dropout is for dense layers"):
        build(1, Model("cnn", dense_dropout=0.5))


def test_the_mean_of_several_trainings_weights_is_every_arrays(tmp_path):
    """``weights A B C``: the mean of each kernel and bias; one file is taken as it is."""
    rng = np.random.default_rng(3)
    shapes = {"Conv1/kernel": (3, 3, 3, 8), "Conv1/bias": (8,), "logits/kernel": (8, 7)}
    files, weights = [], []
    for name in "abc":
        weights.append({k: rng.normal(size=v).astype(np.float32) for k, v in shapes.items()})
        files.append(tmp_path / f"{name}.npz")
        np.savez(files[-1], **weights[-1])
    program("train", "weights", *files, "--out", tmp_path / "mean.npz")
    program("train", "weights", files[0], "--out", tmp_path / "one.npz")
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
    files = (tmp_path / "a.npz", tmp_path / "b.npz")
    done = program("train", "weights", *files, "--out", out, check=False)
    assert done.returncode != 0
    assert "b.npz: of another network than" in done.stderr
    assert "Conv1/bias, Conv1/kernel, head/bias (3 in all)" in done.stderr
    assert not out.exists()


def test_a_quantized_stage_learns_from_the_float_network_and_leaves_frozen_layers(batches):
    floating = build(7)
    quantized = rounding.rounded(floating, batches)
    bias = quantized.get_layer("quant_logits").layer.bias
    bias.assign_add(np.tile([0.4, -0.4], 4)[:7].astype(np.float32))
    stage = Stage(
        "quantized", 6, 0.02, 32, train="head", quantize=True, freeze_batch_norm=True, taught=1.0
    )  # fmt: skip
    recipe = Recipe(
        "a", "", Input(32, 32), SMALL, (stage,), distil=Distil(share=stage.taught), batch_size=8
    )  # fmt: skip
    set_trainable(quantized, stage)
    # All labels are one class, which would teach something else.
    lessons = Lessons(PIXELS, np.zeros(64, np.int64), np.arange(64), teacher=floating)
    trainer = Trainer(recipe, stage, quantized, lessons)
    assert {v.name for v in trainer.variables} == {"logits/kernel:0", "logits/bias:0"}
    for epoch in range(stage.epochs):
        trainer.epoch(epoch, seed=(1, epoch), say=print)
    gaps = inference.logits(quantized, PIXELS) - inference.logits(floating, PIXELS)
    # One number for all classes is no difference to a softmax.
    assert np.abs(gaps - gaps.mean(1, keepdims=True)).mean() < 0.1
