"""What the gate is trained on: which images are in which part."""

from pathlib import Path

import pytest

pd = pytest.importorskip("pandas", reason="needs the extra train: make test installs it")

from train.gate import sources  # noqa: E402

PARTS = {"train", "validation", "calibration", "test"}
SPLIT = Path("release/split.csv")


@pytest.fixture
def data(tmp_path):
    """The three folders with names alone, which is all that the table needs."""
    for name in pd.read_csv(SPLIT)["path"]:
        file = tmp_path / "ham10000" / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    (tmp_path / "clinical_photos").mkdir()
    (tmp_path / "not_skin").mkdir()
    lines = ["image_id,patient_id"]
    for number in range(200):
        (tmp_path / "not_skin" / f"n{number}.jpg").touch()
        (tmp_path / "clinical_photos" / f"c{number}.png").touch()
        lines.append(f"c{number},p{number // 2}")
    (tmp_path / "clinical_photos" / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def test_every_part_has_images_of_every_source(data):
    table = sources.table(data)
    found = table.groupby("source")["split"].agg(set).to_dict()
    assert found == {"ham10000": PARTS, "clinical": PARTS, "not_skin": PARTS}
    assert (table.groupby(["source", "group"])["split"].nunique() == 1).all()


def test_what_systems_leave_about_is_no_image(data):
    before = len(sources.table(data))
    for name in ("._n1.jpg", "__MACOSX/n2.jpg", "@eaDir/n3.jpg"):
        (data / "not_skin" / name).parent.mkdir(exist_ok=True)
        (data / "not_skin" / name).touch()
    assert len(sources.table(data)) == before


def test_the_gate_has_not_seen_what_the_twins_are_asked_about(data):
    table = sources.table(data)
    fold = pd.read_csv(SPLIT)
    for part in ("test", "calibration"):
        own = table[(table["source"] == "ham10000") & (table["split"] == part)]
        names = {Path(path).name for path in own["path"]}
        assert names == set(fold.loc[fold["split"] == part, "path"])


def test_a_missing_folder_is_named(data):
    for file in (data / "not_skin").iterdir():
        file.unlink()
    (data / "not_skin").rmdir()
    with pytest.raises(sources.SourceError, match="not_skin: no such folder"):
        sources.table(data)
