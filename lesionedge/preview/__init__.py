"""Shows the camera's image and the prediction, in a window or in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lesionedge.live import Observation


class Preview(Protocol):
    """A preview: a window or a page in a browser."""

    def show(self, observation: Observation) -> bool:
        """Show an observation; return False if the user wants to stop."""

    def update(self) -> bool:
        """Handle events between observations; return False if the user wants to stop."""

    def pressed(self) -> bool:
        """Return whether a key was pressed since the last call."""

    def close(self) -> None:
        """Close the preview."""
