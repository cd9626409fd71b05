from __future__ import annotations

import re
import subprocess
import sys

import pytest

import lesionedge
from lesionedge.cli import COMMANDS, printable


def test_version(cli_run):
    result = cli_run("--version")
    assert result.exit_code == 0
    assert result.output == f"lesionedge {lesionedge.__version__}\n"


def test_help_lists_every_command(cli_run):
    listing = cli_run("--help").output
    for name in COMMANDS:
        assert name in listing
        shown = cli_run(name, "--help")
        assert shown.exit_code == 0
        assert "Usage: lesionedge" in shown.output


def test_unknown_command_is_wrong_usage(cli_run):
    assert cli_run("prophesy").exit_code == 2


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "lesionedge", "--version"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert re.fullmatch(r"lesionedge \S+\n", done.stdout)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain é 🩺.jpg", "plain é 🩺.jpg"),
        ("a\nb\x1b[31m.jpg", "a\\nb\\x1b[31m.jpg"),
        ("caf\udce9.jpg", "caf\\xe9.jpg"),
    ],
)
def test_printable_names(name, shown):
    assert printable(name) == shown
