"""Training a plan: on one split, or in folds and then on all pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from train import distil, folded
from train import folds as division
from train.gpu import learn, measure, networks
from train.gpu.learn import Say
from train.gpu.pictures import Pictures
from train.gpu.plan import Network, Plan
from train.gpu.steps import EAGER, Steps
from train.settings import RecipeError

VIEWS = 8
"""Ways of turning and mirroring in which networks are measured."""
SOFT_VIEWS = 2
"""The same for soft labels, where one teacher is asked alone; of several each is asked in one."""


@dataclass(frozen=True)
class Work:
    """What is to be trained, on what, and where it goes."""

    plan: Plan
    data: Pictures
    weights: Path
    """Folder of the weights that the plan names."""
    out: Path
    """Folder of the results; it exists."""
    seed: int
    """Of the students; that of a fold is added to its own."""
    limit_s: float
    """Seconds for each training."""
    until: float
    """Time of ``time.monotonic`` by which all ends."""
    say: Say
    steps: Steps = EAGER
    soft_labels: bool = True
    """Whether the teachers' answers to all pictures are written."""

    def train(self, chosen: Sequence[str] = ()) -> None:
        """Train teachers and students on the split as it is.

        Args:
            chosen: Teachers to train, without students; none: all of them, and the students.
        """
        wanted = [t for t in self.plan.teachers if not chosen or t.name in chosen]
        teachers = [(network, self._teacher(network)) for network in wanted]
        if not chosen:
            self._soft_labels(teachers)
            self._students(teachers)

    def cross_validate(self, count: int, first: int = 0, only: Sequence[str] = ()) -> None:
        """Train in each of some folds, and then students of all pictures.

        Those learn from the teachers of all folds, which together have seen everything, and from
        finished ones.

        Args:
            count: Number of folds.
            first: Only the first of them; 0: all.
            only: Names of the folds to train in and end; none: what is not there yet of everything.

        Raises:
            RecipeError: ``only`` names what is no fold.
        """
        everyone: list[tuple[Network, nn.Module]] = []
        divided = division.divide(self.data.table, count, seed=self.plan.fold_seed)
        unknown = set(only) - {f"fold-{number}" for number in range(1, (first or count) + 1)}
        if unknown:
            raise RecipeError(f"{', '.join(sorted(unknown))}: no such fold; expected fold-1, ...")
        for number, (name, table) in enumerate(divided.items(), start=1):
            if 0 < first < number <= count:
                continue
            if only and name not in only:
                continue
            fold = self._of(name, number, replace(self.data, table=table), count)
            teachers = [(network, fold._teacher(network)) for network in fold.plan.teachers]
            asked = everyone + teachers if name == division.WHOLE else teachers
            fold._soft_labels(asked)
            fold._students(asked)
            everyone += [each for each in teachers if not each[0].finished]

    def _of(self, name: str, number: int, data: Pictures, count: int) -> Work:
        """Give the work of a fold, or of all pictures after ``count`` of them."""
        plan, last = self.plan, number > count
        teachers = [
            replace(_in(t, name), seed=t.seed + 1000 * number)
            for t in plan.teachers
            if (t.finished if last else not t.only_all and number <= (t.folds or count))
        ]
        students = [_in(s, name) for s in plan.students if last or number <= (s.folds or count)]
        out = self.out / name
        out.mkdir(parents=True, exist_ok=True)
        data.table.to_csv(out / "split.csv", index=False)
        self.say(f"{name}: {data.table['split'].value_counts().to_dict()}")
        own = replace(plan, teachers=tuple(teachers), students=tuple(students))
        return replace(
            self, plan=own, data=data, out=out, seed=self.seed + number,
            limit_s=math.inf if last else self.limit_s,
        )  # fmt: skip

    def _teacher(self, network: Network) -> nn.Module:
        file = self.out / f"{network.name}.pth"
        if network.finished:
            model = learn.finished(network, self.data, self.weights)
        elif file.exists():
            model = learn.restored(network, self.data, file)
        else:
            model = learn.teacher(
                self.plan, network, self.data, weights=self.weights, limit_s=self.limit_s,
                until=self.until, say=self.say, steps=self.steps,
                checkpoint=file.with_suffix(".checkpoint"),
            )  # fmt: skip
            learn.save(model, file)
        self._tell(network, model)
        return model

    def _students(self, teachers: Sequence[tuple[Network, nn.Module]]) -> None:
        files = {each.name: self.out / _file(each) for each in self.plan.students}
        if all(file.exists() for file in files.values()):
            return
        whole = not len(self.data.rows("validation", "test"))
        epochs = (whole and self.plan.all_epochs) or self.plan.student_epochs
        plan = replace(self.plan, student_epochs=epochs)
        trained = learn.students(
            plan, teachers, self.data, weights=self.weights, seed=self.seed, limit_s=self.limit_s,
            until=self.until, say=self.say, steps=self.steps,
            checkpoint=self.out / "students.checkpoint",
        )  # fmt: skip
        for network, model in trained:
            if network.architecture in networks.OWN:
                folded.write(networks.folded(model), files[network.name])
            else:
                learn.save(model, files[network.name])
            self._tell(network, model)

    def _soft_labels(self, teachers: Sequence[tuple[Network, nn.Module]]) -> None:
        """Write the teachers' mean answers to all pictures, and say how they do together."""
        if not (teachers and self.soft_labels) or (self.out / "soft-labels.npz").exists():
            return
        data = self.data
        rows = torch.arange(len(data.pixels), device=data.pixels.device)
        views = SOFT_VIEWS if len(teachers) == 1 else 1
        answers = [measure.probabilities(n, m, data.pixels, rows, views=views) for n, m in teachers]
        mean = np.mean(answers, 0)
        split, rows = measure.held_out(data)
        found = measure.figures(mean[:, rows.cpu().numpy()], data, rows)
        self.say(f"the teachers together: {split}: {found}")
        names = [Path(path).name for path in data.table["path"]]
        distil.keep(self.out / "soft-labels.npz", names, data.labels, mean.mean(0))

    def _tell(self, network: Network, model: nn.Module) -> None:
        self.say(f"{network.name}: {measure.measure(network, model, self.data, views=VIEWS)}")


def _file(student: Network) -> str:
    """Name a student's file: folded weights, or the state of one that only train.gpu knows."""
    return f"{student.name}.{'npz' if student.architecture in networks.OWN else 'pth'}"


def _in(network: Network, fold: str) -> Network:
    """Give a network as it is in a fold."""
    return replace(network, weights=network.weights.replace("{fold}", fold))
