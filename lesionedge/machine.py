"""Describes this machine and its condition: processor, clock, temperature, memory, throttling.

Everything is read from ``/proc`` and ``/sys``, and on a Raspberry Pi from its firmware. A value
that the system does not report is None.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass

from lesionedge.cores import read

FEATURES = {
    "asimddp": "dotprod", "i8mm": "i8mm", "asimdhp": "fp16", "sve": "sve", "neon": "neon",
    "asimd": "neon", "avx2": "avx2", "avx512f": "avx512", "avx_vnni": "vnni",
    "avx512_vnni": "vnni", "amx_int8": "amx",
}  # fmt: skip
"""Processor features that make the networks faster: the kernel's name -> the usual name."""

THROTTLE_FLAGS = {
    0: "under-voltage now", 1: "clock capped now", 2: "throttled now",
    3: "soft temperature limit now", 16: "under-voltage has occurred", 17: "clock was capped",
    18: "was throttled", 19: "soft temperature limit has occurred",
}  # fmt: skip
"""Bits of the Raspberry Pi firmware's ``get_throttled`` (raspberrypi.com, "vcgencmd")."""


@dataclass(frozen=True)
class Processor:
    """The processor; it does not change."""

    name: str
    """Board and processor, as the system names them."""
    architecture: str
    """As Python names it: x86_64, aarch64, armv7l, ..."""
    hardware_threads: int
    """Number of hardware threads."""
    features: tuple[str, ...]
    """Which of ``FEATURES`` it has."""
    governor: str | None
    """How Linux chooses the clock: ``performance``, ``ondemand``, ..."""
    driver: str | None
    """What sets the clock: ``cpufreq-dt``, ``intel_pstate``, ..."""
    max_clock_mhz: float | None
    """The highest clock."""


@dataclass(frozen=True)
class Condition:
    """The machine's condition at one moment."""

    time_s: float
    """``time.monotonic()``."""
    temperature_c: float | None
    """The warmest sensor that calls itself the processor's; degrees Celsius."""
    clock_mhz: float | None
    """The fastest core's clock."""
    throttle_flags: int | None
    """The Raspberry Pi firmware's bits; None elsewhere."""
    busy_s: float | None
    """Seconds that all hardware threads have worked since the start, for all programs."""
    own_s: float
    """Seconds of that for this process and its ended children."""


def processor(root: str = "/") -> Processor:
    """Describe the processor.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    facts = _cpuinfo(root)
    board = read(f"{root}proc/device-tree/model").rstrip("\0")
    names = [board, facts.get("model name") or facts.get("hardware") or ""]
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    cpufreq = f"{root}sys/devices/system/cpu/cpu0/cpufreq"
    clock = read(f"{cpufreq}/cpuinfo_max_freq")
    return Processor(
        name=", ".join(name for name in names if name) or platform.machine(),
        architecture=platform.machine(),
        hardware_threads=os.cpu_count() or 1,
        features=tuple(dict.fromkeys(name for flag, name in FEATURES.items() if flag in flags)),
        governor=read(f"{cpufreq}/scaling_governor") or None,
        driver=read(f"{cpufreq}/scaling_driver") or None,
        max_clock_mhz=int(clock) / 1000 if clock.isdigit() else None,
    )


def condition(root: str = "/") -> Condition:
    """Return the machine's clock, temperature and load now.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    times = os.times()
    return Condition(
        time_s=time.monotonic(),
        temperature_c=temperature_c(root),
        clock_mhz=_clock_mhz(root),
        throttle_flags=throttle_flags(root),
        busy_s=_busy_s(root),
        own_s=times.user + times.system + times.children_user + times.children_system,
    )


def others_share(before: Condition, after: Condition) -> float | None:
    """Return how many hardware threads other programs kept busy between two moments, on average."""
    span = after.time_s - before.time_s
    if before.busy_s is None or after.busy_s is None or span <= 0:
        return None
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(0.0, others / span)


def throttled(flags: int | None) -> tuple[str, ...]:
    """Return the Raspberry Pi firmware's bits as texts."""
    return tuple(text for bit, text in THROTTLE_FLAGS.items() if (flags or 0) >> bit & 1)


def memory_bytes(field: str, root: str = "/") -> int | None:
    """Return a figure of this process's memory.

    Args:
        field: ``VmHWM`` for the peak, or ``VmRSS`` for the present amount (proc(5)).
        root: Where ``proc`` is mounted.
    """
    return _kilobytes(f"{root}proc/self/status", field)


def free_memory_bytes(root: str = "/") -> int | None:
    """Return how much memory is still free for programs."""
    return _kilobytes(f"{root}proc/meminfo", "MemAvailable")


def temperature_c(root: str = "/") -> float | None:
    """Return the processor's temperature, degrees Celsius."""
    zones = f"{root}sys/class/thermal"
    found = []
    for zone in _listed(zones):
        kind = read(f"{zones}/{zone}/type").lower()
        value = read(f"{zones}/{zone}/temp")
        if value.lstrip("-").isdigit() and any(word in kind for word in ("cpu", "soc", "x86_pkg")):
            found.append(int(value) / 1000)
    return max(found, default=None)


def throttle_flags(root: str = "/") -> int | None:
    """Return the Raspberry Pi firmware's throttling bits; None on other machines."""
    text = read(f"{root}sys/devices/platform/soc/soc:firmware/get_throttled")
    if not text and root == "/":
        text = _vcgencmd("get_throttled").partition("=")[2]
    try:
        return int(text, 16)
    except ValueError:
        return None


def is_raspberry_pi(root: str = "/") -> bool:
    """Return whether this is a Raspberry Pi, by the device tree's model.

    Args:
        root: Where ``proc`` is mounted.
    """
    return read(f"{root}proc/device-tree/model").startswith("Raspberry Pi")


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _cpuinfo(root: str) -> dict[str, str]:
    facts: dict[str, str] = {}
    for line in read(f"{root}proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip().lower(), value.strip())
    return facts


def _clock_mhz(root: str) -> float | None:
    cpus = f"{root}sys/devices/system/cpu"
    values = [read(f"{cpus}/{name}/cpufreq/scaling_cur_freq") for name in _listed(cpus)]
    clocks = [int(value) / 1000 for value in values if value.isdigit()]
    for line in read(f"{root}proc/cpuinfo").splitlines() if not clocks else ():
        key, _, value = line.partition(":")
        if key.strip() == "cpu MHz":
            clocks.append(float(value))
    return max(clocks, default=None)


def _busy_s(root: str) -> float | None:
    # user nice system idle iowait irq softirq steal, in ticks (proc_stat(5))
    fields = read(f"{root}proc/stat").partition("\n")[0].split()[1:9]
    if len(fields) < 8:
        return None
    user, nice, system, _idle, _wait, irq, softirq, _steal = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _kilobytes(path: str, field: str) -> int | None:
    for line in read(path).splitlines():
        key, _, value = line.partition(":")
        if key == field:
            return int(value.split()[0]) * 1024
    return None


def _vcgencmd(*arguments: str) -> str:
    import shutil
    import subprocess

    program = shutil.which("vcgencmd")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
