"""How good are the published recipes? Put their runs' figures into docs/research.

    python benchmarks/research/published_recipes/figures.py collect RUNS
    python benchmarks/research/published_recipes/figures.py write

``collect`` reads the run folders RUNS/*/ and writes figures.json. ``write`` puts figures.json
into the tables of docs/research/published-recipes.md, between the page's marks. ``compare.sh``
makes the runs and calls both.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lesionedge import titles

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FIGURES = HERE / "figures.json"
PAGE = ROOT / "docs" / "research" / "published-recipes.md"
CLAIMS = {
    "isic-binary-cnn": "none known",
    "ham10000-mobilenetv2": "none known",
    "ham10000-cnn": "none known",
    "isic9-cnn": "validation accuracy 77 %, test 43 % (one of many)",
    "ham10000-binary-cnn": "test accuracy 70.79 %",
    "ham10000-efficientnetb3": "validation accuracy 66-68 %",
}
HEADLINES = {
    key: title for key, title in titles.HEADLINES.items() if key in
    ("accuracy", "balanced_accuracy", "macro_auroc", "malignant_auroc")
}  # fmt: skip
FILES = ("int8", "float16")


def main() -> None:
    """Collect or write."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["collect"] and len(arguments) == 2:
        collect(Path(arguments[1]))
    elif arguments == ["write"]:
        write()
    else:
        raise SystemExit(__doc__)


def collect(runs: Path) -> None:
    """Write the runs' headline figures; a run that is not there keeps the figures that it had."""
    found = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
    found |= {name: figures(runs / name, name) for name in CLAIMS if finished(runs / name)}
    found = {name: found[name] for name in CLAIMS if name in found}
    for name in CLAIMS.keys() - found.keys():
        print(f"{runs / name}: not finished; it gets no row", file=sys.stderr)
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def finished(run: Path) -> bool:
    """Return whether a run has been trained, converted, measured and timed."""
    return all((run / name).is_file() for name in ("metrics.json", "latency.json"))


def figures(run: Path, name: str) -> dict[str, Any]:
    """Return the figures of one run."""
    models = json.loads((run / "metrics.json").read_text())["models"]
    latency = json.loads((run / "latency.json").read_text())
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    card = json.loads((run / "card.json").read_text())
    measured = {"Keras": models["float"]}
    measured |= {form: models[f"{name}-{form}.tflite"] for form in FILES}
    spent = {stage["name"]: 0 for stage in recipe["stages"]}
    for row in history:
        spent[row["stage"]] += 1
    return {
        "images": card["data"]["images"],
        "shortened": recipe.get("shortened", {}),
        "epochs": {s["name"]: [spent[s["name"]], s["epochs"]] for s in recipe["stages"]},
        "int8_method": card["quantization"]["training"],
        "classes": len(card["labels"]),
        "lesions": models["float"]["lesions"],
        "models": {
            kind: {key: one[key] for key in HEADLINES if key in one}
            for kind, one in measured.items()
        },
        "bytes": {form: (run / f"{name}-{form}.tflite").stat().st_size for form in FILES},
        "latency_ms": {
            form: one["latency_ms"]["whole"]["p50"]
            for form, one in zip(FILES, latency["measurements"])
        },
        "machine": latency["machine"]["name"],
        "date": latency["date"],
    }


def write() -> None:
    """Rewrite the page's tables."""
    found = json.loads(FIGURES.read_text())
    text = PAGE.read_text(encoding="utf-8")
    for mark, lines in (("results", results(found)), ("runs", runs(found))):
        marks = re.search(
            rf"(<!-- {mark}: [^\n]*-->\n).*?(<!-- end of {mark} -->)", text, re.DOTALL
        )
        if marks is None:
            raise SystemExit(f"{PAGE}: expected a pair of marks '{mark}'")
        text = text[: marks.end(1)] + "\n".join(lines) + "\n" + text[marks.start(2) :]
    PAGE.write_text(text, encoding="utf-8")


def results(found: dict[str, Any]) -> Iterator[str]:
    """Yield a row for each recipe and figure: the claim, Keras and both files."""
    yield "| recipe | source's claim | figure | Keras | float16 file | int8 file |"
    yield "|---|---|---|---|---|---|"
    for name, one in found.items():
        models = [one["models"][kind] for kind in ("Keras", "float16", "int8")]
        first = [f"`{name}`", CLAIMS[name]]
        for key, title in HEADLINES.items():
            # With two classes the macro AUROC is the malignant AUROC.
            twice = key == "macro_auroc" and one["classes"] == 2
            if all(key in model for model in models) and not twice:
                cells = [span(model[key]) for model in models]
                yield f"| {' | '.join([*first, title, *cells])} |"
                first = ["", ""]


def runs(found: dict[str, Any]) -> Iterator[str]:
    """Yield a row for each recipe: how long it trained, on what, and how large and fast it is."""
    yield (
        "| recipe | epochs done, of those in the recipe | training images, of all | test images "
        "(groups) | int8 by | file size: int8, float16 | time per image: int8, float16 |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, one in found.items():
        short, images = one["shortened"], one["images"]
        epochs = ", ".join(f"{key} {done} of {of}" for key, (done, of) in one["epochs"].items())
        if short.get("weights"):
            epochs += f" ({short['weights']} weights, all layers)"
        used = min(short.get("images") or images["train"], images["train"])
        how = "quantization-aware" if one["int8_method"] == "qat" else "post-training"
        sizes = ", ".join(f"{one['bytes'][form] / 1e6:.1f} MB" for form in FILES)
        times = ", ".join(f"{one['latency_ms'][form]:.1f} ms" for form in FILES)
        times += f" ({one['machine'].replace('(R)', '')}, {one['date'][:10]})"
        yield (
            f"| `{name}` | {epochs} | {used:,} of {images['train']:,} | "
            f"{images['test']:,} ({one['lesions']:,}) | {how} | {sizes} | {times} |"
        )


def span(figure: dict[str, float]) -> str:
    """Return a value with its interval."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


if __name__ == "__main__":
    main()
