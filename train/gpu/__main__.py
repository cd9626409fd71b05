"""``python -m train.gpu``: train a plan's teachers and students."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import click

from lesionedge.errors import LesionEdgeError
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
@click.option(
    "--student", "students", multiple=True, help="Of the students train this one (repeatable)."
)
@click.option("--seed", default=1, help="Of the students: order, changes and heads.")
@click.option(
    "--folds", default=0,
    help="Cross-validate: all of it in so many folds (OUT/fold-N), then students of all pictures "
    "with the folds' teachers (OUT/all).",
)  # fmt: skip
@click.option("--first", default=0, help="Train only the first of the folds [default: all].")
@click.option(
    "--only", multiple=True,
    help="Train in this fold (fold-1, ...; repeatable) and end. Several commands, each with a fold "
    "of its own, can share OUT and a GPU that one cannot fill; one without it does the rest.",
)  # fmt: skip
@click.option(
    "--limit-s", default=math.inf,
    help="Seconds for each training, the one after the folds excepted: the schedule is shortened "
    "to end by then.",
)  # fmt: skip
@click.option(
    "--until-s", default=math.inf,
    help="Seconds for the whole command: the last trainings are shortened to end by then.",
)  # fmt: skip
@click.option(
    "--compile", "compiled", is_flag=True,
    help="Have PyTorch compile the steps: a minute or two once, each is shorter then.",
)  # fmt: skip
@click.option(
    "--soft-labels/--no-soft-labels", "soft_labels", default=True,
    help="Write the teachers' answers to all pictures.",
)  # fmt: skip
def main(
    plan: Path, source: Path, split: Path, weights: Path, out: Path, cache: Path | None,
    chosen: tuple[str, ...], students: tuple[str, ...], seed: int, folds: int, first: int,
    only: tuple[str, ...], limit_s: float, until_s: float, compiled: bool, soft_labels: bool,
) -> None:  # fmt: skip
    """Train the teachers of PLAN that OUT does not hold yet, then its students.

    OUT gets NAME.pth for every teacher, NAME.npz for every student (NAME.pth for an EfficientNet,
    which another plan can name as a finished teacher), for python -m train fit --weights, and
    soft-labels.npz, the teachers' answers, for its --soft-labels. A killed training goes on after
    its last checkpoint when the same command is given again; what is there is not trained again.
    """
    import torch

    from train.gpu import pictures
    from train.gpu.steps import EAGER, Steps
    from train.gpu.work import Work

    whole_plan = plans.chosen(plans.read(plan), chosen, students)
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
    work = Work(
        whole_plan, data, weights, out, seed, limit_s=limit_s, until=began + until_s, say=say,
        steps=Steps.compiled() if compiled else EAGER, soft_labels=soft_labels,
    )  # fmt: skip
    if folds:
        work.cross_validate(folds, first, only)
    else:
        work.train(chosen)


if __name__ == "__main__":
    try:
        main()
    except LesionEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
