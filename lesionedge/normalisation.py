"""Checks that a normalisation fits a model's input, and computes the stored values.

The network gets (pixel - mean) / std. The scale and zero point of a quantised input show which
numbers it was made for. A normalisation outside this range belongs to another model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lesionedge.errors import ModelError
from lesionedge.interpreter import TensorInfo, quantise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CLIPPED = 0.05
"""At most this share of the 256 grey levels may be clipped to the input's end values."""

MIN_USED = 0.51
"""The grey levels must span at least this share of the input's range: half, plus rounding."""

MAX_SPAN = 300
"""Pixels of 0 to 255 may span at most this much of a float input: the pixels themselves do 255."""

MIN_LEVELS = 128
"""At least this many of the 256 grey levels must differ in a float input."""

_CHANNELS = ("red", "green", "blue")


class Normalisation(NamedTuple):
    """The normalisation of one network's input."""

    info: TensorInfo
    """The input tensor."""
    mean: NDArray[np.float32]
    """(1,) or (3,) What is subtracted from a pixel, 0-255."""
    std: NDArray[np.float32]
    """(1,) or (3,) What the difference is divided by."""
    table: NDArray[Any] | None
    """(256, 3): what a quantised input stores for each pixel value; None for the value itself, or
    for a float input."""

    @classmethod
    def of(
        cls, info: TensorInfo, mean: Sequence[float], std: Sequence[float], *, model: str
    ) -> Normalisation:
        """Prepare the normalisation.

        Args:
            info: The input tensor.
            mean: 1 or 3 numbers.
            std: 1 or 3 numbers, none 0.
            model: The model's file, for messages.

        Raises:
            ModelError: It does not fit the input.
        """
        import numpy as np

        means, stds = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        table = stored_levels(info, means, stds, model=model)
        # The input's scale may contain the normalisation, as in our own files. The values then
        # differ by rounding only, and the pixels go in unchanged.
        levels = np.arange(256)[:, None]
        same = info.dtype == "uint8" and np.abs(table.astype(int) - levels).max() <= 1
        return cls(info, means, stds, None if same or _is_float(info) else table)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the network's input.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            (H, W, 3) of the input tensor's dtype.
        """
        import numpy as np

        if _is_float(self.info):
            real = np.subtract(pixels, self.mean, dtype=np.float32)
            real /= self.std
            return quantise(real, self.info)
        if self.table is None:
            return pixels
        return np.stack([self.table[:, c][pixels[..., c]] for c in range(3)], axis=-1)


def stored_levels(
    info: TensorInfo, mean: NDArray[np.float32], std: NDArray[np.float32], *, model: str
) -> NDArray[Any]:
    """Return what an input stores for each pixel value.

    Args:
        info: The input.
        mean: (1,) or (3,) What is subtracted from a pixel, 0-255.
        std: (1,) or (3,) What the difference is divided by.
        model: The model's file, for messages.

    Returns:
        (256, 3) of the input's dtype.

    Raises:
        ModelError: The normalisation does not fit the input.
    """
    import numpy as np

    levels = np.arange(256, dtype=np.float64)[:, None]
    real = np.broadcast_to((levels - mean) / std, (256, 3))
    is_float = _is_float(info)
    with np.errstate(over="ignore"):
        table = quantise(real, info)
    fault = _float_fault(table) if is_float else _integer_fault(real, info)
    if fault:
        fits = fitting(info)
        if fits:
            advice = f"--normalize {fits}, which spreads the levels over the whole range"
        elif np.isfinite(table).all() and _is_too_wide(table):
            scaled = f"{_text(255 * mean)},{_text(255 * std)}"
            advice = f"--normalize {scaled} if these numbers are for pixels from 0 to 1"
        else:
            advice = "what it was trained with as --normalize MEAN,STD"
        raise ModelError(
            f"{model}: normalisation by mean {_text(mean)} and std {_text(std)} does not fit its "
            f"{info.dtype} input{'' if is_float else _range(info)}: it {fault}; give {advice}"
        )
    return table


def _is_float(info: TensorInfo) -> bool:
    return info.dtype.startswith("float")


def _float_fault(table: NDArray[Any]) -> str | None:
    import numpy as np

    if not np.isfinite(table).all():
        return "makes numbers that the input cannot hold"
    if _is_too_wide(table):
        return f"makes {float(table.min()):.4g} to {float(table.max()):.4g} of pixels from 0 to 255"
    fewest = min(len(np.unique(table[:, channel])) for channel in range(3))
    return f"leaves {fewest} of the 256 grey levels" if fewest < MIN_LEVELS else None


def _is_too_wide(table: NDArray[Any]) -> bool:
    return bool((table.max(axis=0) - table.min(axis=0)).max() > MAX_SPAN)


def _integer_fault(real: NDArray[np.float64], info: TensorInfo) -> str | None:
    import numpy as np

    limits = np.iinfo(info.dtype)
    stored = np.rint(real / (info.scale or 1.0)) + info.zero_point
    clipped = ((stored < limits.min) | (stored > limits.max)).sum(axis=0)
    inside = np.clip(stored, limits.min, limits.max)
    used = (inside.max(axis=0) - inside.min(axis=0)) / (limits.max - limits.min)
    for channel, name in enumerate(_CHANNELS):
        of = f" of {name}" if len(set(clipped)) > 1 or len(set(used)) > 1 else ""
        if clipped[channel] > MAX_CLIPPED * 256:
            return f"clips {clipped[channel]} of the 256 grey levels{of}"
        if used[channel] < MIN_USED:
            return f"uses {100 * used[channel]:.0f} % of the input's range{of}"
    return None


def fitting(info: TensorInfo) -> str | None:
    """Return the MEAN,STD that spreads the grey levels over just the range of an input.

    Then (pixel - mean) / std equals (stored - zero_point) * scale, and the stored value is the
    pixel itself (in int8 minus 128). None if the input is not quantised: it has no such range.
    """
    import numpy as np

    if _is_float(info):
        return None
    mean = info.zero_point - int(np.iinfo(info.dtype).min)
    return f"{mean},{1 / (info.scale or 1.0):.6g}"


def _range(info: TensorInfo) -> str:
    import numpy as np

    limits, scale = np.iinfo(info.dtype), info.scale or 1.0
    low, high = ((limit - info.zero_point) * scale for limit in (limits.min, limits.max))
    return f", which holds {low:.4g} to {high:.4g}"


def _text(values: NDArray[np.float32]) -> str:
    return ",".join(f"{value:g}" for value in values)
