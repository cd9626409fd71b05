"""Heat maps, through the public interface and the command."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import lesionedge
from lesionedge import explanation


@pytest.fixture(scope="module")
def lesion(draw):
    return draw(300, 200, seed=3)


def test_heat_has_the_size_of_the_models_input_and_passes_are_counted(lesion):
    found = lesionedge.explain(lesion)
    assert found.heat.shape == (224, 224)
    assert found.heat.dtype == np.float32
    assert found.passes <= 80
    assert np.abs(found.heat).max() <= 1
    assert found.label == found.prediction.label == lesionedge.classify(lesion).label


def test_the_network_runs_exactly_the_counted_passes(int8, lesion, monkeypatch):
    classifier = lesionedge.Classifier(int8)
    runs = []
    run = classifier.interpreter.run
    monkeypatch.setattr(classifier.interpreter, "run", lambda x: runs.append(1) or run(x))
    found = lesionedge.explain(lesion, model=classifier)
    assert len(runs) == found.passes <= 80


@pytest.mark.parametrize("model", ["int8", "float32", "float16", "sigmoid", "int8-tensors"])
def test_any_model_is_explained(models, model, lesion):
    found = lesionedge.explain(lesion, model=str(models / f"{model}.tflite"))
    assert np.isfinite(found.heat).all()


def test_covering_what_the_heat_map_ranks_highest_lowers_the_probability(models, lesion):
    classifier = lesionedge.Classifier(models / "float32.tflite")
    found = lesionedge.explain(lesion, model=classifier)
    pixels = classifier.model_input(lesion)
    hot = found.heat >= np.quantile(found.heat, 0.8)
    cover = np.asarray(explanation.surroundings(Image.fromarray(pixels)))
    number = classifier.labels.index(found.label)
    covered = classifier.probabilities_of_inputs([np.where(hot[..., None], cover, pixels)])[
        0, number
    ]
    assert covered < found.probability


def test_the_largest_fall_is_that_of_one_covered_window(cli_run, models, tmp_path, draw):
    """The means of the heat map are smaller."""
    model = models / "float32.tflite"
    draw(300, 200, seed=3).save(tmp_path / "a.png")
    done = cli_run("explain", tmp_path / "a.png", "-m", model, "-o", tmp_path / "heat.png")
    classifier = lesionedge.Classifier(model)
    pixels = classifier.model_input(tmp_path / "a.png")
    cover = np.asarray(explanation.surroundings(Image.fromarray(pixels)))
    side, number = len(pixels) // 8, classifier.labels.index(classifier.classify(pixels).label)
    covered = []
    for y in range(0, 6 * side, side):
        for x in range(0, 6 * side, side):
            one = pixels.copy()
            one[y : y + 3 * side, x : x + 3 * side] = cover[y : y + 3 * side, x : x + 3 * side]
            covered.append(one)
    whole, *others = classifier.probabilities_of_inputs([pixels, *covered])[:, number]
    assert f"lowers this by up to {(whole - min(others)) * 100:.1f} points" in done.stdout


def test_another_class_can_be_explained(int8, lesion):
    found = lesionedge.explain(lesion, model=int8, label="mel")
    assert found.label == "mel"
    assert found.name == "Melanoma"
    chances = {c.label: c.probability for c in found.prediction.top}
    assert found.probability == pytest.approx(chances["mel"])


def test_classes_of_one_label_are_explained_together(models, lesion):
    model = lesionedge.Classifier(models / "float32.tflite", labels=[*"abcde", "x", "x"])
    found = lesionedge.explain(lesion, model=model, label="x")
    assert found.probability == pytest.approx(model.probabilities(lesion)[5:].sum())


def test_an_unknown_class_is_refused(int8, lesion):
    with pytest.raises(ValueError, match="knows akiec, bcc"):
        lesionedge.explain(lesion, model=int8, label="flu")


def test_the_overlay_marks_the_crop_and_has_no_metadata(int8, tmp_path, draw):
    path = tmp_path / "gps.jpg"
    exif = Image.Exif()
    exif[0x010E] = "home"
    draw(500, 300, seed=2).save(path, exif=exif)
    found = lesionedge.explain(path, model=int8)
    overlay = found.overlay(path)
    assert overlay.width == 500
    assert overlay.height > 300
    assert not overlay.getexif()
    outside = np.asarray(overlay)[:300, 20]  # left of the centre square: plain grey
    assert (outside[:, 0] == outside[:, 2]).all()
    inside = np.asarray(overlay)[:300, 250].astype(int)
    assert (inside[:, 0] != inside[:, 2]).any()


def test_the_command_writes_an_image(cli_run, photo, int8, tmp_path):
    out = tmp_path / "heat.png"
    done = cli_run("explain", photo, "-o", out, "-m", int8)
    assert done.exit_code == 0, done.output
    assert "research use" in done.output
    with Image.open(out) as drawn:
        assert drawn.format == "PNG"
        assert not drawn.getexif()


def test_the_command_writes_numbers(cli_run, photo, int8, tmp_path):
    out = tmp_path / "heat.npy"
    assert cli_run("explain", photo, "-o", out, "-m", int8).exit_code == 0
    assert np.load(out).shape == (32, 32)


def test_the_command_reads_standard_input(cli_run, photo, int8, tmp_path):
    out = tmp_path / "heat.jpg"
    done = cli_run("explain", "-", "-o", out, "-m", int8, input=photo.read_bytes())
    assert done.exit_code == 0, done.output
    assert Image.open(io.BytesIO(out.read_bytes())).format == "JPEG"


def test_the_command_never_overwrites_its_image(cli_run, photo, int8):
    before = photo.read_bytes()
    done = cli_run("explain", photo, "-o", photo, "-m", int8)
    assert done.exit_code == 2
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("-o", "heat.txt"), 2, "ends in .png"),
        (("-o", "/nowhere/heat.png"), 1, "cannot be written"),
        (("-o", "heat.png", "--label", "flu"), 2, "the model has the labels akiec"),
    ],
)
def test_errors_of_the_command(cli_run, photo, int8, arguments, status, text, tmp_path):
    done = cli_run("explain", photo, "-m", int8, *arguments)
    assert done.exit_code == status
    assert text in done.output


def test_the_command_needs_an_image(cli_run, tmp_path, int8):
    done = cli_run("explain", tmp_path / "none.jpg", "-o", tmp_path / "heat.png", "-m", int8)
    assert done.exit_code == 1
    assert "no such file" in done.output
    assert not (tmp_path / "heat.png").exists()


def test_a_missing_image_leaves_an_older_heat_map(cli_run, tmp_path, int8):
    (tmp_path / "heat.png").write_text("older")
    done = cli_run("explain", tmp_path / "none.jpg", "-o", tmp_path / "heat.png", "-m", int8)
    assert (done.exit_code, "no such file" in done.stderr) == (1, True), done.output
    assert (tmp_path / "heat.png").read_text() == "older"


def test_a_closed_standard_input_is_an_error(cli_run, tmp_path, int8, monkeypatch):
    from lesionedge.cli import explain

    monkeypatch.setattr(explain.sys, "stdin", None)
    with pytest.raises(lesionedge.ImageError, match="standard input is closed"):
        explain._explain("-", str(tmp_path / "heat.png"), None, None, abstain=True)


def test_a_probability_that_only_rises_is_said_so(int8, lesion):
    from lesionedge.cli.explain import _lines

    found = lesionedge.explain(lesion, model=int8)
    assert "lowers this by up to" in _lines("a.jpg", found, abstain=False)[1]
    risen = replace(found, most=-0.1)
    assert _lines("a.jpg", risen, abstain=False)[1].endswith("the image does not lower this")
