"""Checks that a model's outputs are probabilities of classes that exclude each other.

Results such as ``malignant_probability``, a sum over classes, are wrong otherwise. The check looks
at the end of the graph, because logits may lie between 0 and 1 too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lesionedge import graph
from lesionedge.errors import ModelError
from lesionedge.metadata import ModelMetadata
from lesionedge.notice import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROUNDING = 0.01  # how far a quantised probability may lie outside 0-1
_STEP = 1 / 256  # the step between probabilities in 8 bits, the coarsest format

BELOW_THRESHOLD = "below-score-threshold"
"""Code of the notice for a probability below the limit that the model's author set."""


class Outputs(NamedTuple):
    """A model's outputs."""

    model: str
    """The model's file, for messages."""
    threshold: float | None
    """The author's limit: no prediction if the best class's probability is below it."""

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return each class's probability.

        Args:
            outputs: (outputs,) float32, dequantised.

        Returns:
            (classes,) float32, 0-1. A single output is the second class's probability; both are
            returned.

        Raises:
            ModelError: They are not probabilities.
        """
        low, high = float(outputs.min()), float(outputs.max())
        if not (low > -_ROUNDING and high < 1 + _ROUNDING):  # written so that NaN fails too
            raise ModelError(
                f"{self.model}: its outputs, {low:.4g} to {high:.4g}, are not probabilities; "
                "expected a softmax or a sigmoid at its end"
            )
        if len(outputs) > 1:
            self._check_sum(outputs)
        import numpy as np

        found: NDArray[np.float32] = np.clip(outputs, 0, 1)  # 8 bits may stand for 1.004
        return found if len(found) > 1 else np.array([1 - found[0], found[0]], np.float32)

    def _check_sum(self, outputs: NDArray[np.float32]) -> None:
        # Those of a softmax over another axis do not, or if some are cut off after it.
        total = float(outputs.sum())
        if abs(total - 1) > _ROUNDING + len(outputs) * _STEP / 2:
            raise ModelError(
                f"{self.model}: its outputs add up to {total:.4g}, so they are not probabilities "
                "of classes that exclude each other; expected a softmax over all classes"
            )

    def notices(self, probability: float) -> tuple[Notice, ...]:
        """Return the warnings for a prediction with this probability."""
        if self.threshold is None or probability >= self.threshold:
            return ()
        text = f"the model's author wants no prediction below a probability of {self.threshold:.4g}"
        return (Notice(BELOW_THRESHOLD, text),)


def read(path: str, outputs: int, found: ModelMetadata) -> Outputs:
    """Return how to read a model's outputs.

    Args:
        path: The model's file.
        outputs: How many numbers its output has.
        found: The file's metadata.

    Raises:
        ModelError: They are not probabilities, their classes do not exclude each other, or the
            metadata demands a change after which they are no longer probabilities.
    """
    if found.score_calibration:
        raise ModelError(
            f"{path}: its metadata (ScoreCalibrationOptions) changes each class's score by itself, "
            "after which they no longer add up to 1; expected probabilities that are calibrated "
            "inside the graph: export it without score calibration"
        )
    end = graph.ending(path)
    if end.kind == "other":
        raise ModelError(
            f"{path}: its outputs are not probabilities (the last operator is {end.operator}); "
            "expected a softmax, or a sigmoid for two classes, at its end: export it with one "
            "(in Keras, keras.layers.Softmax() as the last layer)"
        )
    if end.kind == "sigmoid" and outputs > 1:
        raise ModelError(
            f"{path}: its {outputs} outputs have a sigmoid each, for classes that do not exclude "
            "each other; expected a softmax over all classes, or one sigmoid for two"
        )
    if end.kind == "softmax" and outputs == 1:
        raise ModelError(
            f"{path}: its one output is a softmax over one class, which is always 1; expected a "
            "sigmoid, or a softmax over two classes"
        )
    return Outputs(path, found.score_threshold)
