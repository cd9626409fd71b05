from __future__ import annotations

import dataclasses
import glob
import json
import os
import platform
import sys
from importlib import metadata

import pytest

from lesionedge import doctor, extras, machine


def by_name(findings):
    return {finding.about: finding for finding in findings}


def test_this_machine_can_predict():
    findings = list(doctor.examine())
    assert doctor.works(findings)
    found = by_name(findings)
    assert platform.python_version() in found["Python"].found
    assert "mobilenetv2 (int8) predicts" in found["model"].found
    assert "camera, V4L2" in found
    assert all(finding.fix for finding in findings if finding.state in ("note", "fault"))


def test_a_missing_camera_is_never_ok():
    found = by_name(doctor.examine())["camera, V4L2"]
    assert found.state == ("ok" if glob.glob("/dev/video*") else "absent")


@pytest.mark.parametrize("on_a_pi", [True, False])
def test_advice_for_a_pi_appears_only_on_a_pi(monkeypatch, on_a_pi):
    monkeypatch.setattr(machine, "is_raspberry_pi", lambda: on_a_pi)
    found = by_name(doctor.examine())
    assert ("camera, rpicam" in found) == on_a_pi
    if on_a_pi:
        assert found["camera, rpicam"].state == "absent"
        assert "apt install" in found["camera, rpicam"].fix


def test_the_device_tree_identifies_a_pi(tmp_path):
    assert not machine.is_raspberry_pi(f"{tmp_path}/")
    model = tmp_path / "proc" / "device-tree" / "model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert machine.is_raspberry_pi(f"{tmp_path}/")


def test_a_missing_extra_is_listed_with_what_it_adds(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    found = by_name(doctor.examine())
    for extra in extras.EXTRAS:
        finding = found[f"extra, {extra.name}"]
        assert (finding.state, finding.fix) == ("absent", f"pip install 'lesionedge[{extra.name}]'")
        assert extra.adds in finding.found


def test_every_extra_is_one_of_the_packages(monkeypatch):
    names = {extra.name for extra in extras.EXTRAS}
    assert names <= set(metadata.metadata("lesionedge").get_all("Provides-Extra"))


def test_the_command_prints_the_findings(cli_run):
    text = cli_run("doctor")
    assert text.exit_code == 0
    assert "Prediction works here." in text.stdout
    found = json.loads(cli_run("doctor", "--json").stdout)
    assert found["works"] is True
    assert {finding["state"] for finding in found["findings"]} <= {"ok", "absent", "note"}


def test_without_a_runtime_it_fails_with_the_command_to_run(command, tmp_path):
    for package in ("ai_edge_litert", "tflite_runtime"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('wrong ELF class')\n")
    result = command("doctor", "--json", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["works"] is False
    (fault,) = [finding for finding in found["findings"] if finding["state"] == "fault"]
    assert fault["about"] == "runtime"
    assert "wrong ELF class" in fault["found"]
    assert fault["fix"] == "pip install ai-edge-litert"


def test_the_advice_for_a_32_bit_system_stands_apart_from_what_was_found(monkeypatch):
    from lesionedge import MissingDependencyError, interpreter

    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    fix = (
        "On a 32-bit system only tflite-runtime exists, for Python up to 3.11: use a 64-bit "
        "system, or Python 3.11 or older"
    )

    def no_backend():
        raise MissingDependencyError(f"no TFLite runtime works here (none). {fix}")

    monkeypatch.setattr(interpreter, "find_backend", no_backend)
    (finding,) = doctor._runtime(images=True)
    assert (finding.found, finding.fix) == ("no TFLite runtime works here (none).", fix)


@pytest.mark.parametrize("kind", ["ImportError", "RuntimeError"])
def test_without_libraries_it_fails_and_does_not_stop(command, tmp_path, kind):
    for name in ("numpy", "PIL", "tflite_runtime", "ai_edge_litert"):
        (tmp_path / f"{name}.py").write_text(f"raise {kind}('no {name} for this processor')\n")
    result = command("doctor", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    assert b"Prediction cannot work here." in result.stdout
    assert b"FAULT  numpy: no numpy for this processor" in result.stdout
    assert b"FAULT  Pillow: no PIL for this processor" in result.stdout
    assert b"FAULT  runtime: " in result.stdout
    assert b"memory" in result.stdout
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("width", "version", "chip", "state", "words"),
    [
        (2**63 - 1, (3, 11, 2), "aarch64", "ok", "64 bit"),
        (2**31 - 1, (3, 11, 2), "armv7l", "ok", "32 bit"),
        (2**31 - 1, (3, 11, 2), "aarch64", "note", "64-bit kernel"),
        (2**31 - 1, (3, 13, 0), "armv7l", "fault", "no TFLite runtime exists"),
    ],
)
def test_the_python_version_and_width(monkeypatch, width, version, chip, state, words):
    monkeypatch.setattr(sys, "maxsize", width)
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(platform, "machine", lambda: chip)
    finding = next(doctor.examine())
    assert finding.state == state
    assert words in finding.found
    assert bool(finding.fix) == (state != "ok")


@pytest.mark.parametrize(
    ("driver", "state"),
    [("cpufreq-dt", "note"), ("intel_cpufreq", "note"), (None, "note"), ("intel_pstate", "ok")],
)
def test_the_governor_powersave_is_slow_with_most_drivers(monkeypatch, driver, state):
    chip = dataclasses.replace(machine.processor(), governor="powersave", driver=driver)
    monkeypatch.setattr(machine, "processor", lambda: chip)
    assert doctor._processor().state == state


def test_heat_and_undervoltage_are_reported(monkeypatch):
    monkeypatch.setattr(machine, "temperature_c", lambda: 84.2)
    monkeypatch.setattr(machine, "throttle_flags", lambda: 0x50005)
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 30_000_000)
    slow = dataclasses.replace(machine.processor(), governor="powersave", driver="cpufreq-dt")
    monkeypatch.setattr(machine, "processor", lambda: slow)
    found = by_name(doctor.examine())
    for about in ("temperature", "power", "memory", "processor"):
        assert found[about].state == "note"
        assert found[about].fix
    assert "under-voltage now" in found["power"].found
