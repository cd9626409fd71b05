from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info < (3, 11):
    pytest.skip("needs tomllib", allow_module_level=True)
import tomllib

requirements = pytest.importorskip("packaging.requirements", reason="packaging is not installed")
PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def wanted(machine: str, python: str) -> dict[str, str]:
    """Return the packages that pip would install: name -> versions."""
    environment = {"platform_machine": machine, "python_version": python, "sys_platform": "linux"}
    parsed = map(requirements.Requirement, PROJECT["dependencies"])
    return {
        r.name: str(r.specifier)
        for r in parsed
        if r.marker is None or r.marker.evaluate(environment)
    }


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64", "AMD64"])
def test_64_bit_gets_litert(machine, python):
    found = wanted(machine, python)
    assert "ai-edge-litert" in found
    assert "tflite-runtime" not in found
    assert "<2" not in found["numpy"]


@pytest.mark.parametrize("machine", ["armv6l", "armv7l", "armv8l"])
def test_32_bit_gets_tflite_runtime_where_there_is_one(machine):
    found = wanted(machine, "3.11")
    assert "ai-edge-litert" not in found
    assert "tflite-runtime" in found
    assert "<2" in found["numpy"]
    assert not {"ai-edge-litert", "tflite-runtime"} & set(wanted(machine, "3.13"))


def test_the_runtime_needs_little():
    assert set(wanted("x86_64", "3.11")) == {"click", "pillow", "numpy", "ai-edge-litert"}


TRAINING = (
    "tensorflow",
    "tf_keras",
    "tensorflow_model_optimization",
    "torch",
    "pandas",
    "sklearn",
    "scipy",
    "jinja2",
    "imagehash",
)

COLLECT = f"""
import sys
import pytest
sys.modules.update(dict.fromkeys({TRAINING!r}))
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis"]))
"""


def test_the_runtimes_tests_need_no_training_libraries():
    """``make test-device`` has none of them: tests that need one must be skipped, not fail."""
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", COLLECT], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "tests/test_cli_predict.py" in done.stdout
    assert "tests/test_pipeline.py::" not in done.stdout
