"""Files of many programs have the right results, the same in every front end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from serving import serving

from lesionedge import Classifier
from lesionedge import image as images

sys.path.insert(0, str(Path(__file__).parent / "corpus"))

import make_corpus

GREY = "white-is-zero-16.tif"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The folder, and the expected result of each file."""
    folder = tmp_path_factory.mktemp("corpus")
    return folder, make_corpus.make(folder)


@pytest.fixture(scope="module")
def own(corpus, int8):
    """Name -> the probability of the most probable class, for files that can be read."""
    folder, expected = corpus
    classifier = Classifier(int8, threads=1)
    return {
        name: classifier.classify(folder / "images" / name).probability
        for name, one in expected.items()
        if one.error is None
    }


def check(found, expected, own):
    """Compare results, by file name, with the expected ones."""
    assert set(found) == set(expected)
    for name, one in expected.items():
        result = found[name]
        if one.error is not None:
            assert one.error in result["error"], name
            continue
        assert result.get("error") is None, name
        assert result["probability"] == pytest.approx(own[name], abs=1e-6), name
        if one.code is not None:
            assert one.code in result["warning_codes"], name


def by_name(lines):
    results = [json.loads(line) for line in lines]
    return {name_of(one["path"]): one for one in results}


def name_of(path):
    """Return a file's name, also of a member of an archive: zip://NAME::ARCHIVE."""
    return Path(path.removeprefix("zip://").partition("::")[0]).name


@pytest.mark.parametrize("name", sorted(make_corpus.everything()))
def test_files_are_read_as_the_scene(corpus, name):
    folder, expected = corpus
    one = expected[name]
    if one.error is not None:
        with pytest.raises(images.ImageError, match=one.error):
            images.decode(folder / "images" / name)
        return
    decoded = images.decode(folder / "images" / name)
    scene = make_corpus.SCENE
    if name == GREY:
        scene = np.repeat(make_corpus.files.grey_of(scene)[..., None], 3, axis=2)
    assert decoded.size == make_corpus.SIZE
    assert np.abs(np.asarray(decoded.image) - scene * 255).mean() <= one.levels
    codes = [notice.code for notice in decoded.warnings]
    assert (one.code in codes) if one.code else not codes


@pytest.mark.parametrize("source", ["images", "images.zip"])
def test_predict(corpus, own, cli_run, int8, source):
    folder, expected = corpus
    done = cli_run("predict", folder / source, "-m", int8, "--format", "json")
    assert done.exit_code == 1
    check(by_name(done.stdout.splitlines()), expected, own)
    failures = sum(one.error is not None for one in expected.values())
    assert f"{failures} of {len(expected)} images failed" in done.stderr
    for name in make_corpus.PASSED_OVER:
        assert Path(name).name not in done.output


@pytest.mark.parametrize("source", ["images", "images.zip"])
def test_batch(corpus, own, cli_run, int8, tmp_path, source):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'lesionedge[batch]'")
    folder, expected = corpus
    done = cli_run("batch", folder / source, "-m", int8, "-o", tmp_path / "out", "--jobs", 1)
    assert done.exit_code == 1, done.output
    rows = parquet.read_table(tmp_path / "out").to_pylist()
    check({name_of(row["path"]): row for row in rows}, expected, own)


def test_camera(corpus, own, cli_run, int8):
    """A folder as a source: readable files are classified, unreadable ones are counted."""
    folder, expected = corpus
    done = cli_run("camera", "--source", folder / "images", "-m", int8, "--format", "json")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(own)
    failures = sum(one.error is not None for one in expected.values())
    assert f"{failures} damaged" in done.stderr


def test_serve(corpus, own, int8):
    folder, expected = corpus
    pytest.importorskip("fastapi", reason="pip install 'lesionedge[web]'")
    with serving("-m", int8) as server:
        for name, one in expected.items():
            response = server.predict((folder / "images" / name).read_bytes())
            if one.error is None and one.upload:
                assert response.status == 200, (name, response.body)
                assert response.json["probability"] == pytest.approx(own[name], abs=1e-6), name
                assert one.code is None or one.code in response.json["warning_codes"], name
            else:
                assert response.status in (400, 413, 422), (name, response.body)
                assert response.error
