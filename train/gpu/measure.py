"""How a network does on pictures that it is not trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from train.gpu.pictures import Pictures, normalise, whole
from train.gpu.plan import Network
from train.gpu.steps import mixed_precision, nearby, turned
from train.settings import RecipeError

AT_ONCE = 256
"""Pictures a forward pass, when no gradients are wanted."""


@torch.no_grad()
def probabilities(
    network: Network, model: nn.Module, pixels: torch.Tensor, rows: torch.Tensor, *, views: int
) -> np.ndarray:
    """Give (views, N, classes) probabilities of the turned and mirrored whole pictures."""
    model.eval()
    found = []
    for batch in rows.split(AT_ONCE):
        upright = normalise(whole(pixels[batch], network.input_px))
        with mixed_precision(pixels.device):
            logits = [model(nearby(turned(upright, way))) for way in range(views)]
        found.append(torch.stack(logits).float().softmax(2).cpu().numpy())
    return np.concatenate(found, 1)


def measure(network: Network, model: nn.Module, pictures: Pictures, *, views: int) -> str:
    """Say how a network does on pictures that it is not trained on."""
    split, rows = held_out(pictures)
    each = probabilities(network, model, pictures.pixels, rows, views=views)
    return f"{split}: {figures(each, pictures, rows)}"


def held_out(pictures: Pictures) -> tuple[str, torch.Tensor]:
    """Give the name and rows of the split to measure on; a fold has no validation pictures."""
    for split in ("validation", "test", "calibration"):
        rows = pictures.rows(split)
        if len(rows):
            return split, rows
    raise RecipeError("all pictures are trained on: the split has no others")


def figures(each: np.ndarray, pictures: Pictures, rows: torch.Tensor) -> str:
    """Say how the (views, N, classes) probabilities of some pictures do."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    truth = pictures.classes[rows].cpu().numpy()
    mean = each.mean(0)
    melanoma = pictures.labels.index("mel") if "mel" in pictures.labels else 0
    bad = [i for i, label in enumerate(pictures.labels) if label in ("mel", "bcc", "akiec")]
    own = np.mean([balanced_accuracy_score(truth, view.argmax(1)) for view in each])
    changed = float(np.mean([view.argmax(1) != each[0].argmax(1) for view in each[1:]] or 0))
    return (
        f"balanced accuracy {own:.3f} (mean of {len(each)} views: "
        f"{balanced_accuracy_score(truth, mean.argmax(1)):.3f}), AUROC mel "
        f"{roc_auc_score(truth == melanoma, mean[:, melanoma]):.3f}, malignant "
        f"{roc_auc_score(np.isin(truth, bad), mean[:, bad].sum(1)):.3f}, turned {changed:.1%}"
    )
