"""Labels files: one label per line, or numbered as Coral's and Teachable Machine's are."""

from __future__ import annotations

import pickle

import pytest

from lesionedge import labels
from lesionedge.errors import ModelError


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb\r\n", "a\rb\r", "a\nb\n\n\n", " a \nb\t\n"])
def test_labels_files_of_every_system(text):
    assert labels.split(text) == ("a", "b")


@pytest.mark.parametrize(
    "form",
    ["{} {}", "{}  {}", "{}\t{}", "{}: {}", "{}:{}", "{}, {}", "{},{}", "{}. {}", "{}) {}",
     "({}) {}", "[{}] {}", "{}_{}", "{}-{}", "{} - {}", "{}={}", "{};{}", "{}|{}", "#{} {}",
     "class {}: {}", " {:02d} {}"],
)  # fmt: skip
def test_numbered_labels_are_put_in_order_without_their_numbers(form, tmp_path):
    codes = ["mel", "nv", "bcc", "Class 1"] + [f"class {n}" for n in range(8)]
    for first in (0, 1):
        lines = [form.format(n + first, code) for n, code in enumerate(codes)]
        file = tmp_path / "labels.txt"
        file.write_text("\n".join([lines[-1], *lines[:-1], ""]))
        assert labels.read(file) == tuple(codes)


@pytest.mark.parametrize(
    "form", ["{}: {}", "{}:{}", "{} {}", "{}\t{}", "{},{}", "{}_{}", "{} ({})"]
)
def test_numbers_behind_labels_count_too(form, tmp_path):
    file = tmp_path / "labels.txt"  # Keras' class_indices, line by line
    numbers = {"mel": 4, "nv": 5, "akiec": 0, "bcc": 1, "bkl": 2, "df": 3, "vasc": 6}
    for first in (0, 1):
        lines = [form.format(code, number + first) for code, number in numbers.items()]
        file.write_text("\n".join(lines))
        assert labels.read(file) == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def test_numbers_in_the_order_of_text_are_refused():
    """Keras sorts folders so: then the labels are in output order, and the numbers mislead."""
    folders = sorted(f"{number}. c{number}" for number in range(1, 12))
    with pytest.raises(ModelError, match=r"in the order of text \(1, 10, 11, …\).* output order"):
        labels.in_order(folders, "list")
    assert labels.in_order(folders[:1] + folders[3:], "list")[0] == "c1"


@pytest.mark.parametrize("line", ["a" + " " * 20_000 + "b", "a :_ " * 5000, "x" + "_" * 20_000])
def test_a_line_of_any_length_takes_no_time(line):
    """A model's labels may be anybody's."""
    assert labels.in_order([line, f"{line} 1"], "list") == (line, f"{line} 1")


@pytest.mark.parametrize(
    "lines",
    [["mel", "nv"], ["3D white", "3D XP"], ["2 mm", "4 mm"], ["20-29", "30-39"], ["1st", "2nd"],
     ["0.76 mm", "1.5 mm thick"], ["Class 1", "Class 2"], ["5-fluorouracil rash", "nevus"],
     ["2 spots", "nevus", "melanoma", "3 dots", "mole"], ["a 10", "b 11"], ["mel 0", "nv"],
     ["T-cell 1", "B 3"], ["mel v1", "nv v0"], ["0", "1", "2"], ["", "nevus", "mel"]],
)  # fmt: skip
def test_labels_that_only_begin_with_digits_stay(lines):
    assert labels.in_order(lines, "list") == tuple(lines)


def test_a_number_in_front_keeps_a_label_that_begins_with_digits():
    assert labels.in_order(["1 4 mm", "0 2 mm"], "list") == ("2 mm", "4 mm")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["0 mel", "2 nv"],
            r"names.txt: its 2 labels .*the number 1 is missing; expected 0 to 1, each once",
        ),
        (["1 mel", "3 nv"], r"the number 2 is missing; expected 1 to 2"),
        (["2 mel", "3 nv"], r"the number 0 is missing; expected 0 to 1"),
        (["0 mel", "0 nv"], r"number 0 occurs twice \('mel' and 'nv'\)"),
        (
            ["0 mel", "1 nv", "bcc"],
            r"label 3 \('bcc'\) has no number, but others have, such as '0 mel'",
        ),
        (["0 mel", "999999 nv"], r"the number 1 is missing;"),
    ],
)
def test_gaps_duplicates_and_missing_numbers_are_refused(lines, message, tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("\n".join(lines))
    with pytest.raises(ModelError, match=message):
        labels.read(file)


def test_repeated_labels_get_names_that_no_other_has():
    assert labels.distinct(["a", "a", "a_2", "b", "a"]) == ("a", "a_3", "a_2", "b", "a_4")


def test_labels_in_utf_16_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "labels.txt").write_text("mel\nnv\n", encoding="utf-16")
    with pytest.raises(ModelError, match=r"labels\.txt: labels are not UTF-8.*save them as UTF-8"):
        labels.read(tmp_path / "labels.txt")


def test_ordered_labels_stay_unchanged():
    again = pickle.loads(pickle.dumps(labels.OrderedLabels(["1 spot", "0 dots"])))
    assert labels.in_order(again, "list") == ("1 spot", "0 dots")
    assert labels.in_order(tuple(again), "list") == ("dots", "spot")
