"""The live image in a window. It uses Tk (package python3-tk on Raspberry Pi OS)."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lesionedge.errors import CameraError, ImageError, MissingDependencyError
from lesionedge.preview.drawing import LEAST_S, draw

if TYPE_CHECKING:
    from PIL import Image

    from lesionedge.live import Observation

ELSE = "--preview web shows the image in a browser"


class WindowPreview:
    """A window with the newest observation. Use it from the main thread."""

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
        # Leave space for the title bar and the desktop's panel on a small screen.
        self._largest = self._root.winfo_screenwidth(), self._root.winfo_screenheight() - 80
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._open = True
        self._key_pressed = False
        self._next_s = 0.0
        self._root.protocol("WM_DELETE_WINDOW", self._closed)
        self._root.bind("<Key>", self._key)

    def _closed(self) -> None:
        self._open = False

    def _key(self, event: Any) -> None:
        if event.keysym in ("Escape", "q"):
            self._open = False
        else:
            self._key_pressed = True

    def show(self, observation: Observation) -> bool:
        """Show an observation; return False if the user closed the window."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LEAST_S
            with suppress(ImageError):  # the next frame may be intact
                image = draw(observation)
                image.thumbnail(self._largest)
                self._draw(image)
        return self.update()

    def update(self) -> bool:
        """Handle the window's events; return False if the user closed it."""
        try:
            self._root.update()
        except self._gone:
            self._open = False
        return self._open

    def pressed(self) -> bool:
        """Return whether a key was pressed in the window since the last call."""
        pressed, self._key_pressed = self._key_pressed, False
        return pressed

    def close(self) -> None:
        """Close the window."""
        with suppress(self._gone):
            self._root.destroy()

    def _draw(self, image: Image.Image) -> None:
        with suppress(self._gone):
            self._photo = self._photo_of(image, master=self._root)
            self._label.configure(image=self._photo)
