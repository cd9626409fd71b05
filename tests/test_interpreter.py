from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from lesionedge import ModelError, interpreter
from lesionedge.interpreter import Interpreter, TensorInfo, dequantise, quantise


def info(dtype, scale=0.0, zero_point=0):
    return TensorInfo("t", (1, 2), dtype, scale, zero_point, 0)


@pytest.mark.parametrize(
    ("dtype", "zero_point", "real", "stored"),
    [
        ("uint8", 128, [-1.0, 0.0, 0.26, 5.0, -5.0], [118, 128, 131, 178, 78]),
        ("uint8", 0, [-1.0, 1e9], [0, 255]),
        ("int8", 0, [1e9, -1e9, 0.14], [127, -128, 1]),
        ("int8", -128, [0.0, 30.0], [-128, 127]),
    ],
)
def test_quantise_rounds_and_clips(dtype, zero_point, real, stored):
    result = quantise(np.array(real, np.float32), info(dtype, 0.1, zero_point))
    assert result.dtype == np.dtype(dtype)
    assert result.tolist() == stored


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_dequantise_widens_first(dtype):
    limits = np.iinfo(dtype)
    stored = np.array([limits.min, limits.max], dtype)
    real = dequantise(stored, info(dtype, 0.5, limits.max))
    assert real.dtype == np.float32
    assert real.tolist() == [(limits.min - limits.max) * 0.5, 0.0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_are_cast(dtype):
    values = quantise(np.array([0.5, -1.0], np.float32), info(dtype))
    assert values.dtype == np.dtype(dtype)
    assert dequantise(values, info(dtype)).tolist() == [0.5, -1.0]


def test_unquantised_integers_are_refused():
    with pytest.raises(ModelError, match="without a scale"):
        quantise(np.zeros(2), info("uint8"))


@pytest.mark.parametrize("name", ["int8", "float32", "float16", "int8-tensors", "foreign"])
def test_runs_every_kind(models, name):
    network = Interpreter(models / f"{name}.tflite", threads=1)
    scores = network.run(np.zeros((32, 32, 3), network.input.dtype))
    assert scores.shape == (7,)
    assert scores.dtype == np.float32
    assert abs(scores.sum() - 1) < 0.02


def test_results_do_not_alias_the_networks_memory(models):
    network = Interpreter(models / "int8.tflite")
    first = network.run(np.zeros((32, 32, 3), np.uint8))
    kept = first.copy()
    network.run(np.full((32, 32, 3), 255, np.uint8))
    assert np.array_equal(first, kept)


def test_several_threads_get_their_own_answers(models):
    network = Interpreter(models / "int8.tflite")
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in range(0, 250, 10)]
    wanted = [network.run(picture) for picture in pictures]
    faults = []

    def check():
        for picture, answer in list(zip(pictures, wanted)) * 20:
            if not np.array_equal(network.run(picture), answer):
                faults.append(picture[0, 0, 0])

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_not_an_image_classifier(models):
    with pytest.raises(ModelError, match=r"not-image.*its inputs are \[1, 8\] float32"):
        Interpreter(models / "not-image.tflite")


def test_corrupt_missing_and_folder(models, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes((models / "int8.tflite").read_bytes()[:2000])
    with pytest.raises(ModelError, match="cut.tflite"):
        Interpreter(cut)
    with pytest.raises(ModelError, match="no such file"):
        Interpreter(tmp_path / "none.tflite")
    with pytest.raises(ModelError, match="is a folder"):
        Interpreter(tmp_path)


def test_threads(models):
    assert 1 <= interpreter.default_threads() <= interpreter.MAX_THREADS
    assert Interpreter(models / "int8.tflite").threads == interpreter.default_threads()
    assert Interpreter(models / "int8.tflite", threads=2).threads == 2
    with pytest.raises(ValueError, match="threads is 0"):
        Interpreter(models / "int8.tflite", threads=0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_default_threads_honour_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from lesionedge.interpreter import default_threads; print(default_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"1"


def native_lines(model, *, verbose):
    code = (
        "import sys; from lesionedge.interpreter import Interpreter; import numpy as np;"
        f"n = Interpreter({str(model)!r}, verbose={verbose});"
        "n.run(np.zeros((32, 32, 3), np.uint8)); print('mine', file=sys.stderr)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr


def test_native_log_lines_are_held_back_and_come_back_when_asked(models):
    assert native_lines(models / "int8.tflite", verbose=False) == b"mine\n"
    assert b"XNNPACK" in native_lines(models / "int8.tflite", verbose=True)


def test_what_else_is_written_meanwhile_is_passed_on(capfd):
    with interpreter.quiet():
        os.write(2, b"INFO: native chatter\nsomebody's words\n")
    assert capfd.readouterr().err == "somebody's words\n"


def test_the_backend_names_itself():
    backend = interpreter.find_backend()
    assert backend.name in ("litert", "tflite-runtime")
    assert backend.version[0].isdigit()
