"""Runs a .tflite file: threads, tensors, quantising.

The only importer of LiteRT and tflite-runtime.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lesionedge.errors import MissingDependencyError, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
MAX_THREADS = 4
"""More threads than this make a network this small slower, not faster."""

DTYPES = ("uint8", "int8", "float16", "float32")
"""Tensor types that a model's input and output may have."""

_NOISE = ("INFO:", "WARNING:", "W0000", "I0000", "E0000", "WARNING: All log messages")
_stderr_lock = threading.Lock()


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output."""

    name: str
    """Its name in the graph."""
    shape: tuple[int, ...]
    """Its shape; the first is the batch, 1."""
    dtype: str
    """uint8, int8, float16 or float32."""
    scale: float
    """real = (stored - zero_point) * scale; 0 where it is not quantised."""
    zero_point: int
    """The stored number that stands for 0."""
    index: int
    """Its number in the graph."""


@dataclass(frozen=True)
class Backend:
    """The library that runs models here."""

    name: str
    """``litert`` or ``tflite-runtime``."""
    package: str
    """Name of the installed package."""
    interpreter: Any
    """Its Interpreter class."""

    @property
    def version(self) -> str:
        """Its version, ``unknown`` where it does not say; looked up only when it is asked for."""
        return _version(self.package)


def default_threads() -> int:
    """Count the physical cores that this process may use, at most ``MAX_THREADS``.

    Honours CPU affinity and cgroup (container) quotas; two hardware threads of one core count
    once, since the kernels here saturate a core.
    """
    cores = _physical_cores(_usable_cpus())
    quota = _cgroup_quota()
    if quota is not None:
        cores = min(cores, max(1, int(quota)))
    return max(1, min(MAX_THREADS, cores))


def _usable_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores(cpus: set[int]) -> int:
    cores = set()
    for cpu in cpus:
        siblings = _text(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings or str(cpu))
    return len(cores)


def _cgroup_quota() -> float | None:
    """Give how many CPUs' worth of time the container may use; None where there is no limit."""
    own = [
        line.split(":", 2)[2]
        for line in _text("/proc/self/cgroup").splitlines()
        if line[:3] == "0::"
    ]
    for folder in {f"/sys/fs/cgroup{own[0]}" if own else "", "/sys/fs/cgroup"} - {""}:
        quota, _, period = _text(f"{folder.rstrip('/')}/cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            return int(quota) / int(period)
    quota = _text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def find_backend() -> Backend:
    """Load the library that runs models: LiteRT, else tflite-runtime.

    Raises:
        MissingDependencyError: Neither can be imported; the message says why and what to type.
    """
    return _first(lambda backend: backend)


def _first(use: Callable[[Backend], T]) -> T:
    """Give what the first backend that works makes; one that imports may yet fail to work.

    Raises:
        ModelError: A backend works but refuses the model.
        MissingDependencyError: None works.
    """
    faults, refusal = [], None
    for load in (_litert, _tflite_runtime):
        try:
            return use(load())
        except ModelError as error:
            refusal = refusal or error
        except (ImportError, OSError, AttributeError, SystemError) as error:
            faults.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
    if refusal is not None:
        raise refusal
    raise MissingDependencyError(f"no TFLite runtime works here ({'; '.join(faults)}). {_mend()}")


def _litert() -> Backend:
    from ai_edge_litert import interpreter

    return Backend("litert", "ai-edge-litert", interpreter.Interpreter)


def _tflite_runtime() -> Backend:
    import numpy as np

    try:
        import importlib.util

        present = importlib.util.find_spec("tflite_runtime") is not None
    except ImportError:
        present = False
    if present and int(np.__version__.split(".")[0]) >= 2 and _is_built_for_numpy_1():
        # It imports, printing a page, and dies when it is first used: do not let it.
        raise ImportError(
            f"tflite-runtime {_version('tflite_runtime')} was built for numpy 1 and numpy is "
            f'{np.__version__}: pip install "numpy<2"'
        )
    from tflite_runtime import interpreter

    return Backend("tflite-runtime", "tflite-runtime", interpreter.Interpreter)


def _is_built_for_numpy_1() -> bool:
    version = _version("tflite-runtime").split(".")
    return not (version[0].isdigit() and version[1].isdigit()) or (
        (int(version[0]), int(version[1])) < (2, 17)
    )


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _mend() -> str:
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

    ``run`` may be called from several threads; calls take turns on the one native interpreter,
    which itself uses ``threads`` threads. For more throughput use one process, or one
    Interpreter, a thread.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, threads: int | None = None, verbose: bool = False
    ) -> None:
        """Load a model.

        Args:
            path: A .tflite file.
            threads: How many threads run it; None for the physical cores usable, at most 4.
            verbose: Let the native library's log lines through to standard error.

        Raises:
            ModelError: The file is missing, corrupt or not an image classifier.
            MissingDependencyError: There is no library to run it.
        """
        self.path = os.fsdecode(path)
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; expected 1 or more")
        self.threads = threads or default_threads()
        self._lock = threading.Lock()
        if not os.path.isfile(self.path):
            kind = "is a folder" if os.path.isdir(self.path) else "no such file"
            raise ModelError(f"{self.path}: {kind}; expected a .tflite model")
        with nullcontext() if verbose else quiet():
            self.backend, self._native = _first(self._load)
        self.input = self._picture_tensor()
        self.output = self._score_tensor()

    def _load(self, backend: Backend) -> tuple[Backend, Any]:
        try:
            native = backend.interpreter(model_path=self.path, num_threads=self.threads)
            native.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"{self.path}: {backend.name} cannot load it ({reason}); is the file whole?"
            ) from error
        return backend, native

    def _picture_tensor(self) -> TensorInfo:
        details = self._native.get_input_details()
        info = _info(details[0]) if details else None
        if (
            info is None or len(details) != 1 or len(info.shape) != 4 or info.shape[0] != 1
            or info.shape[3] != 3 or info.dtype not in DTYPES
        ):  # fmt: skip
            found = ", ".join(f"{list(i.shape)} {i.dtype}" for i in map(_info, details)) or "none"
            raise ModelError(
                f"{self.path}: not an image classifier: its inputs are {found}; "
                f"expected one of [1, H, W, 3] and {', '.join(DTYPES)}"
            )
        return info

    def _score_tensor(self) -> TensorInfo:
        details = self._native.get_output_details()
        info = _info(details[0]) if details else None
        size = 1
        for side in info.shape if info else (0,):
            size *= side
        if info is None or len(details) != 1 or info.dtype not in DTYPES or size != info.shape[-1]:
            found = ", ".join(f"{list(i.shape)} {i.dtype}" for i in map(_info, details)) or "none"
            raise ModelError(
                f"{self.path}: not an image classifier: its outputs are {found}; "
                f"expected one of [1, classes] and {', '.join(DTYPES)}"
            )
        return info

    def run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Classify one prepared picture.

        Args:
            values: (H, W, 3) of the input's dtype.

        Returns:
            (classes,) float32, dequantised.
        """
        with self._lock:
            self._native.set_tensor(self.input.index, values[None])
            self._native.invoke()
            raw = self._native.get_tensor(self.output.index)
        return dequantise(raw.reshape(-1), self.output)


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
    """Turn real numbers into a tensor's stored ones.

    stored = round(real / scale) + zero_point, clipped to the type's range (Jacob et al. 2018,
    arXiv:1712.05877, equation 1); computed in float64, so that nothing wraps.

    Args:
        real: Any shape.
        info: The tensor.

    Returns:
        The same shape, of the tensor's dtype; where it is not quantised, merely cast.
    """
    import numpy as np

    kind = np.dtype(info.dtype)
    if kind.kind == "f":
        return np.asarray(real).astype(kind)
    if not info.scale:
        raise ModelError(
            f"tensor {info.name} is {info.dtype} without a scale; expected a quantised one"
        )
    limits = np.iinfo(kind)
    stored = np.rint(np.asarray(real, np.float64) / info.scale) + info.zero_point
    clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(kind)
    return clipped


def dequantise(stored: NDArray[Any], info: TensorInfo) -> NDArray[np.float32]:
    """Turn a tensor's stored numbers into real ones: (stored - zero_point) * scale.

    Args:
        stored: Any shape, of the tensor's dtype.
        info: The tensor.

    Returns:
        The same shape, float32.
    """
    import numpy as np

    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    if not info.scale:
        raise ModelError(
            f"tensor {info.name} is {info.dtype} without a scale; expected a quantised one"
        )
    wide = stored.astype(np.int32) - info.zero_point
    real: NDArray[np.float32] = (wide * np.float32(info.scale)).astype(np.float32)
    return real


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back native log lines on standard error; whatever else is written there comes out.

    LiteRT and XNNPACK write to file descriptor 2 and have no switch for it in Python. The
    descriptor is the process's: lines of other threads are let through when this ends.
    """
    with _stderr_lock:
        try:
            saved = os.dup(2)
        except OSError:  # there is no standard error to keep clean
            yield
            return
        with _memory_file() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                os.close(saved)
                held.seek(0)
                lines = held.read().splitlines(keepends=True)
                rest = b"".join(
                    line for line in lines if not line.startswith(tuple(n.encode() for n in _NOISE))
                )
                if rest.strip():
                    os.write(2, rest)


def _memory_file() -> Any:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("lesionedge-log"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()
