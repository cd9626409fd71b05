"""What the embedded models are made from: base weights, one split, and steps that can be taken."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image
from training import keras

from lesionedge import Classifier
from train import recipe
from train.models import architectures, batch_norm, folded, weights
from train.models.pixels import normalise

ROOT = Path(__file__).parent.parent
BASE = ROOT / "release" / "base"


def script(name: str):
    """Import a script of release/."""
    spec = importlib.util.spec_from_file_location(
        f"release_{name}", ROOT / "release" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make():
    """The script of ``make release-models``."""
    return script("make")


def test_halves_share_no_lesion_and_no_patient(draw, tmp_path):
    halve, folder = script("halve"), tmp_path / "isic"
    folder.mkdir()
    rows = ["isic_id,benign_malignant,lesion_id,patient_id"]
    names = [f"ISIC_{number:07d}" for number in range(16)]
    learnt = [name for name in names if zlib.crc32(f"h{name}".encode()) % 2 == 0]
    measured = [name for name in names if name not in learnt]
    ids = {learnt[0]: "L1,P1", measured[0]: "L1,", measured[1]: "L2,P1", measured[2]: "L3,P3"}
    for number, name in enumerate(names):
        rows.append(f"{name},benign,{ids.get(name, ',')}")
        pixels = np.random.default_rng(number).integers(
            0, 256, (6, 8, 3), np.uint8
        )  # no look-alikes
        Image.fromarray(pixels).resize((160, 120)).save(folder / f"{name}.jpg")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    halve.main.main([str(folder), str(tmp_path / "out")], standalone_mode=False)
    table = pytest.importorskip("pandas").read_csv(tmp_path / "out" / "labels.csv")
    test = {Path(path).stem for path in table["path"][table["split"] == "test"]}
    assert test == {*measured[2:]}


def steps(make, data: Path, runs: Path) -> list:
    found, also = make.others(data, data, runs)
    for name in make.FORMATS:
        found += make.of_network(name, data, runs, also if name == "mobilenetv2" else ())
    return found + make.of_gate(data, runs, None)


def test_every_step_is_a_command_that_there_is(make, tmp_path):
    """Files that earlier steps make are laid out, so that the options are checked, too."""
    for step in steps(make, tmp_path, tmp_path / "runs"):
        for name in map(Path, map(str, step.command)):
            if name.is_absolute() and not name.exists():
                if name.suffix:
                    name.parent.mkdir(parents=True, exist_ok=True)
                    name.touch()
                else:
                    name.mkdir(parents=True)
        if step.command and not str(step.command[0]).endswith(".py"):
            module, name, *arguments = map(str, step.command)
            group = import_module(f"{module}.__main__").main
            command = group.commands[name]
            assert isinstance(command, click.Command)
            command.make_context(name, arguments)  # raises for what it does not know


def test_a_step_that_is_done_is_passed_over(make, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(
        make, "of_network", lambda name, *_: [make.Step(f"{name} {n}") for n in "ab"]
    )
    monkeypatch.setattr(make, "take", lambda step: taken.append(step.name))
    line = [str(tmp_path), "--runs", str(tmp_path / "runs")]
    make.main.main(line, standalone_mode=False)
    assert taken == [
        "mobilenetv2 a", "mobilenetv2 b", "cnn a", "cnn b", "references",
        "figures into README and model card",
    ]  # fmt: skip
    (tmp_path / "runs" / "done" / "cnn a").write_text("another command")
    make.main.main(line, standalone_mode=False)
    assert taken[6:] == ["cnn a", "cnn b", "references", "figures into README and model card"]


@pytest.fixture
def run(tmp_path) -> Path:
    """What a training leaves in its folder."""
    folder = tmp_path / "fold-1"
    (folder / "checkpoint").mkdir(parents=True)
    for name in ("split.csv", "recipe.toml", "float.h5", "checkpoint/state.npz"):
        (folder / name).touch()
    return folder


def marked(make, runs: Path, *texts: tuple) -> None:
    for step, text in texts:
        make.mark_of(step, runs).parent.mkdir(exist_ok=True)
        make.mark_of(step, runs).write_text(text)


def test_a_training_that_changes_begins_anew_and_can_be_stopped(make, tmp_path, run):
    former = [make.Step("fit", ("fit",), run=run), make.Step("quantize", ("quantize", run))]
    marked(make, tmp_path, *((step, str(step)) for step in former))
    make.forget_changed(former, tmp_path)
    assert [make.said_of(step, tmp_path) for step in former] == [*map(str, former)]
    changed = [make.Step("fit", ("fit", "--also"), run=run), former[1]]
    make.forget_changed(changed, tmp_path)
    assert not any(make.said_of(step, tmp_path) for step in changed), "all behind it, too"
    assert [path.name for path in run.iterdir()] == ["split.csv"]
    (run / "recipe.toml").touch()  # it is killed here: the same command goes on
    marked(make, tmp_path, (changed[0], make.begun(changed[0])))
    make.forget_changed(changed, tmp_path)
    assert (run / "recipe.toml").exists()


def test_a_training_that_was_stopped_begins_anew_with_another_command(make, tmp_path, run):
    step = make.Step("fit", ("fit",), run=run)
    marked(make, tmp_path, (step, make.begun(step)))
    make.forget_changed([make.Step("fit", ("fit", "--also"), run=run)], tmp_path)
    assert [path.name for path in run.iterdir()] == ["split.csv"]


def test_a_step_that_is_new_makes_those_behind_it_anew(make, tmp_path, run):
    """--isic2017 puts a step before all others, and --gate puts some before the references."""
    fit = make.Step("fit", ("fit",), run=run)
    marked(make, tmp_path, (fit, str(fit)))
    make.forget_changed([make.Step("halve", ("halve",)), fit], tmp_path)
    assert [path.name for path in run.iterdir()] == ["split.csv"]


def test_the_collections_are_those_of_the_recipe(make):
    _, also = make.others(Path("bcn"), Path("isic"), Path("runs"))
    names = tuple(one.split("=")[0] for one in also)
    text = recipe.shortened_text(
        recipe.read("mobilenetv2"), recipe.Shortened(as_given=True, also=names)
    )
    found = recipe.loads(text, "x.toml")
    assert [stage.name for stage in found.stages if stage.epochs] == ["mixed", "quantized"]
    assert {other.name for other in found.others} == set(names)


def test_a_step_that_fails_ends_it_and_says_how_to_go_on(make, tmp_path):
    with pytest.raises(SystemExit, match="the same command resumes"):
        make.take(make.Step("wrong", ("convert", "export", tmp_path, "-o", tmp_path / "x.tflite")))


def test_base_weights_and_records_stay_small():
    size = sum(file.stat().st_size for file in (ROOT / "release").rglob("*") if file.is_file())
    assert size < 11e6


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv2-fold-1", "cnn", "cnn-fold-1"])
def test_base_weights_are_whole(name):
    found = folded.read(BASE / f"{name}.npz")
    assert {array.dtype for array in found.values()} == {np.dtype("float16")}
    assert found["logits/kernel"].shape[1] == found["logits/bias"].shape[0] == 7
    kernels = {key.rpartition("/")[0] for key in found if key.endswith("/kernel")}
    assert kernels == {key.rpartition("/")[0] for key in found if key.endswith("/bias")}


def test_the_base_predicts_much_as_the_float16_file_does(draw):
    """Given to the network of its recipe; the file has learned from other collections since."""
    file = Classifier("mobilenetv2-float16", check=False)
    images = np.stack([file.model_input(draw(300, 225, seed=seed)) for seed in range(4)])
    keras.utils.set_random_seed(1)
    model = architectures.build(
        recipe.load("mobilenetv2").model, classes=7, height_px=224, width_px=224
    )
    inputs = normalise(images).numpy()
    weights.load_weights(model, BASE / "mobilenetv2.npz", inputs)
    logits = model(inputs, training=False).numpy()
    alone = batch_norm.folded(model)
    for name, array in folded.read(BASE / "mobilenetv2.npz").items():
        layer, part = name.rsplit("/", 1)
        weight = {each.name.split("/")[-1]: each for each in alone.get_layer(layer).weights}
        next(w for key, w in weight.items() if part in key).assign(array.astype(np.float32))
    np.testing.assert_allclose(logits, alone(inputs, training=False).numpy(), atol=1e-2)
    expected = np.log(np.stack([file.probabilities(image) for image in images]))
    alike = [np.corrcoef(ours, its)[0, 1] for ours, its in zip(logits, expected)]
    assert min(alike) > 0.9
