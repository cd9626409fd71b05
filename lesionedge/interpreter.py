"""Runs a .tflite file: threads, tensors, quantisation.

No other module imports LiteRT or tflite-runtime.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lesionedge import graph
from lesionedge.cores import default_threads
from lesionedge.errors import MissingDependencyError, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DTYPES = ("uint8", "int8", "float16", "float32")
"""Tensor types that a model's input and output may have."""

_PROBE = (
    b"\x18\0\0\0TFL3\0\0\x0e\0\x14\0\x10\0\x0c\0\x08\0\0\0\x04\0\x0e\0\0\0\x10\0\0\0"
    b"\x1c\0\0\0\x84\0\0\0\x03\0\0\0\x01\0\0\0\x08\0\0\0\x04\0\x04\0\x04\0\0\0\x01\0\0\0"
    b"\x10\0\0\0\x0c\0\x14\0\x10\0\x0c\0\x08\0\x04\0\x0c\0\0\0\x10\0\0\0\x10\0\0\0"
    b"\x14\0\0\0\x18\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0"
    b"\x10\0\0\0\x0c\0\x0c\0\x08\0\0\0\0\0\x04\0\x0c\0\0\0\x08\0\0\0\x0c\0\0\0"
    b"\x01\0\0\0x\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0"
)
"""The smallest .tflite that loads: one float32 tensor as input and output, no operator."""

_FAILURES = (
    ImportError, OSError, AttributeError, SystemError, RuntimeError, ValueError, TypeError,
    MemoryError,
)  # fmt: skip
# Words in log lines such as "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.".
_NATIVE_WORDS = (b"tensorflow", b"tflite", b"xnnpack", b"litert", b"delegate", b"absl::")
_stderr_lock = threading.RLock()  # ``quiet`` may be nested


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output."""

    name: str
    """The tensor's name in the graph."""
    shape: tuple[int, ...]
    """The tensor's shape; the first dimension is the batch, 1."""
    dtype: str
    """uint8, int8, float16 or float32."""
    scale: float
    """real = (stored - zero_point) * scale; 0 if the tensor is not quantised."""
    zero_point: int
    """The stored number that stands for 0."""
    index: int
    """The tensor's number in the graph."""


class Backend(NamedTuple):
    """The library that runs models here."""

    name: str
    """``litert`` or ``tflite-runtime``."""
    package: str
    """Name of the installed package."""
    interpreter: Any
    """Its Interpreter class."""

    @property
    def version(self) -> str:
        """The package's version; ``unknown`` if it has none."""
        return _version(self.package)


def find_backend() -> Backend:
    """Return the library that runs models: LiteRT, else tflite-runtime.

    Each one must really build an interpreter: some installations import and then fail.

    Raises:
        MissingDependencyError: Neither works; the message says why and which command to run.
    """
    faults = []
    for load in (_litert, _tflite_runtime):
        try:
            with quiet(keep=False):
                backend = load()
                backend.interpreter(model_content=_PROBE, num_threads=1).allocate_tensors()
        except _FAILURES as error:
            faults.append(_fault(load is _tflite_runtime, error))
        else:
            return backend
    raise MissingDependencyError(
        f"no TFLite runtime works here ({'; '.join(faults)}). {how_to_install()}"
    )


def _litert() -> Backend:
    from ai_edge_litert import interpreter

    return Backend("litert", "ai-edge-litert", interpreter.Interpreter)


def _tflite_runtime() -> Backend:
    from tflite_runtime import interpreter

    return Backend("tflite-runtime", "tflite-runtime", interpreter.Interpreter)


def _fault(of_tflite_runtime: bool, error: BaseException) -> str:
    """Return why a library does not work."""
    if of_tflite_runtime and not isinstance(error, ModuleNotFoundError):
        numpy = _version("numpy")  # importing it may fail, too
        if numpy.split(".")[0] not in ("1", "unknown"):
            return (
                f"tflite-runtime {_version('tflite-runtime')} was built for numpy 1 and numpy is "
                f'{numpy}: pip install "numpy<2"'
            )
    return _reason(error)


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def how_to_install() -> str:
    """Return what to do where no TFLite runtime works."""
    if sys.maxsize > 2**32:
        return "Install one: pip install ai-edge-litert"
    if sys.version_info >= (3, 12):
        return (
            "On a 32-bit system only tflite-runtime exists, for Python up to 3.11: use a 64-bit "
            "system, or Python 3.11 or older"
        )
    return 'Install one: pip install tflite-runtime "numpy<2"'


class Interpreter:
    """A loaded model.

    Several threads may call ``run``. The calls take turns, since there is one native interpreter;
    it uses ``threads`` threads itself. For more throughput use several processes or several
    Interpreters. A forked process loads the model again at its first run.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, threads: int | None = None, verbose: bool = False
    ) -> None:
        """Load a model.

        Args:
            path: A .tflite file.
            threads: Number of threads; None for the usable physical cores, at most 4.
            verbose: Let the native library's log lines through to standard error.

        Raises:
            ModelError: The file is missing, corrupt or not an image classifier.
            MissingDependencyError: No TFLite runtime works here.
        """
        self.path = os.fsdecode(path)
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; expected 1 or more")
        self.threads = threads or default_threads()
        self._verbose = verbose
        if not os.path.exists(self.path):
            raise ModelError(f"{self.path}: no such file; expected a .tflite model")
        graph.check(self.path)
        self.backend = find_backend()
        if self.backend.name == "tflite-runtime":
            graph.verify(self.path)
        # One tuple, so that no thread sees one process's lock with another's network.
        self._loaded = os.getpid(), threading.Lock(), self._load()
        self.input = self._image_tensor()
        self.output = self._score_tensor()

    def _load(self) -> Any:
        try:
            with nullcontext() if self._verbose else quiet():
                native = self.backend.interpreter(**self._source(), num_threads=self.threads)
                native.allocate_tensors()
        except _FAILURES as error:
            raise ModelError(
                f"{self.path}: {self.backend.name} cannot load it ({_reason(error)}); expected a "
                "complete .tflite file of built-in operators"
            ) from error
        return native

    def _source(self) -> dict[str, Any]:
        try:
            self.path.encode()
        except UnicodeEncodeError:  # the native library reads UTF-8 names only
            with open(self.path, "rb") as file:
                return {"model_content": file.read()}
        return {"model_path": self.path}

    def _details(self, role: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = getattr(self._loaded[2], f"get_{role}_details")()
        except ValueError as error:  # such as a name that is not UTF-8
            raise ModelError(
                f"{self.path}: its {role}s cannot be read ({_reason(error)}); is the file complete?"
            ) from error
        return found

    def _image_tensor(self) -> TensorInfo:
        details = self._details("input")
        info = _info(details[0]) if len(details) == 1 else None
        if (
            info is None or len(info.shape) != 4 or info.shape[0] != 1 or info.shape[3] != 3
            or info.dtype not in DTYPES or -1 in details[0]["shape_signature"][1:]
        ):  # fmt: skip
            raise self._not_a_classifier(
                "inputs", details, "[1, H, W, 3] (channels last) of fixed size"
            )
        return info

    def _score_tensor(self) -> TensorInfo:
        details = self._details("output")
        info = _info(details[0]) if len(details) == 1 else None
        if (
            info is None or info.dtype not in DTYPES or not info.shape
            or not math.prod(info.shape) == info.shape[-1] > 0
            # Such a size is 1 until the network runs.
            or (info.shape[-1] == 1 and list(details[0]["shape_signature"][-1:]) == [-1])
        ):  # fmt: skip
            raise self._not_a_classifier("outputs", details, "[1, classes] of fixed size")
        return info

    def _not_a_classifier(
        self, role: str, details: Sequence[dict[str, Any]], expected: str
    ) -> ModelError:
        # A batch of any size runs as 1. A side of another dimension that is not fixed is -1.
        found = [
            f"{one['shape'].tolist()[:1] + one['shape_signature'].tolist()[1:]} {_info(one).dtype}"
            for one in details
        ]
        return ModelError(
            f"{self.path}: not an image classifier: its {role} are {', '.join(found) or 'none'}; "
            f"expected one of {expected} and {', '.join(DTYPES)}"
        )

    @property
    def delegated(self) -> bool | None:
        """Whether the graph runs on XNNPACK's fast kernels; None: the runtime does not say."""
        operators = getattr(self._loaded[2], "_get_ops_details", None)
        if operators is None:
            return None
        return any(operator["op_name"] == "DELEGATE" for operator in operators())

    def run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Run the network on one prepared image.

        Args:
            values: (H, W, 3), of the input's dtype.

        Returns:
            (classes,) float32, dequantised.

        Raises:
            ModelError: An operator fails.
        """
        if self._loaded[0] != os.getpid():
            self._load_after_fork()
        _, lock, native = self._loaded
        with lock:
            native.set_tensor(self.input.index, values[None])
            try:
                native.invoke()
            except RuntimeError as error:
                raise ModelError(f"{self.path}: cannot be run ({_reason(error)})") from error
            raw = native.get_tensor(self.output.index)
        return dequantise(raw.reshape(-1), self.output)

    def _load_after_fork(self) -> None:
        """Load the model again: the native threads stayed in the parent process."""
        self._left_behind = self._loaded  # destroying it would wait for those threads
        self._loaded = os.getpid(), threading.Lock(), self._load()


def _info(details: dict[str, Any]) -> TensorInfo:
    import numpy as np

    scale, zero_point = details["quantization"]
    return TensorInfo(
        name=str(details["name"]),
        shape=tuple(int(side) for side in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
        index=int(details["index"]),
    )


def quantise(real: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Return the stored numbers for real ones.

    stored = round(real / scale) + zero_point, clipped to the type's range (Jacob et al. 2018,
    arXiv:1712.05877, equation 1), computed in float64 so that nothing overflows.

    Args:
        real: Any shape.
        info: The tensor.

    Returns:
        The same shape, of the tensor's dtype. Without a scale, integers stand for themselves.
    """
    import numpy as np

    kind = np.dtype(info.dtype)
    if kind.kind == "f":
        return np.asarray(real).astype(kind, copy=False)
    limits = np.iinfo(kind)
    stored = np.rint(np.asarray(real, np.float64) / (info.scale or 1.0)) + info.zero_point
    clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(kind)
    return clipped


def dequantise(stored: NDArray[Any], info: TensorInfo) -> NDArray[np.float32]:
    """Return the real numbers for stored ones: (stored - zero_point) * scale.

    Args:
        stored: Any shape, of the tensor's dtype.
        info: The tensor.

    Returns:
        The same shape, float32. Without a scale, integers stand for themselves.
    """
    import numpy as np

    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    wide = stored.astype(np.int32) - info.zero_point
    real: NDArray[np.float32] = wide.astype(np.float32) * np.float32(info.scale or 1.0)
    return real


@contextmanager
def quiet(*, keep: bool = True) -> Iterator[None]:
    """Hide native log lines on standard error; let everything else through.

    LiteRT and XNNPACK write to file descriptor 2, and Python cannot switch that off. All threads
    share the descriptor; lines of other threads appear when this ends.

    Args:
        keep: Let other lines through; False hides everything.
    """
    with _stderr_lock:
        try:
            saved = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        with _memory_file() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                os.close(saved)
                if keep and held.seek(0, os.SEEK_END):
                    _pass_on(held)


def _pass_on(held: Any) -> None:
    held.seek(0)
    rest = b"".join(line for line in held if not _is_native(line))
    # The reader of standard error may be gone.
    with suppress(OSError):
        while rest:
            rest = rest[os.write(2, rest) :]


def _is_native(line: bytes) -> bool:
    # No regular expression: compiling one takes longer than a prediction.
    if line.startswith((b"INFO: ", b"WARNING: ", b"VERBOSE: ")):
        words = line.lower()
        return any(word in words for word in _NATIVE_WORDS)
    # absl writes "W0000 00:00:1795242387.903696   17277 environment.cc:42] …".
    return line[:1] in b"IWE" and line[1:5].isdigit() and b".cc:" in line


def _memory_file() -> Any:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("lesionedge-log"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()
