from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *arguments):
    line = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True)


def test_the_bundled_picture_is_what_its_script_draws(tmp_path):
    done = run("synthetic_lesion.py", tmp_path / "again.jpg")
    assert done.returncode == 0, done.stderr
    with (
        Image.open(tmp_path / "again.jpg") as again,
        Image.open(EXAMPLES / "synthetic_lesion.jpg") as kept,
    ):
        assert again.size == kept.size == (600, 450)
        assert np.abs(np.asarray(again).astype(int) - np.asarray(kept)).mean() < 2


def test_other_seeds_and_sizes(tmp_path):
    assert (
        run("synthetic_lesion.py", tmp_path / "a.png", "--seed", 9, "--size", "320x200").returncode
        == 0
    )
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (320, 200)


def test_classify_folder_sorts_by_risk_and_reports_failures(tmp_path):
    for seed in (1, 2, 3):
        run("synthetic_lesion.py", tmp_path / f"{seed}.jpg", "--seed", seed, "--size", "300x200")
    shutil.copy(EXAMPLES / "synthetic_lesion.py", tmp_path / "broken.jpg")
    done = run("classify_folder.py", tmp_path)
    assert done.returncode == 1
    assert "broken.jpg" in done.stderr
    risks = [float(line.split("%")[0]) for line in done.stdout.splitlines()]
    assert len(risks) == 3
    assert risks == sorted(risks, reverse=True)


def test_the_synthetic_dataset_is_a_dataset(tmp_path):
    done = run("synthetic_dataset.py", tmp_path / "mine", "--lesions", 12)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "mine" / "pictures.csv").read_text().splitlines()
    assert lines[0] == "path,label,lesion"
    assert len(lines) == 1 + len(list((tmp_path / "mine" / "pictures").iterdir()))
    for line in lines[1:]:
        path, label, _ = line.split(",")
        assert label in ("plain", "veiled")
        with Image.open(tmp_path / "mine" / path) as picture:
            assert picture.size == (200, 150)
