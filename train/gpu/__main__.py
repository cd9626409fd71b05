"""``python -m train.gpu``: train a plan's teachers and students."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import click
import numpy as np

from lesionedge.errors import LesionEdgeError
from train import distil, folded
from train.gpu import plan as plans

_folder = click.Path(path_type=Path, file_okay=False)
_file = click.Path(path_type=Path, dir_okay=False)


@click.command(context_settings={"show_default": True})
@click.argument("plan", type=_file)
@click.option(
    "--pictures", "source", type=click.Path(path_type=Path), required=True,
    help="Folder or zip archive of the pictures, by the split's names (any format).",
)  # fmt: skip
@click.option("--split", type=_file, required=True, help="split.csv, from python -m train prepare.")
@click.option(
    "--weights", type=_folder, default=".", help="Folder of the weights that the plan names."
)
@click.option("--out", type=_folder, required=True, help="Folder of the results.")
@click.option("--cache", type=_file, help="Decoded pictures [default: pictures.npy in OUT].")
@click.option("--teacher", "chosen", multiple=True, help="Train this one (repeatable) and end.")
@click.option("--seed", default=1, help="Of the students: order, changes and heads.")
@click.option(
    "--limit-s", default=math.inf,
    help="Seconds for each training: the schedule is shortened to end by then.",
)  # fmt: skip
def main(
    plan: Path, source: Path, split: Path, weights: Path, out: Path, cache: Path | None,
    chosen: tuple[str, ...], seed: int, limit_s: float,
) -> None:  # fmt: skip
    """Train the teachers of PLAN that OUT does not hold yet, then its students.

    OUT gets NAME.pth for every teacher, NAME.npz for every student, for python -m train fit
    --weights, and soft-labels.npz, the teachers' answers, for its --soft-labels. A killed training
    goes on after its last checkpoint when the same command is given again.
    """
    import torch

    from train.gpu import learn, networks, pictures

    whole_plan = plans.read(plan)
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {line}")

    data = pictures.load(
        source, split, side_px=whole_plan.side_px, aspect=whole_plan.aspect,
        cache=cache or out / "pictures.npy", device=device,
    )  # fmt: skip
    say(f"{len(data.pixels)} pictures of {', '.join(data.labels)} on {device}")
    teachers = []
    for network in whole_plan.teachers:
        if chosen and network.name not in chosen:
            continue
        file = out / f"{network.name}.pth"
        if network.finished:
            model = learn.finished(network, data, weights)
        elif file.exists():
            model = learn.restored(network, data, file)
        else:
            model = learn.teacher(
                whole_plan, network, data, weights=weights, limit_s=limit_s, say=say,
                checkpoint=file.with_suffix(".checkpoint"),
            )  # fmt: skip
            learn.save(model, file)
        say(f"{network.name}: {learn.measure(network, model, data, views=8)}")
        teachers.append((network, model))
    if chosen:
        return
    trained = learn.students(
        whole_plan, teachers, data, weights=weights, seed=seed, limit_s=limit_s, say=say,
        checkpoint=out / "students.checkpoint",
    )  # fmt: skip
    for network, model in trained:
        folded.write(networks.folded(model), out / f"{network.name}.npz")
        say(f"{network.name}: {learn.measure(network, model, data, views=8)}")
    if not teachers:
        return
    everyone = torch.arange(len(data.pixels), device=device)
    answers = [learn.probabilities(n, m, data.pixels, everyone, views=8) for n, m in teachers]
    mean = np.mean(answers, 0)
    rows = data.rows("validation")
    say(f"the teachers together: {learn.figures(mean[:, rows.cpu().numpy()], data, rows)}")
    names = [Path(path).name for path in data.table["path"]]
    distil.keep(out / "soft-labels.npz", names, data.labels, mean.mean(0))


if __name__ == "__main__":
    try:
        main()
    except LesionEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
