"""Teachers from the labels, students from the teachers; the weights' moving average is kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lesionedge.atomic import whole_file
from train.gpu import networks
from train.gpu.measure import measure
from train.gpu.pictures import Changes, Pictures, normalise, whole
from train.gpu.plan import Network, Plan
from train.gpu.steps import EAGER, Sizes, Steps, Turned, answers, nearby
from train.settings import RecipeError

STATISTICS_BATCHES = 32
WARM_UP = 8
"""Steps before the time counts."""
LOADING_PICTURES = 256
TELL_PASSES = 10
"""Passes between the lines that say how far it is."""
CHECKPOINT_S = 30.0
"""Seconds between checkpoints, at the least; they come at the end of a pass."""

Say = Callable[[str], None]


@dataclass
class Learner:
    """A network in training."""

    network: Network
    model: nn.Module
    average: nn.Module
    """The moving average of its weights and statistics."""
    optimizer: torch.optim.Optimizer

    def __post_init__(self) -> None:
        own, average = self.model.state_dict(), self.average.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        self.followed = [average[name] for name in floats], [own[name] for name in floats]


def teacher(
    plan: Plan, network: Network, pictures: Pictures, *, weights: Path, checkpoint: Path,
    limit_s: float, say: Say, until: float = math.inf, steps: Steps = EAGER,
) -> nn.Module:  # fmt: skip
    """Train a teacher on the labels.

    Args:
        plan: How.
        network: Which.
        pictures: All pictures.
        weights: Folder of the weights to begin with.
        checkpoint: What a killed training goes on from; gone when it has ended.
        limit_s: Seconds by which it ends; where the plan takes longer, the schedule is shortened.
        say: Told how far it is.
        until: The same as a time of ``time.monotonic``.
        steps: How its steps are run.

    Returns:
        The averaged network with its statistics measured anew, in evaluation mode.
    """
    learners = [_begin(network, pictures, plan, weights)]
    _train(
        plan, learners, [], pictures, epochs=plan.epochs, mixup=plan.mixup, seed=network.seed,
        checkpoint=checkpoint, limit_s=limit_s, say=say, until=until, run=steps,
    )  # fmt: skip
    return _settled(plan, learners[0], pictures)


def students(
    plan: Plan, teachers: Sequence[tuple[Network, nn.Module]], pictures: Pictures, *,
    weights: Path, seed: int, checkpoint: Path, limit_s: float, say: Say, until: float = math.inf,
    steps: Steps = EAGER,
) -> list[tuple[Network, nn.Module]]:  # fmt: skip
    """Train the plan's students, all on the same changed pictures.

    Args:
        plan: How.
        teachers: Networks and models, which see each changed picture at the size that they were
            trained on; a student's target is their mean probability.
        pictures: All pictures.
        weights: Folder of the weights to begin with.
        seed: Fixes order and changes, and, with their own, the students' heads.
        checkpoint: What a killed training goes on from; gone when it has ended.
        limit_s: Seconds by which it ends; where the plan takes longer, the schedule is shortened.
        say: Told how far it is.
        until: The same as a time of ``time.monotonic``.
        steps: How its steps are run.

    Returns:
        The averaged networks with their statistics measured anew, in evaluation mode.
    """
    learners = [
        _begin(replace(network, seed=network.seed + 1000 * seed), pictures, plan, weights)
        for network in plan.students
    ]
    _train(
        plan, learners, teachers, pictures, epochs=plan.student_epochs,
        mixup=plan.student_mixup, seed=1000 * seed, checkpoint=checkpoint, limit_s=limit_s,
        say=say, until=until, run=steps,
    )  # fmt: skip
    return [(each.network, _settled(plan, each, pictures)) for each in learners]


def finished(network: Network, pictures: Pictures, weights: Path) -> nn.Module:
    """Give a network with the weights of a finished training, in evaluation mode."""
    return _loaded(network, pictures, weights).eval()


def save(model: nn.Module, file: Path) -> None:
    """Keep a network's state in half precision."""
    state = model.state_dict()
    halved = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    with whole_file(file) as stream:
        torch.save(halved, stream)


def restored(network: Network, pictures: Pictures, file: Path) -> nn.Module:
    """Give a network as ``save`` kept it, in evaluation mode."""
    model = networks.build(network, len(pictures.labels))
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return model.to(pictures.pixels.device, memory_format=torch.channels_last).eval()


def _loaded(network: Network, pictures: Pictures, weights: Path) -> nn.Module:
    device = pictures.pixels.device
    model = networks.build(network, len(pictures.labels))
    if network.weights:
        rows = pictures.rows("train")
        sample = rows[:: max(1, len(rows) // LOADING_PICTURES)]
        seen = normalise(whole(pictures.pixels[sample], network.train_px))
        model.to(device)
        networks.load(model, weights / network.weights, seen)
    return model.to(device, memory_format=torch.channels_last)


def _begin(network: Network, pictures: Pictures, plan: Plan, weights: Path) -> Learner:
    model = _loaded(network, pictures, weights)
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": kernels, "weight_decay": network.weight_decay},
         {"params": others, "weight_decay": 0.0}],
        network.learning_rate, fused=pictures.pixels.is_cuda,
    )  # fmt: skip
    return Learner(network, model, copy.deepcopy(model).requires_grad_(False), optimizer)


class Chance:
    """All that is random in a training, and its state."""

    def __init__(self, plan: Plan, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)  # dropout's
        self.changes = Changes(plan.augment, device, seed)
        self.order = torch.Generator(device).manual_seed(seed + 1)
        self.shares = np.random.default_rng(seed)

    def shuffled(self, rows: torch.Tensor) -> torch.Tensor:
        """Give rows in another order."""
        order = torch.randperm(len(rows), generator=self.order, device=rows.device)
        return rows[order]

    def mixed(
        self, mixup: float, pictures: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the mean of each picture and another one, and of their targets, by one share."""
        share = float(self.shares.beta(mixup, mixup))
        other = self.shuffled(torch.arange(len(targets), device=targets.device))
        return (
            share * pictures + (1 - share) * pictures[other],
            share * targets + (1 - share) * targets[other],
        )

    def asked(
        self, teachers: Sequence[tuple[Network, nn.Module]], count: int
    ) -> Sequence[tuple[Network, nn.Module]]:
        """Draw some of the teachers; 0: give all."""
        if not 0 < count < len(teachers):
            return teachers
        return [teachers[n] for n in self.shares.choice(len(teachers), count, replace=False)]

    def ways(self, count: int) -> list[int]:
        """Draw ways of turning: as it is, and others."""
        return [0, *(1 + self.shares.choice(7, count - 1, replace=False)).tolist()]

    def state(self) -> dict[str, Any]:
        """Give what ``restore`` takes."""
        return {
            "changes": self.changes.generator.get_state(),
            "sizes": self.changes.sizes.bit_generator.state, "order": self.order.get_state(),
            "shares": self.shares.bit_generator.state, "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.changes.generator.set_state(state["changes"])
        self.changes.sizes.bit_generator.state = state["sizes"]
        self.order.set_state(state["order"])
        self.shares.bit_generator.state = state["shares"]
        torch.set_rng_state(state["torch"])
        torch.cuda.set_rng_state_all(state["cuda"])


def _train(
    plan: Plan, learners: Sequence[Learner], teachers: Sequence[tuple[Network, nn.Module]],
    pictures: Pictures, *, epochs: int, mixup: float, seed: int, checkpoint: Path, limit_s: float,
    say: Say, until: float, run: Steps,
) -> None:  # fmt: skip
    rows = pictures.rows("train")
    chance = Chance(plan, seed, rows.device)
    classes = len(pictures.labels)
    counts = torch.bincount(pictures.classes[rows], minlength=classes).float()
    shift = plan.tau * torch.log(counts.clamp(min=1) / counts.sum())
    largest = max(
        each.train_px for each in [x.network for x in learners] + [n for n, _ in teachers]
    )
    # Every batch has as many pictures: cuDNN plans a convolution anew for every size that it meets.
    a_pass = len(rows) // plan.batch_size
    if not a_pass:
        raise RecipeError(f"{len(rows)} pictures to train on; a batch has {plan.batch_size}")
    steps, step, begun = epochs * a_pass, 0, time.monotonic()
    kept = begun
    if checkpoint.exists():
        step, elapsed_s = _resume(checkpoint, learners, chance)
        begun -= elapsed_s
        say(f"{checkpoint.stem}: resuming after pass {step // a_pass}")
    losses = torch.zeros(len(learners), device=rows.device)
    progress = step / steps
    while progress < 1:
        if step % a_pass == 0:
            shuffled = chance.shuffled(rows)
        at = step % a_pass * plan.batch_size
        batch = shuffled[at : at + plan.batch_size]
        targets = functional.one_hot(pictures.classes[batch], classes).float()
        targets = targets * (1 - plan.label_smoothing) + plan.label_smoothing / classes
        changed = chance.changes(pictures.pixels[batch], largest)
        if mixup:
            changed, targets = chance.mixed(mixup, changed, targets)
        sized = Sizes(normalise(changed))
        taught = answers(chance.asked(teachers, plan.asked), sized, run) if teachers else None
        if plan.turns > 1 and taught is not None:
            ways = chance.ways(plan.turns)
            sized = Turned(sized, ways)
            targets, taught = targets.repeat(len(ways), 1), taught.repeat(len(ways), 1)
        decay = min(plan.ema, (1 + step) / (10 + step))
        for number, learner in enumerate(learners):
            losses[number] += _learn(
                learner,
                sized,
                targets,
                taught,
                shift,
                plan.share,
                run,
                rate=_rate(progress),
                decay=decay,
            )
        step += 1
        if step == WARM_UP:
            # cuDNN's plans, the loading of kernels and compilation take a minute once, which no
            # schedule should be shortened by.
            losses.sum().item()
            begun = time.monotonic()
        progress = step / steps
        if step > WARM_UP:
            allowed = max(1.0, min(limit_s, until - begun))
            progress = max(progress, (time.monotonic() - begun) / allowed)
        if step % a_pass == 0 or progress >= 1:
            _tell(learners, losses, pictures, step, a_pass, plan, begun, progress, say)
            losses.zero_()
        if step % a_pass == 0 and time.monotonic() - kept > CHECKPOINT_S:
            kept = time.monotonic()
            _keep(checkpoint, learners, chance, step, kept - begun)
    checkpoint.unlink(missing_ok=True)


def _learn(
    learner: Learner, sized: Sizes, targets: torch.Tensor, taught: torch.Tensor | None,
    shift: torch.Tensor, share: float, run: Steps, *, rate: float, decay: float,
) -> torch.Tensor:  # fmt: skip
    """Make one step; give the loss before it."""
    for group in learner.optimizer.param_groups:
        group["lr"] = learner.network.learning_rate * rate
    learner.model.train()
    seen = sized[learner.network.train_px]
    loss = run.loss(learner.model, seen, targets, taught, shift, share)
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    learner.optimizer.step()
    _follow(learner, decay)
    return loss.detach()


def _keep(
    checkpoint: Path, learners: Sequence[Learner], chance: Chance, step: int, elapsed_s: float
) -> None:
    """Write all that a training depends on."""
    parts = [[x.state_dict() for x in (one.model, one.average, one.optimizer)] for one in learners]
    state = {
        "step": step, "elapsed_s": elapsed_s, "learners": parts, "chance": chance.state(),
    }  # fmt: skip
    with whole_file(checkpoint) as stream:
        torch.save(state, stream)


def _resume(checkpoint: Path, learners: Sequence[Learner], chance: Chance) -> tuple[int, float]:
    """Take up what ``_keep`` wrote; give the step and the seconds that it took to there."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    for learner, parts in zip(learners, state["learners"]):
        for own, given in zip((learner.model, learner.average, learner.optimizer), parts):
            own.load_state_dict(given)
    chance.restore(state["chance"])
    return int(state["step"]), float(state["elapsed_s"])


def _rate(progress: float) -> float:
    rising = min(progress / 0.05, 1.0)
    return max(rising * 0.5 * (1 + math.cos(math.pi * progress)), 1e-3)


def _follow(learner: Learner, decay: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(*learner.followed, 1 - decay)


def _tell(
    learners: Sequence[Learner], losses: torch.Tensor, pictures: Pictures, step: int, a_pass: int,
    plan: Plan, begun: float, progress: float, say: Say,
) -> None:  # fmt: skip
    passed = step // a_pass
    if passed % TELL_PASSES and progress < 1:
        return
    speed = step * plan.batch_size / (time.monotonic() - begun)
    for learner, loss in zip(learners, losses.tolist()):
        found = measure(learner.network, learner.average, pictures, views=1)
        say(
            f"{learner.network.name}: pass {passed}, {progress:.0%}, loss (of this pass) "
            f"{loss / ((step - 1) % a_pass + 1):.3f}, {found}, {speed:.0f} pictures/s"
        )


def _settled(plan: Plan, learner: Learner, pictures: Pictures) -> nn.Module:
    """Measure the average's batch statistics at the size that it is used at, not degraded."""
    model, rows = learner.average, pictures.rows("train")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    changes = Changes(plan.augment.undegraded(), rows.device, 0)
    model.train()
    generator = torch.Generator(rows.device).manual_seed(0)
    shuffled = rows[torch.randperm(len(rows), generator=generator, device=rows.device)]
    with torch.no_grad():
        for batch in shuffled[: STATISTICS_BATCHES * plan.batch_size].split(plan.batch_size):
            seen = normalise(changes(pictures.pixels[batch], learner.network.input_px))
            model(nearby(seen))
    return model.eval()
