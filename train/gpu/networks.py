"""The networks in PyTorch, and their weights to and from the folded form that all share.

MobileNetV2 and ``cnn`` are layer for layer those of ``train.architectures``, with its names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from train.blocks import CNN_BLOCKS, MOBILENETV2_BLOCKS
from train.gpu.plan import Network
from train.settings import RecipeError

EPSILON = 1e-3
MOMENTUM = 0.1  # Keras' 0.9


class ConvBN(nn.Module):
    """A convolution padded as TensorFlow's ``same`` does, normalised; ReLU6 unless linear."""

    def __init__(
        self, name: str, incoming: int, outgoing: int, kernel: int = 3, stride: int = 1,
        *, groups: int = 1, linear: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.linear = name, linear
        # For even sizes a stride of 2 pads at the right and the bottom only.
        self.uneven = stride == 2
        padding = 0 if self.uneven else kernel // 2
        self.conv = nn.Conv2d(
            incoming, outgoing, kernel, stride, padding, groups=groups, bias=False
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in")
        self.norm = nn.BatchNorm2d(outgoing, eps=EPSILON, momentum=MOMENTUM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run."""
        if self.uneven:
            x = functional.pad(x, (0, 1, 0, 1))
        x = self.norm(self.conv(x))
        return x if self.linear else functional.relu6(x, inplace=True)


class InvertedResidual(nn.Module):
    """MobileNetV2's block."""

    def __init__(
        self, number: int, expansion: int, incoming: int, outgoing: int, stride: int
    ) -> None:
        super().__init__()
        prefix = f"block_{number}_" if number else "expanded_conv_"
        wide = incoming * expansion
        layers = [ConvBN(prefix + "expand", incoming, wide, 1)] if expansion > 1 else []
        layers += [
            ConvBN(prefix + "depthwise", wide, wide, 3, stride, groups=wide),
            ConvBN(prefix + "project", wide, outgoing, 1, linear=True),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and incoming == outgoing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run."""
        return x + self.layers(x) if self.residual else self.layers(x)


class Classifier(nn.Module):
    """A body, the mean over all positions, dropout, logits."""

    def __init__(self, body: nn.Sequential, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(features, classes)
        nn.init.xavier_uniform_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (N, 3, H, W) in [-1, 1) to (N, classes) logits."""
        return self.logits(self.dropout(self.body(x).mean((2, 3))))


def mobilenetv2(classes: int, dropout: float) -> Classifier:
    """MobileNetV2 at width 1.0 (Sandler et al. 2018)."""
    layers: list[nn.Module] = [ConvBN("Conv1", 3, 32, 3, 2)]
    incoming, number = 32, 0
    for expansion, channels, repeats, stride in MOBILENETV2_BLOCKS:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            layers.append(InvertedResidual(number, expansion, incoming, channels, step))
            incoming, number = channels, number + 1
    layers.append(ConvBN("Conv_1", incoming, 1280, 1))
    return Classifier(nn.Sequential(*layers), 1280, classes, dropout)


def cnn(classes: int, dropout: float) -> Classifier:
    """The small custom network."""
    layers: list[nn.Module] = [ConvBN("stem", 3, 24, 3, 2)]
    incoming = 24
    for number, channels in enumerate(CNN_BLOCKS, start=1):
        layers.append(ConvBN(f"block_{number}_a", incoming, channels))
        layers.append(ConvBN(f"block_{number}_b", channels, channels))
        if number < 4:
            layers += [nn.MaxPool2d(2), nn.Dropout(0.05)]
        incoming = channels
    return Classifier(nn.Sequential(*layers), incoming, classes, dropout)


OWN = {"mobilenetv2": mobilenetv2, "cnn": cnn}


def build(network: Network, classes: int) -> nn.Module:
    """Make a network.

    Raises:
        RecipeError: There is no such architecture.
    """
    torch.manual_seed(network.seed)
    if network.architecture in OWN:
        return OWN[network.architecture](classes, network.dropout)
    if not network.architecture.startswith("efficientnet_lite"):
        known = ", ".join([*OWN, "efficientnet_lite0", "... efficientnet_lite4"])
        raise RecipeError(f"architecture {network.architecture!r} is unknown; known: {known}")
    import timm

    return timm.create_model(
        f"tf_{network.architecture}", num_classes=classes, drop_rate=network.dropout,
        drop_path_rate=network.drop_path,
    )  # fmt: skip


def load(model: nn.Module, file: Path, sample: torch.Tensor) -> None:
    """Begin with weights: folded ones (.npz), or a state of EfficientNet-Lite (.pth).

    Args:
        model: From ``build``.
        file: The weights; those of a head of another size are passed over.
        sample: (N, 3, H, W) training pictures in [-1, 1), by which folded batch normalisation is
            given back its statistics.

    Raises:
        RecipeError: The file is missing or lacks a layer.
    """
    if not file.is_file():
        raise RecipeError(f"{file}: no such file; expected weights to begin with")
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            _load_folded(model, {k: arrays[k].astype(np.float32) for k in arrays.files}, sample)
    else:
        _load_in_order(model, torch.load(file, map_location="cpu", weights_only=True), file)


def _load_in_order(model: nn.Module, state: Mapping[str, torch.Tensor], file: Path) -> None:
    """Load a state whose tensors have other names: both list them in the order of computation."""
    theirs = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    own = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    if len(own) != len(theirs):
        raise RecipeError(f"{file}: {len(theirs)} tensors; expected {len(own)}")
    for (name, value), given in zip(own.items(), theirs):
        if value.shape == given.shape:
            value.copy_(given)
        elif "classifier" not in name:
            raise RecipeError(f"{file}: {name} is {tuple(given.shape)}, not {tuple(value.shape)}")


def _load_folded(model: nn.Module, weights: Mapping[str, np.ndarray], sample: torch.Tensor) -> None:
    """See ``train.architectures``: the function stays, the statistics are what is seen."""
    device = sample.device
    hooks = []
    for layer in _convolutions(model):
        if f"{layer.name}/kernel" not in weights:
            raise RecipeError(f"no weights for {layer.name}")
        kernel = weights[f"{layer.name}/kernel"]
        depthwise = layer.conv.groups > 1
        kernel = kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        bias = torch.from_numpy(weights[f"{layer.name}/bias"]).to(device)
        with torch.no_grad():
            layer.conv.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))

        def settle(norm: nn.Module, inputs: tuple[torch.Tensor], bias: torch.Tensor = bias) -> None:
            variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + EPSILON).sqrt())
            norm.bias.copy_(bias + mean)

        hooks.append(layer.norm.register_forward_pre_hook(settle))
    model.eval()
    with torch.no_grad():
        model(sample)
        for hook in hooks:
            hook.remove()
        head = model.logits
        last = weights.get("logits/kernel")
        if last is not None and last.T.shape == head.weight.shape:
            head.weight.copy_(torch.from_numpy(last.T.copy()))
            head.bias.copy_(torch.from_numpy(weights["logits/bias"]))


def folded(model: nn.Module) -> dict[str, np.ndarray]:
    """Give ``<layer>/kernel`` and ``/bias`` in Keras' order of axes, norms folded in."""
    found: dict[str, np.ndarray] = {}
    for layer in _convolutions(model):
        norm = layer.norm
        scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        kernel = layer.conv.weight.detach() * scale[:, None, None, None]
        axes = (2, 3, 0, 1) if layer.conv.groups > 1 else (2, 3, 1, 0)
        found[f"{layer.name}/kernel"] = kernel.permute(axes).contiguous().cpu().numpy()
        bias = norm.bias.detach() - norm.running_mean * scale
        found[f"{layer.name}/bias"] = bias.cpu().numpy()
    found["logits/kernel"] = model.logits.weight.detach().T.contiguous().cpu().numpy()
    found["logits/bias"] = model.logits.bias.detach().cpu().numpy()
    return found


def _convolutions(model: nn.Module) -> Iterator[ConvBN]:
    return (module for module in model.modules() if isinstance(module, ConvBN))
