"""Which table says what images show: where labels are looked for, and what is no truth."""

from __future__ import annotations

import unicodedata

import pytest

pytest.importorskip("pandas", reason="needs the extra evaluate")

from lesionedge import datasets
from lesionedge.datasets import DatasetError, gather, truth

LABELS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
HEAD = ("path", "label", "name", "probability", "malignant_probability", "reliable", "warnings")


@pytest.fixture
def put(tmp_path, draw):
    """Writes images, each another one, and tables in the test's folder."""

    def write(*names, **tables):
        for number, name in enumerate(names):
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            draw(40, 30, seed=number).save(file)
        for name, text in tables.items():
            content = text if isinstance(text, bytes) else text.encode()
            (tmp_path / f"{name}.csv").write_bytes(content)
        return tmp_path

    return write


def predictions(*images):
    shares = ",".join(["0.14"] * len(LABELS))
    rows = [f"{name},{label},,0.9,0.5,true,,{shares}," for name, label in images]
    return "\n".join([",".join([*HEAD, *(f"p_{x}" for x in LABELS), "error"]), *rows, ""])


def labels_of(found):
    return found.table["label"].tolist()


def test_predictions_are_no_truth(put, cli_run, int8):
    root = put("1.png", "2.png", predictions=predictions(("1.png", "mel"), ("2.png", "nv")))
    table = str(root / "predictions.csv")
    for source, file, text in (
        (str(root), table, "holds predictions, and its column label"),
        (table, None, "Give the images' folder as SOURCE"),
        (table, table, "Give the images' folder as SOURCE"),
    ):
        with pytest.raises(DatasetError, match=text):
            gather.gather(source, truth_file=file)
    with pytest.raises(DatasetError, match="holds predictions"):
        datasets.load(root / "predictions.csv", layout="csv")
    with pytest.raises(datasets.UnknownLayoutError, match=r"found predictions.csv \(predictions\)"):
        gather.gather(str(root))
    done = cli_run("calibrate", table, "--truth", table, "-m", int8, "-o", root / "site.json")
    assert (done.exit_code, "holds predictions" in done.stderr) == (1, True)


def test_predictions_beside_labels_are_passed_over(put):
    text = predictions(("1.png", "nv"), ("2.png", "mel"))
    root = put("1.png", "2.png", predictions=text, labels="path,label\n1.png,mel\n2.png,nv\n")
    found = gather.gather(str(root))
    assert labels_of(found) == ["mel", "nv"]
    assert found.skipped == {"table of predictions, which are no labels": 1}


def test_predictions_in_class_folders_are_passed_over(put):
    root = put("mel/1.png", "nv/2.png", predictions=predictions(("mel/1.png", "nv")))
    found = gather.gather(str(root))
    assert labels_of(found) == ["mel", "nv"]
    assert found.skipped == {"table of predictions, which are no labels": 1}


def test_what_cannot_be_read_is_said(put, tmp_path):
    put("1.png")
    with pytest.raises(DatasetError, match=r"none.csv: cannot be read \(No such file"):
        gather.gather(str(tmp_path), truth_file=str(tmp_path / "none.csv"))
    for name, content, text in (
        ("labels.xlsx", b"PK\x03\x04\x14\0\x06\0[Content_Types].xml", "save a workbook as csv"),
        ("labels.csv", b"\xff\xfep", "cannot be read"),
        ("empty.csv", b"", "found an empty file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=text):
            gather.gather(str(tmp_path), truth_file=str(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    [
        "path,label,site\n1.png,mel,rücken\n2.png,nv,".encode("cp1252"),
        "sep=;\r\npath;label\r\n1.png;mel\r\n2.png;nv\r\n",
        '"sep=;"\r\npath;label,\r\n1.png;mel\r\n2.png;nv\r\n'.replace(",", ""),
        "path\tlabel\r\n1.png\tmel\r\n2.png\tnv\r\n".encode("utf-16"),
        ";;\r\n\r\npath;label;\r\n1.png;mel;\r\n2.png;nv;\r\n",
    ],
)
def test_tables_as_excel_writes_them(put, text):
    root = put("1.png", "2.png", labels=text)
    assert labels_of(gather.gather(str(root))) == ["mel", "nv"]
    assert truth.read(root / "labels.csv")[0]["label"].tolist() == ["mel", "nv"]


@pytest.mark.parametrize("place", ["{}", "./{}", "/home/x/{}", "C:\\photos\\{}", "..\\{}"])
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_a_row_of_a_folder_is_of_no_other_folder(tmp_path, place, slash):
    """A/1.jpg is missing: its label is not B/1.jpg's."""
    table = tmp_path / "t.csv"
    rows = [("A/1.jpg", "mel"), ("A/2.jpg", "nv"), ("B/2.jpg", "mel")]
    lines = [f"{place.format(name.replace('/', slash))},{label}" for name, label in rows]
    table.write_text("\n".join(["path,label", *lines]))
    for folder in ("photos/", "", "/elsewhere/"):
        images = [f"{folder}{name}" for name in ("B/1.jpg", "A/2.jpg", "B/2.jpg")]
        found = gather.named(images, str(table))
        assert list(zip(found.paths, labels_of(found))) == [(images[1], "nv"), (images[2], "mel")]
        assert found.skipped == {
            "image without a row of truth": 1, "row of truth without an image": 1,
        }  # fmt: skip


def test_a_path_comes_before_a_name(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,label\n1.jpg,mel\nA/1.jpg,nv\n2,bcc\n")
    images = ["photos/A/1.jpg", "photos/B/1.jpg", "photos/B/2.png"]
    assert labels_of(gather.named(images, str(table))) == ["nv", "mel", "bcc"]
    member = "zip://photos/A/1.jpg::" + str(tmp_path / "x.zip")
    address = "https://example.org/A/1.jpg?size=1"
    assert labels_of(gather.named([member], str(table))) == ["nv"]
    assert labels_of(gather.named([address], str(table))) == ["nv"]


def test_more_of_an_absolute_path_tells_folders_apart(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,label\n/x/one/A/1.jpg,mel\n/x/one/A/2.jpg,nv\n/x/two/A/2.jpg,bcc\n")
    images = ["/y/two/A/1.jpg", "/y/one/A/2.jpg", "/y/two/A/2.jpg"]
    found = gather.named(images, str(table))
    assert list(zip(found.paths, labels_of(found))) == [(images[1], "nv"), (images[2], "bcc")]


def test_a_table_beside_images_may_have_backslashes(put):
    root = put("A/1.png", "B/2.png", labels="path,label\nA\\1.png,mel\nB\\2.png,nv\n")
    assert labels_of(gather.gather(str(root))) == ["mel", "nv"]
    assert labels_of(gather.gather(str(root / "labels.csv"))) == ["mel", "nv"]


@pytest.mark.parametrize(
    ("rows", "held"),
    [
        (('1.png,"mel,', "2.png,nv,", "3.png,nv,"), "2.png,nv,"),
        (('1.png,mel,"', "2.png,nv,", '3.png,nv,""'), "2.png,nv,"),
        (('1.png,mel,"one\ntwo, so, so"', '2.png,nv,"5"" long"', '3.png,nv,5" long'), None),
    ],
)
def test_rows_are_not_lost_in_a_cell(put, rows, held):
    """With a quotation mark that is not closed, a cell goes on to the next one, or to the end."""
    root = put(*(f"{n}.png" for n in (1, 2, 3)), labels="\n".join(["path,label,note", *rows, ""]))
    if held is None:
        assert labels_of(gather.gather(str(root))) == ["mel", "nv", "nv"]
        return
    for truth_file in (None, str(root / "labels.csv")):
        with pytest.raises(
            DatasetError, match=f"a quotation mark is not closed.* such as '{held}'"
        ):
            gather.gather(str(root), truth_file=truth_file)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("column", ["path", "image", "stem"])
def test_accents_may_be_written_in_two_ways(put, forms, column):
    """As one character in Excel's tables, as two in the names of files that a Mac wrote."""
    names = ["Läsion 1.png", "Müller/Läsion 2.png"]
    file, table = ([unicodedata.normalize(form, name) for name in names] for form in forms)
    if column == "stem":
        table = [name.removesuffix(".png") for name in table]
    head = "path" if column == "path" else "image"
    root = put(*file, labels=f"{head},label\n{table[0]},mel\n{table[1]},nv\n")
    for truth_file in (None, str(root / "labels.csv")):
        found = gather.gather(str(root), truth_file=truth_file)
        assert sorted(labels_of(found)) == ["mel", "nv"]
    if column == "path":
        assert labels_of(gather.gather(str(root / "labels.csv"))) == ["mel", "nv"]


def test_a_name_with_a_folder_is_searched_for_in_it(put):
    root = put(
        "B/1.png", "B/2.png", "A/2.png",
        labels="image,dx\nA/1.png,mel\nB\\2.png,nv\n/x/A/2.png,mel\n",
    )  # fmt: skip
    found = gather.gather(str(root))
    assert labels_of(found) == ["nv", "mel"]
    assert found.skipped == {"no image": 1}
