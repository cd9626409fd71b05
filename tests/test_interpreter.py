from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lesionedge import ModelError, cores, interpreter
from lesionedge.interpreter import Interpreter, TensorInfo, dequantise, quantise

ROOT = Path(__file__).parent.parent


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


def test_integers_without_a_scale_stand_for_themselves():
    assert quantise(np.array([3.4, -1, 300]), info("uint8")).tolist() == [3, 0, 255]
    assert dequantise(np.array([3, 200], np.uint8), info("uint8")).tolist() == [3.0, 200.0]


@pytest.mark.parametrize(
    "name", ["int8", "float32", "float16", "float16-tensors", "int8-tensors", "foreign-mobilenet"]
)
def test_it_runs_models_of_every_type(models, name):
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_gets_the_same_result(models):
    code = (
        "import os, sys, numpy as np; from lesionedge.interpreter import Interpreter\n"
        f"n = Interpreter({str(models / 'int8.tflite')!r}, threads=2)\n"
        "run = lambda: n.run(np.full((32, 32, 3), 99, np.uint8)).tolist()\n"
        "wanted = run(); child = os.fork()\n"
        "if not child: os._exit(run() != wanted)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize(
    "name", ["-m  \N{GRINNING FACE} \u00e9.tflite", os.fsdecode(b"\xff.tflite")]
)
def test_models_may_have_any_name(models, tmp_path, name):
    path = os.path.join(tmp_path, name)
    shutil.copy(models / "int8.tflite", path)
    pixels = np.full((32, 32, 3), 99, np.uint8)
    wanted = Interpreter(models / "int8.tflite").run(pixels)
    assert np.array_equal(Interpreter(path).run(pixels), wanted)
    assert np.array_equal(Interpreter(os.fsencode(path)).run(pixels), wanted)


def test_several_threads_get_their_own_results(models):
    network = Interpreter(models / "int8.tflite")
    images = [np.full((32, 32, 3), level, np.uint8) for level in range(0, 250, 10)]
    wanted = [network.run(image) for image in images]
    faults = []

    def check():
        for image, scores in list(zip(images, wanted)) * 20:
            if not np.array_equal(network.run(image), scores):
                faults.append(image[0, 0, 0])

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_not_an_image_classifier(models):
    with pytest.raises(ModelError, match=r"not-image.*its inputs are \[1, 8\] float32"):
        Interpreter(models / "not-image.tflite")


def test_a_number_of_classes_that_is_known_only_at_run_time_is_refused(models):
    """Before the first image it looks like one class."""
    with pytest.raises(ModelError, match=r"its outputs are \[1, -1\] float32; .* of fixed size"):
        Interpreter(models / "open-classes.tflite")


def test_corrupt_missing_and_folder(models, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes((models / "int8.tflite").read_bytes()[:2000])
    with pytest.raises(ModelError, match="cut.tflite"):
        Interpreter(cut)
    with pytest.raises(ModelError, match="no such file"):
        Interpreter(tmp_path / "none.tflite")
    with pytest.raises(ModelError, match="is a folder"):
        Interpreter(tmp_path)


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [("<f", (1 / 256,), (0,)), ("<f", (1 / 256,), (-0.01,)), ("<f", (1 / 256,), (1e-45,)),
     ("<f", (1 / 127.5,), (np.nan,)), ("<f", (1 / 127.5,), (np.inf,)),
     ("<Iq", (1, 127), (1, 256)), ("<Iq", (1, 127), (1, -1))],
)  # fmt: skip
def test_scales_and_zero_points_without_sense_are_refused(models, tmp_path, form, old, new):
    """LiteRT would crash the process."""
    content = (models / "foreign.tflite").read_bytes()
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(content.replace(struct.pack(form, *old), struct.pack(form, *new)))
    with pytest.raises(ModelError, match=r"damaged\.tflite: .*has the scale .* zero point"):
        Interpreter(damaged)


def test_a_tensor_name_that_is_not_utf8_is_a_model_error(models, tmp_path):
    name = Interpreter(models / "int8.tflite").input.name.encode()
    content = (models / "int8.tflite").read_bytes()
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(content.replace(name, b"\xe9" + name[1:]))
    with pytest.raises(ModelError, match=r"damaged\.tflite: its inputs cannot be read"):
        Interpreter(damaged)


def test_threads(models):
    assert 1 <= cores.default_threads() <= cores.MAX_THREADS
    assert Interpreter(models / "int8.tflite").threads == cores.default_threads()
    assert Interpreter(models / "int8.tflite", threads=2).threads == 2
    with pytest.raises(ValueError, match="threads is 0"):
        Interpreter(models / "int8.tflite", threads=0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_default_threads_honour_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from lesionedge.cores import default_threads; print(default_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"1"


def cgroup(root, own, **limits):
    """Write files like those of the kernel's control groups; ``__`` in a name stands for /."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(own)
    for name, value in limits.items():
        file = root / "sys" / "fs" / "cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return cores.cpu_quota(f"{root}/")


@pytest.mark.parametrize(
    ("own", "limits", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu_max": "max 100000"}, None),
        ("0::/\n", {"cpu_max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a__cpu_max": "200000 100000", "a__b__cpu_max": "max 100000"}, 2),
        ("0::/a/b\n", {"a__cpu_max": "300000 100000", "a__b__cpu_max": "50000 50000"}, 1),
        ("4:cpu,cpuacct:/docker/1\n1:name=systemd:/x\n",
         {"cpu__cpu_cfs_quota_us": 250000, "cpu__cpu_cfs_period_us": 100000}, 2.5),
        ("4:cpu,cpuacct:/job\n",
         {"cpu__job__cpu_cfs_quota_us": 100000, "cpu__job__cpu_cfs_period_us": 100000,
          "cpu__cpu_cfs_quota_us": -1, "cpu__cpu_cfs_period_us": 100000}, 1),
        ("0::/../b\n", {"cpu_max": "nonsense"}, None),
    ],
)  # fmt: skip
def test_container_quotas(tmp_path, own, limits, quota):
    assert cgroup(tmp_path, own, **limits) == quota


def test_hardware_threads_of_one_core_count_once(tmp_path):
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    count = cores.physical_cores
    assert count({0, 1, 2, 3}, f"{tmp_path}/") == 2
    assert count({1, 3}, f"{tmp_path}/") == 1
    assert count({4, 5}, f"{tmp_path}/") == 2  # the system does not describe them: one core each


def native_lines(model, *, verbose):
    code = (
        "import sys; from lesionedge.interpreter import Interpreter; import numpy as np;"
        f"n = Interpreter({str(model)!r}, verbose={verbose});"
        "n.run(np.zeros((32, 32, 3), np.uint8)); print('mine', file=sys.stderr)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr


def test_native_log_lines_are_hidden_unless_verbose(models):
    assert native_lines(models / "int8.tflite", verbose=False) == b"mine\n"
    assert b"XNNPACK" in native_lines(models / "int8.tflite", verbose=True)


NATIVE = (
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    b"WARNING: Attempting to use a delegate that only supports static-sized tensors\n"
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"W0000 00:00:1795242387.903696   17277 environment.cc:42] Something\n"
)
OTHERS = b"somebody's words\nINFO:     Application startup complete.\nWARNING:root:a logger's\n"


def test_other_lines_on_standard_error_are_passed_on(capfd):
    with interpreter.quiet():
        os.write(2, NATIVE + OTHERS)
    assert capfd.readouterr().err == OTHERS.decode()
    with pytest.raises(KeyError), interpreter.quiet():
        os.write(2, NATIVE + OTHERS)
        raise KeyError
    assert capfd.readouterr().err == OTHERS.decode()


def packages(folder, **contents):
    """Pretends that libraries are installed; None: that one is not."""
    for name, content in contents.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(
            "" if content else f"raise {ABSENT.format(name)}"
        )
        (folder / name / "interpreter.py").write_text(content or "")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


ABSENT = "ModuleNotFoundError(\"No module named '{}'\")"
DYING = """
import os
class Interpreter:
    def __init__(self, **options):
        os.write(2, b"a page about numpy")
        raise SystemError("returned a result with an exception set")
"""


def no_backend(environment, before=""):
    code = (
        "import sys, numpy\nfrom lesionedge.interpreter import find_backend\n"
        "from lesionedge import MissingDependencyError\n"
        f"{before}\ntry: find_backend()\nexcept MissingDependencyError as error: print(error)"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, check=True, text=True, env=environment)
    assert done.stderr == ""
    return done.stdout


def test_a_backend_that_cannot_build_an_interpreter_does_not_count(tmp_path):
    environment = packages(tmp_path, ai_edge_litert=DYING, tflite_runtime=None)
    message = no_backend(environment)
    assert "returned a result with an exception set; No module named 'tflite_runtime'" in message
    assert "pip install ai-edge-litert" in message
    environment = packages(tmp_path / "all", ai_edge_litert=None, tflite_runtime=DYING)
    numpy_2 = int(np.__version__[0]) >= 2
    assert ('pip install "numpy<2"' if numpy_2 else "an exception set") in no_backend(environment)


@pytest.mark.parametrize(
    ("version", "words"),
    [("3, 11", 'pip install tflite-runtime "numpy<2"'), ("3, 12", "use a 64-bit system")],
)
def test_what_to_do_on_a_32_bit_system(tmp_path, version, words):
    environment = packages(tmp_path, ai_edge_litert=None, tflite_runtime=None)
    pretended = f"sys.maxsize, sys.version_info = 2**31 - 1, ({version})"
    assert words in no_backend(environment, pretended)


def test_the_next_backend_is_used(tmp_path):
    backend = interpreter.find_backend()
    if backend.name != "litert":
        pytest.skip("there is no LiteRT here to stand in for tflite-runtime")
    passing = f"import sys; sys.path.remove({str(tmp_path)!r}); sys.modules.pop('ai_edge_litert');"
    passing += "from ai_edge_litert.interpreter import Interpreter"
    environment = packages(tmp_path, ai_edge_litert="raise OSError('no libLiteRt')",
                           tflite_runtime=passing)  # fmt: skip
    code = "from lesionedge.interpreter import find_backend; print(find_backend().name)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("tflite-runtime\n", "")


def test_the_backend_names_itself():
    backend = interpreter.find_backend()
    assert backend.name in ("litert", "tflite-runtime")
    assert backend.version[0].isdigit()
