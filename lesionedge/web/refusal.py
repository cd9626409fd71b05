"""Errors for clients: a status and a reason, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - a response more than an error
    """A request is refused; the client gets an error."""

    def __init__(
        self, status: int, reason: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Create a refusal.

        Args:
            status: The HTTP status.
            reason: What was found, what was expected, what to do; never a part of an image.
            headers: Further headers of the response.
        """
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The response's body."""
        return error_body(self.reason)


def error_body(reason: str) -> bytes:
    """Return an error as JSON."""
    return json.dumps({"error": reason}).encode()


def busy(reason: str, retry_after_s: int) -> Refusal:
    """Return a refusal for now (503) that says when to try again."""
    return Refusal(503, reason, headers={"Retry-After": str(retry_after_s)})
