"""A training that was stopped, wherever, ends as one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from training import LABELS, draw_ham10000, program

from train import card
from train.run import Run

pytestmark = pytest.mark.slow

RECIPE = """
name = "tiny"
description = "A recipe for tests"
batch_size = 8
cache_side_px = 36
[input]
width_px = 32
height_px = 32
[model]
architecture = "stacked"
filters = [8, 8]
batch_norm = true
[[stages]]
name = "float"
epochs = 2
learning_rate = 1e-3
input_px = 32
keep = "last"
fold_batch_norm = true
"""


@contextmanager
def stopped(owner: object, name: str, *, when: str = "") -> Iterator[None]:
    """Stop a training at a call of a function whose last argument begins with some text."""
    called = getattr(owner, name)

    def stop(*given: object, **named: object) -> object:
        if when and not str(given[-1]).startswith(when):
            return called(*given, **named)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, stop)
        yield


@pytest.fixture(scope="module")
def fit(tmp_path_factory, draw) -> list[str | Path]:
    """The command, without its run folder."""
    root = tmp_path_factory.mktemp("resume")
    ham = draw_ham10000(
        root / "ham", draw, lambda n: "nv" if n % 2 else LABELS[n // 2 % 7], 84
    )  # fmt: skip
    (root / "tiny.toml").write_text(RECIPE)
    return ["train", "fit", root / "tiny.toml", "--data", ham, "--cache", root / "cache", "--out"]


@pytest.fixture(scope="module")
def whole(fit, tmp_path_factory) -> Path:
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    program(*fit, out)
    return out


def test_a_training_that_was_stopped_twice_ends_as_one_that_was_not(fit, whole, tmp_path):
    run = Run(tmp_path / "run")
    with stopped(Run, "say", when="float epoch 1/2: loss"):
        assert program(*fit, run.folder, check=False).returncode == 1
    with stopped(card, "operating_points"):  # when the card is written
        assert program(*fit, run.folder, check=False).returncode == 1
    assert run.float_weights.is_file()
    program(*fit, run.folder)
    assert run.read_card() == Run(whole).read_card()
    for one, other in zip(
        Run(whole).load_model("float").get_weights(), run.load_model("float").get_weights()
    ):
        assert one == pytest.approx(other, abs=1e-6)


def test_quantize_that_was_stopped_before_its_calibration_is_asked_for_again(whole, tmp_path):
    run = Run(tmp_path / "runs" / "one")
    shutil.copytree(whole, run.folder)
    with stopped(card, "operating_points"):
        assert program("train", "quantize", run.folder, check=False).returncode == 1
    assert run.int8_weights.is_file()
    done = program("train", "evaluate", run.folder, check=False)
    assert done.returncode == 1
    assert "tiny: its card has no calibration of int8: run quantize again" in done.stderr
    program("train", "quantize", run.folder)
    assert set(run.read_card().calibration.temperature) == {"float", "int8"}
