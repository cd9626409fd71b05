"""The documentation builds without a dead link, is complete, and its blocks are run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_docs import PAGES, blocks, runs

import lesionedge
from lesionedge.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MOST_WORDS = 12_000
"""Of quickstart, guides and reference together."""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    pytest.importorskip("sphinx", reason="needs the extra docs: make docs installs it")
    pytest.importorskip("pydantic", reason="needs the extra docs: make docs installs it")

    def run(source: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
        target = tmp_path_factory.mktemp("site")
        line = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
        done = subprocess.run(
            [*line, str(source), str(target)], cwd=ROOT, capture_output=True, text=True
        )
        return done, target

    return run


@pytest.fixture(scope="module")
def site(build):
    done, target = build(DOCS)
    assert (done.returncode, done.stderr) == (0, "")
    return target


def test_the_site_needs_no_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"', text)
        loaded += re.findall(r'<link\b[^>]*\brel="stylesheet"[^>]*\bhref="([^"]+)"', text)
        assert not [one for one in loaded if re.match(r"(https?:)?//", one)], page.name
    for style in site.rglob("*.css"):
        assert "fonts.googleapis" not in style.read_text(encoding="utf-8")
    assert (site / "searchindex.js").stat().st_size > 50_000


def test_every_command_and_every_public_name_is_documented(site):
    commands = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f'id="lesionedge-{name}"' in commands, name
    assert "--output" in commands
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    python += (site / "reference" / "errors.html").read_text(encoding="utf-8")
    for name in set(lesionedge.__all__) - {"__version__"}:
        home = getattr(lesionedge, name).__module__
        assert f'id="lesionedge.{name}"' in python or f'id="{home}.{name}"' in python, name


def test_a_dead_link_fails(build, tmp_path):
    shutil.copy(DOCS / "conf.py", tmp_path / "conf.py")
    settings = (tmp_path / "conf.py").read_text().replace("../lesionedge", f"{ROOT}/lesionedge")
    (tmp_path / "conf.py").write_text(settings)
    (tmp_path / "other.md").write_text("---\norphan: true\n---\n# Other\n")
    links = {
        "gone.md": "[a](gone.md)",
        "gone-part": "[b](other.md#gone-part)",
        "gone.png": "![c](gone.png)",
    }
    text = "\n\n".join(["# Page", "[right](other.md#other)", *links.values(), ""])
    (tmp_path / "index.md").write_text(text)
    done, _ = build(tmp_path)
    assert done.returncode != 0
    for gone in links:
        assert gone in done.stderr
    (tmp_path / "index.md").write_text("# Page\n\n[right](other.md#other)\n")
    done, _ = build(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_guides_and_reference_are_short():
    pages = [DOCS / "quickstart.md", *DOCS.glob("guides/*.md"), *DOCS.glob("reference/*.md")]
    # A word holds a letter or a digit: the lines of a table are none.
    words = [re.findall(r"[^\s|]*\w[^\s|]*", page.read_text(encoding="utf-8")) for page in pages]
    assert sum(map(len, words)) < MOST_WORDS
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_block_of_commands_is_run_or_says_why_not():
    """``make test-docs`` runs them; ``make test-pi`` runs those of the Raspberry Pi's page."""
    guides = {str(page.relative_to(ROOT)) for page in DOCS.glob("guides/*.md")}
    assert guides - {"docs/guides/raspberry-pi.md"} <= set(PAGES)
    ran = 0
    for page in [*PAGES, "docs/guides/raspberry-pi.md"]:
        for block in blocks(ROOT / page):
            if block.kind == "sh" and block.action in ("not run", "run by make test-pi"):
                assert block.detail, f"{page}: {block.text}"
            elif block.kind == "sh":
                assert runs(block, training=True) or block.action == "background", page
                ran += 1
    assert ran >= 15


def test_commands_need_no_path_to_be_guessed():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        assert ".venv/bin/" not in text.replace(". .venv/bin/activate", ""), page.name
        for block in blocks(page):
            for wheel in re.findall(r"pip install [^\n]*\.whl", block.text):
                assert "py3-none-any" in wheel or "linux_armv7l" in wheel or "/tmp/" in wheel, page


def test_the_architecture_names_existing_files():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rooms = ("lesionedge", "train", "convert", "docs", "tests", "benchmarks", "examples", "release",
             ".ci")  # fmt: skip
    there = {path.as_posix() for room in rooms for path in (ROOT / room).rglob("*")}
    there |= {path.as_posix() for path in ROOT.iterdir()}
    files = set(re.findall(r"\b([a-z_/.-]+\.(?:py|toml|md|json))\b", text))
    folders = set(re.findall(r"`([a-z_/]+/)`", text))
    assert len(files) > 20
    assert len(folders) > 5
    for one in files | folders:
        assert any(path.endswith(f"/{one.rstrip('/')}") for path in there), one
