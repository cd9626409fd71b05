"""The folder for the Parquet files, on this machine or behind a URL.

In both, a file appears whole or not at all, and only one command may write at a time. Reading
disturbs no command that writes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from lesionedge.atomic import replacing
from lesionedge.batch.libraries import need
from lesionedge.batch.reading import is_url, local_path, opened, reason
from lesionedge.errors import LesionEdgeError

_UNFINISHED = "_unfinished"
_LOCK = "_lock"
_NOT_ROWS = ("_", ".")  # what libraries that read folders of Parquet files pass over, too
# In these stores a file appears when all of it has arrived. Elsewhere it is written, then renamed.
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")


class Folder(Protocol):
    """A folder for Parquet files."""

    name: str
    """The name for people: an absolute path or a URL."""

    def names(self) -> list[str]:
        """List the files, except those whose names start with ``_`` or a dot."""

    def path(self, name: str) -> str:
        """Return the path or URL of a file."""

    def read(self, name: str) -> Any:
        """Return a file in a form that ``pyarrow.parquet`` can read."""

    def write(self, name: str, table: Any) -> None:
        """Write rows (a ``pyarrow.Table``) to a file; replace an older one.

        Raises:
            LesionEdgeError: It cannot be written, or another command writes there now.
        """

    def remove(self, name: str) -> None:
        """Remove a file."""

    def close(self) -> None:
        """Release the folder for other commands."""


def folder(where: str, *, write: bool = True) -> Folder:
    """Open a folder.

    Args:
        where: A path, or a URL such as ``s3://bucket/folder``.
        write: Whether to write there: then it is made if necessary, and no other command may.

    Raises:
        LesionEdgeError: It cannot be used, or is in use.
    """
    path = local_path(where)
    if path is None and is_url(where):
        return StoredFolder(where, write=write)
    return LocalFolder(path or where, write=write)


class LocalFolder:
    """A folder on this machine; its lock ends with this process, even if that is killed."""

    def __init__(self, path: str, *, write: bool = True) -> None:
        self.name = os.path.abspath(path)
        self._shown = path
        self._lock: int | None = None
        if not write:
            return
        with self._tried("written"):
            os.makedirs(path, exist_ok=True)
            self._lock = _locked(os.path.join(path, _LOCK))
            with suppress(FileNotFoundError):
                os.unlink(self.path(_UNFINISHED))

    def names(self) -> list[str]:
        """List the files."""
        with self._tried("listed"):
            return [name for name in os.listdir(self._shown) if not name.startswith(_NOT_ROWS)]

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return os.path.join(self._shown, name)

    def read(self, name: str) -> Any:
        """Return its path."""
        return self.path(name)

    def write(self, name: str, table: Any) -> None:
        """Write rows to a file."""
        write_table = need("pyarrow.parquet").write_table
        unfinished = self.path(_UNFINISHED)
        with self._tried("written", name), replacing(self.path(name), part=unfinished) as part:
            write_table(table, part, compression="zstd")

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._tried("removed", name):
            os.unlink(self.path(name))

    def close(self) -> None:
        """Release the folder for other commands."""
        if self._lock is not None:
            os.close(self._lock)

    @contextmanager
    def _tried(self, what: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or (self.path(name) if name else self._shown)
            why = os.strerror(error.errno) if error.errno else error  # pyarrow's text is long
            raise LesionEdgeError(f"{where}: cannot be {what} ({why})") from error


class StoredFolder:
    """A folder behind a URL.

    A lock there would outlive a killed process. So the newest command owns the folder: it writes
    its mark, and an older command that finds another mark stops writing.
    """

    def __init__(self, url: str, *, write: bool = True) -> None:
        self.name = url.rstrip("/")
        self._files, self._top = opened(self.name)
        self._mark = secrets.token_hex(16).encode()
        self._whole = url.partition("://")[0] in _OBJECT_STORES
        if not write:
            return
        with self._tried("written"):
            if not self._whole:
                self._files.makedirs(self._top, exist_ok=True)
            self._put(_LOCK, self._mark)

    def names(self) -> list[str]:
        """List the files."""
        with self._tried("listed"):
            self._files.invalidate_cache()
            paths = self._files.ls(self._top, detail=False)
        names = (path.rstrip("/").rpartition("/")[2] for path in paths)
        own = self._top.rstrip("/").rpartition("/")[2]  # some list the folder itself too
        return [name for name in names if not name.startswith(_NOT_ROWS) and name not in ("", own)]

    def path(self, name: str) -> str:
        """Return the URL of a file."""
        return f"{self.name}/{name}"

    def read(self, name: str) -> Any:
        """Return a file's content."""
        with self._tried("read", name):
            return need("pyarrow").BufferReader(self._files.cat_file(self._at(name)))

    def write(self, name: str, table: Any) -> None:
        """Write rows to a file."""
        sink = need("pyarrow").BufferOutputStream()
        need("pyarrow.parquet").write_table(table, sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        with self._tried("written", name):
            self._need_mark()
            if self._whole:
                self._put(name, content)
                return
            self._put(_UNFINISHED, content)
            self._files.invalidate_cache()
            if self._files.exists(self._at(name)):  # not all servers rename over a file
                # If killed here, this file's images are classified again.
                self._files.rm_file(self._at(name))
            self._files.mv(self._at(_UNFINISHED), self._at(name))

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._tried("removed", name):
            self._need_mark()
            self._files.rm_file(self._at(name))

    def close(self) -> None:
        """Remove the mark if it is still this command's."""
        with suppress(Exception):
            if self._files.cat_file(self._at(_LOCK)) == self._mark:
                self._files.rm_file(self._at(_LOCK))

    def _need_mark(self) -> None:
        try:
            mark = self._files.cat_file(self._at(_LOCK))
        except FileNotFoundError:
            mark = None
        if mark != self._mark:
            raise LesionEdgeError(
                f"{self.name}: another lesionedge batch writes there now and continues this one's "
                "work; this one stops"
            )

    def _at(self, name: str) -> str:
        return f"{self._top.rstrip('/')}/{name}"

    def _put(self, name: str, content: bytes) -> None:
        self._files.pipe_file(self._at(name), content)

    @contextmanager
    def _tried(self, what: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except LesionEdgeError:
            raise
        except Exception as error:  # each file system has exceptions of its own
            where = self.path(name) if name else self.name
            raise LesionEdgeError(f"{where}: cannot be {what} ({reason(error)})") from error


def _locked(path: str) -> int:
    """Take a lock that ends with this process, even if that is killed."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise LesionEdgeError(
            f"{os.path.dirname(path)}: another lesionedge batch is writing there; wait for it, "
            "or name another --output"
        ) from None
    except BaseException:
        os.close(handle)
        raise
    return handle
