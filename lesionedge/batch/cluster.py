"""The engine ``ray``: Ray Data hands images to a pool of actors, one model and one core each."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from lesionedge.batch.libraries import need
from lesionedge.batch.model import Model
from lesionedge.errors import LesionEdgeError
from lesionedge.interpreter import quiet

OBJECT_STORE_BYTES = 300_000_000
"""Shared memory of a Ray that is started here; it holds names and rows, never images."""

RETRIES = 3
"""How often Ray passes a chunk on to another actor after its actor has died."""


class Predictor:
    """An actor: holds one model and classifies blocks of names."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._classifier = model.load()

    def __call__(self, names: Any) -> Any:
        """Return the rows (a ``pyarrow.Table``) of a table of names."""
        from lesionedge.batch.rows import classified

        return classified(names["path"].to_pylist(), self._classifier, self._model)


@contextmanager
def connected(address: str | None, *, workers: int | None, verbose: bool) -> Iterator[None]:
    """Join a cluster, or start a Ray on this machine that ends with the block.

    Args:
        address: As for ``ray.init``. None: the environment's ``RAY_ADDRESS``, or else a new Ray
            on this machine.
        workers: Cores of a new Ray; None for all.
        verbose: Show Ray's log lines.

    Raises:
        LesionEdgeError: There is no cluster at this address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": verbose}
    if address == "local":
        # By default Ray sends usage statistics to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"num_cpus": workers, "object_store_memory": OBJECT_STORE_BYTES}
        options |= {"include_dashboard": False}
        _close_to_others()
    if not verbose:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what later versions do
    ray, _ = need("ray"), need("ray.data")
    _reach(address)
    level = logging.INFO if verbose else logging.ERROR
    try:
        with nullcontext() if verbose else quiet(keep=False):
            ray.init(address=address, logging_level=level, **options)
    except (OSError, ValueError, RuntimeError) as error:  # ConnectionError is an OSError
        raise _no_cluster(address, error) from error
    logging.getLogger("ray.data").setLevel(level)
    try:
        yield
    finally:
        ray.shutdown()


def _close_to_others() -> None:
    """Make a Ray that is started here require a token: its ports are open to the network."""
    import secrets

    mode = os.environ.setdefault("RAY_AUTH_MODE", "token")
    if mode == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _reach(address: str) -> None:
    """Check that something listens at the address; Ray itself would try for minutes."""
    import socket

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():  # local, auto
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> LesionEdgeError:
    cause = error.__cause__ or error
    if "AuthToken" in str(cause):
        return LesionEdgeError(
            f"--address {address}: the Ray cluster there requires its token: set "
            "RAY_AUTH_MODE=token and the token (docs.ray.io, token authentication)"
        )
    reason = _first_line(cause)
    return LesionEdgeError(
        f"--address {address}: there is no Ray cluster ({reason}); start one with: ray start --head"
    )


def cores() -> int:
    """Count the cluster's cores, as Ray counts them."""
    return max(1, int(need("ray").cluster_resources().get("CPU", 1)))


def predictions(
    chunks: Iterable[Sequence[str]], model: Model, *, workers: int | None
) -> Generator[Any, None, None]:
    """Classify images on the cluster.

    Ray replaces actors that die and passes their chunks on. If several actors die of a chunk, its
    images are left out. Nodes that join later are used too, unless ``workers`` fixes the number of
    actors.

    Args:
        chunks: Names of images, some at a time.
        model: The model.
        workers: How many actors; None for one per core of the cluster, even as it grows.

    Returns:
        An iterator of tables (``pyarrow.Table``), in the order in which they are ready.

    Raises:
        LesionEdgeError: No actor can be started.
    """
    ray, data, pa = need("ray"), need("ray.data"), need("pyarrow")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # the caller sees what is missing
    tables = [pa.table({"path": pa.array(chunk, pa.string())}) for chunk in chunks]
    if workers is None:
        pool = data.ActorPoolStrategy(min_size=1, initial_size=min(cores(), len(tables)))
    else:
        pool = data.ActorPoolStrategy(size=min(workers, len(tables)))
    with warnings.catch_warnings():
        # Ray has no other way yet to limit how often it tries a chunk that kills its actors.
        warnings.simplefilter("ignore", DeprecationWarning)
        rows = data.from_arrow(tables).map_batches(
            Predictor, fn_constructor_args=(model,), compute=pool, batch_size=None,
            batch_format="pyarrow", num_cpus=1, max_restarts=-1, max_task_retries=RETRIES,
        )  # fmt: skip
    try:
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as error:
        raise LesionEdgeError(f"Ray gave up: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else repr(error)
