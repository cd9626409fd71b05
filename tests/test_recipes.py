"""The published recipes, learning rates, and a recipe of two classes, from CSV to prediction."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cards import with_card
from training import program

from lesionedge import Classifier, ModelError
from train import calibration, card, recipe
from train.fit import crops, schedule
from train.models import architectures
from train.models.weights import load_weights
from train.run import Run
from train.settings import RecipeError

PUBLISHED = {
    "isic-binary-cnn", "ham10000-mobilenetv2", "ham10000-cnn", "isic9-cnn", "ham10000-binary-cnn",
    "ham10000-efficientnetb3",
}  # fmt: skip


def test_the_embedded_recipes_are_named_after_the_models_they_make():
    assert recipe.names()[:3] == ["cnn", "gate", "mobilenetv2"]
    for name in ("cnn", "gate", "mobilenetv2"):
        own = (recipe.FOLDER / "embedded" / f"{name}.toml").read_text()
        assert recipe.load(name).name == name
        for setting in ("name", "batch_size", "epochs", "learning_rate"):
            assert f"\n{setting} = " in own, "stands in the recipe itself"


def test_an_included_file_is_under_the_recipes_own_settings(tmp_path):
    (tmp_path / "shared.toml").write_text("ema = 0.9\n[augment]\nflip = true\nshift = 0.1\n")
    own = 'include = "shared.toml"\nema = 0.5\n' + OWN.split("[data]", maxsplit=1)[0].replace(
        "[loss]", "[augment]\nshift = 0.2\n[loss]"
    ) + OWN[OWN.index("[[stages]]") :]  # fmt: skip
    (tmp_path / "own.toml").write_text(own)
    found = recipe.load(str(tmp_path / "own.toml"))
    assert (found.ema, found.augment.shift, found.augment.flip) == (0.5, 0.2, True)
    kept = recipe.read(str(tmp_path / "own.toml"))
    assert "include" not in kept, "a run's recipe is whole"
    assert recipe.loads(kept, "kept.toml") == found
    (tmp_path / "own.toml").write_text(own.replace('"shared.toml"', "7"))
    with pytest.raises(RecipeError, match="include is 7; expected the path of a TOML file"):
        recipe.load(str(tmp_path / "own.toml"))
    (tmp_path / "own.toml").write_text(own.replace("shared.toml", "absent.toml"))
    with pytest.raises(RecipeError, match=r"absent\.toml: cannot be read"):
        recipe.load(str(tmp_path / "own.toml"))


def test_weights_as_given_are_rounded_and_not_trained():
    text = recipe.shortened_text(recipe.read("cnn"), recipe.Shortened(as_given=True))
    short = recipe.loads(text, "x.toml")
    assert {stage.epochs for stage in short.float_stages} == {0}
    assert short.quantized == recipe.load("cnn").quantized


def test_the_published_recipes_say_what_they_changed():
    assert set(recipe.names()) >= PUBLISHED
    for name in PUBLISHED:
        assert "# changed:" in recipe.read(name) or "changed:" in recipe.read(name)
        assert recipe.load(name).source


def test_the_card_names_the_weights_that_every_pretrained_network_begins_with():
    assert set(card.IMAGENET) == set(recipe.PRETRAINED)


def test_a_shortened_recipe_is_kept_as_run():
    text = recipe.shortened_text(
        recipe.read("ham10000-efficientnetb3"), recipe.Shortened(3, 500, "random")
    )
    short = recipe.loads(text, "x.toml")
    assert [stage.epochs for stage in short.stages] == [3]
    assert short.shortened.images == 500
    assert short.model.weights == "random"
    assert short.stages[0].train == "all"  # frozen at random would be useless
    assert recipe.shortened_text("a = 1\n", recipe.Shortened()) == "a = 1\n"
    with pytest.raises(RecipeError, match="shortened"):
        recipe.shortened_text(text, recipe.Shortened(2))
    assert "epochs = 2" in recipe.shortened_text("# [shortened]\na = 1\n", recipe.Shortened(2))
    with pytest.raises(RecipeError, match="shortened"):
        recipe.shortened_text("shortened = { epochs = 3 }\n", recipe.Shortened(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('output = "sigmoid"\n[data.classes]\na = ["a"]\nb = ["b"]\nc = ["c"]', "two classes"),
        ('output = "tanh"', "output is 'tanh'; expected one of softmax, sigmoid"),
        (
            "[[stages]]\nname='x'\nepochs=1\nlearning_rate=1.0\ninput_px=16",
            "flatten",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    text = OWN.replace('output = "sigmoid"', change).split("[data.classes]\nmole")[0]
    text += '[[stages]]\nname = "s"\nepochs = 1\nlearning_rate = 1.0\ninput_px = 32\n'
    with pytest.raises(RecipeError, match=message):
        recipe.loads(text, "own.toml")


WHOLE = """name = "cnn"
description = "A small custom CNN (257k parameters) at 128 px"
source = "lesionedge"
batch_size = 32
weight_decay = 0.02
ema = 0.998
cache_side_px = 160

[input]
width_px = 128
height_px = 128
crop = "centre"
resampling = "bilinear"

[model]
architecture = "cnn"
weights = "random"
dropout = 0.2

[loss]
tau = 1.0
label_smoothing = 0.05

[augment]
rotation_deg = 180
scale = [0.6, 1.05]
shift = 0.06
flip = true
brightness = 0.1
contrast = 0.25
saturation = 0.25
tint = 0.08

[[stages]]
name = "small"
epochs = 20
learning_rate = 3e-3
warmup_epochs = 1
input_px = 96
keep = "last"
patience = 10

[[stages]]
name = "full"
epochs = 4
learning_rate = 1e-3
warmup_epochs = 0.2
input_px = 128
keep = "last"

[[stages]]
name = "quantized"
epochs = 1
learning_rate = 1e-4
input_px = 128
quantize = true
freeze_batch_norm = true
keep = "last"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 20", 'epochs = "20"', r"\[\[stages\]\] 1: epochs is '20'; expected a whole"),
        ("epochs = 20", "epochs = -1", "epochs is -1; expected greater than or equal to 0"),
        ("batch_size = 32", "batch_size = 32.5", "batch_size is 32.5; expected a whole number"),
        ("batch_size = 32", "batch_size = true", "batch_size is True; expected a whole number"),
        ("batch_size = 32", "batch_size = 0", "batch_size is 0; expected greater than or equal"),
        ("flip = true", 'flip = "no"', r"\[augment\]: flip is 'no'; expected true or false"),
        ("weight_decay = 0.02", "weight_decay = -5", "weight_decay is -5; expected greater than"),
        ("tau = 1.0", "tau = nan", "tau is nan; expected a finite number"),
        ("scale = [0.6, 1.05]", "scale = [1.05, 0.6]", "scale is .*; expected the smaller first"),
        ("scale = [0.6, 1.05]", "scale = 0.6", "scale is 0.6; expected a list"),
        ("rotation_deg = 180", "rotation_deg = 720", "rotation_deg is 720; expected less than"),
        ("width_px = 128", 'width_px = "128"', r"\[input\]: width_px is '128'; expected a whole"),
        ('crop = "centre"', 'crop = "middle"', "crop is 'middle'; expected one of centre"),
        ('keep = "last"', 'keep = "first"', "keep is 'first'; expected one of best, last"),
        ('name = "small"', 'name = ""', "name is ''; expected some text"),
        ("learning_rate = 3e-3", "", r"\[\[stages\]\] 1: learning_rate missing"),
        ("learning_rate = 3e-3", "learning_rate = 0", "learning_rate is 0; expected more"),
        ("epochs = 20", 'epochs = 20\nschedule = "steps"', "steps needs a cut below 1"),
        ("epochs = 20", 'epochs = 20\nschedule = "plateau"\ncut = 0.5', "a cut_after above 0"),
        ('weights = "random"', 'weights = "imagenet"', "no ImageNet weights for cnn"),
        ("epochs = 20", "epochs = 20\ntaught = 0.5", "small: taught is 0.5; expected 0 where"),
        ("width_px = 128", "width_px = 128\ndecode_margin = 0.5", "decode_margin is 0.5; expected"),
        ("[loss]", "[loss]\ncolour = 3", r"\[loss\]: unknown colour; known: tau"),
        ("[loss]\n", "[[loss]]\n", r"\[loss\] is .*; expected a table"),
        ("scale = [0.6, 1.05]", "scale = [0.6, 1, 2]", "expected at most 2 values"),
        ("epochs = 20", "epochs = 1000", "epochs is 1000; expected less than 1000"),
        ("epochs = 20", "epochs = 20\ncut = 0.5", "cut_after are for .*; its schedule is cosine"),
        ("epochs = 20", "epochs = 20\ncut_after = 2", "cut_after are for the schedules steps and"),
        (
            "epochs = 20",
            'epochs = 20\nschedule = "constant"\nfinal_learning_rate = 0.1',
            "final_learning_rate is for the schedule cosine; its schedule is constant",
        ),
        ("[loss]", '[data.classes]\na = ["x"]\n[loss]', "has one class; expected two and more"),
        (
            "[loss]",
            '[data.classes]\na = ["x"]\nb = []\n[loss]',
            r"\[data\]: classes\[b\] is \(\); expected at least 1 value",
        ),
        (
            "[loss]",
            '[data.classes]\na = ["x", "y"]\nb = ["x"]\n[loss]',
            r"\[data.classes\] has x more than once; expected each of the dataset's labels in one",
        ),
        (
            "epochs = 20",
            "epochs = 20\nothers = true",
            r"has a stage with others = true, but lacks \[\[others\]\]",
        ),
        (
            "[loss]",
            '[[others]]\nname = "o"\nshare = 0.2\n[loss]',
            r"has \[\[others\]\], but lacks a stage with others = true",
        ),
    ],
)
def test_every_setting_has_a_type_and_bounds(old, new, message):
    text = WHOLE
    assert old in text
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.loads(text.replace(old, new, 1), "own.toml")
    assert str(caught.value).startswith("own.toml: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 6", 'epochs = "6"', "epochs is '6'; expected a whole number"),
        ("refused = 0.025", "refused = 1.5", "refused is 1.5; expected less than 1"),
        ("clinical = 36", "clinical = -1", r"\[gate\]: clinical is -1; expected greater"),
        ("refused = 0.025", "", "refused missing"),
    ],
)
def test_the_gates_settings_have_types_and_bounds(tmp_path, old, new, message):
    text = recipe.read("gate")
    assert old in text
    file = tmp_path / "gate.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.load(str(file))
    assert str(caught.value).startswith(str(file))


STAGE = recipe.Stage("s", epochs=10, learning_rate=1.0, input_px=32)


def rates(stage: recipe.Stage, scores: list[float]) -> list[float]:
    return [
        schedule.learning_rate(stage, 10 * epoch, steps=10, scores=scores[:epoch])
        for epoch in range(len(scores) + 1)
    ]


def test_learning_rates():
    assert rates(replace(STAGE, schedule="constant"), [0.0] * 3) == [1.0] * 4
    steps = replace(STAGE, schedule="steps", cut=0.9, cut_after=2)
    assert rates(steps, [0.0] * 4) == pytest.approx([1, 1, 0.9, 0.81, 0.729])
    plateau = replace(STAGE, schedule="plateau", cut=0.5, cut_after=2)
    scores = [0.1, 0.2, 0.2, 0.1, 0.3, 0.2, 0.2]
    assert rates(plateau, scores) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    cosine = rates(STAGE, [0.0] * 10)
    assert cosine[0] == 1
    assert cosine[5] == pytest.approx(0.5)
    assert cosine[-1] == pytest.approx(0)


def test_the_decision_point_weighs_both_classes_alike():
    rng = np.random.default_rng(8)
    positive = rng.random(4000) < 0.15
    probability = np.clip(rng.normal(0.1 + 0.2 * positive, 0.1), 0, 1)
    (point,) = calibration.decision_point(probability, positive)
    assert point["name"] == "decision"
    named = probability >= point["threshold"]
    best = named[positive].mean() + (~named[~positive]).mean()
    for threshold in np.linspace(0, 1, 101):
        other = probability >= threshold
        assert other[positive].mean() + (~other[~positive]).mean() <= best + 1e-9
    assert 0.1 < point["threshold"] < 0.3
    assert calibration.decision_point(probability, np.ones(4000, bool)) == []


def test_the_cards_threshold_decides_between_two(models, photo, tmp_path, cli_run):
    one_output = models / "sigmoid.tflite"
    risk = Classifier(one_output).classify(photo).malignant_probability
    for threshold, label in ((risk - 0.01, "malignant"), (risk + 0.01, "benign")):
        points = [{"name": "decision", "threshold": threshold}]
        file = with_card(one_output, tmp_path / f"{label}.tflite", operating_points=points)
        prediction = Classifier(file).classify(photo)
        assert prediction.label == label == prediction.top[0].label
        assert {c.label for c in prediction.top} == {"benign", "malignant"}
        assert sum(c.probability for c in prediction.top) == pytest.approx(1)
        assert prediction.malignant_probability == pytest.approx(risk)
        told = cli_run("predict", photo, "-m", file, "--format", "json")
        assert json.loads(told.stdout)["label"] == label
    # Points of other kinds decide nothing.
    plain = [{"sensitivity": 0.9, "threshold": 0.999, "measured_sensitivity": 0.9,
              "measured_specificity": 0.5}]  # fmt: skip
    file = with_card(one_output, tmp_path / "plain.tflite", operating_points=plain)
    assert Classifier(file).threshold is None


@pytest.mark.parametrize(
    "points", [[{"name": "decision"}], [7], [{"name": "decision", "threshold": 2}]]
)
def test_an_unusable_threshold_is_an_error(models, tmp_path, points):
    file = with_card(models / "sigmoid.tflite", tmp_path / "x.tflite", operating_points=points)
    with pytest.raises(ModelError, match=r"x\.tflite: .*card"):
        Classifier(file)


OWN = """
name = "own"
description = "Moles and warts"
batch_size = 8
cache_side_px = 36
[input]
width_px = 32
height_px = 32
[model]
architecture = "stacked"
filters = [8, 16]
batch_norm = true
flatten = true
dense = [8]
output = "sigmoid"
[loss]
tau = 0.0
[data]
malignant = ["wart"]
names = { wart = "Wart" }
balance = true
[data.classes]
mole = ["mole", "freckle"]
wart = ["wart"]
[augment]
flip = true
[[stages]]
name = "float"
epochs = 3
learning_rate = 3e-3
input_px = 32
watch = "loss"
schedule = "plateau"
cut = 0.5
cut_after = 1
[[stages]]
name = "quantized"
epochs = 1
learning_rate = 1e-4
input_px = 32
quantize = true
taught = 0.5
keep = "last"
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory, draw) -> Path:
    """A finished run of a two-class recipe on a csv of one's own."""
    root = tmp_path_factory.mktemp("own")
    rows = [("path", "label", "patient", "sex")]
    for number in range(96):
        label = ("mole", "wart", "freckle", "scar")[number % 4]
        image = draw(40, 40, seed=number)
        if label == "wart":
            image = image.convert("L").convert("RGB")  # easily told apart
        image.save(root / f"{number}.png")
        rows.append((f"{number}.png", label, f"P{number // 4}", "female"))
    with (root / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (root / "own.toml").write_text(OWN)
    program("train", "fit", root / "own.toml", "--data", root, "--out", root / "run")
    program("train", "quantize", root / "run")
    return root / "run"


def test_own_data_by_patient_with_classes_joined_and_left_out(own):
    with (own / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["dataset_label"]: row["label"] for row in rows} == {
        "mole": "mole", "freckle": "mole", "wart": "wart",
    }  # fmt: skip
    assert {row["sex"] for row in rows} == {"female"}
    by_patient: dict[int, set[str]] = {}
    for row in rows:
        by_patient.setdefault(int(Path(row["path"]).stem) // 4, set()).add(row["split"])
    assert all(len(split) == 1 for split in by_patient.values())
    card = json.loads((own / "card.json").read_text())
    assert card["labels"] == [
        {"label": "mole", "name": "Mole", "malignant": False},
        {"label": "wart", "name": "Wart", "malignant": True},
    ]
    assert card["output"] == {"activation": "sigmoid"}
    assert "licence say it" in card["licence"]
    with (own / "history.csv").open() as file:
        assert {"validation_loss", "validation_accuracy"} <= set(next(csv.DictReader(file)))


@pytest.mark.parametrize("form", ["int8", "float16", "post-training"])
def test_own_files_predict_both_classes(own, tmp_path, form):
    folder = own
    if form == "post-training":
        folder = tmp_path / "plain"
        folder.mkdir()
        for name in ("float.h5", "split.csv"):
            (folder / name).symlink_to(own / name)
        card = json.loads((own / "card.json").read_text())
        card["quantization"]["training"] = "none"
        (folder / "card.json").write_text(json.dumps(card))
    file = tmp_path / f"{form}.tflite"
    kind = "float16" if form == "float16" else "int8"
    program("convert", "export", folder, "--format", kind, "-o", file)
    if form == "float16":
        assert_begins_where_the_file_is(own, file)
    classifier = Classifier(file)
    assert classifier.labels == ("mole", "wart")
    assert classifier.interpreter.input.dtype == ("float32" if form == "float16" else "uint8")
    if form != "float16":  # all pixels are held, whatever the sample of images was
        assert (classifier.interpreter.input.scale, classifier.interpreter.input.zero_point) == (
            1 / 128, 128,
        )  # fmt: skip
    assert classifier.interpreter.output.shape[-1] == 2  # so that other programs show both too
    with (own / "split.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    for row in rows:
        prediction = classifier.classify(row["path"])
        assert sum(c.probability for c in prediction.top) == pytest.approx(1, abs=1e-5)
        assert prediction.malignant_probability == pytest.approx(
            classifier.probabilities(row["path"])[1]
        )
        assert (prediction.label == "wart") == (
            prediction.malignant_probability >= classifier.threshold
        )
    done = program("convert", "verify", file, "--run", folder, check=False)
    assert "same top label" in done.stdout


def assert_begins_where_the_file_is(own: Path, file: Path) -> None:
    """Check that a training that is given a file begins with all layers of it."""
    wanted = Run(own).load_model("float")
    images = np.random.default_rng(1).uniform(-1, 1, (64, 32, 32, 3)).astype(np.float32)
    network = architectures.build(
        recipe.load(str(own / "recipe.toml")).model, classes=2, height_px=32, width_px=32
    )
    assert load_weights(network, file, images)
    found = network(images, training=False).numpy()
    assert np.abs(found - wanted(images, training=False).numpy()).max() < 0.02 * np.ptp(found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[loss]", "[shortened]\nas_given = true\n[loss]", "trains no stage; expected trained wei"),
        (
            'keep = "last"\npatience = 10',
            'others = true\n[[others]]\nname = "o"\nshare = 0.2\n[shortened]\nalso = ["o"]',
            "is to learn from o; expected where its images are: --also NAME=FOLDER",
        ),
        ('architecture = "cnn"', 'architecture = "resnet"', "architecture 'resnet' is unknown"),
        ("epochs = 4", 'epochs = 4\ntrain = "blok"', "stage full: trains from layer 'blok' on"),
    ],
)
def test_what_a_training_lacks_is_said_before_it_begins(tmp_path, old, new, message):
    assert old in WHOLE
    file, out = tmp_path / "own.toml", tmp_path / "run"
    file.write_text(WHOLE.replace(old, new, 1))
    done = program("train", "fit", file, "--data", tmp_path, "--out", out, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert not out.exists()


def test_crops_are_of_the_size_that_the_float_stages_train_at():
    text = WHOLE.replace("input_px = 128", "input_px = 96", 1)
    assert crops.size_px(recipe.loads(text, "own.toml")) == 96  # the quantized stage's is 128
    with pytest.raises(RecipeError, match="crops have one size"):
        crops.size_px(recipe.loads(WHOLE, "own.toml"))


def test_recipe_and_data_that_do_not_fit_say_so(own):
    bad = own.parent / "bad.toml"
    bad.write_text(OWN.replace('"freckle"', '"frekle"'))
    done = program(
        "train", "fit", bad, "--data", own.parent, "--out", own.parent / "x", check=False
    )
    assert done.returncode == 1
    assert "names frekle; the dataset images has freckle, mole, scar, wart" in done.stderr
    assert "Traceback" not in done.stderr
    asking = OWN.replace('malignant = ["wart"]\nnames = { wart = "Wart" }\n', "")
    bad.write_text(asking.replace('wart = ["wart"]', 'veiled = ["wart"]'))
    folder = own.parent / "asks"
    done = program("train", "fit", bad, "--data", own.parent, "--out", folder, check=False)
    assert done.returncode == 1
    assert 'all malignant classes in [data]: malignant = ["veiled"] if so' in done.stderr
    assert not list(folder.glob("*.h5"))  # it has not trained
    stage = OWN[OWN.rindex("[[stages]]") :].replace("input_px = 32", "input_px = 224")
    bad.write_text(recipe.read("ham10000-efficientnetb3") + stage)
    done = program(
        "train", "fit", bad, "--data", own.parent, "--out", own.parent / "x", check=False
    )
    assert done.returncode == 1
    assert "cannot be quantization-aware" in done.stderr


def test_what_a_recipe_leaves_out_is_said(own):
    """A class that is known to be malignant never becomes benign without a word, nor images go."""
    changing = own.parent / "changing.toml"
    text = OWN.replace('malignant = ["wart"]', "malignant = []").replace("wart = [", "mel = [")
    changing.write_text(text.replace("{ wart =", "{ mel ="))
    folder = own.parent / "changed"
    program("train", "prepare", changing, "--data", own.parent, "--out", folder)
    log = (folder / "log.txt").read_text()
    assert "warning: mel will count as benign" in log
    assert "skipped 24 rows: scar is not in the recipe's [data.classes]" in log
    assert "will count as benign" not in (own / "log.txt").read_text()


def test_a_recipe_says_which_classes_are_malignant_where_nobody_knows():
    known = recipe.loads(OWN.replace('malignant = ["wart"]\n', ""), "own.toml")
    recipe.check_classes(known, ("mole", "wart"))  # both are in the vocabulary
    asked = r"own: it is not known whether veiled is malignant; .*malignant = \[\] if not"
    with pytest.raises(recipe.RecipeError, match=asked):
        recipe.check_classes(replace(known, data=replace(known.data, names={})), ("mole", "veiled"))
    # What it proposes is whole: a class that is known to be malignant stays so.
    asked = r'malignant = \["mel", "veiled"\] if so, malignant = \["mel"\] if not'
    with pytest.raises(recipe.RecipeError, match=asked):
        both = replace(known.data, names={})
        recipe.check_classes(replace(known, data=both), ("mel", "mole", "veiled"))
    for said in (("veiled",), ()):  # an empty list says "none"
        data = replace(known.data, malignant=said, names={})
        recipe.check_classes(replace(known, data=data), ("mole", "veiled"))
    with pytest.raises(recipe.RecipeError, match="speaks of veiled; classes: mole, wart"):
        data = replace(known.data, malignant=("veiled",))
        recipe.check_classes(replace(known, data=data), ("mole", "wart"))
