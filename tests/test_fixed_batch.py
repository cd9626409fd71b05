"""Every exported file has a batch of one, fixed: some runtimes refuse an open one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lesionedge
from lesionedge import Classifier, ModelError, metadata
from lesionedge.description import EMBEDDED, find_model
from lesionedge.reliability import FILE

pytest.importorskip("tensorflow", reason="needs the extra train: make test installs it")


GATE = str(Path(lesionedge.__file__).parent / "models" / FILE)


def signatures(file: Path | str) -> list[list[int]]:
    """Return the signature of every tensor's shape."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    return [tensor["shape_signature"].tolist() for tensor in interpreter.get_tensor_details()]


@pytest.mark.parametrize("file", [*map(find_model, EMBEDDED), GATE], ids=lambda f: Path(f).stem)
def test_embedded_files_have_a_fixed_batch(file):
    found = signatures(file)
    assert len(found) > 40 and found[0][0] == 1
    assert all(size > 0 for shape in found for size in shape)


@pytest.mark.parametrize("name", ["int8", "float32", "float16", "sigmoid", "oblong"])
def test_fixing_the_batch_changes_nothing_else(models, photo, tmp_path, name):
    from convert.__main__ import main

    before, after = models / f"{name}.tflite", tmp_path / f"{name}.tflite"
    shutil.copy(before, after)
    done = CliRunner().invoke(main, ["fix-batch", str(after)])
    assert done.exit_code == 0
    assert "fixed now" in done.stderr
    assert any(-1 in shape for shape in signatures(before))
    assert not any(-1 in shape for shape in signatures(after))
    assert metadata.read(after) == metadata.read(before)
    one, other = Classifier(before), Classifier(after)
    assert np.array_equal(one.probabilities(photo), other.probabilities(photo))
    content = after.read_bytes()
    assert len(content) == len(before.read_bytes())
    again = CliRunner().invoke(main, ["fix-batch", str(after)])
    assert "was so already" in again.stderr
    assert after.read_bytes() == content


def test_other_open_shapes_and_other_files_are_refused(models, tmp_path):
    from convert import batch

    for name, content, message in (
        ("open.tflite", (models / "open-size.tflite").read_bytes(), "no other open axis"),
        ("text.tflite", b"this is no model at all, but text", r"text\.tflite"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(ModelError, match=message) as caught:
            batch.fix(file)
        assert name in str(caught.value)
        assert file.read_bytes() == content
