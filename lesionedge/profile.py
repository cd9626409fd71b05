"""A site profile: what ``lesionedge calibrate`` measured of one model on somebody's own images.

It recalibrates the model's probabilities and holds thresholds. It belongs to one model file, which
it names by its SHA-256. The format: docs/reference/profile.schema.json.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from lesionedge.card import OperatingPoint
from lesionedge.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
"""Version of the format."""
LEAST = 1e-9
"""Probabilities below it are taken for it, so that they have a logarithm."""
MARGIN = 1e-6
"""Share by which thresholds are lowered, so that rounding to float32 lifts no image below them."""
_LARGEST_BYTES = 1_000_000


class Line(NamedTuple):
    """A temperature and a bias: a logit z becomes z / temperature + bias."""

    temperature: float = 1.0
    """What logits are divided by."""
    bias: float = 0.0
    """What is added then."""


@dataclass(frozen=True)
class Recalibration:
    """Changes probabilities in two steps: malignant against benign, then the classes of each.

    The malignant probability becomes a rising function of what it was. So recalibration never
    changes which of two images is the more suspicious one.
    """

    malignant: tuple[bool, ...]
    """Whether each class is malignant, in output order."""
    between: Line | None
    """Of the logit of malignant against benign; None where there is only one kind, or where it
    is not known which classes are malignant."""
    temperatures: tuple[float, ...]
    """Of each class's logit within its kind, in output order."""
    biases: tuple[float, ...]
    """What is added then."""

    @classmethod
    def none(cls, malignant: Sequence[bool]) -> Recalibration:
        """Return the one that changes nothing."""
        kinds = tuple(malignant)
        line = Line() if len(set(kinds)) == 2 else None
        return cls(kinds, line, (1.0,) * len(kinds), (0.0,) * len(kinds))

    def suspicion(self, probabilities: NDArray[Any] | Sequence[float]) -> NDArray[np.float64]:
        """Return the logit of malignant against benign, which recalibration only stretches.

        Args:
            probabilities: (..., classes) from the model file, 0-1.

        Returns:
            (...,) float64.
        """
        import numpy as np

        floored = np.maximum(np.asarray(probabilities, np.float64), LEAST)
        mask = np.array(self.malignant)
        found: NDArray[np.float64] = np.log(floored[..., mask].sum(-1)) - np.log(
            floored[..., ~mask].sum(-1)
        )
        return found

    def malignant_probability(self, suspicion: NDArray[Any]) -> NDArray[np.float64]:
        """Return the recalibrated malignant probability of a logit.

        Args:
            suspicion: (...,) from ``suspicion``.
        """
        import numpy as np

        line = self.between or Line()
        stretched = np.asarray(suspicion, np.float64) / line.temperature + line.bias
        power = np.exp(-abs(stretched))
        result: NDArray[np.float64] = np.where(stretched < 0, power, 1.0) / (1 + power)
        return result

    def apply(self, probabilities: NDArray[Any] | Sequence[float]) -> NDArray[np.float64]:
        """Return recalibrated probabilities.

        Args:
            probabilities: (..., classes) from the model file, 0-1.

        Returns:
            (..., classes) float64 that sum to 1.
        """
        import numpy as np

        floored = np.maximum(np.asarray(probabilities, np.float64), LEAST)
        logits = np.log(floored) / np.array(self.temperatures) + np.array(self.biases)
        if self.between is None:
            return _softmax(logits)
        kind = np.array(self.malignant)
        risk = self.malignant_probability(self.suspicion(probabilities))[..., None]
        within_malignant = _softmax(np.where(kind, logits, -np.inf))
        within_benign = _softmax(np.where(kind, -np.inf, logits))
        found: NDArray[np.float64] = risk * within_malignant + (1 - risk) * within_benign
        return found


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (..., classes) float64 that sum to 1; 0 where a logit is -inf."""
    import numpy as np

    powers = np.exp(logits - logits.max(-1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return result


class Owner(NamedTuple):
    """The model that a profile belongs to, and how it was used."""

    name: str
    """As it was called."""
    sha256: str
    """The file's digest, in hexadecimal."""
    labels: tuple[str, ...]
    """Its labels, in output order."""
    malignant: tuple[bool | None, ...]
    """Whether each is malignant; None where that is not known."""
    views: int = 1
    """How many views of an image the probabilities were averaged over."""
    normalize: tuple[float, ...] | None = None
    """As ``ModelOptions.normalize``."""


@dataclass(frozen=True)
class Profile:
    """What was measured of one model on one site's images."""

    name: str
    """What results call it."""
    owner: Owner
    """The model that it belongs to."""
    recalibration: Recalibration
    """What it does to probabilities."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds of the recalibrated malignant probability. ``extra["guaranteed"]`` says whether
    the sensitivity is guaranteed; if not, the threshold is the model card's."""
    made: str = ""
    """The day, as ISO 8601 has it."""
    version: str = ""
    """Version of lesionedge that made it."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What it was made of: numbers of images and lesions."""
    prevalence: Mapping[str, Any] = field(default_factory=dict)
    """The mix of diagnoses that the probabilities are for."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Figures before and after, on held-out lesions."""

    @property
    def label(self) -> str:
        """Its name and the beginning of its digest, which tells two of one name apart."""
        import hashlib

        return f"{self.name} {hashlib.sha256(self.to_json().encode()).hexdigest()[:12]}"

    def check_owner(self, found: Owner) -> None:
        """Refuse a profile for another model, or for another use of this one.

        Raises:
            ModelError: It was made for another.
        """
        expected = self.owner
        if found.sha256 != expected.sha256:
            raise ModelError(
                f"profile {self.name}: made for the model {expected.name} (SHA-256 "
                f"{expected.sha256[:12]}…), not for {found.name} ({found.sha256[:12]}…); expected "
                "that model's file: give it with --model, or make a profile for this one with "
                "lesionedge calibrate"
            )
        wanted, have = expected._asdict(), found._asdict()
        for key in ("labels", "malignant", "views", "normalize"):
            if wanted[key] != have[key]:
                raise ModelError(
                    f"profile {self.name}: made with {key} {_shown(wanted[key])}, and this is with "
                    f"{_shown(have[key])}; use the model as it was used for the profile, or make "
                    "another with lesionedge calibrate"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        change, owner = self.recalibration, self.owner
        between = change.between
        return {
            "format": FORMAT,
            "name": self.name,
            "made": self.made,
            "lesionedge": self.version,
            "model": {
                "name": owner.name, "sha256": owner.sha256, "labels": list(owner.labels),
                "malignant": list(owner.malignant), "views": owner.views,
                "normalize": None if owner.normalize is None else list(owner.normalize),
            },
            "data": dict(self.data),
            "prevalence": dict(self.prevalence),
            "recalibration": {
                "malignant": None if between is None else between._asdict(),
                "classes": {
                    label: {"temperature": temperature, "bias": bias}
                    for label, temperature, bias in zip(
                        owner.labels, change.temperatures, change.biases
                    )
                },
            },
            "operating_points": [
                {**{k: v for k, v in point._asdict().items() if k != "extra"}, **point.extra}
                for point in self.operating_points
            ],
            "report": dict(self.report),
        }  # fmt: skip

    def to_json(self) -> str:
        """Return its text."""
        import json

        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"


Given = Union[str, "os.PathLike[str]", Profile]
"""A profile, or the path of one."""


def read(given: Given) -> Profile:
    """Read a profile.

    Args:
        given: Its file; or a profile, which is returned as it is.

    Raises:
        ModelError: There is no such file, or it holds no profile.
    """
    if isinstance(given, Profile):
        return given
    import json

    path = os.fsdecode(given)
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ModelError(
            f"{path}: the profile cannot be read ({error.strerror}); expected a file that "
            "lesionedge calibrate wrote"
        ) from error
    try:
        if len(text) > _LARGEST_BYTES:
            raise ValueError("it is larger than any profile")
        content = json.loads(text)
        if not isinstance(content, dict) or "recalibration" not in content:
            raise ValueError("it has no recalibration")
        found = _profile(content)
        found.to_json()  # the sections that are only kept can be written again, too
        return found
    except KeyError as error:
        reason = f"{error} is missing"
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = str(error)
    raise ModelError(
        f"{path}: not a site profile ({reason}); expected a file that lesionedge calibrate wrote"
    )


def digest(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _profile(content: Mapping[str, Any]) -> Profile:
    version = content["format"]
    if version != FORMAT:
        raise ValueError(
            f"its format is {version!r}, and this version of lesionedge reads {FORMAT}"
        )
    owner = _owner(content["model"])
    change = content["recalibration"]
    between, classes = change["malignant"], change["classes"]
    if list(classes) != list(owner.labels):
        raise ValueError("its classes are not the model's labels, in their order")
    if between is not None and len({bool(one) for one in owner.malignant}) < 2:
        raise ValueError(
            "it recalibrates malignant against benign, but its classes are of one kind"
        )
    return Profile(
        name=_text(content["name"]), owner=owner, made=str(content.get("made", "")),
        version=str(content.get("lesionedge", "")), data=content.get("data", {}),
        prevalence=content.get("prevalence", {}), report=content.get("report", {}),
        recalibration=Recalibration(
            tuple(bool(one) for one in owner.malignant),
            None if between is None else _line(between),
            tuple(_line(one).temperature for one in classes.values()),
            tuple(_line(one).bias for one in classes.values()),
        ),
        operating_points=tuple(map(_point, content.get("operating_points", ()))),
    )  # fmt: skip


def _owner(content: Mapping[str, Any]) -> Owner:
    normalize = content.get("normalize")
    labels = tuple(map(_text, content["labels"]))
    malignant = tuple(content["malignant"])
    if len(labels) < 2 or len(malignant) != len(labels) or set(malignant) - {True, False, None}:
        raise ValueError("model: expected two labels or more, and for each whether it is malignant")
    return Owner(
        _text(content["name"]), _text(content["sha256"]), labels, malignant,
        int(content.get("views", 1)),
        None if normalize is None else tuple(map(_number, normalize)),
    )  # fmt: skip


def _line(content: Mapping[str, Any]) -> Line:
    temperature, bias = _number(content["temperature"]), _number(content["bias"])
    if temperature <= 0:
        raise ValueError(f"a temperature is {temperature}; expected more than 0")
    return Line(temperature, bias)


def _point(content: Mapping[str, Any]) -> OperatingPoint:
    rest = dict(content)
    names = ("sensitivity", "threshold", "measured_sensitivity", "measured_specificity")
    sensitivity, limit, found, specificity = (_number(rest.pop(name)) for name in names)
    if not (0 < sensitivity <= 1 and limit >= 0):
        raise ValueError(f"an operating point has sensitivity {sensitivity}, threshold {limit}")
    if not isinstance(rest.get("guaranteed"), bool):
        raise ValueError("an operating point does not say whether it is guaranteed")
    return OperatingPoint(sensitivity, limit, found, specificity, rest)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
