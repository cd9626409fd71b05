"""The live picture in a window, by Tk, which Raspberry Pi OS has (package python3-tk)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lesionedge.errors import CameraError, ImageError, MissingDependencyError
from lesionedge.preview.picture import draw

if TYPE_CHECKING:
    from lesionedge.live import Observation

ELSE = "--preview web shows the picture in a browser"


class WindowPreview:
    """A window with the newest observation; to be used from the main thread."""

    def __init__(self) -> None:
        """Open the window.

        Raises:
            MissingDependencyError: Tk is not installed.
            CameraError: There is no display.
        """
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise MissingDependencyError(
                f"a window needs Tk ({error}): sudo apt install python3-tk python3-pil.imagetk; or "
                f"{ELSE}"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise CameraError(f"no window can be opened ({error}); {ELSE}") from error
        self._gone: type[Exception] = tkinter.TclError
        self._photo_of: Any = ImageTk.PhotoImage
        self._root.title("lesionedge camera")
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._open = True
        self._root.protocol("WM_DELETE_WINDOW", self._left)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _event: self._left())

    def _left(self) -> None:
        self._open = False

    def show(self, observation: Observation) -> bool:
        """Show an observation; False: the user has closed the window."""
        try:
            self._photo = self._photo_of(draw(observation), master=self._root)
            self._label.configure(image=self._photo)
            self._root.update()
        except ImageError:
            pass  # the next frame may be whole
        except self._gone:
            self._open = False
        return self._open

    def close(self) -> None:
        """Close the window."""
        with suppress(self._gone):
            self._root.destroy()
