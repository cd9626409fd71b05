"""Makes, measures and converts the embedded models of their base weights and HAM10000.

    python release/make.py HAM10000-FOLDER [--bcn FOLDER] [--isic2017 FOLDER] [--gate FOLDER]

Each model comes twice: one of all lesions, which is embedded, and its twin of fold 1, which has not
seen that fold's test images and is measured on them. Without ``--gate`` the gate stays as it is. A
step that is done is passed over when the same command is given again: remove ``runs/release`` to
begin anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "release" / "base"
SPLIT = ROOT / "release" / "split.csv"
FIGURES = ROOT / "release" / "figures"
MODELS = ROOT / "lesionedge" / "models"
FORMATS = {"mobilenetv2": ("int8", "float16"), "cnn": ("int8",)}
"""Network -> formats of its embedded files."""

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
TWIN, WHOLE = "fold-1", "all"
"""Runs of each network, as ``python -m train folds`` calls them."""


@dataclass(frozen=True)
class Step:
    """One command, or some files to copy."""

    name: str
    """What people read."""
    command: tuple[str | Path, ...] = ()
    """Arguments of ``python -m``."""
    copies: tuple[tuple[Path, Path], ...] = ()
    """From where to where."""
    run: Path | None = None
    """The run folder that it begins."""


@click.command()
@click.argument("data", type=FOLDER)
@click.option("--bcn", type=FOLDER, help="Folder of BCN20000: mobilenetv2 learns from it, too.")
@click.option(
    "--isic2017", type=FOLDER,
    help="Folder of ISIC 2017: mobilenetv2 learns from half of its training images, too.",
)  # fmt: skip
@click.option("--gate", type=FOLDER, help="Folder of the gate's sources: train the gate, too.")
@click.option(
    "--imagenet", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="ImageNet weights of MobileNetV2, from which the gate begins [default: downloaded].",
)  # fmt: skip
@click.option(
    "--runs", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "runs" / "release",
    help="Where the runs go [default: runs/release].",
)  # fmt: skip
def main(
    data: Path, bcn: Path | None, isic2017: Path | None, gate: Path | None, imagenet: Path | None,
    runs: Path,
) -> None:  # fmt: skip
    """Make, measure and convert the embedded models from base weights and DATA, HAM10000."""
    data, runs = data.absolute(), runs.absolute()
    steps, also = others(bcn and bcn.absolute(), isic2017 and isic2017.absolute(), runs)
    for network in FORMATS:
        steps += of_network(network, data, runs, also if network == "mobilenetv2" else ())
    if gate is not None:
        steps += of_gate(gate.absolute(), runs, imagenet and imagenet.absolute())
    steps.append(Step("references", (ROOT / "release" / "reference.py", data)))
    steps.append(Step("figures into README and model card", (ROOT / "release" / "figures.py",)))
    forget_changed(steps, runs)
    begin = time.monotonic()
    for number, step in enumerate(steps, start=1):
        if said_of(step, runs) == str(step):
            continue
        minutes = (time.monotonic() - begin) / 60
        click.secho(f"[{number}/{len(steps)}, {minutes:.0f} min] {step.name}", bold=True, err=True)
        mark = mark_of(step, runs)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(begun(step))
        take(step)
        mark.write_text(str(step))
    click.echo(f"{MODELS}: made; compare with git diff --stat, then make test", err=True)


def forget_changed(steps: Sequence[Step], runs: Path) -> None:
    """Forget the first step that is not done, and all behind it: they build on it.

    With other collections given, steps are other commands, or new: the runs behind them begin
    anew, with the same split. What was begun with the same command is kept, to be resumed.
    """
    done = [said_of(step, runs) == str(step) for step in steps]
    for step in steps[done.index(False) if False in done else len(steps) :]:
        if said_of(step, runs) in ("", begun(step)):
            continue
        if step.run is not None and step.run.is_dir():
            for path in step.run.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != "split.csv":
                    path.unlink()
        mark_of(step, runs).unlink()


def mark_of(step: Step, runs: Path) -> Path:
    """Return the file that says how far a step is: it holds the command, once it has begun."""
    return runs / "done" / step.name


def said_of(step: Step, runs: Path) -> str:
    """Return what the step's file says; nothing if it has not begun."""
    mark = mark_of(step, runs)
    return mark.read_text() if mark.exists() else ""


def begun(step: Step) -> str:
    """Return what the file of a step says that has begun, but has not ended."""
    return f"begun: {step}"


def take(step: Step) -> None:
    """Do one step.

    Raises:
        SystemExit: It failed; it has said why.
    """
    for source, target in step.copies:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    if not step.command:
        return
    first, *rest = map(str, step.command)
    line = [sys.executable, *([first] if first.endswith(".py") else ["-m", first]), *rest]
    if subprocess.run(line, cwd=ROOT, check=False).returncode:
        raise SystemExit(f"error: the step failed: {' '.join(line)}; the same command resumes")


def others(
    bcn: Path | None, isic2017: Path | None, runs: Path
) -> tuple[list[Step], tuple[str, ...]]:
    """Return the steps that prepare other collections, and what ``fit --also`` is given."""
    half = runs / "isic2017"
    given = {"bcn20000": bcn, "isic2017": isic2017 and half}
    for name in (name for name, folder in given.items() if folder is None):
        click.echo(f"mobilenetv2 does not learn from {name}, which is not given", err=True)
    halve = Step("isic2017: halve", (ROOT / "release" / "halve.py", isic2017 or "", half))
    also = tuple(f"{name}={folder}" for name, folder in given.items() if folder is not None)
    return [halve] if isic2017 else [], also


def of_network(network: str, data: Path, runs: Path, also: Sequence[str] = ()) -> Iterator[Step]:
    """Yield the steps of one network: both runs, the twin's figures, the embedded files."""
    folder = runs / network
    yield Step(f"{network}: folds", ("train", "folds", SPLIT, "--count", "2", "--out", folder))
    for name in (TWIN, WHOLE):
        yield from of_run(network, name, data, folder, also)
    twin, whole, pool = folder / TWIN, folder / WHOLE, folder / "pool"
    for form in FORMATS[network]:
        file = twin / f"{network}-{form}.tflite"
        yield Step(f"{network}, twin: export {form}", export(twin, form, file))
        yield Step(f"{network}, twin: verify {form}", ("convert", "verify", file, "--run", twin))
    yield Step(
        f"{network}, twin: measure",
        ("train", "pool", twin, "--out", pool, "--data", data, "--card", whole, *cache(folder)),
    )
    for form in FORMATS[network]:
        yield from of_file(network, form, folder)
    copies = [(pool / "metrics.json", FIGURES / f"{network}.json")]
    made = [f"{network}-{form}.tflite" for form in FORMATS[network]]
    copies += [(folder / name, MODELS / name) for name in made]
    yield Step(f"{network}: embed", copies=tuple(copies))


def of_run(
    network: str, name: str, data: Path, folder: Path, also: Sequence[str]
) -> Iterator[Step]:
    """Yield the steps from base weights to a run with a float and an int8 network."""
    run = folder / name
    base = BASE / f"{network}{'' if name == WHOLE else '-' + name}.npz"
    images = ("--data", data, *cache(folder))
    fit = ("train", "fit", network, "--out", run, "--weights", base, "--as-given", *images,
           *(part for one in also for part in ("--also", one)))  # fmt: skip
    yield Step(f"{network}, {name}: fit", fit, run=run)
    yield Step(f"{network}, {name}: quantize", ("train", "quantize", run, *images))


def of_file(network: str, form: str, folder: Path) -> Iterator[Step]:
    """Yield the steps of an embedded file: its thresholds are its own, its figures the twin's."""
    whole, file = folder / WHOLE, folder / f"{network}-{form}.tflite"
    out = folder / f"calibration-{form}"
    yield Step(f"{file.name}: export", export(whole, form, file))
    yield Step(
        f"{file.name}: verify",
        ("convert", "verify", file, "--run", whole, "--split", "calibration"),
    )
    yield Step(
        f"{file.name}: measure on calibration images",
        ("train", "evaluate", whole, "--split", "calibration", "--model", file, "--out", out,
         *cache(folder)),
    )  # fmt: skip
    metrics = out / "metrics.json"
    yield Step(
        f"{file.name}: thresholds",
        ("convert", "operating-points", file, "--metrics", metrics),
    )
    yield Step(
        f"{file.name}: figures",
        ("convert", "figures", file, "--metrics", folder / "pool" / "metrics.json"),
    )


def of_gate(data: Path, runs: Path, imagenet: Path | None) -> list[Step]:
    """Return the steps of the gate: it is converted twice, as quantization moves its threshold."""
    run, file = runs / "gate", runs / "gate" / "gate-int8.tflite"
    begin = ("--weights", imagenet) if imagenet else ()
    evaluation = FIGURES / "gate.json"
    return [
        Step("gate: fit", ("train", "fit", "gate", "--data", data, "--out", run, *begin), run=run),
        Step("gate: export", export(run, "int8", file)),
        Step("gate: threshold", ("train.gate", "calibrate", file, "--run", run, "--data", data)),
        Step("gate: embed", export(run, "int8", MODELS / "gate-int8.tflite")),
        Step("gate: measure", ("train.gate", "evaluate", "--data", data, "--json", evaluation)),
    ]


def cache(folder: Path) -> tuple[str | Path, ...]:
    """Return the option that says where prepared images go: all networks share them."""
    return ("--cache", folder.parent / "cache")


def export(run: Path, form: str, file: Path) -> tuple[str | Path, ...]:
    """Return the command that converts a run."""
    return ("convert", "export", run, "--format", form, "-o", file)


if __name__ == "__main__":
    main()
