"""Build the phone's app: a static folder that any web server can serve.

    python app/build.py dist/app
    python app/build.py --peer     fetch what tests and benchmarks compare it with

npm fetches LiteRT.js, of exactly the version and content that ``package.json`` names. The rest is
in this checkout: ``app``, what the page of ``lesionedge serve`` shares with it, and the embedded
models with their cards.

The folder holds ``index.html``, ``sw.js`` and ``app.webmanifest``. All else is in a folder that is
named after its content, so a browser never mixes two versions. Beside each file lies its gzip, for
servers that send such files.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import lesionedge
from lesionedge import Classifier, image, operating, profile, quality, reliability
from lesionedge.card import OperatingPoint
from lesionedge.classifier import DEFAULT_SENSITIVITY
from lesionedge.description import EMBEDDED

HERE = Path(__file__).parent
SHARED = Path(lesionedge.__file__).parent / "web" / "static"
MODELS = Path(lesionedge.__file__).parent / "models"
CACHE = HERE / ".packages"
OFFERED = ("mobilenetv2", "cnn")
LICENCES = {"models": MODELS / "LICENSE", "lesionedge": HERE.parent / "LICENSE"}
SHARED_FILES = ("words.js", "result.js", "drop.js", "pixels.js", "style.css", "icon.svg")
PEER = "@mediapipe/tasks-vision"
"""MediaPipe's web runtime: no part of the app."""
RUNTIMES = {"plain": "", "compat": "_compat", "threaded": "_threaded"}
"""The builds of LiteRT.js's WebAssembly that the app knows; a browser loads one of them."""

NOTICES = (
    reliability.CLINICAL, reliability.OTHER, quality.DARK_NOTICE, quality.BRIGHT_NOTICE,
    quality.BLURRED_NOTICE, quality.GLARE_NOTICE, quality.SMALL_NOTICE, quality.CUT_NOTICE,
    quality.HAIR_NOTICE, image.ANIMATED,
)  # fmt: skip
"""The warnings that the app knows."""

LEAST_GAIN = 0.9
"""A gzip lies beside a file if it is smaller by this factor."""


def main() -> None:
    """Build into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Build the phone's app.")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="such as dist/app; an app in it is replaced"
    )
    parser.add_argument("--peer", action="store_true", help=f"fetch {PEER}, and print its folder")
    options = parser.parse_args()
    if options.peer:
        print(_unpacked(PEER))
    elif options.folder is None:
        parser.error("expected a folder, such as dist/app")
    else:
        build(options.folder)


def build(folder: Path) -> str:
    """Build the app.

    Args:
        folder: A new or empty one, or a built app, which is replaced.

    Returns:
        The version: a hash of the content.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "sw.js").is_file():
        sys.exit(
            f"app/build.py: {folder} holds other files; name another folder, or empty it first"
        )
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        parts = made / "parts"
        parts.mkdir(parents=True)
        _collect(parts)
        version = _hash(HERE / "index.html", HERE / "app.webmanifest", *_files(parts))
        parts.rename(made / version)
        _write_pages(made, version)
        _compress(made)
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(made, folder)
    return version


def _collect(parts: Path) -> None:
    for name in SHARED_FILES:
        shutil.copy(SHARED / name, parts)
    for path in sorted((HERE / "src").glob("*.js")):
        if path.name != "sw.js":
            shutil.copy(path, parts)
    shutil.copy(HERE / "app.css", parts)
    for side in (192, 512):
        icon(side).save(parts / f"icon-{side}.png", optimize=True)
    for name in (*(EMBEDDED[name] for name in OFFERED), reliability.FILE):
        shutil.copy(MODELS / name, parts)
    for name, path in LICENCES.items():
        shutil.copy(path, parts / f"LICENSE-{name}.txt")
    (parts / "facts.json").write_text(json.dumps(facts(), separators=(",", ":")))
    _take_litert(parts / "vendor")


def facts() -> dict[str, Any]:
    """Return what the app knows of the models, and the words of warnings."""
    gate = reliability.Gate()
    return {
        "version": lesionedge.__version__,
        "litert": _package()["dependencies"]["@litertjs/core"],
        "models": [_model(name) for name in OFFERED],
        "gate": {
            "file": reliability.FILE, "threshold": gate.threshold,
            "input": {"width_px": reliability.SIDE_PX, "height_px": reliability.SIDE_PX},
        },
        "notices": {notice.code: str(notice) for notice in NOTICES},
    }  # fmt: skip


def _model(name: str) -> dict[str, Any]:
    classifier = Classifier(name)
    card = classifier.card.to_dict()
    point = operating.nearest(classifier.operating_points, DEFAULT_SENSITIVITY)
    return {
        "name": name,
        "file": EMBEDDED[name],
        "sha256": profile.digest(classifier.path),
        "labels": [
            {"label": one.label, "name": one.name, "malignant": one.malignant}
            for one in classifier.diagnoses
        ],
        "input": vars(classifier.preprocessing),
        "point": _plain(point),
        "source": "model card",
        "card": {
            key: card[key]
            for key in ("description", "data", "licence", "attribution", "intended_use", "limits")
        },
    }


def _plain(point: OperatingPoint | None) -> dict[str, float] | None:
    if point is None:
        return None
    return {key: value for key, value in point._asdict().items() if key != "extra"}


def _write_pages(made: Path, version: str) -> None:
    for name in ("index.html", "app.webmanifest"):
        text = (HERE / name).read_text(encoding="utf-8").replace("@/", f"{version}/")
        (made / name).write_text(text, encoding="utf-8")
    runtimes = {
        kind: [f"{version}/vendor/litert_wasm{part}_internal.{end}" for end in ("js", "wasm")]
        for kind, part in RUNTIMES.items()
    }
    own = [path.relative_to(made).as_posix() for path in _files(made / version)]
    builds = {path for paths in runtimes.values() for path in paths}
    files = ["./", "app.webmanifest", *(path for path in own if path not in builds)]
    text = (HERE / "src" / "sw.js").read_text(encoding="utf-8").replace("{{version}}", version)
    for key, value in (("files", files), ("runtimes", runtimes)):
        text = text.replace(f"{{{{{key}}}}}", json.dumps(value, indent=2))
    (made / "sw.js").write_text(text, encoding="utf-8")


def _compress(made: Path) -> None:
    for path in _files(made):
        packed = gzip.compress(path.read_bytes(), 9, mtime=0)
        if len(packed) < LEAST_GAIN * path.stat().st_size:
            path.with_name(path.name + ".gz").write_bytes(packed)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _hash(*paths: Path) -> str:
    """Return a short hash of files' names and contents."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    found.update((HERE / "src" / "sw.js").read_bytes())
    return found.hexdigest()[:12]


def icon(side: int) -> Image.Image:
    """Draw the icon, as ``icon.svg`` shows it but to the edges: systems cut it into their shapes.

    Args:
        side: In px.
    """
    scale = 4 * side / 32
    drawn = Image.new("RGB", (4 * side, 4 * side), "#0b5a7d")
    draw = ImageDraw.Draw(drawn)
    for box, colour in (((5.5, 5.5, 26.5, 26.5), "#e9c3ab"), ((9.5, 9, 22.5, 22.5), "#6b3f33")):
        draw.ellipse([edge * scale for edge in box], fill=colour)
    return drawn.resize((side, side), Image.Resampling.LANCZOS)


# --- npm


def _package() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "package.json").read_text())
    return found


def _take_litert(vendor: Path) -> None:
    vendor.mkdir()
    core, helper = (_unpacked(name) for name in ("@litertjs/core", "@litertjs/wasm-utils"))
    code = (core / "dist" / "index.js").read_text(encoding="utf-8")
    (vendor / "litert.js").write_text(
        _without_map(code).replace('"@litertjs/wasm-utils"', '"./wasm-utils.js"'), encoding="utf-8"
    )
    code = (helper / "dist" / "index.js").read_text(encoding="utf-8")
    (vendor / "wasm-utils.js").write_text(_without_map(code), encoding="utf-8")
    for part in RUNTIMES.values():
        for end in ("js", "wasm"):
            shutil.copy(core / "wasm" / f"litert_wasm{part}_internal.{end}", vendor)


def _without_map(code: str) -> str:
    return "\n".join(line for line in code.splitlines() if "sourceMappingURL" not in line) + "\n"


def _unpacked(name: str) -> Path:
    """Return the folder of an npm package, fetched if it is not here yet and held to its hash."""
    package = _package()
    version = {**package["dependencies"], **package["devDependencies"]}[name]
    wanted = package["integrity"][name]
    folder = CACHE / f"{name.replace('/', '-').lstrip('@')}-{version}"
    if not folder.is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            archive = _fetch(f"{name}@{version}", Path(temporary))
            _check(archive, wanted, name)
            with tarfile.open(archive) as packed:
                packed.extractall(temporary, filter="data")
            (Path(temporary) / "package").rename(folder)
    return folder


def _fetch(name: str, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(f"app/build.py: npm is missing, which fetches {name}; install Node.js and npm")
    line = [npm, "pack", name, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"app/build.py: npm cannot fetch {name}: {done.stderr.strip()}")
    return next(folder.glob("*.tgz"))


def _check(archive: Path, wanted: str, name: str) -> None:
    kind, _, digest = wanted.partition("-")
    found = base64.b64encode(hashlib.new(kind, archive.read_bytes()).digest()).decode()
    if found != digest:
        sys.exit(f"app/build.py: {name}: its hash is {kind}-{found}; package.json expects {wanted}")


if __name__ == "__main__":
    main()
