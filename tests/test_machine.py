from __future__ import annotations

import dataclasses

import pytest

from lesionedge import machine


def root(folder, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{folder}/"


PI = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid asimdhp asimddp\n\n"
    "Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "cpufreq-dt\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1800000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "61250\n",
    "sys/class/thermal/thermal_zone1/type": "battery\n",
    "sys/class/thermal/thermal_zone1/temp": "99000\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "proc/stat": "cpu  300 0 100 9000 50 0 0 0 0 0\ncpu0 1 2 3\n",
    "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable:  512000 kB\n",
    "proc/self/status": "VmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n",
}


def test_a_raspberry_pi_is_described(tmp_path):
    here = root(tmp_path, PI)
    found = machine.processor(here)
    assert found.name == "Raspberry Pi 5 Model B Rev 1.0"
    assert set(found.features) == {"neon", "fp16", "dotprod"}
    assert (found.governor, found.max_clock_mhz) == ("ondemand", 2400)
    assert found.driver == "cpufreq-dt"
    now = machine.condition(here)
    assert (now.temperature_c, now.clock_mhz) == (61.25, 1800)
    assert machine.throttled(now.throttle_flags) == (
        "under-voltage now", "throttled now", "under-voltage has occurred", "was throttled",
    )  # fmt: skip
    assert machine.free_memory_bytes(here) == 512_000 * 1024
    assert machine.memory_bytes("VmHWM", here) == 2 * 1024 * 1024


def test_values_that_the_system_lacks_are_none(tmp_path):
    here = root(tmp_path, {})
    found, now = machine.processor(here), machine.condition(here)
    assert found.name
    assert found.governor is None and found.max_clock_mhz is None
    assert now.temperature_c is now.clock_mhz is now.throttle_flags is now.busy_s is None
    assert machine.free_memory_bytes(here) is None
    assert machine.throttled(None) == ()


def test_a_pc_is_described(tmp_path):
    text = "model name\t: A Chip 9000\ncpu MHz\t: 2100.5\nflags\t: fpu avx2 avx512_vnni avx_vnni\n"
    here = root(tmp_path, {"proc/cpuinfo": text})
    assert machine.processor(here).name == "A Chip 9000"
    assert machine.processor(here).features == ("avx2", "vnni")
    assert machine.condition(here).clock_mhz == 2100.5


def test_other_programs_load_excludes_our_own(tmp_path):
    before = machine.condition(root(tmp_path, PI))
    assert before.busy_s == pytest.approx(4.0)
    after = dataclasses.replace(
        before, time_s=before.time_s + 10, busy_s=before.busy_s + 15, own_s=before.own_s + 9
    )
    assert machine.others_share(before, after) == pytest.approx(0.6)
    assert machine.others_share(before, before) is None
    unknown = dataclasses.replace(before, busy_s=None)
    assert machine.others_share(unknown, after) is None


def test_this_machine_is_described():
    assert machine.processor().hardware_threads >= 1
    assert machine.condition().own_s > 0
