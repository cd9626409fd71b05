"""From pixels to what a network is fed: (pixel - mean) / std, as the input tensor stores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lesionedge.errors import ModelError
from lesionedge.interpreter import TensorInfo, quantise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEAST_LEVELS = 32  # of 256; with fewer an image is none any more


@dataclass(frozen=True)
class Normalisation:
    """The normalisation of one network's input."""

    info: TensorInfo
    """The input tensor."""
    mean: NDArray[np.float32]
    """(1,) or (3,)."""
    std: NDArray[np.float32]
    """(1,) or (3,)."""
    table: NDArray[Any] | None
    """(256, 3): what a quantised input stores for each pixel value; None: that value itself, or a
    float input."""

    @classmethod
    def of(
        cls, info: TensorInfo, mean: Sequence[float], std: Sequence[float], *, path: str
    ) -> Normalisation:
        """Prepare it.

        Args:
            info: The input tensor.
            mean: 1 or 3 numbers.
            std: 1 or 3 numbers, none 0.
            path: The model file, for messages.

        Raises:
            ModelError: Hardly any of an image would be left.
        """
        import numpy as np

        means, stds = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        return cls(info, means, stds, _stored_levels(info, means, stds, path))

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what the network is fed.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            (H, W, 3) of the input tensor's dtype.
        """
        import numpy as np

        if self.info.dtype.startswith("float"):
            real = np.subtract(pixels, self.mean, dtype=np.float32)
            real /= self.std
            return quantise(real, self.info)
        if self.table is None:
            return pixels
        return np.stack([self.table[:, c][pixels[..., c]] for c in range(3)], axis=-1)


def _stored_levels(
    info: TensorInfo, mean: NDArray[np.float32], std: NDArray[np.float32], path: str
) -> NDArray[Any] | None:
    import numpy as np

    if info.dtype.startswith("float"):
        return None
    levels = np.arange(256, dtype=np.float64)[:, None]
    real = np.broadcast_to((levels - mean) / std, (256, 3))
    table = quantise(real, info)
    # A scale that holds the normalisation, as our own files have: only rounding is between
    # them, and the camera's bytes go in untouched.
    if info.dtype == "uint8" and np.abs(table.astype(int) - levels.astype(int)).max() <= 1:
        return None
    if len(set(table.ravel().tolist())) < _LEAST_LEVELS:
        raise ModelError(
            f"{path}: normalisation by mean {mean.tolist()} and std {std.tolist()} does not fit "
            f"its {info.dtype} input of scale {info.scale:g}; give --normalize MEAN,STD"
        )
    return table
