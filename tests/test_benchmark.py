from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from lesionedge import ImageError, LesionEdgeError, ModelError, benchmark, parallel

QUICK = {"queries": 4, "seconds": 0.0}


@pytest.fixture(scope="module")
def measured(int8):
    return benchmark.measure_apart([benchmark.example_image()], model=int8, threads=1, **QUICK)


def with_p90(m, *, model="m", threads=1, p90=1.0):
    whole = dataclasses.replace(m.latency_ms["whole"], p90=p90)
    latency = {**m.latency_ms, "whole": whole}
    return dataclasses.replace(m, model=model, threads=threads, latency_ms=latency)


def test_the_drawn_image_is_a_jpeg_of_the_requested_size():
    with Image.open(io.BytesIO(benchmark.example_image(320, 240))) as image:
        assert (image.format, image.size) == ("JPEG", (320, 240))


def test_every_stage_is_measured(measured):
    assert measured.queries == 4
    assert measured.threads == 1
    assert not measured.comparable
    assert set(measured.latency_ms) == set(benchmark.STAGES)
    for latency in measured.latency_ms.values():
        assert 0 < latency.min <= latency.p50 <= latency.p90 <= latency.p99 <= latency.max
    stages = sum(measured.latency_ms[stage].mean for stage in ("decode", "preprocess", "invoke"))
    assert stages <= measured.latency_ms["whole"].mean
    assert measured.load_ms > 0 and measured.first_ms > 0
    assert measured.images_per_s == pytest.approx(4 / measured.duration_s)


def test_runs_until_both_the_time_and_the_number_are_reached(int8):
    image = benchmark.example_image(64, 64)
    found = benchmark.measure([image], model=int8, queries=1, seconds=0.5)
    assert found.queries > 1
    assert found.duration_s >= 0.5


def test_faults_come_through_the_other_process(int8, tmp_path):
    with pytest.raises(ModelError, match="none"):
        benchmark.measure_apart([benchmark.example_image()], model="none", **QUICK)
    with pytest.raises(ImageError, match="none.jpg"):
        benchmark.measure_apart([str(tmp_path / "none.jpg")], model=int8, **QUICK)
    with pytest.raises(ValueError, match="no images"):
        benchmark.measure([], model=int8)


def test_a_killed_process_is_an_error(int8, monkeypatch):
    monkeypatch.setattr(parallel, "_work", die)
    with pytest.raises(LesionEdgeError, match="killed by SIGKILL; it was not measured"):
        benchmark.measure_apart([benchmark.example_image()], model=int8, **QUICK)


def die(_chunk):
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_interrupted_process_says_nothing(int8):
    line = [sys.executable, "-m", "lesionedge", "benchmark", "-m", int8]
    run = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert "measuring 1 of 1" in run.stderr.readline()
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        while len(children.read_text().split()) < 2:  # the first one tracks resources
            time.sleep(0.01)
        time.sleep(0.1)  # the other one imports libraries now
        os.killpg(run.pid, signal.SIGINT)
        output, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert (run.returncode, output, errors.strip()) == (130, "", "")


def test_fewer_threads_win_if_they_are_equally_fast(measured):
    one, two = with_p90(measured, threads=1, p90=1.04), with_p90(measured, threads=2, p90=1.0)
    assert benchmark.best([one, two]) is one
    assert benchmark.best([with_p90(measured, threads=1, p90=1.2), two]) is two


def test_advice_compares_models(measured):
    lines = benchmark.advice(
        [
            with_p90(measured, model="a", threads=1, p90=4.0),
            with_p90(measured, model="a", threads=2, p90=2.0),
            with_p90(measured, model="b", p90=3.0),
        ]
    )
    assert lines == ["a: use --threads 2 here", "a is 1.50 times as fast as b here"]


def test_files_are_named_without_their_folders_unless_two_are_alike():
    assert benchmark.short_names(["a/b/one.tflite", "cnn"]) == {
        "a/b/one.tflite": "one.tflite", "cnn": "cnn",
    }  # fmt: skip
    assert benchmark.short_names(["a/x.tflite", "b/x.tflite"]) == {
        "a/x.tflite": "a/x.tflite", "b/x.tflite": "b/x.tflite",
    }  # fmt: skip


def test_throttling_and_other_programs_cause_warnings(measured):
    hot = dataclasses.replace(measured.after, throttle_flags=1 << 2)
    assert any("throttled now" in w for w in dataclasses.replace(measured, after=hot).warnings)
    busy = dataclasses.replace(
        measured.before, time_s=measured.before.time_s + 1, busy_s=(measured.before.busy_s or 0) + 2
    )
    spoilt = dataclasses.replace(
        measured, before=dataclasses.replace(measured.before, busy_s=measured.before.busy_s or 0),
        after=busy,
    )  # fmt: skip
    assert any("2.0 hardware threads" in w for w in spoilt.warnings)


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (3, [1, 2, 3]), (5, [1, 2, 3, 4, 5])])
def test_thread_counts_go_from_one_to_all_cores_that_may_be_used(monkeypatch, cores, expected):
    """Such as those of a container."""
    monkeypatch.setattr(benchmark, "usable_cores", lambda: cores)
    assert benchmark.thread_counts() == expected


def test_the_command_prints_json_and_draws(cli_run, int8, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "QUICK_QUERIES", 2)
    monkeypatch.setattr(benchmark, "QUICK_SECONDS", 0.0)
    plot = tmp_path / "plot.png"
    result = cli_run("benchmark", photo, "-m", int8, "--quick", "--json", "--plot", plot,
                     "--threads", "auto")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [m["threads"] for m in found["measurements"]] == benchmark.thread_counts()
    assert found["measurements"][0]["comparable"] is False
    assert found["machine"]["hardware_threads"] >= 1
    with Image.open(plot) as drawn:
        assert drawn.width == 960


def test_what_was_measured_is_shown_if_a_later_setting_fails(cli_run, int8, monkeypatch):
    monkeypatch.setattr(benchmark, "QUICK_QUERIES", 2)
    monkeypatch.setattr(benchmark, "QUICK_SECONDS", 0.0)
    done = cli_run("benchmark", "-m", int8, "-m", "none", "--quick", "--format", "json")
    assert (done.exit_code, "none: no such model" in done.stderr) == (1, True)
    assert [one["model"] for one in json.loads(done.stdout)["measurements"]] == [int8]


def test_the_command_prints_text_and_markdown(cli_run, int8, monkeypatch):
    monkeypatch.setattr(benchmark, "QUICK_QUERIES", 2)
    monkeypatch.setattr(benchmark, "QUICK_SECONDS", 0.0)
    text = cli_run("benchmark", "-m", int8, "--quick", "--threads", 1).stdout
    assert "not comparable" in text and "preprocess" in text and "1 thread:" in text
    table = cli_run("benchmark", "-m", int8, "--quick", "--markdown").stdout
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize(
    "arguments",
    [["--threads", "0"], ["--threads", "many"], ["--format", "csv"], ["--plot", "a.jpg"],
     ["none.jpg"]],
)  # fmt: skip
def test_wrong_usage(cli_run, int8, arguments):
    assert cli_run("benchmark", "-m", int8, "--quick", *arguments).exit_code == 2


def test_no_place_for_the_plot_is_an_error_at_once(cli_run, int8, tmp_path):
    done = cli_run("benchmark", "-m", int8, "--plot", tmp_path / "none" / "a.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "a.png: cannot be written" in done.stderr


def test_a_missing_model_is_one_line(cli_run):
    result = cli_run("benchmark", "-m", "none.tflite", "--quick")
    assert result.exit_code == 1
    assert "none.tflite" in result.stderr and "Traceback" not in result.stderr
