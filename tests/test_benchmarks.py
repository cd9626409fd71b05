"""The scripts of benchmarks/ refuse what they cannot measure, and the pages call them right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from run_docs import blocks

from lesionedge import Classifier, ImageError

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"

pytest.importorskip("scipy", reason="needs the extra evaluate: make test installs it")


@pytest.fixture
def script(monkeypatch):
    """Import a script by its name."""
    for folder in (BENCHMARKS, BENCHMARKS / "research", BENCHMARKS / "peer"):
        monkeypatch.syspath_prepend(str(folder))
    return import_module


def test_the_commands_of_the_research_pages_name_scripts_and_options_that_there_are():
    found = 0
    for page in (ROOT / "docs" / "research").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        printed = [block.text.replace("\\\n", " ") for block in blocks(page) if block.kind == "sh"]
        lines = [line.partition("#")[0] for text in printed for line in text.splitlines()]
        lines += re.findall(r"`(python [^`]+)`", text.replace("\n", " "))
        for line in lines:
            named = re.match(
                r"\s*python (?:-m ([\w.]+)|((?:benchmarks|release)/\S+\.py))(.*)", line
            )
            if named is None:
                continue
            module, script, rest = named.groups()
            file = ROOT / (script or f"{module.replace('.', '/')}/__main__.py")
            assert file.is_file(), f"{page.name}: {line}"
            for option in re.findall(r"(?<=\s)--[a-z0-9-]+", rest):
                assert f'"{option}"' in file.read_text(), f"{page.name}: {line}"
            found += 1
    assert found > 50


def test_files_that_cannot_be_compared_are_refused(script, models, tmp_path):
    def refused(*arguments: object) -> str:
        done = CliRunner().invoke(script("compare_files").main, [*map(str, arguments)])
        assert done.exit_code == 2
        return done.output

    one, other = models / "int8.tflite", models / "foreign.tflite"
    assert "1 files; expected two" in refused(tmp_path, one)
    assert "2 files; expected two, or one with --margin" in refused(
        tmp_path, one, one, "--margin", 1.2
    )
    assert "its labels are thing 0" in refused(tmp_path, one, other)
    assert "expected WIDTHxHEIGHT" in refused(tmp_path, one, "--margin", 1.2, "--size", "600")


def test_images_that_are_missing_are_an_error(script, tmp_path):
    """Figures of the images that happen to be there would look like those of the part."""
    split = tmp_path / "split.csv"
    split.write_text("path,label,group,split\na.jpg,nv,1,test\nb.jpg,mel,2,test\n")
    (tmp_path / "a.jpg").touch()
    for name, arguments in (("views", ()), ("robustness", (9,)), ("faithfulness", (9,))):
        held_out = script(name).images if name == "views" else script(name).held_out
        with pytest.raises(SystemExit, match=r"lacks 1 of the 2 test images .* b\.jpg"):
            held_out(tmp_path, split, "test", *arguments)
        with pytest.raises(SystemExit, match="has no tset images"):
            held_out(tmp_path, split, "tset", *arguments)


def test_robustness_measures_by_label(script):
    truth = np.array(["nv", "nv", "mel"], object)
    found = np.array(["nv", "mel", "mel"])
    assert script("robustness").balanced_accuracy(truth, found) == 0.75


def test_a_quick_comparison_of_recipes_keeps_the_published_figures(tmp_path):
    """Nor do its runs, which are cut short, pass for those that are not."""
    (tmp_path / "data" / "ham10000").mkdir(parents=True)
    python = tmp_path / "python"  # writes down what it is asked to run, and makes run folders
    python.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n'
        'while [ $# -gt 0 ]; do [ "$1" != --out ] || mkdir -p "$2"; shift; done\n'
    )
    python.chmod(0o755)

    def asked(**settings: str) -> str:
        script = BENCHMARKS / "research" / "published_recipes" / "compare.sh"
        env = {**os.environ, "PYTHON": str(python), "RUNS": str(tmp_path / "runs"), **settings}
        subprocess.run(["sh", str(script), str(tmp_path / "data")], env=env, check=True)
        return (tmp_path / "asked").read_text()

    quick = asked(QUICK="1")
    assert "figures.py" not in quick
    assert "/runs/isic9-cnn" not in quick and "--epochs 3" in quick
    assert "figures.py write" in asked()


def test_figures_of_other_models_stay(script, tmp_path, monkeypatch, capsys):
    """The page's table is written of the file that keeps them."""
    views = script("views")
    file = tmp_path / "views.json"
    shutil.copy(BENCHMARKS / "research" / "views.json", file)
    before = json.loads(file.read_text())
    monkeypatch.setattr(views, "latency", lambda models: {m: {"1": 2.5} for m in models})
    line = ["views.py", str(tmp_path), "--parts", "latency", "--models", "cnn", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", line)
    views.main()
    after = json.loads(file.read_text())
    assert after["accuracy"] == before["accuracy"]
    assert after["latency"]["cnn"]["ms"] == {"1": 2.5}
    assert after["latency"]["mobilenetv2"] == before["latency"]["mobilenetv2"]
    shown = capsys.readouterr().out
    assert "| `mobilenetv2-float16` | 8 |" in shown
    assert "Milliseconds of `mobilenetv2`, `mobilenetv2-float16`:" in shown


def test_the_page_has_the_figures_that_are_kept(script):
    views = script("views")
    kept = json.loads((BENCHMARKS / "research" / "views.json").read_text())
    assert "\n".join(views.report(kept)) in script("studies").PAGE.read_text(encoding="utf-8")


def test_a_soak_ends_with_an_error_where_whole_images_fail(script, monkeypatch):
    """Errors were all called expected."""
    soak = script("soak")

    class Classifier:
        model = "m"

        def __init__(self, _model: object) -> None:
            pass

        def classify(self, source: str) -> None:
            if source in fails:
                raise ImageError(source)

    monkeypatch.setattr(soak.lesionedge, "Classifier", Classifier)
    sources = {name: lambda name=name: name for name in ("lesion.jpg", *soak.BROKEN)}
    fails = list(soak.BROKEN)
    rows = soak.soak(sources, 1010, None)["rows"]
    assert rows[-1]["predictions"] == 1010, "what came after the last regular look counts, too"
    for found in (["lesion.jpg", *soak.BROKEN], ["cut.jpg"]):
        fails[:] = found
        with pytest.raises(SystemExit, match="expected all 808 broken ones"):
            soak.soak(sources, 1010, None)


@pytest.mark.parametrize(
    ("others", "status"), [({"422": 9}, 0), ({"422": 8}, 1), ({"422": 9, "500": 1}, 1)]
)
def test_a_soak_of_the_server_fails_with_errors_of_the_server(script, others, status):
    rows = [{"requests": n, "rss_bytes": 9, "descriptors": 3} for n in (10, 20)]
    figures = {"rows": rows, "others": others, "broken_images": 9, "drained": True,
               "machine": "m", "date": "d"}  # fmt: skip
    assert script("serve").report_soak(figures) == status


def test_the_floor_decodes_as_the_model_does(script):
    """Else its times are those of other pixels, and it is no floor."""
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
    assert Classifier("mobilenetv2").preprocessing.decode_margin == script("by_hand").MARGIN


def test_memory_of_a_command_that_fails_is_no_result(script, tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra batch")
    with pytest.raises(SystemExit, match="ended with 1"):
        script("batch").memory(str(tmp_path), "local", 1)  # there is no image


def test_models_that_prepare_images_in_another_way_are_not_compared(script, models, photo):
    """The first one's inputs are given to all."""
    ablations, pandas = script("ablations"), pytest.importorskip("pandas")
    rows = pandas.DataFrame({"file": [str(photo)] * 2, "label": ["nv", "mel"], "group": [1, 2]})
    prepared = ablations.Prepared(rows, str(models / "int8.tflite"))
    assert len(list(ablations.files([str(models / "float32.tflite")], prepared))) == 1
    prepared.whole = prepared.whole[:, ::-1]
    with pytest.raises(SystemExit, match="prepared in another way"):
        list(ablations.files([str(models / "float32.tflite")], prepared))


def test_a_collection_with_few_malignant_lesions_has_figures_without_a_threshold(
    script, monkeypatch
):
    pytest.importorskip("train.calibration", reason="needs the extra train")
    guarantee = script("guarantee")
    monkeypatch.setattr(guarantee, "FITS", 2)
    rng = np.random.default_rng(0)
    malignant = (np.arange(400) < 12).astype(float)
    risk = np.clip(0.2 + 0.3 * malignant + rng.normal(0, 0.1, 400), 0.01, 0.99)
    sample = guarantee.Sample(
        np.stack([1 - risk, risk], 1), malignant.astype(int), malignant, np.arange(400)
    )
    found = guarantee.shifted(sample, (False, True), 0.5)
    assert "at_90" not in found
    assert 0 < found["told"]["log_loss"] < found["without"]["log_loss"]


def test_no_more_images_are_looked_at_than_wanted(script, draw, tmp_path, monkeypatch):
    limits, seen = script("quality_limits"), []
    for number in range(5):
        draw(40, 30, seed=number).save(tmp_path / f"{number}.jpg")
    monkeypatch.setattr(limits, "changes", dict)
    monkeypatch.setattr(limits, "motion", seen.extend)
    monkeypatch.setattr(sys, "argv", ["quality_limits.py", str(tmp_path), "--images", "3"])
    limits.main()
    assert len(seen) == 3


def test_a_folder_without_images_has_no_share_of_known_ones(script, tmp_path):
    """It was NaN, which went into the filter's JSON."""
    with pytest.raises(SystemExit, match="holds no images"):
        script("known_images").share(None, tmp_path)


@pytest.mark.parametrize("style", ["colours", "fourier", "features"])
def test_styles_change_what_is_trained_on_and_nothing_else(script, style):
    keras = pytest.importorskip("tf_keras", reason="needs the extra train")
    from train.models import architectures
    from train.models.batch_norm import folded
    from train.recipe import Model

    keras.utils.set_random_seed(1)
    net = Model("mobilenetv2")
    whole = architectures.build(net, classes=3, height_px=64, width_px=64)
    model = folded(whole)
    images = np.random.default_rng(1).uniform(-1, 1, (16, 64, 64, 3)).astype(np.float32)
    images *= np.linspace(0.1, 1, 16, dtype=np.float32)[:, None, None, None]
    learner = script("styles").restyled(model, style)
    for own, copied in zip(model.get_weights(), learner.get_weights()):
        assert np.array_equal(own, copied)
    as_it_is = model(images, training=False).numpy()
    scale = np.abs(as_it_is).max()
    assert np.allclose(learner(images, training=False), as_it_is, atol=1e-3 * scale)
    changed = learner(images, training=True).numpy()
    assert np.isfinite(changed).all()
    assert np.abs(changed - as_it_is).max() > 0.01 * scale


def test_an_image_takes_on_the_statistics_of_another_one(script):
    tf = pytest.importorskip("tensorflow", reason="needs the extra train")
    rng = np.random.default_rng(1)
    images = rng.normal(np.arange(4)[:, None, None, None], 1 + np.arange(4)[:, None, None, None],
                        (4, 32, 32, 3)).astype(np.float32)  # fmt: skip
    module, whole = script("styles"), tf.ones((4, 1, 1, 1))
    tf.random.set_seed(1)
    found = module._statistics(tf.constant(images), whole).numpy()
    for own, new in ((images.mean((1, 2)), found.mean((1, 2))),
                     (images.std((1, 2)), found.std((1, 2)))):  # fmt: skip
        assert np.allclose(np.sort(own, axis=0), np.sort(new, axis=0), atol=1e-3)
    assert not np.allclose(found, images)
    same = module._amplitudes(tf.constant(images), tf.zeros((4, 1, 1, 1))).numpy()
    assert np.allclose(same, images, atol=1e-3)


def test_a_queue_of_trainings_refuses_what_will_not_do(script, tmp_path):
    pytest.importorskip("tf_keras", reason="needs the extra train")
    read, kind = script("trainings").read, script("other_collections").Settings
    queue = tmp_path / "queue.jsonl"

    def refused(text: str) -> str:
        queue.write_text(text)
        with pytest.raises(Exception, match=r"queue\.jsonl, line \d") as found:
            read(kind, queue, taken=("start",))
        return str(found.value)

    assert "no JSON" in refused('{"name": "a"}\n{"name"')
    assert "the name a is taken" in refused('{"name": "a"}\n{"name": "a"}\n')
    assert "the name start is taken" in refused('{"name": "start"}\n')
    assert "style" in refused('{"name": "a", "style": "cubist"}\n')
    for file in ("other_collections", "quantization_aware"):
        found = read(script(file).Settings, BENCHMARKS / "research" / f"{file}.jsonl")
        assert len(found) > 5


def test_lesions_of_another_collection_are_not_both_learnt_from_and_measured(script, tmp_path):
    pytest.importorskip("tf_keras", reason="needs the extra train")
    module = script("other_collections")
    rows = [f"i{n},{'mel' if n % 3 else 'scc'},L{n // 2},{module.ACRAL if n % 4 == 0 else ''}"
            for n in range(400)]  # fmt: skip
    (tmp_path / "labels.csv").write_text("\n".join(["image_id,dx,lesion_id,site", *rows]) + "\n")
    table = module.divided(tmp_path, ("mel", "nv"))
    assert set(table["label"]) == {"mel"}
    assert (table.groupby("lesion")["part"].nunique() == 1).all()
    assert set(table["part"]) == {"train", "bcn20000", "acral"}
    assert table.loc[table["part"] == "acral", "acral"].all()
    chosen = module.learnt(table)
    assert not chosen["not-acral"]["acral"].any()
    assert len(chosen["rare"]) == 0 < len(chosen["all"])


def test_accuracy_over_several_views_is_the_mean_of_their_accuracies(script):
    rng = np.random.default_rng(1)
    probabilities, truth = rng.dirichlet(np.ones(3), (200, 4)), rng.integers(0, 3, 200)
    weights = rng.integers(0, 3, (5, 200))
    single = [script("studies").turned_accuracy(probabilities[:, [way]], truth)(weights)
              for way in range(4)]  # fmt: skip
    found = script("studies").turned_accuracy(probabilities, truth)(weights)
    assert np.allclose(found, np.mean(single, axis=0))
