"""``tests/vectors.json``, which checks ports to other languages, holds for Python."""

from __future__ import annotations

import json

import pytest
from make_port_vectors import FILE, vectors


def test_python_predicts_the_vectors():
    wanted, found = json.loads(FILE.read_text()), vectors()
    assert wanted["about"] == found["about"]
    assert wanted["labels"] == found["labels"]
    assert len(wanted["vectors"]) == len(found["vectors"]) == 24
    for one, other in zip(wanted["vectors"], found["vectors"]):
        for key in ("probabilities", "gate"):
            assert other.pop(key) == pytest.approx(one.pop(key), abs=1e-6)
        assert one == other
