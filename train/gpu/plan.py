"""A plan: which teachers, which students, and how they are trained, as TOML data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path

from pydantic.dataclasses import dataclass

from train import settings
from train.recipe import Augment
from train.settings import STRICT, RecipeError, section


@dataclass(frozen=True, config=STRICT)
class Network:
    """A network and how it is trained."""

    name: str
    """What its files are called."""
    architecture: str
    """Of ``train.gpu.networks``: mobilenetv2, cnn, or efficientnet_lite0 to 4."""
    input_px: int
    """Side of the pictures that it is used on."""
    train_px: int
    """Side of the parts that it is trained on: smaller, so that objects look as large to it as in
    the whole pictures (Touvron et al. 2019, arXiv:1906.06423)."""
    learning_rate: float = 0.0
    """Its highest; it rises for a twentieth of the training and falls by a half cosine."""
    weights: str = ""
    """File of weights to begin with, in the folder of weights; none: random. ``{fold}`` stands for
    the fold's name."""
    finished: bool = False
    """Whether those weights are of a finished training, which does not go on (teachers only)."""
    dropout: float = 0.3
    """Share of the features dropped before the head."""
    drop_path: float = 0.0
    """Share of the residual blocks that are passed over (EfficientNet-Lite only)."""
    weight_decay: float = 0.05
    """AdamW's, on kernels only."""
    seed: int = 1
    """Fixes the head it begins with, and, of a teacher, order and changes."""
    folds: int = 0
    """In how many of the folds, the first ones, a student is trained, or a teacher asked that has
    seen the test pictures of the others; 0: in all of them."""
    only_all: bool = False
    """Whether a finished teacher is asked about all pictures alone, not in the folds, some of whose
    test pictures it has seen."""


@dataclass(frozen=True, config=STRICT)
class Plan:
    """Teachers and students of one split."""

    name: str
    """What it is called."""
    epochs: int
    """Passes over the training pictures of a teacher."""
    student_epochs: int
    """Passes over the training pictures of the students."""
    all_epochs: int = 0
    """The same where they learn from all pictures, none but those of calibration held out; 0: as
    many."""
    batch_size: int = 64
    """Pictures a step."""
    turns: int = 1
    """In how many ways, 1 to 8, the students see each changed picture turned and mirrored; the
    teachers see it in one, so that an answer that turning changes is taught by none."""
    asked: int = 0
    """How many of the teachers are asked about a batch, drawn for each; 0: all of them."""
    ema: float = 0.998
    """Decay a step of the averaged weights, which are the ones that are kept."""
    tau: float = 1.0
    """Logit adjustment (Menon et al. 2021, arXiv:2007.07314)."""
    label_smoothing: float = 0.05
    """Of the labels."""
    mixup: float = 0.0
    """Both parameters of the beta distribution of teachers' mixup (Zhang et al. 2018,
    arXiv:1710.09412); 0: none."""
    student_mixup: float = 0.0
    """The students'."""
    share: float = 0.8
    """Share of a student's loss that compares with the teachers' mean probabilities."""
    fold_seed: int = 1
    """Fixes the folds of a cross-validation."""
    side_px: int = 300
    """Height at which the pictures are held."""
    aspect: float = 4 / 3
    """Their width for their height."""
    augment: Augment = field(default_factory=Augment)
    """Random changes."""
    teachers: tuple[Network, ...] = ()
    """Learn from the labels."""
    students: tuple[Network, ...] = ()
    """Learn from the labels and the teachers; all of them from the same changed pictures."""


def read(path: Path) -> Plan:
    """Read a plan.

    Raises:
        RecipeError: It is missing or malformed.
    """
    data = settings.read(path)
    parts = {
        "augment": section(Augment, data.pop("augment", {}), f"{path}: [augment]"),
        **{
            kind: tuple(
                section(Network, entry, f"{path}: [[{kind}]] {number}")
                for number, entry in enumerate(data.pop(kind, []), start=1)
            )
            for kind in ("teachers", "students")
        },
    }
    plan = section(Plan, {**data, **parts}, str(path))
    for network in (*plan.teachers, *plan.students):
        if network.finished != (network.learning_rate == 0):
            raise RecipeError(
                f"{path}: {network.name}: expected a learning_rate, or finished = true"
            )
        if network.finished and (not network.weights or network in plan.students):
            raise RecipeError(f"{path}: {network.name}: finished is for teachers with weights")
    return plan


def chosen(plan: Plan, teachers: Sequence[str], students: Sequence[str]) -> Plan:
    """Give a plan with some of the students alone.

    Args:
        plan: With all of them.
        teachers: Names that it has to have among its teachers.
        students: Names of the students that are left; none: all.

    Raises:
        RecipeError: The plan has none of a name.
    """
    for kind, names, known in (
        ("teacher", teachers, [each.name for each in plan.teachers]),
        ("student", students, [each.name for each in plan.students]),
    ):
        unknown = sorted(set(names) - set(known))
        if unknown:
            has = ", ".join(known) or "none"
            raise RecipeError(f"{plan.name}: no {kind} {', '.join(unknown)}; it has {has}")
    if not students:
        return plan
    return replace(plan, students=tuple(s for s in plan.students if s.name in students))
