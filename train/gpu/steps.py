"""What is done to every batch: shown in sizes and turned, asked about, learnt from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from train.gpu.plan import Network


def mixed_precision(device: torch.device) -> torch.autocast:
    """Give what makes the GPU reckon with 16-bit numbers where that will do."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def loss_of(
    model: nn.Module, seen: torch.Tensor, targets: torch.Tensor, taught: torch.Tensor | None,
    shift: torch.Tensor, share: float,
) -> torch.Tensor:  # fmt: skip
    """Give the loss of a batch, by the labels and by what the teachers say."""
    with mixed_precision(seen.device):
        logits = model(seen)
    loss = functional.cross_entropy(logits.float() + shift, targets)
    if taught is None:
        return loss
    return (1 - share) * loss + share * functional.cross_entropy(logits.float(), taught)


def logits_of(model: nn.Module, seen: torch.Tensor) -> torch.Tensor:
    """Give a network's logits."""
    with mixed_precision(seen.device):
        return model(seen)


@dataclass(frozen=True)
class Steps:
    """What takes most of the time."""

    loss: Callable[..., torch.Tensor] = loss_of
    logits: Callable[..., torch.Tensor] = logits_of

    @classmethod
    def compiled(cls) -> Steps:
        """Have PyTorch compile both, once for each architecture."""
        return cls(torch.compile(loss_of, dynamic=False), torch.compile(logits_of, dynamic=False))


EAGER = Steps()


def nearby(batch: torch.Tensor) -> torch.Tensor:
    """Lay a batch's channels side by side, as convolutions on GPUs like it."""
    return batch.contiguous(memory_format=torch.channels_last)


class Sizes(dict[int, torch.Tensor]):
    """A batch by side, shrunk from the largest when it is first wanted."""

    def __init__(self, largest: torch.Tensor) -> None:
        super().__init__()
        self.largest = largest

    def __missing__(self, px: int) -> torch.Tensor:
        own = self.largest
        if own.shape[-1] != px:
            own = functional.interpolate(own, (px, px), mode="bilinear", antialias=True)
        self[px] = nearby(own)
        return self[px]


class Turned(Sizes):
    """A batch in several ways of turning and mirroring, one after the other."""

    def __init__(self, upright: Sizes, ways: Sequence[int]) -> None:
        super().__init__(upright.largest)
        self.upright, self.ways = upright, ways

    def __missing__(self, px: int) -> torch.Tensor:
        self[px] = nearby(torch.cat([turned(self.upright[px], way) for way in self.ways]))
        return self[px]


def turned(batch: torch.Tensor, way: int) -> torch.Tensor:
    """Turn by ``way // 2`` quarters, then mirror if ``way`` is odd: 8 ways, 0 changes nothing."""
    quarters = torch.rot90(batch, way // 2, (2, 3))
    return quarters.flip(3) if way % 2 else quarters


@torch.no_grad()
def answers(
    teachers: Sequence[tuple[Network, nn.Module]], sized: Sizes, run: Steps = EAGER
) -> torch.Tensor:
    """Give (B, classes) float32, the teachers' mean probabilities."""
    logits = [run.logits(model, sized[network.train_px]) for network, model in teachers]
    return torch.stack([x.float().softmax(1) for x in logits]).mean(0)
