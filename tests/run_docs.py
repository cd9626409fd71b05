"""Run the commands of the README and the documentation as printed.

python tests/run_docs.py [--training] [PAGE...]
python tests/run_docs.py --pi BITS      # prints the Raspberry Pi's page for tests/test_pi.sh

Copies the checkout's tracked files into a temporary folder and runs there, page after page, every
``sh`` and ``python`` block, first those of the quickstart, which install lesionedge. A comment
before a block says otherwise:

    <!-- not run: REASON -->                 the block is for reading
    <!-- not run: REASON: START, START -->   only the lines that begin so are for reading
    <!-- run by make test-pi: BITS -->       run elsewhere
    <!-- run with TensorFlow -->             run with --training only
    <!-- background: URL -->                 started, waited for, ended with the page
    <!-- file: NAME -->                      the block's content is written to this file
    <!-- output -->                          the output of the block before; numbers may differ
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "docs/quickstart.md",
    "docs/guides/results.md",
    "docs/guides/camera.md",
    "docs/guides/browser.md",
    "docs/guides/phones.md",
    "docs/guides/archives.md",
    "docs/guides/home-assistant.md",
    "docs/guides/your-own-model.md",
    "docs/guides/your-own-images.md",
    "docs/reference/cli.md",
    "docs/reference/python.md",
    "docs/reference/result-format.md",
    "docs/reference/errors.md",
    "docs/reference/evaluation.md",
    "README.md",
)
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
RUN_BY_DEFAULT = {"sh", "python"}
DRAWN = ("photo.jpg", "a.jpg", "b.jpg", "photos/1.jpg", "folder/1.jpg", "archive/1.jpg", "c.png")
"""What the pages take for the reader's own images."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    text: str
    mark: str = ""

    @property
    def action(self) -> str:
        """Return the mark's action, without its details."""
        return self.mark.partition(":")[0]

    @property
    def detail(self) -> str:
        """Return the text after the mark's colon."""
        return self.mark.partition(": ")[2]


def blocks(page: Path) -> Iterator[Block]:
    """Yield a page's fenced blocks in order."""
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["kind"], found["text"], found["mark"] or "")


def script(page: Path, *, training: bool) -> str:
    """Return the page as one shell script; empty if no block can run."""
    found = list(blocks(page))
    lines = [
        f"cat >{shlex.quote(block.detail)} <<'END-OF-FILE'\n{block.text}END-OF-FILE"
        for block in found
        if block.action == "file"
    ]
    for number, block in enumerate(found):
        lines += commands(block, number, training=training)
    return "\n".join(lines)


def commands(block: Block, number: int, *, training: bool) -> Iterator[str]:
    """Yield the lines that run a block."""
    if block.action == "output":
        yield f"cat >expected <<'END-OF-FILE'\n{block.text}END-OF-FILE"
        yield "python same_output.py expected printed"
    elif block.action == "background":
        yield f"{block.text.strip()} &\nwait_for {shlex.quote(block.detail)}"
    elif not runs(block, training=training):
        return
    elif block.action == "not run":
        starts = tuple(block.detail.partition(": ")[2].split(", "))
        if starts != ("",):
            yield printed("".join(skipped(block.text, starts)))
    elif block.kind == "python":
        yield f"cat >page_{number}.py <<'END-OF-FILE'\n{block.text}END-OF-FILE"
        yield f"python page_{number}.py"
    else:
        yield printed(block.text)


def runs(block: Block, *, training: bool) -> bool:
    """Return whether to run a block here."""
    if block.action == "run with TensorFlow" and not training:
        return False
    elsewhere = ("run by make test-pi", "file")
    return block.kind in RUN_BY_DEFAULT and block.action not in elsewhere


def printed(text: str) -> str:
    """Return commands that keep their output, for the log and for a later ``output`` block."""
    return f"exec 3>&1 >printed\nset -x\n{text}{{ set +x; }} 2>/dev/null\nexec >&3 3>&-"


def skipped(text: str, starts: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines that do not begin with any of ``starts``."""
    for line in text.splitlines(keepends=True):
        if not line.startswith(starts):
            yield line


PRELUDE = """
set -eu
wait_for() {
  for _ in $(seq 240); do
    if curl --silent --fail --output /dev/null "$1"; then return 0; fi
    sleep 0.25
  done
  echo "nothing responds at $1"; return 1
}
trap 'cat printed >&2; jobs -p | xargs -r kill' EXIT
: >printed
[ ! -e .venv/bin/activate ] || . .venv/bin/activate
"""

SAME_OUTPUT = """
import re, sys
def plain(path):
    text = open(path, encoding="utf-8").read()
    text = re.sub(r"[<>]?[0-9.]+|[^\\x00-\\u24ff]", "", text)
    return sorted(" ".join(line.split()) for line in text.splitlines() if line.strip())
expected, found = map(plain, sys.argv[1:])
if expected != found:
    sys.exit(f"the page promises\\n{expected}\\nand what is printed is\\n{found}")
"""


def prepare(folder: Path) -> None:
    """Make a copy of the checkout, and images in place of the reader's own."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("release/base"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "same_output.py").write_text(SAME_OUTPUT, encoding="utf-8")
    for name in DRAWN:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "examples" / "synthetic_lesion.jpg", folder / name)


def pi_commands(bits: str) -> str:
    """Return the commands of the Raspberry Pi's page for a 64- or 32-bit system."""
    found = [
        block.text
        for block in blocks(ROOT / "docs" / "guides" / "raspberry-pi.md")
        if block.action == "run by make test-pi" and bits in block.detail.split()
    ]
    if not found:
        raise SystemExit(f"the page has no commands for {bits} bit")
    return "".join(found)


def main() -> int:
    """Run the pages; return an exit status."""
    parser = argparse.ArgumentParser(description="Run the commands of the documentation.")
    parser.add_argument("pages", nargs="*", default=PAGES)
    parser.add_argument("--training", action="store_true", help="also what needs TensorFlow")
    parser.add_argument("--pi", metavar="BITS", help="print that page's commands for 64 or 32 bit")
    options = parser.parse_args()
    if options.pi:
        print(pi_commands(options.pi))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for page in dict.fromkeys(["docs/quickstart.md", *options.pages]):
            text = script(ROOT / page, training=options.training)
            print(f"== {page}", "" if text else "(nothing to run)", flush=True)
            done = subprocess.run(["bash", "-c", PRELUDE + text], cwd=folder)
            if done.returncode:
                print(f"{page}: a command ended with {done.returncode}", flush=True)
                return 1
    print("every command runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
