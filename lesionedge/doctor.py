"""Checks what is installed and what works, and says how to fix the rest."""

from __future__ import annotations

import platform
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from lesionedge import machine
from lesionedge.errors import LesionEdgeError, MissingDependencyError
from lesionedge.extras import EXTRAS

OLDEST_PYTHON = (3, 10)
LITTLE_MEMORY_BYTES = 80_000_000
"""``lesionedge predict`` needs up to 65 MB."""

PI_CAMERAS = ("picamera2", "rpicam")
"""Camera interfaces that only a Raspberry Pi has."""

OWN_CLOCK = ("intel_pstate", "amd-pstate-epp")
"""Drivers whose governor ``powersave`` raises the clock under load (kernel.org, "intel_pstate",
"amd-pstate"); with others it stays at the lowest."""

HOT_C = 80.0
"""From this temperature on, a Raspberry Pi slows down (raspberrypi.com, "Frequency management")."""


@dataclass(frozen=True)
class Finding:
    """One result of the check."""

    about: str
    """What was checked: ``runtime``, ``numpy``, ..."""
    state: str
    """``ok``; ``absent``: missing, but not needed for prediction; ``note``: prediction works, but
    something could be better; ``fault``: prediction cannot work."""
    found: str
    """What was found."""
    fix: str = ""
    """The command to run, or what to do."""


def examine() -> Iterator[Finding]:
    """Check everything that prediction and the cameras need."""
    yield _python()
    yield _processor()
    yield _libc()
    yield _library("numpy")
    pillow = _pillow()
    yield pillow
    images = pillow.state != "fault"  # without them there are neither predictions nor cameras
    yield from _runtime(images)
    yield from _cameras() if images else ()
    yield from _extras()
    yield _memory()
    yield from _temperature()


def works(findings: list[Finding]) -> bool:
    """Return whether prediction can work."""
    return all(finding.state != "fault" for finding in findings)


def bits() -> int:
    """Return the width of this Python's pointers: 64 or 32."""
    return 64 if sys.maxsize > 2**32 else 32


def _python() -> Finding:
    abi = sysconfig.get_config_var("SOABI") or platform.python_implementation()
    found = f"{platform.python_version()}, {bits()} bit, {abi}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", "fault", found, "install Python 3.10 or newer")
    if bits() == 32 and sys.version_info >= (3, 12):
        return Finding(
            "Python", "fault", f"{found}: no TFLite runtime exists for 32 bit and this Python",
            "use a 64-bit system (Raspberry Pi Imager offers it), or Python 3.11 or older",
        )  # fmt: skip
    if bits() == 32 and platform.machine() in ("aarch64", "x86_64"):
        return Finding(
            "Python", "note", f"{found}, on a 64-bit kernel ({platform.machine()})",
            "pip takes this for a 64-bit system: install the wheel named …-linux_armv7l.whl",
        )  # fmt: skip
    return Finding("Python", "ok", found)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _processor() -> Finding:
    chip = machine.processor()
    parts = [chip.name, chip.architecture, f"hardware threads: {chip.hardware_threads}"]
    parts.append(", ".join(chip.features) or "none of the features that speed these networks up")
    if chip.governor == "powersave" and chip.driver not in OWN_CLOCK:
        return Finding(
            "processor", "note", f"{'; '.join(parts)}; governor powersave",
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )  # fmt: skip
    return Finding("processor", "ok", "; ".join(parts))


def _libc() -> Finding:
    name, number = platform.libc_ver()
    if platform.system() == "Linux" and name != "glibc":
        return Finding(
            "C library", "note", f"{name or 'not glibc (musl?)'} {number}".strip(),
            "the runtimes' wheels are built for glibc: use a Debian-based system",
        )  # fmt: skip
    return Finding("C library", "ok", f"{name} {number}".strip() or platform.system())


def _library(name: str) -> Finding:
    try:
        __import__(name)
        return Finding(name, "ok", _version(name))
    except Exception as error:  # noqa: BLE001 (a broken library may raise anything)
        return Finding(name, "fault", _first_line(error), f"pip install --force-reinstall {name}")


def _pillow() -> Finding:
    try:
        from PIL import features
    except Exception as error:  # noqa: BLE001 (a broken library may raise anything)
        return Finding(
            "Pillow", "fault", _first_line(error), "pip install --force-reinstall pillow"
        )
    found = _version("pillow")
    if not features.check("jpg"):
        return Finding(
            "Pillow", "fault", f"{found}, without JPEG",
            "sudo apt install libjpeg62-turbo, then pip install --force-reinstall pillow",
        )  # fmt: skip
    if not features.check("libjpeg_turbo"):
        return Finding(
            "Pillow", "note", f"{found}, with a slow JPEG library",
            "pip install --force-reinstall --only-binary :all: pillow",
        )  # fmt: skip
    return Finding("Pillow", "ok", f"{found}, libjpeg-turbo {features.version('libjpeg_turbo')}")


def _runtime(images: bool) -> Iterator[Finding]:
    from lesionedge.interpreter import find_backend, how_to_install

    try:
        backend = find_backend()
    except MissingDependencyError as error:
        fix = how_to_install()
        found = str(error).removesuffix(fix).strip()
        yield Finding("runtime", "fault", found, fix.removeprefix("Install one: "))
        return
    found = f"{backend.name} {backend.version}"
    if backend.name == "tflite-runtime" and bits() == 64:
        yield Finding("runtime", "note", f"{found}; LiteRT is faster", "pip install ai-edge-litert")
    else:
        yield Finding("runtime", "ok", found)
    if images:
        yield _model()


def _model() -> Finding:
    """Run the embedded int8 model."""
    import numpy as np

    from lesionedge.classifier import Classifier
    from lesionedge.description import DEFAULT_MODEL

    try:
        classifier = Classifier()
        grey = np.full(classifier.interpreter.input.shape[1:], 128, np.uint8)
        classifier.probabilities(grey)
        begin = time.perf_counter()
        total = float(classifier.probabilities(grey).sum())
        took_ms = (time.perf_counter() - begin) * 1000
    except LesionEdgeError as error:
        return Finding("model", "fault", str(error), "pip install --force-reinstall lesionedge")
    if abs(total - 1) > 0.02:
        return Finding(
            "model", "fault", f"{DEFAULT_MODEL} returns probabilities that sum to {total:.3f}",
            "pip install --upgrade --force-reinstall ai-edge-litert",
        )  # fmt: skip
    found = f"{DEFAULT_MODEL} (int8) predicts in {took_ms:.1f} ms on {_threads(classifier.threads)}"
    if classifier.interpreter.backend.name == "tflite-runtime":
        return Finding("model", "ok", f"{found}, by tflite-runtime's own kernels")
    if classifier.interpreter.delegated is False:
        return Finding(
            "model", "note", f"{found}, without XNNPACK",
            "pip install --upgrade --force-reinstall ai-edge-litert",
        )  # fmt: skip
    taken = {True: ", by XNNPACK", None: ""}[classifier.interpreter.delegated]
    return Finding("model", "ok", found + taken)


def _cameras() -> Iterator[Finding]:
    from lesionedge.camera.choice import survey

    on_a_pi = machine.is_raspberry_pi()
    for name, is_there, found, fix in survey():
        if name in PI_CAMERAS and not is_there and not on_a_pi:
            continue  # only a Raspberry Pi can have one
        state = "ok" if is_there else "absent"
        yield Finding(f"camera, {name}", state, found, fix)


def _extras() -> Iterator[Finding]:
    for extra in EXTRAS:
        about = f"extra, {extra.name}"
        if extra.missing:
            found = f"not installed; it adds {extra.adds}"
            yield Finding(about, "absent", found, extra.command)
        else:
            yield Finding(about, "ok", extra.adds)


def _memory() -> Finding:
    free = machine.free_memory_bytes()
    if free is None:
        return Finding("memory", "ok", "the system does not say how much is free")
    found = f"{free / 1e6:.0f} MB free"
    if free < LITTLE_MEMORY_BYTES:
        return Finding("memory", "note", found, "close other programs; prediction takes 65 MB")
    return Finding("memory", "ok", found)


def _temperature() -> Iterator[Finding]:
    warmth, flags = machine.temperature_c(), machine.throttle_flags()
    if warmth is not None:
        hot = warmth >= HOT_C
        fix = f"cool the processor: from {HOT_C:.0f} °C on its clock is lowered" if hot else ""
        yield Finding("temperature", "note" if hot else "ok", f"{warmth:.0f} °C", fix)
    if flags is not None:
        said = machine.throttled(flags)
        fix = "a stronger power supply, or cooling" if said else ""
        yield Finding("power", "note" if said else "ok", ", ".join(said) or "never throttled", fix)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
