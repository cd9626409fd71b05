"""Shows what the camera sees and what the model answers: in a window or in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lesionedge.live import Observation


class Preview(Protocol):
    """What both kinds do."""

    def show(self, observation: Observation) -> bool:
        """Show an observation; False: the user wants to end."""

    def update(self) -> bool:
        """Be called often in between; False: the user wants to end."""

    def pressed(self) -> bool:
        """Return whether a key was pressed since this was last asked."""

    def close(self) -> None:
        """End."""
