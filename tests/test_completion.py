"""Tab completion, as a shell asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest


def lesionedge(**environment):
    """Return what the command prints in such an environment."""
    line = [sys.executable, "-m", "lesionedge"]
    done = subprocess.run(
        line, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.stdout


def completed(words):
    """Return (kind, word) for each completion of the last word, as bash gets them."""
    found = lesionedge(
        _LESIONEDGE_COMPLETE="bash_complete", COMP_WORDS=f"lesionedge {words}",
        COMP_CWORD=str(len(words.split(" "))),
    )  # fmt: skip
    return [tuple(line.split(",", 1)) for line in found.splitlines()]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pre", [("plain", "predict")]),
        ("predict --op", [("plain", "--operating-point")]),
        ("predict --format j", [("plain", "json")]),
        ("predict -m mob", [("plain", "mobilenetv2"), ("plain", "mobilenetv2-float16")]),
        ("benchmark -m ./mi", [("file", "./mi")]),
        ("camera --source rp", [("plain", "rpicam")]),
        ("camera --source seen/", [("file", "seen/")]),
        ("predict pho", [("file", "pho")]),
    ],
)
def test_words_are_completed(words, found):
    assert completed(words) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_its_script(shell):
    script = lesionedge(_LESIONEDGE_COMPLETE=f"{shell}_source")
    assert f"_LESIONEDGE_COMPLETE={shell}_complete" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_line_of_the_documentation(tmp_path):
    # The script that bash runs starts the command by its name: it has to be on the PATH.
    program = tmp_path / "lesionedge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lesionedge "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", 'eval "$(_LESIONEDGE_COMPLETE=bash_source lesionedge)"; '
         "complete -p lesionedge; "
         "COMP_WORDS=(lesionedge inf); COMP_CWORD=1; _lesionedge_completion lesionedge; "
         'echo "${COMPREPLY[@]}"'],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _lesionedge_completion lesionedge", "info",
    ]  # fmt: skip
