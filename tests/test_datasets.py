"""Every layout gives one table; shared images are refused; images can be laid out by class."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the extra train: make test installs it")
from programs import Done, program

from lesionedge import datasets
from train.data import located, overlap, splits

ROOT = Path(__file__).parent.parent


@pytest.fixture
def paint(draw):
    """Writes images of given names, each another one."""
    count = iter(range(10_000))

    def write(folder: Path, *names: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            draw(40, 30, seed=next(count)).save(folder / f"{name}.png")

    return write


def write_csv(path: Path, *rows: tuple[object, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def labels_of(found: datasets.Dataset) -> dict[str, str]:
    return {path.stem: label for path, label in zip(found.table["path"], found.table["label"])}


def test_isic_archive_counts_what_it_skips(tmp_path, paint):
    base = tmp_path / "data"
    paint(base / "train", "ISIC_1", "ISIC_2", "ISIC_3", "ISIC_4", "ISIC_7")
    paint(base / "test", "ISIC_5")
    write_csv(
        base / "train" / "ISIC_images_metadata" / "metadata.csv",
        ("isic_id", "benign_malignant", "lesion_id", "sex"),
        ("ISIC_1", "benign", "L1", "female"),
        ("ISIC_2", "Malignant", "L2", ""),
        ("ISIC_3", "", "L3", "male"),
        ("ISIC_4", "indeterminate", "L4", "male"),
        ("", "benign", "L4", "male"),
        ("ISIC_6", "benign", "L6", "male"),
        ("ISIC_1", "benign", "L1", "female"),
        ("ISIC_7", "benign", "L7", "male", "too", "many"),
    )
    write_csv(
        base / "test" / "ISIC_images_metadata" / "metadata.csv",
        ("isic_id", "benign_malignant"), ("ISIC_5", "benign"),
    )  # fmt: skip
    for root in (tmp_path, base):
        found = datasets.load(root)
        assert labels_of(found) == {"ISIC_1": "benign", "ISIC_2": "malignant", "ISIC_5": "benign"}
        assert found.skipped == {
            "isic_id is missing": 1, "benign_malignant is missing": 1, "no image": 1,
            "benign_malignant is neither benign nor malignant": 1, "listed twice": 1,
            "malformed line": 1,
        }  # fmt: skip
        given = {path.stem: one for path, one in zip(found.table["path"], found.table["given"])}
        assert given == {"ISIC_1": "train", "ISIC_2": "train", "ISIC_5": "test"}
        assert found.table["sex"].dropna().tolist() == ["female"]


def test_isic_archive_without_splits_and_with_the_new_column(tmp_path, paint):
    paint(tmp_path / "images", "ISIC_1", "ISIC_2")
    write_csv(
        tmp_path / "metadata.csv",
        ("isic_id", "diagnosis_1", "patient_id", "fitzpatrick_skin_type"),
        ("ISIC_1", "Benign", "P1", "II"), ("ISIC_2", "Malignant", "P1", ""),
    )  # fmt: skip
    found = datasets.load(tmp_path)
    assert found.table["skin_type"].tolist() == ["II", None]
    assert labels_of(found) == {"ISIC_1": "benign", "ISIC_2": "malignant"}
    assert found.table["given"].isna().all()
    assert splits.identities(found.table) == ["patient P1", "patient P1"]


@pytest.mark.parametrize("layout", ["isic-archive", "csv"])
def test_the_archives_newer_columns(tmp_path, paint, layout):
    """Its sites are in five columns now, and the last diagnosis is not always in the same one."""
    paint(tmp_path / "images", "ISIC_1", "ISIC_2")
    write_csv(
        tmp_path / "metadata.csv",
        ("isic_id", "anatom_site_1", "anatom_site_2", "anatom_site_general",
         "diagnosis_1", "diagnosis_2", "diagnosis_3"),
        ("ISIC_1", "Trunk", "Back", "", "Benign", "Benign melanocytic proliferations", "Nevus"),
        ("ISIC_2", "Head", "", "", "Malignant", "Malignant adnexal tumor", ""),
    )  # fmt: skip
    found = datasets.load(tmp_path, layout=layout)
    assert found.table["localization"].tolist() == ["Trunk", "Head"]
    assert set(found.table["label"]) == {
        "isic-archive": {"benign", "malignant"}, "csv": {"Nevus", "Malignant adnexal tumor"},
    }[layout]  # fmt: skip


def test_isic_challenge_one_hot_with_lesions(tmp_path, paint):
    paint(tmp_path / "ISIC_2019_Training_Input", *(f"ISIC_{n}_downsampled" for n in range(6)))
    write_csv(
        tmp_path / "ISIC_2019_Training_GroundTruth.csv",
        ("image", "MEL", "NV", "SCC", "UNK"),
        ("ISIC_0_downsampled", "1.0", "0.0", "0.0", "0.0"),
        ("ISIC_1_downsampled", "0", "1", "0", "0"),
        ("ISIC_2_downsampled", "0", "0", "1", "0"),
        ("ISIC_3_downsampled", "1", "1", "0", "0"),
        ("ISIC_4_downsampled", "0", "0", "0", "0"),
        ("ISIC_5_downsampled", "0", "half", "1", "0"),
        ("ISIC_9_downsampled", "0", "1", "0", "0"),
    )
    write_csv(
        tmp_path / "ISIC_2019_Training_Metadata.csv",
        ("image", "age_approx", "anatom_site_general", "lesion_id", "sex"),
        ("ISIC_0_downsampled", "55", "back", "BCN_1", "female"),
        ("ISIC_1_downsampled", "", "", "BCN_1", ""),
    )
    found = datasets.load(tmp_path)
    assert list(labels_of(found).values()) == ["mel", "nv", "scc"]
    assert found.labels == ("mel", "nv", "scc")
    assert found.skipped == {"not exactly one class is marked": 3, "no image": 1}
    assert found.table["lesion"].tolist()[:2] == ["BCN_1", "BCN_1"]
    assert found.table["given"].isna().all()  # one file alone is no split


def test_isic_challenge_of_2018_keeps_its_test(tmp_path, paint):
    for part, name in (("Training", "a"), ("Test", "b")):
        folder = tmp_path / f"ISIC2018_Task3_{part}_GroundTruth"
        paint(tmp_path / f"ISIC2018_Task3_{part}_Input", name)
        write_csv(
            folder / f"ISIC2018_Task3_{part}_GroundTruth.csv",
            ("image", "MEL", "AKIEC"), (name, 0, 1),
        )  # fmt: skip
    found = datasets.load(tmp_path)
    assert found.table["given"].tolist() == ["test", "train"]
    assert labels_of(found) == {"a": "akiec", "b": "akiec"}


def test_class_folders_with_and_without_a_split(tmp_path, paint):
    paint(tmp_path / "plain" / "mole", "a", "b")
    paint(tmp_path / "plain" / "wart", "c")
    (tmp_path / "plain" / "wart" / "notes.txt").write_text("none")
    found = datasets.load(tmp_path / "plain")
    assert labels_of(found) == {"a": "mole", "b": "mole", "c": "wart"}
    assert found.skipped == {"file that is no image": 1}
    for part in ("Train", "Test"):
        paint(tmp_path / "split" / part / "mole", f"{part}1")
        paint(tmp_path / "split" / part / "wart", f"{part}2")
    found = datasets.load(tmp_path / "split")
    assert sorted(found.table["given"]) == ["test", "test", "train", "train"]


def test_a_plain_csv(tmp_path, paint):
    paint(tmp_path / "p", "a", "b", "c", "d")
    write_csv(
        tmp_path / "mine.csv",
        ("path", "label", "lesion", "patient", "split", "age"),
        ("p/a.png", "mole", "L1", "P1", "train", 40),
        ("p/b.png", "wart", "L2", "P1", "Test", ""),
        ("p/c.png", "", "L3", "", "train", ""),
        ("p/none.png", "wart", "L4", "", "train", ""),
        ("p/d.png", "wart", "L1", "", "maybe", ""),
    )
    found = datasets.load(tmp_path)
    assert found.skipped == {
        "path or label is missing": 1, "no image": 1, "split is unknown": 1
    }  # fmt: skip
    assert found.table["given"].tolist() == ["train", "test"]
    assert labels_of(datasets.load(tmp_path / "mine.csv")) == {"a": "mole", "b": "wart"}
    (tmp_path / "other.csv").write_text("path,label\n")
    with pytest.raises(datasets.DatasetError, match=r"several tables .*mine\.csv, other\.csv"):
        datasets.load(tmp_path)


def test_the_layout_may_be_told_and_an_unknown_one_is_explained(tmp_path, paint):
    paint(tmp_path / "mole", "a")
    paint(tmp_path / "wart", "b")
    write_csv(tmp_path / "t.csv", ("path", "label"), ("mole/a.png", "x"), ("wart/b.png", "y"))
    assert datasets.load(tmp_path).labels == ("x", "y")
    assert datasets.load(tmp_path, layout="folders").labels == ("mole", "wart")
    with pytest.raises(datasets.DatasetError, match="no HAM10000_metadata"):
        datasets.load(tmp_path, layout="ham10000")
    with pytest.raises(datasets.DatasetError, match="no dataset of a known layout"):
        datasets.load(tmp_path / "mole")


def test_a_patient_is_never_divided_even_over_lesions(tmp_path):
    import pandas as pd

    table = pd.DataFrame(
        {
            "path": list("abcde"),
            "lesion": ["L1", "L1", "L2", None, "L3"],
            "patient": ["P1", None, "P1", "P2", None],
        }
    )
    assert splits.identities(table) == ["patient P1"] * 3 + ["patient P2", "L3"]


def test_a_published_test_stays_and_the_rest_comes_of_train():
    given = ["test"] * 30 + ["train"] * 300
    labels = ["a", "b"] * 165
    assigned = splits.complete(given, labels, np.arange(330), seed=1)
    assert (assigned[:30] == "test").all()
    shares = {
        name: (assigned[30:] == name).mean() for name in ("train", "validation", "calibration")
    }
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "calibration": 0.1}, abs=0.01)
    alone = splits.complete([None] * 330, labels, np.arange(330), seed=1)
    assert np.array_equal(alone, splits.split(labels, np.arange(330), seed=1))
    with pytest.raises(datasets.DatasetError, match="none to train on"):
        splits.complete(["test"] * 330, labels, np.arange(330), seed=1)


def test_a_moved_datasets_images_of_one_name_are_told_apart(tmp_path, paint):
    from train.run import Run, RunError

    for folder in ("Train/mole", "Train/wart", "Test/mole", "Test/wart"):
        paint(tmp_path / "old" / folder, "1", "2")
    table = datasets.load(tmp_path / "old").table
    table = table.assign(path=table["path"].astype(str), split=table["given"])
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    table[["path", "label", "lesion", "split"]].to_csv(run.split, index=False)
    (tmp_path / "old").rename(tmp_path / "new")
    moved = located.table(run, tmp_path / "new")
    wanted = [path.replace("/old/", "/new/") for path in table["path"]]
    assert moved["path"].tolist() == wanted
    (tmp_path / "new").rename(tmp_path / "flat")
    for part in ("Train", "Test"):
        (tmp_path / "flat" / part / "mole").rename(tmp_path / "flat" / part / "nevus")
    with pytest.raises(RunError, match=r"1\.png is .* or .*; the split says"):
        located.table(run, tmp_path / "flat")


@pytest.fixture
def leaky(tmp_path, paint):
    """Class folders whose train and test share one image under two labels."""
    root = tmp_path / "leaky"
    for label in ("mole", "wart"):
        paint(root / "Train" / label, *(f"{label}{n}" for n in range(24)))
        paint(root / "Test" / label, *(f"test-{label}{n}" for n in range(3)))
    (root / "Test" / "wart" / "again.png").write_bytes(
        (root / "Train" / "mole" / "mole5.png").read_bytes()
    )
    return root


def prepare(root: Path, out: Path, *options: str, check: bool = True) -> Done:
    (out.parent / "r.toml").write_text(
        'name = "r"\ndescription = "r"\ncache_side_px = 32\n'
        "[input]\nwidth_px = 32\nheight_px = 32\n"
        '[model]\narchitecture = "stacked"\nfilters = [4]\n'
        '[[stages]]\nname = "s"\nepochs = 1\nlearning_rate = 1e-3\ninput_px = 32\n'
    )
    recipe = out.parent / "r.toml"
    return program(
        "train", "prepare", recipe, "--data", root, "--out", out, *options, check=check
    )  # fmt: skip


def test_shared_images_are_refused_dropped_or_allowed(leaky, tmp_path):
    refused = prepare(leaky, tmp_path / "a", check=False)
    assert refused.returncode == 1
    assert "train/mole/mole5.png = test/wart/again.png" in refused.stderr
    assert "--drop-overlap" in refused.stderr
    prepare(leaky, tmp_path / "b", "--drop-overlap")
    names = [Path(row["path"]).name for row in read(tmp_path / "b" / "split.csv")]
    assert "mole5.png" not in names
    assert "again.png" in names
    prepare(leaky, tmp_path / "c", "--allow-overlap")
    assert "mole5.png" in [Path(row["path"]).name for row in read(tmp_path / "c" / "split.csv")]


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("how", ["copy", "link"])
def test_organized_folders_are_a_dataset_again(leaky, tmp_path, how):
    done = prepare(leaky, tmp_path / "run", "--drop-overlap", "--organize", how)
    folders = {"organized_train/mole": 23, "organized_train/wart": 24}
    folders |= {"organized_test/mole": 3, "organized_test/wart": 4}
    for folder, count in folders.items():
        images = list((tmp_path / "run" / folder).iterdir())
        assert len(images) == count
        assert all(p.is_symlink() == (how == "link") for p in images)
        assert f"{folder}: {count} images" in done.stderr
    before = os.stat(tmp_path / "run" / "organized_test" / "mole" / "test-mole0.png").st_mtime_ns
    prepare(leaky, tmp_path / "run", "--drop-overlap", "--organize", how)
    after = os.stat(tmp_path / "run" / "organized_test" / "mole" / "test-mole0.png").st_mtime_ns
    assert before == after
    again = datasets.load(tmp_path / "run", layout="folders")
    assert again.table["given"].value_counts().to_dict() == {"train": 47, "test": 7}
    assert overlap.same_images(again.table) == []


@pytest.mark.parametrize(
    ("folder", "images", "pairs"), [("isic9", 2359, 18), ("isic_binary", 2150, 1)]
)
def test_real_datasets_overlap(folder, images, pairs):
    """The published nine-class set has 18 images on both sides."""
    root = Path(os.environ.get("LESIONEDGE_DATA", ROOT.parent / "shared" / "data")) / folder
    if not root.is_dir():
        pytest.skip(f"{folder} is not at hand: set LESIONEDGE_DATA to the folder that holds it")
    table = datasets.load(root).table
    assert len(table) == images
    assert len(overlap.same_images(table)) == pairs
