"""Training with PyTorch, where it and timm are installed (make test-gpu); needs no GPU."""

import io
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="PyTorch is not installed; make test-gpu installs it")
pytest.importorskip("timm", reason="timm is not installed; make test-gpu installs it")

from train import folded  # noqa: E402
from train.gpu import learn, measure, networks, pictures, plan, steps  # noqa: E402
from train.recipe import Augment  # noqa: E402
from train.settings import RecipeError  # noqa: E402

CPU = torch.device("cpu")
PLAN = """
name = "small"
epochs = 6
student_epochs = 6
batch_size = 16
ema = 0.9
student_mixup = 0.3

[augment]
rotation_deg = 180
scale = [0.7, 1.0]
flip = true
jpeg = 0.2

[[teachers]]
name = "teacher"
architecture = "cnn"
input_px = 48
train_px = 48
learning_rate = 3e-3
dropout = 0.0

[[students]]
name = "student"
architecture = "cnn"
input_px = 32
train_px = 32
learning_rate = 3e-3
dropout = 0.0
"""
COLOURS = {"bcc": (200, 60, 60), "mel": (60, 60, 200), "nv": (60, 200, 60)}


@pytest.fixture(autouse=True)
def one_thread():
    """Without it PyTorch's threads wait for TensorFlow's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def some() -> torch.Tensor:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (6, 15, 20, 3), np.uint8)
    large = [np.asarray(Image.fromarray(p).resize((200, 150), Image.BICUBIC)) for p in coarse]
    return torch.from_numpy(np.stack(large))


@pytest.fixture
def dataset(tmp_path):
    """A folder of 90 pictures that their colour tells apart, and split.csv."""
    rng = np.random.default_rng(1)
    lines = ["path,label,split"]
    (tmp_path / "pictures").mkdir()
    for number in range(90):
        label = list(COLOURS)[number % 3]
        pixels = rng.normal(COLOURS[label], 30, (60, 80, 3)).clip(0, 255).astype(np.uint8)
        name = f"p{number}.png"
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
        split = "train" if number < 60 else "validation" if number < 75 else "test"
        lines.append(f"/elsewhere/{name},{label},{split}")
    (tmp_path / "split.csv").write_text("\n".join(lines))
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


@pytest.mark.parametrize(("architecture", "px"), [("mobilenetv2", 96), ("cnn", 64)])
def test_the_network_is_the_one_that_keras_builds(architecture, px, tmp_path):
    """Weights go from one to the other and the logits stay."""
    from train import architectures
    from train.recipe import Model

    network = plan.Network("n", architecture, px, px)
    model = networks.build(network, 7)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4, px, px, 3)).astype(np.float32)
    chan = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        model.train()
        model(chan)  # moves the statistics away from 0 and 1
        theirs = model.eval()(chan).numpy()
    np.savez(tmp_path / "w.npz", **networks.folded(model))
    keras = architectures.build(Model(architecture), classes=7, height_px=px, width_px=px)
    architectures.load_weights(keras, tmp_path / "w.npz", x)
    ours = keras(x, training=False).numpy()
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()

    again = networks.build(replace(network, seed=2), 7)
    networks.load(again, tmp_path / "w.npz", chan)
    with torch.no_grad():
        assert np.abs(again.eval()(chan).numpy() - theirs).max() < 1e-3 * np.abs(theirs).max()


def test_float16_keeps_the_weights(tmp_path):
    weights = networks.folded(networks.build(plan.Network("n", "cnn", 64, 64), 7))
    folded.write(weights, tmp_path / "w.npz")
    kept = folded.read(tmp_path / "w.npz")
    assert kept.keys() == weights.keys()
    assert all(np.allclose(kept[k], weights[k], rtol=1e-3, atol=1e-6) for k in weights)


def test_without_changes_a_picture_is_what_the_device_sees(some):
    changes = pictures.Changes(Augment(), CPU, 1)
    assert (changes(some, 64) - pictures.whole(some, 64)).abs().mean() < 2.5


def test_whole_is_pillows(some):
    square = Image.fromarray(some[0].numpy()).crop((25, 0, 175, 150))
    pillows = np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    ours = pictures.whole(some[:1], 64)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - pillows).max() <= 1


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_is_close_to_pillows(some, quality, monkeypatch):
    monkeypatch.setattr(pictures, "QUALITY", (float(quality), float(quality)))
    whole = pictures.whole(some, 96)
    coded = pictures.Changes(Augment(jpeg=1.0), CPU, 1)._compress(whole)
    for before, after in zip(whole, coded):
        stream = io.BytesIO()
        pixels = before.permute(1, 2, 0).numpy().astype(np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
        pillows = np.asarray(Image.open(stream)).astype(float)
        ours = after.permute(1, 2, 0).numpy()
        assert np.abs(ours - pillows).mean() < 0.6 * np.abs(pixels - pillows).mean() + 0.5


def test_changes_are_fixed_by_the_seed_and_stay_in_range(some):
    strong = Augment(
        rotation_deg=180, scale=(0.5, 1.2), shift=0.1, flip=True, brightness=0.2, contrast=0.4,
        saturation=0.4, tint=0.2, blur=0.5, noise=0.05, jpeg=0.5, erase=0.4,
    )  # fmt: skip
    one = pictures.Changes(strong, CPU, 5)(some, 64)
    assert torch.equal(one, pictures.Changes(strong, CPU, 5)(some, 64))
    assert not torch.equal(one, pictures.Changes(strong, CPU, 6)(some, 64))
    assert one.min() >= 0
    assert one.max() <= 255
    assert one.shape == (6, 3, 64, 64)


def test_teachers_and_students_are_trained(dataset):
    command = [
        sys.executable, "-m", "train.gpu", dataset / "plan.toml", "--pictures",
        dataset / "pictures", "--split", dataset / "split.csv", "--out", dataset / "out",
    ]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr
    assert "teacher: pass" in first.stdout
    data = pictures.load(
        dataset / "pictures", dataset / "split.csv", side_px=60, aspect=4 / 3,
        cache=dataset / "cache.npy", device=CPU,
    )  # fmt: skip
    network = plan.read(dataset / "plan.toml").students[0]
    model = networks.build(network, 3)
    rows = data.rows("train")
    seen = pictures.normalise(pictures.whole(data.pixels[rows], 32))
    networks.load(model, dataset / "out" / "student.npz", seen)
    rows = data.rows("test")
    answers = measure.probabilities(network, model, data.pixels, rows, views=1)[0].argmax(1)
    assert (answers == data.classes[rows].numpy()).mean() > 0.9
    with np.load(dataset / "out" / "soft-labels.npz") as soft:
        assert soft["probabilities"].shape == (90, 3)
        assert np.allclose(soft["probabilities"].sum(1), 1, atol=0.01)
        assert soft["labels"].tolist() == list(COLOURS)

    # The teacher is there: it is not trained again.
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "teacher: pass" not in again.stdout


def test_a_training_ends_by_its_time(dataset):
    run = plan.read(dataset / "plan.toml")
    run = replace(run, epochs=10_000, teachers=run.teachers[:1])
    data = pictures.load(
        dataset / "pictures", dataset / "split.csv", side_px=60, aspect=4 / 3,
        cache=dataset / "cache.npy", device=CPU,
    )  # fmt: skip
    said: list[str] = []
    learn.teacher(
        run, run.teachers[0], data, weights=Path(), checkpoint=dataset / "c", limit_s=2.0,
        say=said.append,
    )  # fmt: skip
    assert "100%" in said[-1] or "10" in said[-1].split("%")[0]


class KilledError(Exception):
    """Stands for a kill."""


def test_a_killed_training_comes_to_the_same_end(dataset, monkeypatch):
    """Stopped after a checkpoint and run again, it gives the weights of one that ran through."""
    monkeypatch.setattr(learn, "CHECKPOINT_S", 0.0)
    run = replace(plan.read(dataset / "plan.toml"), epochs=4, mixup=0.3)
    data = pictures.load(
        dataset / "pictures", dataset / "split.csv", side_px=60, aspect=4 / 3,
        cache=dataset / "cache.npy", device=CPU,
    )  # fmt: skip
    said: list[str] = []

    def train() -> dict[str, torch.Tensor]:
        model = learn.teacher(
            run, run.teachers[0], data, weights=Path(), checkpoint=dataset / "teacher.checkpoint",
            limit_s=float("inf"), say=said.append,
        )  # fmt: skip
        return model.state_dict()

    through = train()
    keep = learn._keep

    def keep_and_die(*given: object) -> None:
        keep(*given)
        raise KilledError

    monkeypatch.setattr(learn, "_keep", keep_and_die)
    with pytest.raises(KilledError):
        train()
    monkeypatch.setattr(learn, "_keep", keep)
    resumed = train()
    assert "resuming after pass 1" in " ".join(said)
    assert not (dataset / "teacher.checkpoint").exists()
    assert all(torch.equal(through[name], resumed[name]) for name in through)


def test_a_missing_picture_is_named(dataset):
    (dataset / "pictures" / "p7.png").unlink()
    with pytest.raises(RecipeError, match="lacks 1 pictures, the first p7"):
        pictures.load(
            dataset / "pictures", dataset / "split.csv", side_px=60, aspect=4 / 3,
            cache=dataset / "cache.npy", device=CPU,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch_size", "batchsize"), "unknown batchsize"),
        (('architecture = "cnn"', 'architecture = "vgg"'), "'vgg' is unknown"),
        (("learning_rate = 3e-3", "finished = true"), "finished is for teachers with weights"),
        (("learning_rate = 3e-3", ""), "expected a learning_rate"),
        (("dropout = 0.0", 'weights = "w.npz"'), "w.npz: no such file"),
        (("batch_size = 16", "batch_size = 64"), "60 pictures to train on; a batch has 64"),
        (('name = "small"', 'name = small"'), "cannot be read"),
    ],
)
def test_a_bad_plan_is_refused(dataset, change, message):
    (dataset / "plan.toml").write_text(PLAN.replace(*change))
    run = subprocess.run(
        [sys.executable, "-m", "train.gpu", dataset / "plan.toml", "--pictures",
         dataset / "pictures", "--split", dataset / "split.csv", "--out", dataset / "out"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("content", [None, "path,label\n", "\x00"])
def test_a_split_that_cannot_be_read_is_refused(dataset, content):
    file = dataset / "split.csv"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(RecipeError, match="no split that can be read"):
        pictures.load(
            dataset / "pictures", file, side_px=60, aspect=4 / 3, cache=dataset / "c.npy",
            device=CPU,
        )  # fmt: skip


def test_the_shipped_plans_can_be_read():
    names = ("plan", "again", "third", "labels", "taught")
    shipped = [plan.read(Path("train/gpu") / f"{name}.toml") for name in names]
    assert all([s.name for s in one.students] == ["mobilenetv2", "cnn"] for one in shipped[:3])
    assert [len(one.teachers) for one in shipped] == [1, 3, 3, 1, 1]
    made = {x.name for x in (*shipped[3].teachers, *shipped[4].students)}
    asked = {x.name for x in shipped[2].teachers if x.finished and x.weights.endswith(".pth")}
    assert asked == made, "third.toml's larger teachers are what the other two leave"


LARGER = """
[[students]]
name = "larger"
architecture = "efficientnet_lite0"
input_px = 32
train_px = 32
learning_rate = 1e-3
"""


def test_a_larger_student_is_another_plans_teacher(dataset):
    """It alone is trained; of all pictures, the plan has passes of their own for them."""
    split = (dataset / "split.csv").read_text()
    (dataset / "split.csv").write_text(split.replace("validation", "train").replace("test", "train")
                                       .replace("train", "calibration", 1))  # fmt: skip
    text = PLAN.replace("student_mixup = 0.3", "all_epochs = 2")
    (dataset / "plan.toml").write_text(text + LARGER)
    command = [
        sys.executable, "-m", "train.gpu", dataset / "plan.toml", "--pictures",
        dataset / "pictures", "--split", dataset / "split.csv", "--out", dataset / "out",
        "--no-soft-labels", "--weights", dataset / "out",
    ]  # fmt: skip

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, text=True, timeout=300)

    unknown = run("--student", "large")
    assert unknown.returncode == 1
    assert "no student large; it has student, larger" in unknown.stderr
    assert "no teacher techer; it has teacher" in run("--teacher", "techer").stderr
    first = run("--student", "larger")
    assert first.returncode == 0, first.stderr
    assert "larger: pass 2, 100%" in first.stdout
    assert {p.name for p in (dataset / "out").glob("*.*")} == {
        "pictures.npy", "teacher.pth", "larger.pth"
    }  # fmt: skip

    second = PLAN.replace('name = "teacher"', 'name = "larger"').replace(
        'architecture = "cnn"', 'architecture = "efficientnet_lite0"\nweights = "larger.pth"', 1
    )
    (dataset / "plan.toml").write_text(second.replace("learning_rate = 3e-3", "finished = true", 1))
    teacher = plan.read(dataset / "plan.toml").teachers[0]
    data = pictures.load(
        dataset / "pictures", dataset / "split.csv", side_px=60, aspect=4 / 3,
        cache=dataset / "cache.npy", device=CPU,
    )  # fmt: skip
    asked = learn.finished(teacher, data, dataset / "out").state_dict()
    trained = learn.restored(teacher, data, dataset / "out" / "larger.pth").state_dict()
    counts = {name for name in trained if name.endswith("num_batches_tracked")}
    assert all(torch.equal(asked[name], trained[name]) for name in trained.keys() - counts)
    taught = run()
    assert taught.returncode == 0, taught.stderr
    assert "larger: calibration" in taught.stdout
    assert "teacher: " not in taught.stdout
    assert (dataset / "out" / "student.npz").exists()


def by_lesion(dataset: Path) -> None:
    """Make its split one that can be divided into folds."""
    lines = (dataset / "split.csv").read_text().splitlines()
    grouped = [lines[0] + ",group"] + [f"{line},{n // 2}" for n, line in enumerate(lines[1:])]
    text = "\n".join(grouped).replace(",validation,", ",calibration,")
    (dataset / "split.csv").write_text(text)


def test_folds_have_their_own_teachers_and_all_learns_from_them(dataset):
    """Two of three folds; the student of the first alone; then all, from both teachers."""
    text = PLAN.replace("student_mixup = 0.3", "turns = 2\nasked = 1\nall_epochs = 2")
    (dataset / "plan.toml").write_text(text + "folds = 1\n")
    by_lesion(dataset)
    command = [
        sys.executable, "-m", "train.gpu", dataset / "plan.toml", "--pictures",
        dataset / "pictures", "--split", dataset / "split.csv", "--out", dataset / "out",
        "--folds", "3", "--first", "2",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    made = {str(p.relative_to(dataset / "out")) for p in (dataset / "out").rglob("*.*")}
    assert made == {
        "pictures.npy", "fold-1/split.csv", "fold-1/teacher.pth", "fold-1/student.npz",
        "fold-1/soft-labels.npz", "fold-2/split.csv", "fold-2/teacher.pth",
        "fold-2/soft-labels.npz", "all/split.csv", "all/student.npz", "all/soft-labels.npz",
    }  # fmt: skip
    one, other = (folded.read(dataset / "out" / n / "student.npz") for n in ("fold-1", "all"))
    assert any((one[name] != other[name]).any() for name in one)
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "pass" not in again.stdout


FINISHED = """
[[teachers]]
name = "before"
architecture = "cnn"
weights = "{fold}/student.npz"
finished = true
input_px = 32
train_px = 32

[[teachers]]
name = "earlier"
architecture = "cnn"
weights = "earlier.npz"
finished = true
only_all = true
input_px = 32
train_px = 32

[[teachers]]
name = "partial"
architecture = "cnn"
weights = "earlier.npz"
finished = true
folds = 1
input_px = 32
train_px = 32

[[students]]
"""


def test_a_second_plan_goes_on_from_a_first(dataset):
    """Fold by fold or at once, then all; no teacher is asked in a fold that it has seen."""
    by_lesion(dataset)

    def run(out: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, "-m", "train.gpu", dataset / "plan.toml", "--pictures",
            dataset / "pictures", "--split", dataset / "split.csv", "--out", dataset / out,
            "--folds", "3", "--first", "2", "--no-soft-labels", "--weights", dataset / "first",
            *more,
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    first = run("first")
    assert first.returncode == 0, first.stderr
    shutil.copy(dataset / "first" / "all" / "student.npz", dataset / "first" / "earlier.npz")
    teachers, student = PLAN.split("[[students]]")
    slowly = 'weights = "{fold}/student.npz"\nlearning_rate = 1e-6'
    student = student.replace("learning_rate = 3e-3", slowly)
    (dataset / "plan.toml").write_text(teachers + FINISHED + student)

    wrong = run("again", "--only", "fold-2", "--only", "fold-3")
    assert wrong.returncode == 1
    assert "fold-3: no such fold" in wrong.stderr
    alone = run("again", "--only", "fold-2")
    assert alone.returncode == 0, alone.stderr
    assert [p.name for p in (dataset / "again").iterdir() if p.is_dir()] == ["fold-2"]
    assert "before: " in alone.stdout
    assert "earlier: " not in alone.stdout
    assert "partial: " not in alone.stdout
    rest = run("again")
    assert rest.returncode == 0, rest.stderr
    assert rest.stdout.count("teacher: pass") == 1, "that of fold 2 is there"
    assert rest.stdout.count("before: ") == 3
    assert rest.stdout.count("earlier: ") == 1
    assert rest.stdout.count("partial: ") == 2, "in fold 1 and of all"
    assert not list((dataset / "again").glob("*/soft-labels.npz"))
    # At such a rate a student stays where it began: with what the first plan made of its fold.
    for name in ("fold-1", "fold-2", "all"):
        before, after = (
            folded.read(dataset / x / name / "student.npz") for x in ("first", "again")
        )
        assert np.allclose(before["logits/kernel"], after["logits/kernel"], atol=2e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, of its own parts
def test_compiled_steps_are_the_same_steps_and_are_compiled_once(some):
    """Another network of the architecture needs no compilation of its own."""
    from torch._dynamo.utils import counters

    network = plan.Network("n", "cnn", 32, 32, dropout=0.0)
    seen = pictures.normalise(pictures.whole(some, 32))
    targets = torch.eye(7)[:6]
    both, compiled = steps.Steps.compiled(), 0
    for seed in (1, 2):
        model = networks.build(replace(network, seed=seed), 7).eval()
        plain = steps.EAGER.loss(model, seen, targets, targets, torch.zeros(7), 0.8)
        loss = both.loss(model, seen, targets, targets, torch.zeros(7), 0.8)
        loss.backward()
        assert torch.allclose(loss, plain, rtol=1e-3)
        assert all(p.grad is not None for p in model.parameters())
        compiled = compiled or counters["stats"]["unique_graphs"]
        assert counters["stats"]["unique_graphs"] == compiled > 0


def test_folds_end_by_their_time(dataset):
    (dataset / "plan.toml").write_text(PLAN.replace("epochs = 6", "epochs = 100000"))
    by_lesion(dataset)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "train.gpu", dataset / "plan.toml", "--pictures",
         dataset / "pictures", "--split", dataset / "split.csv", "--out", dataset / "out",
         "--folds", "3", "--first", "1", "--limit-s", "2", "--until-s", "12"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 90
    assert (dataset / "out" / "all" / "student.npz").exists()


def test_turning_changes_the_place_and_nothing_else():
    batch = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    ways = [steps.turned(batch, way) for way in range(8)]
    assert torch.equal(ways[0], batch)
    assert len({tuple(way.flatten().tolist()) for way in ways}) == 8
    assert all(torch.equal(way.flatten(2).sort(2)[0], batch.flatten(2)) for way in ways)
    both = steps.Turned(steps.Sizes(batch), [0, 5])[4]
    assert torch.equal(both[:2], batch)
    assert torch.equal(both[2:], ways[5])
