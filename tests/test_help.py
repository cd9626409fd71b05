"""Every command's --help: its examples run, its options have one name each."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

import lesionedge
from lesionedge.cli import COMMANDS, main

SAME = {
    "--format": ("predict", "camera", "benchmark", "info", "doctor"),
    "--output": ("predict", "batch", "explain", "calibrate"),
    "--jobs": ("predict", "serve", "batch", "calibrate"),
    "--threads": ("predict", "camera", "explain", "benchmark"),
    "--model": ("predict", "camera", "serve", "batch", "explain", "benchmark"),
    "--labels": ("predict", "camera", "serve", "batch", "explain"),
    "--normalize": ("predict", "camera", "serve", "batch", "explain"),
    "--malignant": ("predict", "camera", "serve", "batch", "explain", "calibrate"),
    "--profile": ("predict", "camera", "serve", "batch", "explain"),
}
"""Option -> the commands that have it under this name."""


def command_of(name):
    return main.get_command(click.Context(main), name)


def examples(name):
    epilog = command_of(name).epilog or ""
    return re.findall(r"^ +((?:[A-Z_]+=\S+ )?lesionedge .*)$", epilog, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples(cli_run, name):
    shown = cli_run(name, "--help").stdout
    assert "Examples:" in shown
    assert examples(name)
    for line in examples(name):
        assert line in shown


@pytest.mark.parametrize(("option", "commands"), SAME.items())
def test_the_same_option_has_the_same_name(option, commands):
    for name in commands:
        opts = [opt for param in command_of(name).params for opt in param.opts]
        assert option in opts, name


@pytest.mark.parametrize(
    ("name", "line"),
    [(name, line) for name in COMMANDS for line in examples(name)
     if "s3://" not in line and name not in ("camera", "serve", "benchmark")],
)  # fmt: skip
def test_the_examples_run(cli_run, name, line, draw, tmp_path, monkeypatch, models):
    """Runs them on images with the names in the examples."""
    monkeypatch.chdir(tmp_path)
    for image in ("photo.jpg", "a.jpg", "b.jpg", "folder/c.jpg", "archive/d.jpg"):
        (tmp_path / image).parent.mkdir(exist_ok=True)
        draw(120, 90, seed=1).save(tmp_path / image)
    labelled(cli_run, draw, tmp_path, line)
    (tmp_path / "model.tflite").write_bytes((models / "int8.tflite").read_bytes())
    words = shlex.split(line)
    assert words[0] == "lesionedge"
    if "--show-failed" in words:
        cli_run("batch", "archive/", "-o", "results/")
    done = cli_run(*words[1:])
    assert done.exit_code == 0, done.output
    assert done.stdout or "-o" in words


def labelled(cli_run, draw, folder, line):
    """Labelled photos, and predictions of them."""
    if "photos/" not in line and "labels.csv" not in line:
        return
    (folder / "photos").mkdir()
    for number in range(4):
        draw(120, 90, seed=number).save(folder / "photos" / f"{number}.jpg")
    (folder / "labels.csv").write_text("id,label\n0,nv\n1,mel\n2,nv\n3,bcc\n")
    if "predictions.csv" in line:
        cli_run("predict", "photos/", "-o", "predictions.csv")


def test_former_names_of_options_are_understood(cli_run, int8, photo, tmp_path):
    done = cli_run("batch", photo, "--out", tmp_path / "out", "-m", int8, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out").is_dir()
    assert cli_run("doctor", "--json").stdout.startswith("{")
    for name in ("batch", "doctor", "benchmark"):
        shown = cli_run(name, "--help").stdout
        assert not re.search(r"--(out|workers|json|markdown)\b", shown)


OTHER_PROGRAMS = {
    "batch/cluster.py": {"--head"},  # ray
    "camera/picamera2.py": {"--system-site-packages"},  # venv
    "doctor.py": {"--force-reinstall", "--upgrade", "--only-binary"},  # pip
}
"""Module -> options of other programs that its texts name."""
RPICAM = "camera/rpicam.py"
"""Texts with options of rpicam-vid, which it calls."""


def named_options(file):
    """Return the options that a module's texts name, but for options' former names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    former = {
        id(inner)
        for node in ast.walk(tree) if isinstance(node, ast.keyword)
        and (node.arg or "").startswith("former")
        for inner in ast.walk(node)
    }  # fmt: skip
    texts = (
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in former
    )  # fmt: skip
    return {option for text in texts for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}


def test_texts_name_options_by_their_names():
    package = Path(lesionedge.__file__).parent
    known = {opt for name in COMMANDS for param in command_of(name).params
             for opt in (*param.opts, *param.secondary_opts)}  # fmt: skip
    known |= {opt for param in main.params for opt in param.opts} | {"--help"}
    strange = {
        str(module): options
        for file in package.rglob("*.py")
        if (module := file.relative_to(package)) != Path(RPICAM)
        and (options := named_options(file) - known - OTHER_PROGRAMS.get(str(module), set()))
    }
    assert not strange


def test_version(cli_run):
    for option in ("-V", "--version"):
        assert cli_run(option).stdout == f"lesionedge {lesionedge.__version__}\n"


@pytest.mark.parametrize("name", ["evaluate", "calibrate"])
def test_an_unknown_layout_is_wrong_usage(cli_run, name, tmp_path):
    pytest.importorskip("scipy", reason="needs the extra evaluate")
    output = ("-o", tmp_path / "site.json") if name == "calibrate" else ()
    done = cli_run(name, tmp_path, "--layout", "other", *output)
    assert done.exit_code == 2
    assert "'other' is not one of ham10000, isic-challenge" in done.stderr
