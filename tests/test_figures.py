"""The embedded models' figures are the same everywhere; their files' cards are the source."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from lesionedge import Classifier
from lesionedge.description import EMBEDDED, find_model

ROOT = Path(__file__).parent.parent
README, CARD, ACCURACY = (
    ROOT / "README.md",
    ROOT / "lesionedge/models/MODEL_CARD.md",
    ROOT / "docs/research/accuracy.md",
)
TITLES = {
    "`mobilenetv2` (int8)": "mobilenetv2",
    "`mobilenetv2-float16`": "mobilenetv2-float16",
    "`cnn` (int8)": "cnn",
}
ROWS = {
    "balanced accuracy": "balanced_accuracy",
    "accuracy": "accuracy",
    "macro AUROC": "macro_auroc",
    "melanoma AUROC": "melanoma_auroc",
    "malignant AUROC (mel, bcc, akiec)": "malignant_auroc",
    "melanoma sensitivity at 90 % specificity": "melanoma_sensitivity_at_90_specificity",
    "expected calibration error, 15 bins": "ece",
}


@pytest.fixture(scope="module")
def cards():
    return {name: Classifier(name).card for name in EMBEDDED}


@pytest.fixture(scope="module")
def figures(cards):
    return {name: card.metrics["test"][card.file.format] for name, card in cards.items()}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(text: str, first: str) -> list[list[str]]:
    """Return the rows of the first table whose heading contains ``first``, heading included."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|") and first in line)
    end = next(n for n in range(start, len(lines)) if not lines[n].startswith("|"))
    return [cells(line) for line in lines[start:end] if not line.startswith("|---")]


def span(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


@pytest.mark.parametrize("page", [README, CARD, ACCURACY], ids=lambda page: page.name)
def test_the_tables_equal_the_cards(page, figures):
    heading, *rows = table(page.read_text(), "`mobilenetv2` (int8)")
    models = [TITLES[title] for title in heading[1:]]
    assert models == list(TITLES.values())
    found = {row[0]: dict(zip(models, row[1:])) for row in rows if row[0] in ROWS}
    assert set(found) >= {"balanced accuracy", "melanoma AUROC"}
    for title, by_model in found.items():
        for model, cell in by_model.items():
            assert cell == span(figures[model][ROWS[title]]), (page.name, title, model)


def test_the_pages_are_what_the_script_writes(monkeypatch):
    spec = importlib.util.spec_from_file_location("figures", ROOT / "release" / "figures.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = {}
    monkeypatch.setattr(script, "write_text", written.__setitem__)
    script.main()
    assert set(written) == {README, CARD, ACCURACY}
    for page, text in written.items():
        assert text == page.read_text(encoding="utf-8"), f"{page.name}: run release/figures.py"


def test_sizes_are_those_of_the_files(cards):
    sizes = {name: Path(find_model(name)).stat().st_size / 1e6 for name in cards}
    heading, *rows = table(README.read_text(), "`mobilenetv2` (int8)")
    row = next(row for row in rows if row[0] == "file")
    assert row[1:] == [f"{sizes[TITLES[title]]:.2f} MB" for title in heading[1:]]
    for row in table(CARD.read_text(), "| file |")[1:]:
        name = row[1].split("`")[1]
        assert row[-1] == f"{sizes[name]:.1f} MB", name


def test_info_shows_what_the_readme_says(cli_run, figures):
    for model, found in figures.items():
        text = cli_run("info", model).stdout
        line = next(line for line in text.splitlines() if "balanced accuracy" in line)
        assert " ".join(line.split()[2:]) == span(found["balanced_accuracy"])
        assert f"{found['ece']['value']:.3f}" in text
        shown = json.loads(cli_run("info", model, "--format", "json").stdout)
        assert shown["metrics"]["test"].popitem()[1]["ece"] == found["ece"]


def test_thresholds_are_those_of_the_file(cards):
    points = cards["mobilenetv2"].operating_points
    rows = table(CARD.read_text(), "threshold in the file")[1:]
    assert [row[:2] for row in rows] == [
        [f"{point.sensitivity:.2f}", f"{point.threshold:.4f}"] for point in points
    ]
    shown = re.search(
        r'"operating_point": (\{.*?\})', (ROOT / "docs/guides/results.md").read_text(), re.DOTALL
    )
    example = json.loads(shown[1])
    point = next(p for p in points if p.sensitivity == example["sensitivity"])
    assert example["threshold"] == round(point.threshold, 3)
    assert example["specificity"] == round(point.measured_specificity, 3)


def test_the_external_collection_has_one_set_of_figures():
    pages = [table(page.read_text(), "| model | melanoma AUROC |") for page in (CARD, ACCURACY)]
    assert pages[0] == pages[1]
    auroc = {row[0].strip("`"): float(row[1].split()[0]) for row in pages[0][1:]}
    match = re.search(
        r"the melanoma AUROC\s+of `mobilenetv2` is (\d\.\d+) and that of `cnn` (\d\.\d+)",
        README.read_text(),
    )
    assert match.groups() == (f"{auroc['mobilenetv2']:.3f}", f"{auroc['cnn']:.3f}")


PROSE = [
    (ACCURACY, r"the twin has (\d\.\d+)\s", "mobilenetv2", "balanced_accuracy", 3),
    (ACCURACY, r"malignant AUROC (\d\.\d+) \(aim", "mobilenetv2", "malignant_auroc", 3),
    (ACCURACY, r"calibration error (\d\.\d+) \(aim", "mobilenetv2", "ece", 3),
    (ACCURACY, r"melanoma AUROC \d\.\d+ instead of (\d\.\d+)", "mobilenetv2", "melanoma_auroc", 3),
    (
        ROOT / "docs/research/published-recipes.md",
        r"balanced accuracy of (\d\.\d+) instead",
        "mobilenetv2",
        "balanced_accuracy",
        3,
    ),
    (
        ROOT / "docs/research/published-recipes.md",
        r"same accuracy \((\d\.\d+) and",
        "mobilenetv2",
        "accuracy",
        3,
    ),
]


@pytest.mark.parametrize("claim", PROSE, ids=lambda claim: f"{claim[0].stem}-{claim[3]}")
def test_figures_in_sentences_equal_the_cards(claim, figures):
    page, pattern, model, figure, digits = claim
    match = re.search(pattern, page.read_text().replace("\n", " "))
    assert match, f"{page.name} no longer says: {pattern}"
    assert match[1] == f"{figures[model][figure]['value']:.{digits}f}"
